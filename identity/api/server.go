package api

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"henge/cluster/state"
	"henge/identity/accesskey"
	"henge/identity/model"
	"henge/identity/password"
	"henge/identity/token"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/internal/openstack"
)

// Config is what the API stands on; see identity.Config.
type Config struct {
	Store      state.Store
	Clock      clock.Clock
	Logger     *slog.Logger
	Sessions   *token.Sessions
	Keys       *accesskey.Keys
	Hasher     *password.Hasher
	Throttle   *password.Throttle
	PublicURL  func(*http.Request) string
	StorageURL func(r *http.Request, projectID string) string
}

// documentsMax bounds how many tokens' documents are remembered: some kilobytes each, most of it the catalog.
const documentsMax = 1024

// Server answers the identity API. Safe for concurrent use.
type Server struct {
	Config
	router    *mux.Router
	documents *state.Memo[[]byte] // of tokens
}

// New makes the server.
func New(cfg Config) *Server {
	if cfg.PublicURL == nil {
		cfg.PublicURL = openstack.HostURL
	}
	s := &Server{Config: cfg, router: mux.NewRouter(), documents: state.NewMemo[[]byte](documentsMax)}
	s.routes()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := httpapi.RequestID(r.Context()); id != "" {
		w.Header().Set("X-Openstack-Request-Id", "req-"+id)
	}
	w.Header().Set("Vary", "X-Auth-Token")
	if path := r.URL.Path; len(path) > 1 && strings.HasSuffix(path, "/") { // Keystone's own links end with a slash
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = strings.TrimRight(path, "/"), strings.TrimRight(r.URL.RawPath, "/")
		if r.URL.Path == "" {
			r.URL.Path = "/"
		}
	}
	s.router.ServeHTTP(w, r)
}

// call is one request under way.
type call struct {
	*Server
	w   http.ResponseWriter
	r   *http.Request
	who *token.Session // nil where no token is asked for
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

// authed serves whoever shows a token that stands; what he may do is the handler's to say.
func (s *Server) authed(h handler) http.Handler {
	return s.open(func(c *call) error {
		shown := c.r.Header.Get("X-Auth-Token")
		if shown == "" {
			return unauthenticated(errs.New(errs.Unauthenticated, "no X-Auth-Token"))
		}
		var err error
		if c.who, err = s.Sessions.Session(c.r.Context(), shown); err != nil {
			return unauthenticated(err)
		}
		return h(c)
	})
}

// refusal is an authentication that came to nothing: the client hears only that, whatever the reason was.
type refusal struct{ cause error }

func (e *refusal) Error() string { return "The request you have made requires authentication." }
func (e *refusal) Unwrap() error { return e.cause }

// causeOf is what a refusal hides, for the log.
func causeOf(err error) error {
	var r *refusal
	if errors.As(err, &r) {
		return r.cause
	}
	return err
}

// unauthenticated hides why somebody is not known. Errors that are not about that stay as they are.
func unauthenticated(err error) error {
	if errs.Is(err, errs.Unauthenticated) || errs.Is(err, errs.NotFound) {
		return errs.With(errs.Unauthenticated, &refusal{cause: err})
	}
	return err
}

// fault answers an error in Keystone's shape.
func (c *call) fault(err error) {
	status := openstack.Status(errs.KindOf(err))
	var throttled *password.ThrottledError
	if errors.As(err, &throttled) {
		status = http.StatusTooManyRequests
		c.w.Header().Set("Retry-After", strconv.Itoa(throttled.Seconds()))
	}
	message := openstack.Message(err, c.w.Header().Get("X-Openstack-Request-Id"))
	switch {
	case throttled != nil:
		message = throttled.Error()
	case status == http.StatusInternalServerError:
		c.Logger.ErrorContext(c.r.Context(), "identity request", "method", c.r.Method, "path", c.r.URL.Path, "request", httpapi.RequestID(c.r.Context()), "error", err)
	case status == http.StatusUnauthorized:
		c.Logger.DebugContext(c.r.Context(), "not authenticated", "source", c.r.RemoteAddr, "request", httpapi.RequestID(c.r.Context()), "cause", causeOf(err))
		c.w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.PublicURL(c.r)+`/v3"`)
	case status == http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", "1")
	}
	c.faultStatus(status, message)
}

func (c *call) faultStatus(status int, message string) {
	openstack.WriteJSON(c.w, status, map[string]any{"error": map[string]any{"code": status, "title": http.StatusText(status), "message": message}})
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
func (c *call) path(name string) string { return mux.Vars(c.r)[name] }

// link is the address of something below /v3.
func (c *call) link(parts ...string) string {
	return c.PublicURL(c.r) + "/v3/" + strings.Join(parts, "/")
}

// self is {"self": address}, as every resource carries it.
func (c *call) self(parts ...string) map[string]any { return map[string]any{"self": c.link(parts...)} }

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

// missing says in Keystone's words that something is not there.
func missing(label, id string) error {
	return errs.New(errs.NotFound, "Could not find %s: %s.", label, id)
}

// named turns a table's "not found" and "exists" into Keystone's words.
func named(err error, label, id string) error {
	switch errs.KindOf(err) {
	case errs.NotFound:
		return missing(label, id)
	case errs.Exists:
		return errs.New(errs.Exists, "Conflict occurred attempting to store %s - Duplicate entry found with name %s.", label, id)
	default:
		return err
	}
}

// fetch finds a row for a caller. Who may not see it learns nothing, not even whether it is there, unless he may see all of them.
func fetch[T any](c *call, r state.Reader, t state.Table[T], label, id string, allow func(T) bool) (T, error) {
	row, err := t.Get(r, id)
	switch {
	case errs.Is(err, errs.NotFound):
		if c.readsAll() {
			return row, missing(label, id)
		}
		return row, c.denied()
	case err != nil:
		return row, err
	case !allow(row):
		return row, c.denied()
	}
	return row, nil
}

// domainOfCaller is the domain that a new row of a caller belongs to when he names none.
func (c *call) domainOfCaller() string {
	switch {
	case c.who.DomainID != "":
		return c.who.DomainID
	case c.who.ProjectDomainID != "":
		return c.who.ProjectDomainID
	default:
		return model.DefaultDomainID
	}
}
