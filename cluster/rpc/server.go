package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
)

// Protocol is the ALPN name of this package's protocol and its version.
const Protocol = "henge-rpc/1"

// handshakesMax bounds the connections that have not yet shown a certificate; more are closed at once.
const handshakesMax = 256

const acceptPause = 100 * time.Millisecond

// Server is the listening end of a peer's one TLS port: calls, and by their ALPN names other protocols that share the port. It is a Mux.
type Server struct {
	self   string
	logger *slog.Logger
	pool   *buffers

	handlers  map[string]Handler // fixed once Serve runs
	protocols map[string]func(peer string, conn *tls.Conn)

	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	handshakes chan struct{}
	conns      sync.WaitGroup
	running    sync.WaitGroup // handlers

	mu       sync.Mutex // guards the fields below
	closed   bool
	open     map[*tls.Conn]string // and the peer, once known
	underWay map[string]int       // calls by peer
}

// NewServer makes the server of the peer self.
func NewServer(self string, logger *slog.Logger) *Server {
	s := &Server{self: self, logger: logger, pool: &buffers{}, handlers: map[string]Handler{},
		protocols: map[string]func(string, *tls.Conn){}, handshakes: make(chan struct{}, handshakesMax),
		open: map[*tls.Conn]string{}, underWay: map[string]int{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Handle registers a method; twice is a bug and panics.
func (s *Server) Handle(method string, h Handler) {
	if _, twice := s.handlers[method]; twice || len(method) > methodBytesMax {
		panic("rpc: method " + method + " registered twice, or too long")
	}
	s.handlers[method] = h
}

// HandleProtocol registers another protocol of the port by its ALPN name. accept owns the connection, whose handshake is done, and returns soon;
// peer is "" when the TLS configuration let a client in without a certificate.
func (s *Server) HandleProtocol(name string, accept func(peer string, conn *tls.Conn)) {
	s.protocols[name] = accept
}

// Serve accepts until the listener is closed or Close is called; then it returns nil. config must demand and verify certificates.
func (s *Server) Serve(l net.Listener, config *tls.Config) error {
	stop := context.AfterFunc(s.ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		switch {
		case s.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case err != nil:
			s.logger.Warn("accept peer connection", "err", err)
			if !s.pause() {
				return nil
			}
			continue
		}
		select {
		case s.handshakes <- struct{}{}:
			tune(conn)
			s.start(tls.Server(&gatherer{Conn: conn}, config))
		default:
			_ = conn.Close()
		}
	}
}

// pause keeps an Accept that fails (out of file descriptors) from spinning. It answers false when the server is closed.
func (s *Server) pause() bool {
	timer := time.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) start(conn *tls.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		<-s.handshakes
		_ = conn.Close()
		return
	}
	s.open[conn] = ""
	s.conns.Go(func() {
		kept := s.welcome(conn)
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
		if !kept {
			_ = conn.Close()
		}
	})
}

// welcome shakes hands and serves; it tells whether another protocol has taken the connection.
func (s *Server) welcome(conn *tls.Conn) (kept bool) {
	ctx, cancel := context.WithTimeout(s.ctx, limits.DialTimeout)
	err := conn.HandshakeContext(ctx)
	cancel()
	<-s.handshakes
	if err != nil {
		s.logger.Debug("peer handshake refused", "from", conn.RemoteAddr(), "err", err)
		return false
	}
	peer := PeerOf(conn)
	protocol := conn.ConnectionState().NegotiatedProtocol
	if protocol == Protocol && peer != "" {
		s.mu.Lock()
		s.open[conn] = peer
		s.mu.Unlock()
		session := newSession(conn, peer, s.pool)
		session.serve = s.serve
		session.run()
		return false
	}
	if accept := s.protocols[protocol]; accept != nil {
		accept(peer, conn)
		return true
	}
	return false
}

// PeerOf is the id in the certificate of the other end, "" without one. The handshake must be done.
func PeerOf(conn *tls.Conn) string {
	if chain := conn.ConnectionState().PeerCertificates; len(chain) > 0 {
		return chain[0].Subject.CommonName
	}
	return ""
}

// serve starts the call that an open frame asked for. It runs on the session's reader, so it must not wait.
func (s *Server) serve(from *session, id uint32, o opening) {
	out := &wire{from, id}
	h, err := s.admit(from.peer, o.method)
	if err != nil {
		out.finish(err)
		return
	}
	e := newEndpoint(from.peer, s.pool)
	e.out = out
	ctx := s.prepare(from.ctx, e, o)
	from.mu.Lock()
	alive := from.err == nil
	if alive {
		from.calls[id] = e
	}
	from.mu.Unlock()
	if !alive {
		e.over()
		s.leave(from.peer)
		return
	}
	go s.run(ctx, e, h, func() { from.forget(id) })
}

// prepare fills a call's server end before anybody else sees it, and makes the handler's context.
func (s *Server) prepare(parent context.Context, e *endpoint, o opening) context.Context {
	ctx, cancel := context.WithCancel(parent)
	if o.timeout > 0 {
		cancel()
		ctx, cancel = context.WithTimeout(parent, o.timeout)
	}
	e.over = cancel
	if o.call {
		e.queue = append(e.queue, s.pool.copyOf(message{o.message}))
		e.recvErr = io.EOF
	}
	return ctx
}

// run serves one call, in a goroutine of its own.
func (s *Server) run(ctx context.Context, e *endpoint, h Handler, forget func()) {
	err := h(ctx, e)
	forget()
	if e.stop(errs.New(errs.Unavailable, "the call has ended"), true) {
		e.out.finish(err)
	}
	s.leave(e.peer)
}

// admit finds the handler and counts the call; leave ends it.
func (s *Server) admit(peer, method string) (Handler, error) {
	h := s.handlers[method]
	if h == nil {
		return nil, errs.New(errs.Unsupported, "%s has no method %q", s.self, method)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errs.New(errs.Unavailable, "%s is shutting down", s.self)
	}
	if s.underWay[peer] >= limits.RPCStreamsPerPeerMax {
		return nil, errs.New(errs.Unavailable, "%s has %d calls under way at %s, no more are taken", peer, limits.RPCStreamsPerPeerMax, s.self)
	}
	s.underWay[peer]++
	s.running.Add(1)
	return h, nil
}

func (s *Server) leave(peer string) {
	s.mu.Lock()
	if s.underWay[peer]--; s.underWay[peer] == 0 {
		delete(s.underWay, peer)
	}
	s.mu.Unlock()
	s.running.Done()
}

// Disconnect closes the connections that a peer has made to this one: it is no member any more.
func (s *Server) Disconnect(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, of := range s.open {
		if of == peer {
			_ = conn.NetConn().Close() // its session sees the error
		}
	}
}

// Close ends everything: no new calls, connections cut, contexts of handlers ended; it waits for the handlers. It may be called twice.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		_ = conn.NetConn().Close()
	}
	s.mu.Unlock()
	s.cancel()
	s.conns.Wait()
	s.running.Wait()
}
