package agreement

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"iter"

	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/limits"
)

// Methods that tools use, which hold no state of their own.
const (
	methodSubmit  = "state.submit"  // a command in pieces; answers an outcome, from whatever peer
	methodBarrier = "state.barrier" // nothing; answers nothing
	methodPicture = "state.picture" // nothing; answers a snapshot in pieces
	methodWatch   = "state.watch"   // after and prefix; answers events in pieces
)

func (g *Group) serveTools(mux rpc.Mux) {
	mux.Handle(methodSubmit, func(ctx context.Context, s rpc.Stream) error { return answer(ctx, s, g.submit) })
	mux.Handle(methodBarrier, func(ctx context.Context, _ rpc.Stream) error { return g.Barrier(ctx) })
	mux.Handle(methodPicture, func(_ context.Context, s rpc.Stream) error {
		p := picture{state: g.fsm.machine.Snapshot()} // without the recent updates: they matter to the log only
		return p.write(pieces{s})
	})
	mux.Handle(methodWatch, func(ctx context.Context, s rpc.Stream) error {
		request, err := s.Recv()
		if err != nil {
			return err
		}
		after, n := binary.Uvarint(request)
		if n <= 0 {
			return errs.New(errs.Invalid, "a watch begins with an index")
		}
		for e, err := range g.Watch(ctx, string(request[n:]), state.Index(after)) {
			if err == nil {
				err = sendEvent(s, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// pieces is a Writer that makes messages.
type pieces struct{ s rpc.Stream }

func (p pieces) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); sent += pieceBytes {
		if err := p.s.Send(b[sent:min(sent+pieceBytes, len(b))]); err != nil {
			return sent, err
		}
	}
	return len(b), nil
}

const (
	eventMore = iota // the event goes on in the next piece
	eventLast
)

func sendEvent(s rpc.Stream, e state.Event) error {
	b := binary.AppendUvarint(nil, uint64(e.Index))
	reset := byte(0)
	if e.Reset {
		reset = 1
	}
	b = state.AppendChanges(append(b, reset), e.Changes)
	for len(b) > pieceBytes {
		if err := s.Send(append([]byte{eventMore}, b[:pieceBytes]...)); err != nil {
			return err
		}
		b = b[pieceBytes:]
	}
	return s.Send(append([]byte{eventLast}, b...))
}

// eventBytesMax bounds what a tool gathers for one event: a Reset holds all that is watched.
const eventBytesMax = 256 << 20

func recvEvent(s rpc.Stream) (e state.Event, err error) {
	var b []byte
	for last := false; !last; {
		piece, err := s.Recv()
		if err != nil {
			return e, err
		}
		if len(piece) == 0 || len(b)+len(piece) > eventBytesMax {
			return e, errs.New(errs.Corrupt, "a watched event of %d bytes and more", len(b))
		}
		last = piece[0] == eventLast
		b = append(b, piece[1:]...)
	}
	return parseEvent(b)
}

func parseEvent(b []byte) (e state.Event, err error) {
	index, n := binary.Uvarint(b)
	if n <= 0 || n == len(b) {
		return e, errs.New(errs.Corrupt, "a watched event of %d bytes", len(b))
	}
	e.Index, e.Reset = state.Index(index), b[n] == 1
	e.Changes, _, err = state.DecodeChanges(b[n+1:])
	return e, err
}

// Remote is the state as a tool sees it through one peer: every View and Update fetches all of it first. It is a state.Store.
type Remote struct {
	Caller rpc.Caller
	Peer   string // through which everything goes
}

var _ state.Store = (*Remote)(nil)

func (r *Remote) fetch(ctx context.Context) (*state.Snapshot, error) {
	s, err := r.Caller.Stream(ctx, r.Peer, methodPicture)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // nothing is under way after the last piece
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	head, content, err := readPicture(&gathered{s: s})
	if err != nil {
		return nil, errs.With(errs.Unavailable, err)
	}
	m := state.NewMachine()
	m.Restore(head.index, content)
	return m.Snapshot(), nil
}

// gathered is a Reader over messages.
type gathered struct {
	s    rpc.Stream
	rest bytes.Reader
}

func (g *gathered) Read(p []byte) (int, error) {
	for g.rest.Len() == 0 {
		piece, err := g.s.Recv()
		if err != nil {
			return 0, err
		}
		g.rest.Reset(piece)
	}
	return g.rest.Read(p)
}

// View is Store.View.
func (r *Remote) View(ctx context.Context, fn func(state.Reader) error) error {
	snapshot, err := r.fetch(ctx)
	if err != nil {
		return err
	}
	return fn(snapshot)
}

// Update is Store.Update.
func (r *Remote) Update(ctx context.Context, fn func(state.Writer) error) error {
	ctx, cancel := context.WithTimeout(ctx, limits.StateUpdateTimeout)
	defer cancel()
	for {
		if err := r.Barrier(ctx); err != nil {
			return err
		}
		snapshot, err := r.fetch(ctx)
		if err != nil {
			return err
		}
		attempt := snapshot.Begin()
		if err := fn(attempt); err != nil {
			return err
		}
		tx := attempt.Transaction()
		if len(tx.Writes) == 0 {
			return nil // what it read was up to date when it began
		}
		if err := tx.Check(); err != nil {
			return err
		}
		command, err := newCommand(tx)
		if err != nil {
			return err
		}
		result, err := sendCommand(ctx, r.Caller, r.Peer, methodSubmit, command)
		switch {
		case err != nil:
			return errs.New(errs.Unavailable, "update the state: outcome unknown: %w", err)
		case result.status == applied:
			return nil
		}
	}
}

// Barrier is Store.Barrier, for the peer that the tool speaks to.
func (r *Remote) Barrier(ctx context.Context) error {
	_, err := r.Caller.Call(ctx, r.Peer, methodBarrier, nil)
	return err
}

// Watch is Store.Watch. It ends with an error when the peer cannot be reached any more; another Watch, after the last index, goes on.
func (r *Remote) Watch(ctx context.Context, prefix string, after state.Index) iter.Seq2[state.Event, error] {
	return func(yield func(state.Event, error) bool) {
		s, err := r.Caller.Stream(ctx, r.Peer, methodWatch)
		if err != nil {
			if ctx.Err() == nil {
				yield(state.Event{}, err)
			}
			return
		}
		defer func() { _ = s.Close() }()
		err = s.Send(append(binary.AppendUvarint(nil, uint64(after)), prefix...))
		for err == nil {
			var e state.Event
			if e, err = recvEvent(s); err == nil && !yield(e, nil) {
				return
			}
		}
		if ctx.Err() == nil {
			if err == io.EOF {
				err = errs.New(errs.Unavailable, "%s ended the watch", r.Peer)
			}
			yield(state.Event{}, err)
		}
	}
}
