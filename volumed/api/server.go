package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/internal/openstack"
	"henge/volumed/images"
	"henge/volumed/model"
)

// Config is what the API stands on.
type Config struct {
	Store  state.Store
	Tokens authn.Tokens
	Clock  clock.Clock
	Logger *slog.Logger
	Images images.Service
	// Alive tells whether a peer is up, as far as this one knows.
	Alive func(peer string) bool
	// Connections waits until a connection is usable, and gives what an initiator needs to know.
	Connections Connections
	// PublicURL is the root of this API as the client of a request reaches it. Nil: http or https and the request's Host.
	PublicURL func(*http.Request) string
	// IdentityURL is where clients without a token are sent.
	IdentityURL string
}

// Connections tells how a volume is reached.
type Connections interface {
	// Ready waits until the peer that has the volume has exported the attachment's connection, and describes it. When that cannot be done the error says why.
	Ready(ctx context.Context, a model.Attachment) (map[string]any, error)
	// Ended waits until nothing of the volume is exported that its attachments do not say.
	Ended(ctx context.Context, volumeID string) error
}

// Server answers. Safe for concurrent use.
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

// call is one request under way.
type call struct {
	*Server
	w       http.ResponseWriter
	r       *http.Request
	who     *authn.Identity
	version int // of the microversion 3.N
	project string
}

type handler func(c *call) error

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := httpapi.RequestID(r.Context()); id != "" {
		w.Header().Set("X-Openstack-Request-Id", "req-"+id)
	}
	w.Header().Add("Vary", "OpenStack-API-Version")
	c := &call{Server: s, w: w, r: r}
	if err := c.serve(); err != nil {
		c.fault(err)
	}
}

func (c *call) serve() error {
	path := c.r.URL.Path
	switch path {
	case "/", "":
		openstack.WriteJSON(c.w, http.StatusMultipleChoices, c.versions())
		return nil
	case "/healthcheck":
		_, err := c.w.Write([]byte("OK\n"))
		return err
	case "/v3", "/v3/":
		openstack.WriteJSON(c.w, http.StatusOK, c.versions())
		return nil
	}
	rest, ok := strings.CutPrefix(path, "/v3/")
	if !ok {
		return noRoute()
	}
	if err := c.negotiate(); err != nil {
		return err
	}
	shown := c.r.Header.Get("X-Auth-Token")
	if shown == "" {
		return errs.New(errs.Unauthenticated, "no X-Auth-Token")
	}
	var err error
	if c.who, err = c.Tokens.Token(c.r.Context(), shown); err != nil {
		return err
	}
	if rest, err = c.scope(rest); err != nil {
		return err
	}
	return c.dispatch("/" + rest)
}

// scope takes the project off the path, where there is one (before 3.67 there had to be).
func (c *call) scope(rest string) (string, error) {
	first, behind, _ := strings.Cut(rest, "/")
	c.project = c.who.ProjectID
	if c.who.ProjectID == "" {
		return "", errs.New(errs.Denied, "A token for a project is needed.")
	}
	if !model.IsID(first) && first != c.who.ProjectID {
		return rest, nil
	}
	if first != c.who.ProjectID {
		return "", errs.New(errs.Invalid, "Malformed request url: the project is not that of the token.")
	}
	return behind, nil
}

// dispatch finds the handler of a path without version and project.
func (c *call) dispatch(path string) error {
	r := c.r.Clone(context.WithValue(c.r.Context(), callKey{}, c))
	r.URL = &url.URL{Path: path, RawQuery: c.r.URL.RawQuery}
	var match mux.RouteMatch
	found := c.router.Match(r, &match)
	if errors.Is(match.MatchErr, mux.ErrMethodMismatch) {
		return errs.With(errs.Unsupported, &statusError{http.StatusMethodNotAllowed, "The method " + r.Method + " is not allowed for this resource."})
	}
	if !found || match.MatchErr != nil {
		return noRoute()
	}
	c.r = mux.SetURLVars(r, match.Vars)
	h, ok := match.Handler.(bound)
	if !ok {
		return noRoute()
	}
	if c.version < h.since {
		return noRoute()
	}
	return h.handle(c)
}

type callKey struct{}

// bound is a handler in the router.
type bound struct {
	handle handler
	since  int
}

func (bound) ServeHTTP(http.ResponseWriter, *http.Request) {}

// statusError is an answer that no kind of error has.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

func noRoute() error { return errs.New(errs.NotFound, "The resource could not be found.") }

var faultNames = map[int]string{
	http.StatusBadRequest: "badRequest", http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "forbidden", http.StatusNotFound: "itemNotFound",
	http.StatusMethodNotAllowed: "badMethod", http.StatusConflict: "conflictingRequest", http.StatusRequestEntityTooLarge: "overLimit",
	http.StatusUnsupportedMediaType: "badMediaType", http.StatusNotImplemented: "notImplemented", http.StatusServiceUnavailable: "serviceUnavailable",
}

// fault answers an error in Cinder's shape.
func (c *call) fault(err error) {
	status := openstack.Status(errs.KindOf(err))
	var special *statusError
	var forbidden *model.StateError
	switch {
	case errors.As(err, &special):
		status = special.status
	case errors.As(err, &forbidden):
		status = http.StatusBadRequest
	case status == http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.IdentityURL+`"`)
		openstack.WriteJSON(c.w, status, document{"error": document{"code": status, "title": "Unauthorized", "message": "The request you have made requires authentication."}})
		return
	case status == http.StatusInternalServerError:
		c.Logger.ErrorContext(c.r.Context(), "volume request", "method", c.r.Method, "path", c.r.URL.Path, "request", httpapi.RequestID(c.r.Context()), "error", err)
	case status == http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", "1")
	}
	name := faultNames[status]
	if name == "" {
		name = "computeFault"
	}
	openstack.WriteJSON(c.w, status, document{name: document{"code": status, "message": openstack.Message(err, c.requestID())}})
}

func (c *call) requestID() string { return c.w.Header().Get("X-Openstack-Request-Id") }

func (c *call) json(status int, d any) error {
	openstack.WriteJSON(c.w, status, d)
	return nil
}

func (c *call) status(status int) error {
	c.w.WriteHeader(status)
	return nil
}

// path is a variable of the route.
func (c *call) path(name string) string { return mux.Vars(c.r)[name] }

// body opens the object of a request.
func (c *call) body(wrapper string) (*openstack.Fields, error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return nil, err
	}
	return openstack.NewFields(raw, wrapper)
}

func (c *call) view(fn func(r state.Reader) error) error { return c.Store.View(c.r.Context(), fn) }

func (c *call) update(fn func(w state.Writer) error) error { return c.Store.Update(c.r.Context(), fn) }

func (c *call) now() time.Time { return c.Clock.Now().UTC().Truncate(time.Microsecond) }

// link is the address of something below the version, with the project where the client gave it.
func (c *call) link(bookmark bool, parts ...string) string {
	root := c.PublicURL(c.r)
	if !bookmark {
		root += "/v3"
	}
	return root + "/" + c.project + "/" + strings.Join(parts, "/")
}

func (c *call) links(parts ...string) []openstack.Link {
	return []openstack.Link{{Rel: "self", Href: c.link(false, parts...)}, {Rel: "bookmark", Href: c.link(true, parts...)}}
}

// document is a JSON object.
type document = map[string]any
