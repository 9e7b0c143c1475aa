package console

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
)

// assets are our page, and noVNC's modules below novnc/, which the build brings in from npm: see docs/decisions.
//
//go:embed all:assets
var assets embed.FS

// Config is what the consoles of a host stand on.
type Config struct {
	Store  state.Store
	Clock  clock.Clock
	Logger *slog.Logger
	// Socket is where a guest's screen is served on this host; an error when it does not run.
	Socket func(ctx context.Context, serverID string) (string, error)
	// ConsolesMax bounds the WebSockets that are open; 0: 256.
	ConsolesMax int
}

// Server serves the consoles of the guests of this host.
type Server struct {
	Config
	files http.Handler
	open  chan struct{}
}

// New makes the server.
func New(cfg Config) *Server {
	if cfg.ConsolesMax == 0 {
		cfg.ConsolesMax = 256
	}
	root, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the name is a constant
	}
	return &Server{Config: cfg, files: http.FileServerFS(root), open: make(chan struct{}, cfg.ConsolesMax)}
}

// Bundled tells whether the build brought noVNC in.
func Bundled() bool {
	_, err := fs.Stat(assets, "assets/novnc/core/rfb.js")
	return err == nil
}

// ServeHTTP answers one request: a page, a module, or the WebSocket.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		s.join(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET is served", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'self'")
	w.Header().Set("Referrer-Policy", "no-referrer") // the address holds the token
	w.Header().Set("Cache-Control", "no-cache")
	if !Bundled() && strings.HasSuffix(r.URL.Path, ".html") {
		http.Error(w, "this henge was built without noVNC: run make novnc, then make build", http.StatusNotImplemented)
		return
	}
	if r.URL.Path == "/vnc.html" || r.URL.Path == "/vnc_auto.html" {
		r = r.Clone(r.Context())
		r.URL.Path = "/vnc_lite.html"
	}
	s.files.ServeHTTP(w, r)
}

// token is in the query, or in the query inside "path", as noVNC's pages hand it on.
func token(r *http.Request) string {
	query := r.URL.Query()
	if t := query.Get("token"); t != "" {
		return t
	}
	_, inner, _ := strings.Cut(query.Get("path"), "?")
	values, err := url.ParseQuery(inner)
	if err != nil {
		return ""
	}
	return values.Get("token")
}

// sameOrigin keeps pages of other sites from opening consoles with a token that leaked into a browser's history.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// join joins the WebSocket to the guest's screen until either ends.
func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	select {
	case s.open <- struct{}{}:
		defer func() { <-s.open }()
	default:
		http.Error(w, "too many consoles are open", http.StatusServiceUnavailable)
		return
	}
	if !sameOrigin(r) {
		http.Error(w, "the Origin is another site", http.StatusForbidden)
		return
	}
	var serverID string
	err := s.Store.Update(r.Context(), func(w state.Writer) (err error) {
		serverID, err = Redeem(w, token(r), s.Clock.Now())
		if errs.Is(err, errs.Unauthenticated) {
			return nil // an expired one is taken out all the same
		}
		return err
	})
	if err != nil || serverID == "" {
		http.Error(w, "the token is not valid: it was used, has expired, or never was", http.StatusForbidden)
		return
	}
	socket, err := s.Socket(r.Context(), serverID)
	var screen net.Conn
	if err == nil {
		screen, err = net.DialTimeout("unix", socket, limits.DialTimeout)
	}
	if err != nil {
		s.Logger.WarnContext(r.Context(), "console", "server", serverID, "error", err)
		http.Error(w, "the server's screen cannot be reached: it does not run", http.StatusBadGateway)
		return
	}
	defer screen.Close()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"binary"}, InsecureSkipVerify: true}) // sameOrigin has looked
	if err != nil {
		return // it has answered
	}
	s.splice(r.Context(), ws, screen)
}

// idleMax ends consoles that nobody looks at: noVNC asks for the picture all the time.
const idleMax = 30 * time.Minute

func (s *Server) splice(ctx context.Context, ws *websocket.Conn, screen net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ws.SetReadLimit(limits.RPCMessageBytesMax)
	peer := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	defer peer.Close()
	ends := make(chan struct{}, 2)
	copyUntilIdle := func(to, from net.Conn) {
		defer func() { ends <- struct{}{} }()
		buf := make([]byte, 32<<10)
		for {
			if err := from.SetReadDeadline(time.Now().Add(idleMax)); err != nil {
				return
			}
			n, err := from.Read(buf)
			if n > 0 {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	go copyUntilIdle(screen, peer)
	go copyUntilIdle(peer, screen)
	<-ends
	_ = peer.Close()
	_ = screen.Close()
	<-ends
}
