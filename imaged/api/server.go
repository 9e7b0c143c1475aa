package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/library"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/internal/openstack"
)

// Config is what the API stands on.
type Config struct {
	Store   state.Store
	Library *library.Library
	Tokens  authn.Tokens
	Clock   clock.Clock
	Logger  *slog.Logger
	// PublicURL is the root of this API as the client of a request reaches it, without a slash at the end. Nil: http or https and the request's Host.
	PublicURL func(*http.Request) string
	// IdentityURL is where clients get tokens, for the answer to those who have none; "" leaves it out.
	IdentityURL string
}

// Server answers the image API. Safe for concurrent use.
type Server struct {
	Config
	router *mux.Router
}

// New makes the server.
func New(cfg Config) *Server {
	if cfg.PublicURL == nil {
		cfg.PublicURL = openstack.HostURL
	}
	s := &Server{Config: cfg, router: mux.NewRouter()}
	s.routes()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := httpapi.RequestID(r.Context()); id != "" {
		w.Header().Set("X-Openstack-Request-Id", "req-"+id)
	}
	s.router.ServeHTTP(w, r)
}

// call is one request under way.
type call struct {
	*Server
	w   http.ResponseWriter
	r   *http.Request
	who *authn.Identity // nil where no token is asked for
}

type handler func(c *call) error

// open serves without a token.
func (s *Server) open(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Server: s, w: w, r: r}
		if err := h(c); err != nil {
			c.fault(err)
		}
	})
}

// authed serves whoever shows a token that stands.
func (s *Server) authed(h handler) http.Handler {
	return s.open(func(c *call) error {
		var err error
		if c.who, err = s.Tokens.Token(c.r.Context(), c.r.Header.Get("X-Auth-Token")); err != nil {
			return err
		}
		return h(c)
	})
}

// fault answers an error.
func (c *call) fault(err error) {
	kind := errs.KindOf(err)
	status := openstack.Status(kind)
	message := openstack.Message(err, c.w.Header().Get("X-Openstack-Request-Id"))
	switch {
	case status == http.StatusUnauthorized:
		c.unauthorized()
		return
	case status == http.StatusInternalServerError:
		c.Logger.ErrorContext(c.r.Context(), "image request", "method", c.r.Method, "path", c.r.URL.Path, "request", httpapi.RequestID(c.r.Context()), "error", err)
	case status == http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", "1")
	}
	c.faultStatus(status, message)
}

// unauthorized answers as Keystone's middleware in front of Glance does.
func (c *call) unauthorized() {
	if c.IdentityURL != "" {
		c.w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.IdentityURL+`"`)
	}
	openstack.WriteJSON(c.w, http.StatusUnauthorized, map[string]any{"error": map[string]any{
		"code": http.StatusUnauthorized, "title": "Unauthorized", "message": "The request you have made requires authentication."}})
}

// escaped is what a message needs within the body of a page. Quotes stay: clients show the text as it is.
var escaped = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// faultStatus answers in the shape of Glance's errors: a page, unless the client would rather have JSON.
func (c *call) faultStatus(status int, message string) {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	accept := c.r.Header.Get("Accept")
	if strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
		openstack.WriteJSON(c.w, status, map[string]any{"message": message, "code": title, "title": http.StatusText(status)})
		return
	}
	c.w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write([]byte("<html>\n <head>\n  <title>" + title + "</title>\n </head>\n <body>\n  <h1>" + title + "</h1>\n  " + escaped.Replace(message) +
		"<br /><br />\n\n\n </body>\n</html>"))
}

func (c *call) json(status int, document any) error {
	openstack.WriteJSON(c.w, status, document)
	return nil
}

func (c *call) none() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// path is a variable of the route.
func (c *call) path(name string) string {
	text := mux.Vars(c.r)[name]
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// context is the request's.
func (c *call) context() context.Context { return c.r.Context() }

func (c *call) view(fn func(r state.Reader) error) error { return c.Store.View(c.r.Context(), fn) }

func (c *call) update(fn func(w state.Writer) error) error { return c.Store.Update(c.r.Context(), fn) }

// mediaType is a header's media type without its parameters.
func mediaType(header string) string {
	kind, _, _ := strings.Cut(header, ";")
	return strings.ToLower(strings.TrimSpace(kind))
}
