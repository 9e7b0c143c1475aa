package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"henge/internal/limits"
)

// Config describes one HTTP service.
type Config struct {
	Name    string // "identity", "object", ...: in logs and metrics
	Handler http.Handler
	Logger  *slog.Logger
	// Observe, if set, is told of each finished request.
	Observe func(Request)
	// Refuse answers a request that is turned away before the handler sees it, in the service's own shape: 431 (too many headers) or 503 (too many requests under
	// way). nil is plain text.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, reason string)
	// RequestsMax bounds the requests under way; 0 is limits.ClientRequestsMax.
	RequestsMax int
	// QueueWait is how long a request waits for others to finish before it is told to come back later; 0 is five seconds.
	QueueWait time.Duration
	// LingerWait is how long a client is read from after it was refused in the midst of its body; 0 is limits.LingerTimeout.
	LingerWait time.Duration
}

// Request tells of a finished request.
type Request struct {
	Service, Method string
	Status          int
	Sent            int64
	Duration        time.Duration
}

// Server serves one API on any number of listeners.
type Server struct {
	cfg    Config
	http   *http.Server
	slots  chan struct{}
	linger chan struct{} // a token for each client that is lingered for
}

// NewServer prepares a server; nothing listens yet.
func NewServer(cfg Config) *Server {
	if cfg.RequestsMax == 0 {
		cfg.RequestsMax = limits.ClientRequestsMax
	}
	if cfg.QueueWait == 0 {
		cfg.QueueWait = 5 * time.Second
	}
	if cfg.LingerWait == 0 {
		cfg.LingerWait = limits.LingerTimeout
	}
	if cfg.Refuse == nil {
		cfg.Refuse = func(w http.ResponseWriter, _ *http.Request, status int, reason string) { http.Error(w, reason, status) }
	}
	s := &Server{cfg: cfg, slots: make(chan struct{}, cfg.RequestsMax), linger: make(chan struct{}, lingersMax)}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: limits.ClientHeaderTimeout,
		IdleTimeout:       limits.ClientIdleTimeout,
		MaxHeaderBytes:    limits.HeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers requests until Shutdown; it returns nil then.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s on %s: %w", s.cfg.Name, ln.Addr(), err)
	}
	return nil
}

// Shutdown lets the requests under way finish until ctx ends, then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return s.http.Close()
	}
	return err
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	id := newRequestID(start)
	a := &answer{ResponseWriter: w, control: http.NewResponseController(w)}
	r = r.WithContext(WithRequestID(r.Context(), id))
	var sent *body
	if r.Body != nil && r.Body != http.NoBody {
		sent = &body{ReadCloser: r.Body, control: a.control}
		r.Body = sent
	}
	defer func() {
		s.finish(a, r, id, start, recover())
		if sent != nil {
			s.lingerFor(a, r, sent)
		}
	}()
	if r.ContentLength == 0 && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		// net/http leaves the 100 out when there is no body. botocore then takes the status of this answer for that of the next request on the connection.
		a.WriteHeader(http.StatusContinue)
	}
	if n := headerCount(r.Header); n > limits.HeaderCountMax {
		s.cfg.Refuse(a, r, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("%d headers; at most %d are taken", n, limits.HeaderCountMax))
		return
	}
	if !s.enter(r.Context()) {
		s.cfg.Refuse(a, r, http.StatusServiceUnavailable, "too many requests under way; try again")
		return
	}
	defer func() { <-s.slots }()
	s.cfg.Handler.ServeHTTP(a, r)
}

// enter takes a slot, waiting a little when all are taken.
func (s *Server) enter(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(s.cfg.QueueWait)
	defer timer.Stop()
	select {
	case s.slots <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (s *Server) finish(a *answer, r *http.Request, id string, start time.Time, panicked any) {
	took := time.Since(start)
	// ErrAbortHandler is how a handler cuts a connection off when the status is sent already.
	if panicked != nil && panicked != http.ErrAbortHandler {
		s.cfg.Logger.Error("request panicked", "service", s.cfg.Name, "id", id, "method", r.Method, "path", r.URL.Path, "panic", panicked)
		if a.wrote {
			panicked = http.ErrAbortHandler
		} else {
			http.Error(a, "Internal error; request "+id, http.StatusInternalServerError)
			panicked = nil
		}
	}
	if s.cfg.Observe != nil {
		s.cfg.Observe(Request{Service: s.cfg.Name, Method: r.Method, Status: a.status, Sent: a.sent, Duration: took})
	}
	if ctx := r.Context(); s.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("service", s.cfg.Name), slog.String("id", id), slog.String("method", r.Method),
			slog.String("path", r.URL.Path), slog.Int("status", a.status), slog.Int64("sent", a.sent), slog.Duration("took", took), slog.String("from", r.RemoteAddr))
	}
	if panicked != nil {
		panic(panicked)
	}
}

func headerCount(h http.Header) int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}

// newRequestID has the form of Swift's X-Trans-Id.
func newRequestID(now time.Time) string {
	var random [11]byte
	rand.Read(random[:]) // crypto/rand never fails
	buf := make([]byte, 0, 34)
	buf = append(buf, "tx"...)
	buf = append(buf, hex.EncodeToString(random[:])[:21]...)
	return string(fmt.Appendf(buf, "-%010x", now.Unix()))
}
