package api

import (
	"log/slog"
	"net/http"
	"strings"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/internal/openstack"
	"henge/netd/core"
	"henge/netd/fault"
)

// Config is what the API stands on.
type Config struct {
	Store  state.Store
	Core   *core.Core
	Tokens authn.Tokens
	Clock  clock.Clock
	Logger *slog.Logger
	Alive  func(host string) bool
	// IdentityURL is what an unauthenticated client is told to go to; "" tells it nothing.
	IdentityURL string
}

// Server answers the network API. Safe for concurrent use.
type Server struct {
	Config
	mux *http.ServeMux
}

// New makes the server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, mux: http.NewServeMux()}
	s.routes()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := httpapi.RequestID(r.Context()); id != "" {
		w.Header().Set("X-Openstack-Request-Id", "req-"+id)
	}
	path := strings.TrimSuffix(r.URL.Path, ".json")
	if len(path) > 1 {
		path = strings.TrimRight(path, "/")
	}
	if path == "" {
		path = "/"
	}
	if path != r.URL.Path {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = path, ""
	}
	s.mux.ServeHTTP(w, r)
}

// call is one request under way.
type call struct {
	*Server
	w   http.ResponseWriter
	r   *http.Request
	who *authn.Identity
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

// fault answers an error in Neutron's shape.
func (c *call) fault(err error) {
	status := openstack.Status(errs.KindOf(err))
	switch status {
	case http.StatusUnauthorized:
		if c.IdentityURL != "" {
			c.w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.IdentityURL+`"`)
		}
		openstack.WriteJSON(c.w, status, map[string]any{"error": map[string]any{"code": status, "title": "Unauthorized",
			"message": "The request you have made requires authentication."}})
		return
	case http.StatusInternalServerError:
		c.Logger.ErrorContext(c.r.Context(), "network request", "method", c.r.Method, "path", c.r.URL.Path, "request", httpapi.RequestID(c.r.Context()), "error", err)
	case http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", "1")
	}
	typ := typeOf(err, status)
	openstack.WriteJSON(c.w, status, map[string]any{"NeutronError": map[string]any{"type": typ,
		"message": openstack.Message(err, c.w.Header().Get("X-Openstack-Request-Id")), "detail": ""}})
}

// typeOf is the error's own type, or for those that any service has, that of the status.
func typeOf(err error, status int) string {
	if f := fault.Of(err); f != nil {
		return f.Type
	}
	switch status {
	case http.StatusBadRequest:
		return "HTTPBadRequest"
	case http.StatusForbidden:
		return "PolicyNotAuthorized"
	case http.StatusNotFound:
		return "HTTPNotFound"
	case http.StatusConflict:
		return "HTTPConflict"
	case http.StatusRequestEntityTooLarge:
		return "HTTPRequestEntityTooLarge"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailable"
	default:
		return "HTTPInternalServerError"
	}
}

func (c *call) json(status int, document any) error {
	openstack.WriteJSON(c.w, status, document)
	return nil
}

func (c *call) none() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) view(fn func(r state.Reader) error) error { return c.Store.View(c.r.Context(), fn) }

func (c *call) change(fn func(w state.Writer) error) error { return c.Store.Update(c.r.Context(), fn) }

// root is the address of the API as the client named it.
func (c *call) root() string { return openstack.HostURL(c.r) }

// admin may do everything.
func (c *call) admin() bool { return c.who.HasRole("admin") }

// mayWrite: whoever is more than a reader may change what his project has.
func (c *call) mayWrite() bool { return c.who.HasRole("admin", "manager", "member", "_member_") }

// mine tells whether something belongs to the caller's project.
func (c *call) mine(projectID string) bool { return projectID != "" && c.who.ProjectID == projectID }

// denied names the rule as Neutron's policies do.
func denied(rule string) error {
	return fault.New(errs.Denied, "PolicyNotAuthorized", "(rule:%s) is disallowed by policy", rule)
}

// noRoute tells an unknown address from a known one with another method.
func (s *Server) noRoute(c *call) error {
	allowed := openstack.Methods(c.r, func(r *http.Request) bool {
		_, pattern := s.mux.Handler(r)
		return pattern != "" && pattern != "/"
	})
	if len(allowed) > 0 {
		c.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return c.json(http.StatusMethodNotAllowed, map[string]any{"NeutronError": map[string]any{"type": "HTTPMethodNotAllowed",
			"message": "The method " + c.r.Method + " is not allowed for this resource.", "detail": ""}})
	}
	return fault.NotFound("HTTPNotFound", "The resource could not be found.")
}
