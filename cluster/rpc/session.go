package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
)

// session is one connection with its calls. The peer that dialled it makes the calls, the other serves them.
//
// One goroutine reads; it never waits for a call's user, because each call has a window. One goroutine writes: it takes all that has been
// gathered since its last write in one piece, so that under load many frames share a TLS record and a system call. Only who sends a long
// message writes it himself, from where it lies, when his turn comes.
type session struct {
	conn  net.Conn
	peer  string
	pool  *buffers
	serve func(s *session, id uint32, o opening) // nil at the dialling end

	ctx    context.Context // ends with the session
	cancel context.CancelFunc
	wake   chan struct{} // holds a token when pending has something to write
	turn   chan struct{} // who has put a token in may write to conn

	write   sync.Mutex // guards the fields below
	space   *sync.Cond // on write: pending was taken, or somebody's call has ended
	pending []byte
	spare   []byte // memory for the next pending
	dead    error

	mu    sync.Mutex // guards the fields below
	calls map[uint32]*endpoint
	last  uint32 // the highest stream number so far
	err   error
}

const (
	// pendingMax is how many bytes may wait to be written before senders wait too.
	pendingMax = 256 << 10
	// longBytes is from how many bytes on a message is not copied to the others that wait.
	longBytes = 32 << 10
)

func newSession(conn net.Conn, peer string, pool *buffers) *session {
	s := &session{conn: conn, peer: peer, pool: pool, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), calls: map[uint32]*endpoint{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.space = sync.NewCond(&s.write)
	return s
}

// run reads until the connection ends, and returns when both goroutines are done.
func (s *session) run() {
	var writer sync.WaitGroup
	writer.Go(s.writeLoop)
	s.fail(s.readLoop())
	writer.Wait()
}

// fail ends the session and all its calls.
func (s *session) fail(err error) {
	if !errs.Is(err, errs.Corrupt) {
		err = errs.New(errs.Unavailable, "connection with %s: %w", s.peer, err)
	}
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
	}
	calls := s.calls
	s.calls = map[uint32]*endpoint{}
	s.mu.Unlock()
	if first {
		s.write.Lock()
		s.dead = err
		s.write.Unlock()
		s.cancel()
		_ = s.conn.Close() // nothing is lost: the calls fail
		s.space.Broadcast()
	}
	for _, e := range calls {
		e.stop(err, true)
	}
}

func (s *session) writeLoop() {
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
		select {
		case s.turn <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		err := s.flush(nil)
		<-s.turn
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// flush writes all that waits, and then what more adds to it. Call with the turn.
func (s *session) flush(more func(out []byte) message) error {
	s.write.Lock()
	out := s.pending
	s.pending, s.spare = s.spare[:0], nil
	s.write.Unlock()
	s.space.Broadcast()
	parts := message{out}
	if more != nil {
		parts = more(out)
		out = parts[0]
	}
	var err error
	if parts.length() > 0 {
		// Calls' windows keep the other end reading; one that does not drain its socket at all is gone.
		if err = s.conn.SetWriteDeadline(time.Now().Add(limits.PeerIdleTimeout)); err == nil {
			err = writeTogether(s.conn, parts...)
		}
	}
	if cap(out) <= 64<<10 || len(out)*8 >= cap(out) { // else idle again: do not keep the memory of a burst
		s.write.Lock()
		s.spare = out
		s.write.Unlock()
	}
	return err
}

// put queues a frame. from is the call whose data it is: it waits for space; nil for the small frames that must not wait.
func (s *session) put(t frameType, id uint32, payload message, from *endpoint) error {
	s.write.Lock()
	for from != nil && len(s.pending) >= pendingMax && s.dead == nil {
		if err := from.sendable(); err != nil {
			s.write.Unlock()
			return err
		}
		s.space.Wait()
	}
	if s.dead != nil {
		defer s.write.Unlock()
		return s.dead
	}
	s.pending = appendHeader(s.pending, t, id, payload.length())
	for _, part := range payload {
		s.pending = append(s.pending, part...)
	}
	s.write.Unlock()
	notify(s.wake)
	return nil
}

// putLong writes a long message of a call, behind what waits already. Its last part, and every other long one, is not copied.
func (s *session) putLong(id uint32, payload message, from *endpoint) error {
	if err := s.takeTurn(from); err != nil {
		return err
	}
	err := s.flush(func(out []byte) message {
		out = appendHeader(out, frameData, id, payload.length())
		for len(payload) > 1 && len(payload[0]) < longBytes {
			out = append(out, payload[0]...)
			payload = payload[1:]
		}
		return append(message{out}, payload...)
	})
	<-s.turn
	if err != nil {
		s.fail(err)
		return s.cause()
	}
	return nil
}

// cause is why the session has ended.
func (s *session) cause() error {
	s.write.Lock()
	defer s.write.Unlock()
	return s.dead
}

// takeTurn waits until nobody else writes to the connection, unless the call ends before.
func (s *session) takeTurn(from *endpoint) error {
	for {
		if err := from.sendable(); err != nil {
			return err
		}
		select {
		case s.turn <- struct{}{}:
			return nil
		case <-from.sendReady: // perhaps the end; credit is looked for anew with each message
		case <-s.ctx.Done():
			return s.cause()
		}
	}
}

// open begins a call from this end.
func (s *session) open(e *endpoint, o *opening) (id uint32, err error) {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return 0, s.err
	}
	if s.last == 1<<32-1 {
		s.mu.Unlock()
		err := errs.New(errs.Unavailable, "all stream numbers of the connection are used")
		s.fail(err)
		return 0, err
	}
	s.last++
	id = s.last
	e.out = &wire{s, id}
	s.calls[id] = e
	// The frame is queued under mu: numbers must reach the wire in order.
	s.write.Lock()
	at := len(s.pending)
	s.pending = appendHeader(s.pending, frameOpen, id, 0)
	s.pending = o.append(s.pending)
	binary.BigEndian.PutUint32(s.pending[at+5:], uint32(len(s.pending)-at-frameHeaderBytes))
	s.write.Unlock()
	s.mu.Unlock()
	notify(s.wake)
	return id, nil
}

func (s *session) load() (calls int, alive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls), s.err == nil
}

