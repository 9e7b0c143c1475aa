package iscsi

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"henge/internal/errs"
	"henge/volumed/iscsi/pool"
)

// Config is what a Server is made of. Zero fields get the defaults named.
type Config struct {
	Log  *slog.Logger // slog.Default()
	Rand io.Reader    // challenges: crypto/rand.Reader

	// Portals are the addresses that discovery names ("192.0.2.1:3260"). Empty: the address that the initiator came to.
	Portals []string

	LoginTimeout time.Duration // from accept to full feature phase: 15 s
	PingInterval time.Duration // silence after which the initiator is pinged, and as long again until it is given up: 30 s
	WriteTimeout time.Duration // an initiator that takes no bytes for so long is given up: 30 s
	LogoutGrace  time.Duration // what an initiator gets to log out by itself when its target is unexported: 2 s

	SessionsMax   int // 1024
	LoginsMax     int // connections not logged in yet: 256
	CommandsMax   int // the command window of a session: 128
	SessionMemory int // bytes of data of a session in flight: 32 MiB; a single larger command is still let through
}

// Server is an iSCSI target. Safe for concurrent use.
type Server struct {
	cfg  Config
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	wg sync.WaitGroup // connections

	pool pool.Pool

	mu        sync.Mutex // guards the fields below
	exports   map[string]*export
	ending    map[*export]bool
	fences    map[string]uint64 // the greatest epoch seen of each volume
	sessions  map[uint16]*session
	tsih      uint16
	listeners map[net.Listener]bool
	logins    map[net.Conn]bool
	draining  bool
	closed    bool
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// NewServer makes a server that exports nothing yet. It listens where Serve is told to.
func NewServer(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	orElse(&cfg.LoginTimeout, 15*time.Second)
	orElse(&cfg.PingInterval, 30*time.Second)
	orElse(&cfg.WriteTimeout, 30*time.Second)
	orElse(&cfg.LogoutGrace, 2*time.Second)
	orElse(&cfg.SessionsMax, 1024)
	orElse(&cfg.LoginsMax, 256)
	orElse(&cfg.CommandsMax, 128)
	orElse(&cfg.SessionMemory, 32<<20)
	s := &Server{cfg: cfg, exports: map[string]*export{}, ending: map[*export]bool{}, fences: map[string]uint64{}, sessions: map[uint16]*session{},
		listeners: map[net.Listener]bool{}, logins: map[net.Conn]bool{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Serve takes connections from l until Close or Drain (nil), or until l fails (its error). It closes l. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.addListener(l) {
		return errs.New(errs.Unavailable, "serve iSCSI at %s: the target is closed", l.Addr())
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.removeListener(l) {
				return nil
			}
			if !temporary(err) {
				return err
			}
			// Out of file descriptors, mostly: waiting lets others be closed.
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
				return nil
			}
			continue
		}
		s.admit(conn)
	}
}

func temporary(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) || (ok && ne.Timeout())
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.draining {
		return false
	}
	s.listeners[l] = true
	return true
}

// removeListener says whether l was closed by us.
func (s *Server) removeListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	return s.closed || s.draining
}

// admit starts the login of a connection, unless too many are at that already: half-open connections cost us, too.
func (s *Server) admit(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.draining || len(s.logins) >= s.cfg.LoginsMax {
		conn.Close()
		return
	}
	s.logins[conn] = true
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.handle(conn)
	}()
}

// loggedIn takes conn off the list of those that still log in. It may be called twice.
func (s *Server) loggedIn(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logins, conn)
}

// handle is one connection's life. A panic ends this connection alone: other initiators' guests must not stop because of it.
func (s *Server) handle(conn net.Conn) {
	defer conn.Close()
	defer s.loggedIn(conn)
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("iSCSI connection panicked", "remote", conn.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
	}
	l := newLogin(s, conn)
	session, err := l.run()
	if err != nil {
		s.cfg.Log.Info("iSCSI login refused", "remote", conn.RemoteAddr(), "initiator", l.initiator, "target", l.targetName, "err", err)
		return
	}
	s.loggedIn(conn)
	s.cfg.Log.Info("iSCSI session begins", "remote", conn.RemoteAddr(), "initiator", l.initiator, "target", l.targetName, "tsih", session.tsih)
	err = session.run()
	s.cfg.Log.Info("iSCSI session ends", "remote", conn.RemoteAddr(), "initiator", l.initiator, "target", l.targetName, "tsih", session.tsih, "cause", err)
}

// Sessions tells who is logged in.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Session, 0, len(s.sessions))
	for _, one := range s.sessions {
		all = append(all, one.describe())
	}
	return all
}

// Drain takes no more logins, asks every initiator to log out, lets the commands under way end, and closes the sessions. It returns when all are
// closed, or with an error when ctx ends first; Close then cuts what is left. Initiators that reconnect find the next process.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	for conn := range s.logins {
		conn.Close()
	}
	open := make([]*session, 0, len(s.sessions))
	for _, one := range s.sessions {
		open = append(open, one)
	}
	s.mu.Unlock()
	for _, one := range open {
		go one.drain(ctx)
	}
	return waitSessions(ctx, open, "drain")
}

// Close cuts every connection, ends every command, and returns when no Store is called any more. A second Close does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	for conn := range s.logins {
		conn.Close()
	}
	for _, one := range s.sessions {
		one.end(errClosed)
	}
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return nil
}

var (
	errClosed    = errs.New(errs.Unavailable, "the target was closed")
	errFenced    = errs.New(errs.Unavailable, "a newer epoch of the volume was exported")
	errUnexport  = errs.New(errs.Unavailable, "the target was removed")
	errReplaced  = errs.New(errs.Unavailable, "the initiator logged in again")
	errNoAccess  = errs.New(errs.Denied, "the initiator is no longer on the access list")
	errDrained   = errs.New(errs.Unavailable, "the target is drained")
	errColdReset = errs.New(errs.Unavailable, "an initiator reset the target")
	errLoggedOut = errs.New(errs.Unavailable, "the initiator logged out")
)

// waitSessions waits until all have ended.
func waitSessions(ctx context.Context, open []*session, what string) error {
	for _, one := range open {
		select {
		case <-one.done:
		case <-ctx.Done():
			return errs.New(errs.Timeout, "%s: commands of %s are still under way: %w", what, one.initiator, ctx.Err())
		}
	}
	return nil
}
