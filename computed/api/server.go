package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"henge/cluster/state"
	"henge/computed/fragments"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/internal/openstack"
)

// Config is what the API stands on.
type Config struct {
	Store     state.Store
	Tokens    authn.Tokens
	Clock     clock.Clock
	Logger    *slog.Logger
	Images    neighbour.Images
	Networks  neighbour.Networks
	Volumes   neighbour.Volumes
	Scheduler neighbour.Scheduler
	// Alive tells whether a peer lives.
	Alive func(peer string) bool
	// Peer reads what only the host of a server has.
	Peer Peer
	// PublicURL is the root of this API as the client of a request reaches it; nil: http or https and the request's Host.
	PublicURL func(*http.Request) string
}

// Peer reaches the agent of the host that runs a server.
type Peer interface {
	// ConsoleLog is the end of what the guest has written on its serial console: at most bytesMax bytes.
	ConsoleLog(ctx context.Context, host, serverID string, bytesMax int) ([]byte, error)
}

// Server answers the compute API. Safe for concurrent use.
type Server struct {
	Config
	mux     *http.ServeMux
	placing chan struct{} // held by the request that chooses hosts

	servers   *state.Rows[model.Server]
	hosts     *state.Rows[model.Host]
	zones     *state.Memo[map[string]string] // by the host's name, under ""
	fragments fragments.Cache
}

// New makes the server.
func New(cfg Config) *Server {
	if cfg.PublicURL == nil {
		cfg.PublicURL = openstack.HostURL
	}
	s := &Server{Config: cfg, mux: http.NewServeMux(), placing: make(chan struct{}, 1), servers: state.NewRows(model.Servers), hosts: state.NewRows(model.Hosts), zones: state.NewMemo[map[string]string](1)}
	s.routes()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := httpapi.RequestID(r.Context())
	if id == "" {
		id = model.NewUUID()
	}
	c := &call{Server: s, w: w, r: r, requestID: "req-" + id}
	w.Header().Set("X-Openstack-Request-Id", c.requestID)
	w.Header().Set("X-Compute-Request-Id", c.requestID)
	if err := c.serve(); err != nil {
		c.fault(err)
	}
}

// call is one request under way.
type call struct {
	*Server
	w         http.ResponseWriter
	r         *http.Request
	who       *authn.Identity
	requestID string
	root      string // "/v2" or "/v2.1"
	micro     int    // the microversion 2.micro
	imageID   string // that a snapshot fills
}

type document = map[string]any

type handler func(c *call) error

// serve finds the version, who asks, and the handler.
func (c *call) serve() error {
	path := strings.TrimRight(c.r.URL.Path, "/")
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case first == "":
		return versions(c)
	case first != "v2.1" && first != "v2":
		return errs.New(errs.NotFound, "The resource could not be found.")
	}
	c.root = "/" + first
	if err := c.negotiate(); err != nil {
		return err
	}
	if rest == "" {
		return version(c)
	}
	var err error
	if c.who, err = c.authenticate(); err != nil {
		return err
	}
	if rest, err = c.dropProject(rest); err != nil {
		return err
	}
	return c.dispatch("/" + rest)
}

func (c *call) authenticate() (*authn.Identity, error) {
	token := c.r.Header.Get("X-Auth-Token")
	if token == "" {
		return nil, errs.New(errs.Unauthenticated, "The request you have made requires authentication.")
	}
	who, err := c.Tokens.Token(c.r.Context(), token)
	if errs.Is(err, errs.Unauthenticated) {
		return nil, errs.New(errs.Unauthenticated, "The request you have made requires authentication.")
	}
	return who, err
}

// dropProject takes the project out of a path: clients may name it, or leave it out.
func (c *call) dropProject(rest string) (string, error) {
	first, after, more := strings.Cut(rest, "/")
	switch {
	case first == c.who.ProjectID && first != "":
		return after, nil
	case len(first) == 32 && strings.Trim(first, "0123456789abcdef") == "":
		return "", errs.New(errs.Invalid, "Malformed request URL: URL's project_id '%s' doesn't match Context's project_id '%s'", first, c.who.ProjectID)
	case more || first != "":
		return rest, nil
	}
	return rest, nil
}

type callKey struct{}

