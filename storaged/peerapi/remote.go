package peerapi

import (
	"context"
	"io"
	"time"

	"henge/cluster/rpc"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
)

// Remote is a device of another peer. It is a Device.
type Remote struct {
	caller rpc.Caller
	at     Target
}

// NewRemote names a device of another peer. It costs nothing, and does not dial.
func NewRemote(caller rpc.Caller, t Target) *Remote { return &Remote{caller: caller, at: t} }

// call makes a small call: one message each way.
func (r *Remote) call(ctx context.Context, timeout time.Duration, method string, q ask, body []byte) (answer, error) {
	a, _, err := r.callBody(ctx, timeout, method, q, body)
	return a, err
}

// callBody is call for an answer that has a body, too.
func (r *Remote) callBody(ctx context.Context, timeout time.Duration, method string, q ask, body []byte) (answer, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	q.Device = r.at.Device
	var a answer
	buf := getScratch()
	defer scratch.Put(buf)
	if err := pack(buf, q); err != nil {
		return a, nil, err
	}
	buf.Write(body)
	response, err := r.caller.Call(ctx, r.at.Peer, method, buf.Bytes())
	if err != nil {
		return a, nil, err
	}
	rest, err := unpack(response, &a)
	if err != nil {
		return a, nil, errs.With(errs.Unavailable, err)
	}
	return a, rest, a.err()
}

// Head is Device.Head.
func (r *Remote) Head(ctx context.Context, key Key) (State, error) {
	a, err := r.call(ctx, limits.PeerCallTimeout, methodHead, ask{Key: &key}, nil)
	return valueOf(a.State), err
}

// valueOf is what p points to, or nothing.
func valueOf[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}

// Commit is Device.Commit. Data that does not fit into one message goes as a stream.
func (r *Remote) Commit(ctx context.Context, c Commit, data []byte) (Outcome, error) {
	if len(data) > inlineBytes {
		return r.commitStream(ctx, c, data)
	}
	a, err := r.call(ctx, limits.PeerCommitTimeout, methodCommit, ask{Commit: &c}, data)
	return valueOf(a.Outcome), err
}

func (r *Remote) commitStream(ctx context.Context, c Commit, data []byte) (out Outcome, err error) {
	w, err := r.Create(ctx, c.Record.Key, int64(len(data)))
	if err != nil {
		return out, err
	}
	defer func() {
		if closeErr := w.Close(); err == nil {
			err = closeErr
		}
	}()
	if _, err := w.Write(data); err != nil {
		return out, err
	}
	return w.Commit(ctx, c)
}

// Restamp is Device.Restamp.
func (r *Remote) Restamp(ctx context.Context, from clock.Timestamp, c Commit) (Outcome, error) {
	a, err := r.call(ctx, limits.PeerCommitTimeout, methodRestamp, ask{At: from, Commit: &c}, nil)
	return valueOf(a.Outcome), err
}

// Prepare is Device.Prepare.
func (r *Remote) Prepare(ctx context.Context, key Key, ballot clock.Timestamp) (Outcome, State, error) {
	a, err := r.call(ctx, limits.PeerCommitTimeout, methodPrepare, ask{Key: &key, At: ballot}, nil)
	return valueOf(a.Outcome), valueOf(a.State), err
}

// Index is Device.Index.
func (r *Remote) Index(ctx context.Context, key Key) (IndexInfo, error) {
	a, err := r.call(ctx, limits.PeerCallTimeout, methodIndex, ask{Key: &key}, nil)
	return valueOf(a.Info), err
}

// ChangeIndex is Device.ChangeIndex.
func (r *Remote) ChangeIndex(ctx context.Context, c IndexChange) (IndexOutcome, error) {
	a, err := r.call(ctx, limits.PeerCommitTimeout, methodChange, ask{Change: &c}, nil)
	return valueOf(a.Index), err
}

// Usage is Device.Usage.
func (r *Remote) Usage(ctx context.Context) (Usage, error) {
	a, err := r.call(ctx, limits.PeerCallTimeout, methodUsage, ask{}, nil)
	return valueOf(a.Usage), err
}

// Merge is Device.Merge. Many rows go in several calls.
func (r *Remote) Merge(ctx context.Context, m Merge) error {
	var refused error
	rows := m.Rows
	for {
		n, size := 0, 0
		for n < len(rows) && size < inlineBytes {
			size += rowBytes(rows[n])
			n++
		}
		m.Rows, rows = rows[:n], rows[n:]
		_, err := r.call(ctx, limits.PeerCommitTimeout, methodMerge, ask{Merge: &m}, nil)
		switch {
		case errs.Is(err, errs.NotFound):
			refused = err // of some rows; the others are taken all the same
		case err != nil:
			return err
		}
		if len(rows) == 0 {
			return refused
		}
	}
}

