package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
)

// Config is what a Client needs.
type Config struct {
	Self string
	// Local serves the calls to Self without a network; nil if there are none.
	Local *Server
	// Address finds where a peer listens, "host:port": errs.NotFound if it is no member.
	Address func(peer string) (string, error)
	// TLS is the configuration for dialling a peer: it must verify that the other end is that peer.
	TLS    func(peer string) *tls.Config
	Logger *slog.Logger
}

const (
	sessionsPerPeerMax = 4
	sessionLoad        = 32 // calls on a session before another is dialled
	backoffMin         = 50 * time.Millisecond
	backoffMax         = 2 * time.Second
)

// Client makes calls to peers. It is a Caller. Connections are made when first needed, and kept.
type Client struct {
	cfg  Config
	pool *buffers

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // sessions and dials

	mu    sync.Mutex // guards the fields below, and the links' fields
	links map[string]*link
}

// link is what a client has to one peer.
type link struct {
	sessions []*session
	dialing  chan struct{} // closed when the dial under way is over; nil if there is none
	err      error         // of the last dial
	failures int
	notUntil time.Time // no dial before
}

// NewClient makes a client without connections.
func NewClient(cfg Config) *Client {
	c := &Client{cfg: cfg, pool: &buffers{}, links: map[string]*link{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Call is Caller.Call. Without a deadline in ctx it takes limits.PeerCommitTimeout.
func (c *Client) Call(ctx context.Context, peer, method string, request []byte) ([]byte, error) {
	if len(request) > limits.RPCMessageBytesMax {
		return nil, errs.New(errs.TooLarge, "request of %d bytes, at most %d are possible", len(request), limits.RPCMessageBytesMax)
	}
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limits.PeerCommitTimeout)
		defer cancel()
	}
	s, err := c.start(ctx, peer, opening{method: method, call: true, message: request})
	if err != nil {
		return nil, err
	}
	defer s.abort(errClosed)
	var response []byte
	msg, err := s.Recv()
	if err == nil {
		response = append(make([]byte, 0, len(msg)), msg...)
		_, err = s.Recv() // the handler's own error may follow its answer
	}
	switch {
	case err == io.EOF:
		return response, nil
	case err == nil:
		return nil, errs.New(errs.Internal, "%s answered a call of %s with more than one message", peer, method)
	}
	return nil, err
}

var errClosed = errs.New(errs.Unavailable, "the call was closed")

// Stream is Caller.Stream.
func (c *Client) Stream(ctx context.Context, peer, method string) (Stream, error) {
	e, err := c.start(ctx, peer, opening{method: method})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (c *Client) start(ctx context.Context, peer string, o opening) (*endpoint, error) {
	if deadline, has := ctx.Deadline(); has {
		o.timeout = time.Until(deadline) + time.Millisecond // rounded up: 0 would mean none
		if o.timeout <= time.Millisecond {
			return nil, errs.New(errs.Timeout, "call %s of %s: %w", o.method, peer, context.DeadlineExceeded)
		}
		o.timeout = min(o.timeout, 24*time.Hour)
	}
	if err := ctx.Err(); err != nil {
		return nil, errs.New(errs.KindOf(err), "call %s of %s: %w", o.method, peer, err)
	}
	e := newEndpoint(peer, c.pool)
	if o.call {
		e.sendErr = errs.New(errs.Internal, "send on a call of one message")
	}
	if peer == c.cfg.Self && c.cfg.Local != nil {
		return e, c.startLocal(ctx, e, o)
	}
	for {
		s, err := c.session(ctx, peer)
		if err != nil {
			return nil, err
		}
		id, err := s.open(e, &o)
		if err != nil {
			continue // it died between the two steps; nothing was sent
		}
		c.follow(ctx, e, o.method, func() { s.forget(id) })
		return e, nil
	}
}

// follow ends the call with ctx, and forgets it when it is over.
func (c *Client) follow(ctx context.Context, e *endpoint, method string, forget func()) {
	stop := context.AfterFunc(ctx, func() {
		e.abort(errs.New(errs.KindOf(ctx.Err()), "call %s of %s: %w", method, e.peer, ctx.Err()))
	})
	over := func() { stop(); forget() }
	e.mu.Lock()
	late := e.ended
	e.over = over
	e.mu.Unlock()
	if late {
		over()
	}
}

// session finds the least loaded connection, and sees that there are enough.
func (c *Client) session(ctx context.Context, peer string) (*session, error) {
	for {
		s, wait, err := c.pick(peer)
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, errs.New(errs.KindOf(ctx.Err()), "connect to %s: %w", peer, ctx.Err())
		}
	}
}

func (c *Client) pick(peer string) (best *session, wait <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, nil, errs.New(errs.Unavailable, "connect to %s: shutting down", peer)
	}
	l := c.links[peer]
	if l == nil {
		l = &link{}
		c.links[peer] = l
	}
	least := 0
	for _, s := range l.sessions {
		if calls, alive := s.load(); alive && (best == nil || calls < least) {
			best, least = s, calls
		}
	}
	enough := best != nil && (least < sessionLoad || len(l.sessions) >= sessionsPerPeerMax)
	if enough {
		return best, nil, nil
	}
	if l.dialing == nil {
		if time.Now().Before(l.notUntil) {
			if best != nil {
				return best, nil, nil
			}
			return nil, nil, l.err
		}
		l.dialing = make(chan struct{})
		c.work.Go(func() { c.connect(peer, l) })
	}
	return best, l.dialing, nil
}