func (s *session) find(id uint32) *endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[id]
}

func (s *session) forget(id uint32) {
	s.mu.Lock()
	delete(s.calls, id)
	s.mu.Unlock()
}

func (s *session) readLoop() error {
	r := bufio.NewReaderSize(s.conn, 32<<10)
	var header [frameHeaderBytes]byte
	small := make([]byte, errorBytesMax+1)
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		t, id, n, err := parseHeader(header[:])
		if err != nil {
			return err
		}
		switch {
		case t == frameData:
			err = s.readData(r, id, n)
		case t == frameOpen:
			err = s.readOpen(r, id, n)
		case n > len(small):
			err = errs.New(errs.Corrupt, "frame of type %d with %d bytes", t, n)
		default:
			if _, err = io.ReadFull(r, small[:n]); err == nil {
				err = s.control(t, id, small[:n])
			}
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) readData(r io.Reader, id uint32, n int) error {
	b := s.pool.get(n)
	if _, err := io.ReadFull(r, b.bytes); err != nil {
		return err
	}
	e := s.find(id)
	if e == nil { // a call that ended while this was under way
		s.pool.put(b)
		return nil
	}
	if !e.onData(b) {
		return errs.New(errs.Corrupt, "%s sent more than the window of stream %d allows", s.peer, id)
	}
	return nil
}

func (s *session) readOpen(r io.Reader, id uint32, n int) error {
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return err
	}
	o, err := parseOpening(payload)
	if err != nil {
		return err
	}
	if s.serve == nil || id <= s.last { // last is only ours at this end: see newSession's users
		return errs.New(errs.Corrupt, "%s opened stream %d, which it may not", s.peer, id)
	}
	s.last = id
	s.serve(s, id, o)
	return nil
}

func (s *session) control(t frameType, id uint32, payload []byte) error {
	e := s.find(id)
	if e == nil {
		return nil // the call is over at this end
	}
	server := s.serve != nil
	switch {
	case t == frameCredit && len(payload) == 4:
		n := binary.BigEndian.Uint32(payload)
		if n > windowBytes+limits.RPCMessageBytesMax+messageOverhead {
			return errs.New(errs.Corrupt, "%s gave %d bytes of credit", s.peer, n)
		}
		e.onCredit(int(n))
	case t == frameEnd && server:
		e.onEnd()
	case t == frameReset && server:
		e.onReset()
	case t == frameFinish && !server:
		e.onFinish(parseError(payload))
	default:
		return errs.New(errs.Corrupt, "%s sent a frame of type %d that makes no sense here", s.peer, t)
	}
	return nil
}

// wire is the outlet of a call on a session. Errors of the small frames need no report: the session is dead then, and so is the call.
type wire struct {
	s  *session
	id uint32
}

func (w *wire) data(from *endpoint, m message) error {
	if m.length() >= longBytes {
		return w.s.putLong(w.id, m, from)
	}
	return w.s.put(frameData, w.id, m, from)
}
func (w *wire) end() { _ = w.s.put(frameEnd, w.id, nil, nil) }
func (w *wire) finish(err error) {
	_ = w.s.put(frameFinish, w.id, message{appendError(nil, err)}, nil)
}

// reset also wakes a sender of this call that waits for space.
func (w *wire) reset() {
	_ = w.s.put(frameReset, w.id, nil, nil)
	w.s.space.Broadcast()
}
func (w *wire) credit(n int) {
	_ = w.s.put(frameCredit, w.id, message{binary.BigEndian.AppendUint32(nil, uint32(n))}, nil)
}