// rowBytes is about how long a row is on the wire, rather more than less.
func rowBytes(r Row) int {
	return 96 + len(r.Name) + len(r.ETag) + len(r.ContentType) + len(r.Checksum)
}

// List is Device.List. A large page comes in several messages.
func (r *Remote) List(ctx context.Context, q ListQuery) (ListPage, error) {
	var page ListPage
	ctx, cancel := context.WithTimeout(ctx, limits.PeerCommitTimeout)
	defer cancel()
	s, err := r.ask(ctx, methodList, ask{Query: &q})
	if err != nil {
		return page, err
	}
	defer s.Close()
	for {
		msg, err := s.Recv()
		if err == io.EOF {
			return page, nil
		}
		if err != nil {
			return ListPage{}, err
		}
		var a answer
		if _, err := unpack(msg, &a); err != nil {
			return ListPage{}, errs.With(errs.Unavailable, err)
		}
		if a.Failed || a.Page == nil {
			return valueOf(a.Page), a.err()
		}
		rows := append(page.Rows, a.Page.Rows...)
		page = *a.Page
		page.Rows = rows
	}
}

// ask opens a stream and sends the first message.
func (r *Remote) ask(ctx context.Context, method string, q ask) (rpc.Stream, error) {
	q.Device = r.at.Device
	s, err := r.caller.Stream(ctx, r.at.Peer, method)
	if err != nil {
		return nil, err
	}
	buf := getScratch()
	defer scratch.Put(buf)
	err = pack(buf, q)
	if err == nil {
		err = s.Send(buf.Bytes())
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// patience closes a stream on which nothing has come for too long.
type patience struct {
	timer   *time.Timer
	expired chan struct{}
}

func newPatience(s rpc.Stream, first time.Duration) *patience {
	p := &patience{expired: make(chan struct{})}
	p.timer = time.AfterFunc(first, func() { close(p.expired); s.Close() })
	return p
}

// explain says what a stream's error really was.
func (p *patience) explain(t Target, err error) error {
	select {
	case <-p.expired:
		return errs.New(errs.Timeout, "device %s of %s: nothing came for too long: %w", t.Device, t.Peer, err)
	default:
		return err
	}
}

// Open is Device.Open. What there is of the object's beginning comes with the first answer.
func (r *Remote) Open(ctx context.Context, key Key, at clock.Timestamp, want Range) (State, io.ReadCloser, error) {
	s, err := r.ask(ctx, methodOpen, ask{Key: &key, At: at, Range: &want})
	if err != nil {
		return State{}, nil, err
	}
	p := newPatience(s, limits.PeerCallTimeout)
	msg, err := s.Recv()
	if err != nil {
		p.timer.Stop()
		s.Close()
		return State{}, nil, p.explain(r.at, unfinished(err))
	}
	var a answer
	rest, err := unpack(msg, &a)
	if err != nil {
		err = errs.With(errs.Unavailable, err)
	} else {
		err = a.err()
	}
	if err != nil {
		p.timer.Stop()
		s.Close()
		return valueOf(a.State), nil, err
	}
	p.timer.Stop()
	return valueOf(a.State), &remoteReader{at: r.at, stream: s, rest: rest, patience: p}, nil
}

// unfinished turns the end of a stream that should have gone on into an error.
func unfinished(err error) error {
	if err == io.EOF {
		return errs.New(errs.Unavailable, "the peer ended the call without an answer")
	}
	return err
}

// remoteReader reads the bytes of an open object. rest lies in the stream's memory and is good until the next Recv.
type remoteReader struct {
	at       Target
	stream   rpc.Stream
	rest     []byte
	err      error
	patience *patience
}

// Read is io.Reader's. The deadline runs while it waits for the peer, not while its caller is away.
func (r *remoteReader) Read(b []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// fill waits until there are bytes, or an end.
func (r *remoteReader) fill() error {
	for len(r.rest) == 0 {
		if r.err != nil {
			return r.err
		}
		r.patience.timer.Reset(limits.PeerIdleTimeout)
		r.rest, r.err = r.stream.Recv()
		r.patience.timer.Stop()
		if r.err != nil && r.err != io.EOF {
			r.err = r.patience.explain(r.at, r.err)
		}
	}
	return nil
}

// WriteTo is io.WriterTo's: the pieces go on as they are, without another copy.
func (r *remoteReader) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for {
		if err := r.fill(); err == io.EOF {
			return sum, nil
		} else if err != nil {
			return sum, err
		}
		n, err := w.Write(r.rest)
		sum += int64(n)
		r.rest = r.rest[n:]
		if err != nil {
			return sum, err
		}
	}
}

// Close ends the call, whatever is still under way.
func (r *remoteReader) Close() error {
	r.patience.timer.Stop()
	return r.stream.Close()
}
