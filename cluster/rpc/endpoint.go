package rpc

import (
	"io"
	"sync"

	"henge/internal/errs"
	"henge/internal/limits"
)

// outlet carries what an endpoint says to the one at the other end: over a connection, or straight to it in the same process.
// Only data may wait. The byte slices are not kept.
type outlet interface {
	data(from *endpoint, m message) error
	end()
	finish(err error)
	reset()
	credit(n int)
}

// endpoint is one end of a call: what has come and was not yet read, and how much may be sent. It is the Stream that users see.
type endpoint struct {
	peer                 string
	out                  outlet
	pool                 *buffers
	recvReady, sendReady chan struct{} // hold one token when there may be news for a waiter

	mu      sync.Mutex // guards the fields below
	queue   []*buffer
	lent    *buffer // what the last Recv gave out
	window  int     // what the other end may still send
	owed    int     // read here, and not yet said by credit
	allowed int     // what we may still send
	recvErr error   // after the queue: io.EOF, or the call's error
	sendErr error
	ended   bool
	over    func() // called once, without mu, when the call is over at this end
}

func newEndpoint(peer string, pool *buffers) *endpoint {
	return &endpoint{peer: peer, pool: pool, window: windowBytes, allowed: windowBytes,
		recvReady: make(chan struct{}, 1), sendReady: make(chan struct{}, 1)}
}

// Peer is Stream.Peer.
func (e *endpoint) Peer() string { return e.peer }

// Recv is Stream.Recv.
func (e *endpoint) Recv() ([]byte, error) {
	for {
		msg, credit, err, ready := e.take()
		if credit > 0 {
			e.out.credit(credit)
		}
		if ready {
			return msg, err
		}
		<-e.recvReady
	}
}

// take gives the next message or the end, if one is there. Credit goes back in large steps, not for each message, and with the message that is given out: the
// next may come while the user works on this one.
func (e *endpoint) take() (msg []byte, credit int, err error, ready bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lent != nil {
		e.pool.put(e.lent)
		e.lent = nil
	}
	if len(e.queue) == 0 {
		return nil, 0, e.recvErr, e.recvErr != nil
	}
	e.lent = e.queue[0]
	e.queue[0] = nil
	e.queue = e.queue[1:]
	e.owed += len(e.lent.bytes) + messageOverhead
	if e.owed >= windowBytes/4 && e.recvErr == nil {
		credit, e.owed = e.owed, 0
		e.window += credit
	}
	return e.lent.bytes, credit, nil, true
}

// Send is Stream.Send.
func (e *endpoint) Send(parts ...[]byte) error {
	m := message(parts)
	n := m.length()
	if n > limits.RPCMessageBytesMax {
		return errs.New(errs.TooLarge, "message of %d bytes, at most %d are possible", n, limits.RPCMessageBytesMax)
	}
	for {
		e.mu.Lock()
		err, room := e.sendErr, e.allowed > 0
		if err == nil && room {
			e.allowed -= n + messageOverhead
		}
		e.mu.Unlock()
		if err != nil {
			return err
		}
		if room {
			return e.out.data(e, m)
		}
		<-e.sendReady
	}
}

// sendable tells why nothing more may be sent, if so.
func (e *endpoint) sendable() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sendErr
}

// CloseSend is Stream.CloseSend.
func (e *endpoint) CloseSend() error {
	e.mu.Lock()
	err := e.sendErr
	if err == nil {
		e.sendErr = errs.New(errs.Internal, "send after CloseSend")
	}
	e.mu.Unlock()
	if err == nil {
		e.out.end()
	}
	return nil
}

// Close is Stream.Close.
func (e *endpoint) Close() error {
	e.abort(errs.New(errs.Unavailable, "the call was closed"))
	return nil
}

// abort gives the call up from the caller's side.
func (e *endpoint) abort(err error) {
	if e.stop(err, true) {
		e.out.reset()
	}
}

// stop ends the call at this end with err; messages that were not read are dropped if drop is set. It tells whether the call was under way.
func (e *endpoint) stop(err error, drop bool) bool {
	e.mu.Lock()
	first := !e.ended
	e.ended = true
	if first {
		e.recvErr = err
		e.sendErr = err
		if err == io.EOF {
			e.sendErr = errs.New(errs.Unavailable, "the call has ended")
		}
	}
	if drop {
		for _, b := range e.queue {
			e.pool.put(b)
		}
		e.queue = nil
	}
	over := e.over
	e.mu.Unlock()
	notify(e.recvReady)
	notify(e.sendReady)
	if first && over != nil {
		over()
	}
	return first
}

// The on... methods take what the other end said. They never wait.

// onData takes a message over. It answers false when the other end sent more than it was allowed.
func (e *endpoint) onData(b *buffer) bool {
	e.mu.Lock()
	if e.recvErr != nil {
		e.mu.Unlock()
		e.pool.put(b)
		return true
	}
	fits := e.window > 0
	e.window -= len(b.bytes) + messageOverhead
	e.queue = append(e.queue, b)
	e.mu.Unlock()
	notify(e.recvReady)
	return fits
}

func (e *endpoint) onEnd() {
	e.mu.Lock()
	if e.recvErr == nil {
		e.recvErr = io.EOF
	}
	e.mu.Unlock()
	notify(e.recvReady)
}

func (e *endpoint) onCredit(n int) {
	e.mu.Lock()
	e.allowed = min(e.allowed+n, windowBytes)
	e.mu.Unlock()
	notify(e.sendReady)
}

func (e *endpoint) onFinish(err error) { e.stop(err, false) }

func (e *endpoint) onReset() { e.stop(errs.New(errs.Unavailable, "%s gave the call up", e.peer), true) }

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