// dispatch hands the request to its handler, and answers in our own shape when there is none.
func (c *call) dispatch(path string) error {
	inner := c.r.Clone(context.WithValue(c.r.Context(), callKey{}, c))
	inner.URL.Path, inner.URL.RawPath = path, ""
	if _, pattern := c.mux.Handler(inner); pattern != "" {
		var failed error
		inner = inner.WithContext(context.WithValue(inner.Context(), failureKey{}, &failed))
		c.mux.ServeHTTP(c.w, inner)
		return failed
	}
	allowed := openstack.Methods(inner, func(r *http.Request) bool {
		_, pattern := c.mux.Handler(r)
		return strings.HasPrefix(pattern, r.Method+" ")
	})
	if len(allowed) > 0 {
		c.w.Header().Set("Allow", strings.Join(allowed, ", "))
		c.faultStatus(http.StatusMethodNotAllowed, "The method specified is not allowed for this resource.")
		return nil
	}
	return errs.New(errs.NotFound, "The resource could not be found.")
}

type failureKey struct{}

// bind attaches a handler to "METHOD /path".
func (s *Server) bind(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(callKey{}).(*call)
		c.r = r
		*r.Context().Value(failureKey{}).(*error) = h(c)
	})
}

// faultNames are what Nova calls its errors.
var faultNames = map[int]string{400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 406: "computeFault", 409: "conflictingRequest",
	413: "overLimit", 415: "badMediaType", 429: "overLimit", 500: "computeFault", 501: "notImplemented", 503: "serviceUnavailable", 504: "computeFault"}

// fault answers an error in Nova's shape.
func (c *call) fault(err error) {
	status := openstack.Status(errs.KindOf(err))
	var known *statusError
	if errors.As(err, &known) {
		status = known.status
	}
	message := openstack.Message(err, c.requestID)
	switch status {
	case http.StatusInternalServerError:
		c.Logger.ErrorContext(c.r.Context(), "compute request", "method", c.r.Method, "path", c.r.URL.Path, "request", c.requestID, "error", err)
	case http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", `Keystone`)
	case http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", "1")
	}
	c.faultStatus(status, message)
}

func (c *call) faultStatus(status int, message string) {
	name := faultNames[status]
	if name == "" {
		name = "computeFault"
	}
	openstack.WriteJSON(c.w, status, document{name: document{"code": status, "message": message}})
}

// statusError is an error whose status is not that of its kind.
type statusError struct {
	status int
	error
}

func (e *statusError) Unwrap() error { return e.error }

func (c *call) json(status int, doc any) error {
	openstack.WriteJSON(c.w, status, doc)
	return nil
}

func (c *call) empty(status int) error {
	c.w.WriteHeader(status)
	return nil
}

func (c *call) path(name string) string { return c.r.PathValue(name) }

// link is the address of something below the version's root.
func (c *call) link(parts ...string) string {
	return c.PublicURL(c.r) + c.root + "/" + strings.Join(parts, "/")
}

// links are self and bookmark, as Nova's resources carry them.
func (c *call) links(parts ...string) []document {
	return []document{{"rel": "self", "href": c.link(parts...)}, {"rel": "bookmark", "href": c.PublicURL(c.r) + "/" + strings.Join(parts, "/")}}
}

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

// admin may do everything.
func (c *call) admin() bool { return c.who.HasRole("admin") }

// require refuses who has none of the roles in a project; admin may always.
func (c *call) require(roles ...string) error {
	if c.admin() || c.who.ProjectID != "" && c.who.HasRole(roles...) {
		return nil
	}
	return c.denied()
}

func (c *call) reader() error { return c.require("reader", "member", "manager") }
func (c *call) member() error { return c.require("member", "manager") }

func (c *call) adminOnly() error {
	if c.admin() {
		return nil
	}
	return c.denied()
}

func (c *call) denied() error {
	return errs.New(errs.Denied, "Policy doesn't allow %s %s to be performed.", c.r.Method, c.r.URL.Path)
}

// at tells whether the request asked for microversion 2.n or a later one.
func (c *call) at(n int) bool { return c.micro >= n }

// goneSince refuses what a microversion has removed.
func (c *call) goneSince(n int) error {
	if c.at(n) {
		return errs.New(errs.NotFound, "The resource could not be found.")
	}
	return nil
}

// cameWith refuses what an earlier microversion did not have.
func (c *call) cameWith(n int) error {
	if !c.at(n) {
		return errs.New(errs.NotFound, "The resource could not be found.")
	}
	return nil
}