// connect dials once and, when that succeeds, runs the session until it ends.
func (c *Client) connect(peer string, l *link) {
	s, err := c.dial(peer)
	c.mu.Lock()
	close(l.dialing)
	l.dialing = nil
	if err != nil {
		l.err = errs.New(errs.Unavailable, "connect to %s: %w", peer, err)
		l.notUntil = time.Now().Add(min(backoffMin<<min(l.failures, 6), backoffMax))
		l.failures++
		c.mu.Unlock()
		return
	}
	l.failures, l.notUntil = 0, time.Time{}
	l.sessions = append(l.sessions, s)
	c.mu.Unlock()
	stop := context.AfterFunc(c.ctx, func() { s.fail(errors.New("shutting down")) })
	s.run()
	stop()
	c.mu.Lock()
	for i, other := range l.sessions {
		if other == s {
			l.sessions = append(l.sessions[:i:i], l.sessions[i+1:]...)
			break
		}
	}
	c.mu.Unlock()
}

func (c *Client) dial(peer string) (*session, error) {
	conn, err := c.DialProtocol(c.ctx, peer, Protocol)
	if err != nil {
		return nil, err
	}
	return newSession(conn, peer, c.pool), nil
}

// DialProtocol connects to a peer for another protocol of the port. The handshake is done: the other end is that peer.
func (c *Client) DialProtocol(ctx context.Context, peer, protocol string) (*tls.Conn, error) {
	address, err := c.cfg.Address(peer)
	if err != nil {
		return nil, err
	}
	config := c.cfg.TLS(peer).Clone()
	config.NextProtos = []string{protocol}
	return Dial(ctx, address, config)
}

// Disconnect closes the connections to a peer and forgets it: it is no member any more.
func (c *Client) Disconnect(peer string) {
	c.mu.Lock()
	l := c.links[peer]
	delete(c.links, peer)
	var sessions []*session
	if l != nil {
		sessions = l.sessions
	}
	c.mu.Unlock()
	for _, s := range sessions {
		s.fail(errors.New("no member any more"))
	}
}

// Wake forgets that a peer could not be reached a moment ago: it was seen alive.
func (c *Client) Wake(peer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.links[peer]; l != nil {
		l.failures, l.notUntil = 0, time.Time{}
	}
}

// Close ends all calls and connections, and waits until their goroutines are gone. It may be called twice.
func (c *Client) Close() {
	c.mu.Lock() // no connect may start once we wait
	c.cancel()
	c.mu.Unlock()
	c.work.Wait()
}
