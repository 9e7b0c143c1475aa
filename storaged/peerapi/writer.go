package peerapi

import (
	"bytes"
	"context"
	"io"
	"time"

	"henge/cluster/rpc"
	"henge/internal/errs"
	"henge/internal/limits"
)

// Create is Device.Create. A peer that says nothing for limits.PeerBeginTimeout hangs: somebody else is to take the bytes, while the client still sends them.
func (r *Remote) Create(ctx context.Context, key Key, size int64) (Writer, error) {
	ctx, cancel := context.WithCancel(ctx)
	begin := time.AfterFunc(limits.PeerBeginTimeout, cancel)
	s, err := r.ask(ctx, methodCreate, ask{Key: &key, Size: size})
	if !begin.Stop() && err == nil {
		s.Close()
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, errs.New(errs.KindOf(err), "device %s of %s: begin an object: %w", r.at.Device, r.at.Peer, err)
	}
	w := &remoteWriter{at: r.at, stream: s, cancel: cancel}
	if _, err = w.answer(newPatience(s, limits.PeerBeginTimeout)); err != nil {
		w.Close()
		return nil, err
	}
	w.buf = getScratch()
	w.buf.WriteByte(pieceData)
	return w, nil
}

const (
	// writerBytes is how much of an object one message to a device has: what the device writes to its disk at once.
	writerBytes = 512 << 10
	// directBytes is from how many bytes on what is written goes to the connection from where it lies.
	directBytes = 64 << 10
)

// remoteWriter sends an object's bytes in pieces.
type remoteWriter struct {
	at     Target
	stream rpc.Stream
	cancel context.CancelFunc // of the stream's context
	buf    *bytes.Buffer      // the next piece; nil when closed
	err    error
}

// answer waits for one.
func (w *remoteWriter) answer(p *patience) (answer, error) {
	defer p.timer.Stop()
	var a answer
	msg, err := w.stream.Recv()
	if err != nil {
		return a, p.explain(w.at, unfinished(err))
	}
	if _, err := unpack(msg, &a); err != nil {
		return a, errs.With(errs.Unavailable, err)
	}
	return a, a.err()
}

// Write is io.Writer's. It waits when the device is slower than the caller.
func (w *remoteWriter) Write(b []byte) (sum int, err error) {
	if w.buf == nil {
		return 0, errs.New(errs.Internal, "write to a closed writer")
	}
	for len(b) > 0 && w.err == nil {
		n := min(len(b), writerBytes+1-w.buf.Len())
		if w.buf.Len() == 1 && n >= directBytes {
			w.err = w.send(w.buf.Bytes(), b[:n]) // no copy
		} else {
			w.buf.Write(b[:n])
			if w.buf.Len() > writerBytes {
				w.err = w.flush()
			}
		}
		b = b[n:]
		sum += n
	}
	return sum, w.err
}

func (w *remoteWriter) flush() error {
	if w.buf.Len() <= 1 {
		return nil
	}
	defer w.buf.Truncate(1)
	return w.send(w.buf.Bytes())
}

// send sends one piece: what it is, and its bytes.
func (w *remoteWriter) send(parts ...[]byte) error {
	p := newPatience(w.stream, limits.PeerIdleTimeout)
	err := w.stream.Send(parts...)
	p.timer.Stop()
	if err != nil {
		return w.cause(p.explain(w.at, err))
	}
	return nil
}

// cause finds out why the other end takes no more: it has said so, if it could.
func (w *remoteWriter) cause(sendErr error) error {
	if msg, err := w.stream.Recv(); err == nil {
		var a answer
		if _, err := unpack(msg, &a); err == nil && a.Failed {
			return a.err()
		}
	} else if err != io.EOF && errs.KindOf(err) != errs.Unavailable {
		return err
	}
	return sendErr
}

// Commit is Writer's. It has its own deadline: it ends in an fsync.
func (w *remoteWriter) Commit(ctx context.Context, c Commit) (Outcome, error) {
	if w.buf == nil {
		return Outcome{}, errs.New(errs.Internal, "commit of a closed writer")
	}
	if err := ctx.Err(); err != nil {
		return Outcome{}, errs.New(errs.KindOf(err), "commit on device %s of %s: %w", w.at.Device, w.at.Peer, err)
	}
	if w.err == nil {
		w.err = w.flush()
	}
	if w.err != nil {
		return Outcome{}, w.err
	}
	stop := context.AfterFunc(ctx, func() { w.stream.Close() })
	defer stop()
	buf := getScratch()
	defer scratch.Put(buf)
	buf.WriteByte(pieceCommit)
	if err := pack(buf, ask{Commit: &c}); err != nil {
		return Outcome{}, err
	}
	if err := w.stream.Send(buf.Bytes()); err != nil {
		w.err = w.cause(err)
		return Outcome{}, w.err
	}
	a, err := w.answer(newPatience(w.stream, limits.PeerCommitTimeout))
	if ctxErr := ctx.Err(); err != nil && ctxErr != nil {
		err = errs.New(errs.KindOf(ctxErr), "commit on device %s of %s: %w", w.at.Device, w.at.Peer, ctxErr)
	}
	return valueOf(a.Outcome), err
}

// Close is Writer's. The device hears of it at once.
func (w *remoteWriter) Close() error {
	if w.buf != nil {
		scratch.Put(w.buf)
		w.buf = nil
	}
	w.cancel()
	return w.stream.Close()
}
