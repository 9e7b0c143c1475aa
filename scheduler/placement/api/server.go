package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/internal/openstack"
	"henge/scheduler/placement"
)

// Config is what the API stands on.
type Config struct {
	Store       state.Store
	Tokens      authn.Tokens
	Logger      *slog.Logger
	IdentityURL string
}

// Server answers the Placement API. Safe for concurrent use.
type Server struct {
	Config
	router *mux.Router
}

type document map[string]any

// call is one request under way.
type call struct {
	*Server
	w     http.ResponseWriter
	r     *http.Request
	who   *authn.Identity
	minor int // the microversion is 1.minor
}

// New makes the server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, router: mux.NewRouter()}
	s.router.UseEncodedPath()
	s.routes()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := httpapi.RequestID(r.Context()); id != "" {
		w.Header().Set("X-Openstack-Request-Id", "req-"+id)
	}
	c := &call{Server: s, w: w, r: r}
	if r.URL.Path == "/healthcheck" {
		w.WriteHeader(http.StatusOK)
		return
	}
	minor, err := minorOf(r)
	if err != nil {
		c.minor = minorMax
		c.fault(err)
		return
	}
	c.minor = minor
	w.Header().Set("Vary", versionHeader)
	w.Header().Set(versionHeader, fmt.Sprintf("placement 1.%d", minor))
	if r.URL.Path == "/" || r.URL.Path == "" {
		_ = versions(c)
		return
	}
	if err := c.authenticate(); err != nil {
		c.fault(err)
		return
	}
	s.router.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
}

type callKey struct{}

// authenticate lets in whoever shows a token that stands; most calls are for administrators and services alone.
func (c *call) authenticate() (err error) {
	shown := c.r.Header.Get("X-Auth-Token")
	if shown == "" {
		return errs.New(errs.Unauthenticated, "Authentication required")
	}
	c.who, err = c.Tokens.Token(c.r.Context(), shown)
	if errs.Is(err, errs.Unauthenticated) {
		return errs.New(errs.Unauthenticated, "Authentication required")
	}
	return err
}

// since binds a handler that there is from a microversion on; before it the address is unknown.
func (s *Server) since(minor int, h func(c *call) error) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(callKey{}).(*call)
		c.r = r
		if err := s.guarded(c, minor, h); err != nil {
			c.fault(err)
		}
	})
}

func (s *Server) guarded(c *call, minor int, h func(c *call) error) error {
	if c.minor < minor {
		return errs.New(errs.NotFound, "The resource could not be found.")
	}
	if !c.who.HasRole("admin", "service") && c.r.URL.Path != "/usages" {
		return errs.New(errs.Denied, "Policy does not allow %s to be performed.", c.r.Method+" "+c.r.URL.Path)
	}
	return h(c)
}

func (s *Server) routes() {
	at := func(method, path string, minor int, h func(c *call) error) {
		s.router.Handle(path, s.since(minor, h)).Methods(method)
	}
	s.router.NotFoundHandler = s.since(0, func(*call) error { return errs.New(errs.NotFound, "The resource could not be found.") })
	s.router.MethodNotAllowedHandler = s.since(0, func(c *call) error {
		return &faultError{http.StatusMethodNotAllowed, "The method specified is not allowed for this resource."}
	})
	const provider = "/resource_providers/{uuid}"
	at("GET", "/resource_providers", 0, listProviders)
	at("POST", "/resource_providers", 0, createProvider)
	at("GET", provider, 0, showProvider)
	at("PUT", provider, 0, updateProvider)
	at("DELETE", provider, 0, deleteProvider)
	at("GET", provider+"/inventories", 0, showInventories)
	at("POST", provider+"/inventories", 0, createInventory)
	at("PUT", provider+"/inventories", 0, replaceInventories)
	at("DELETE", provider+"/inventories", 5, deleteInventories)
	at("GET", provider+"/inventories/{class}", 0, showInventory)
	at("PUT", provider+"/inventories/{class}", 0, updateInventory)
	at("DELETE", provider+"/inventories/{class}", 0, deleteInventory)
	at("GET", provider+"/usages", 0, providerUsages)
	at("GET", provider+"/allocations", 0, providerAllocations)
	at("GET", provider+"/aggregates", 1, showAggregates)
	at("PUT", provider+"/aggregates", 1, replaceAggregates)
	at("GET", provider+"/traits", 6, showTraits)
	at("PUT", provider+"/traits", 6, replaceTraits)
	at("DELETE", provider+"/traits", 6, deleteTraits)
	at("POST", "/allocations", 13, postAllocations)
	at("GET", "/allocations/{consumer}", 0, showAllocations)
	at("PUT", "/allocations/{consumer}", 0, putAllocations)
	at("DELETE", "/allocations/{consumer}", 0, deleteAllocations)
	at("GET", "/allocation_candidates", 10, candidates)
	at("GET", "/usages", 9, usages)
	at("POST", "/reshaper", 30, reshape)
	at("GET", "/resource_classes", 2, listClasses)
	at("POST", "/resource_classes", 2, createClass)
	at("GET", "/resource_classes/{name}", 2, showClass)
	at("PUT", "/resource_classes/{name}", 2, putClass)
	at("DELETE", "/resource_classes/{name}", 2, deleteClass)
	at("GET", "/traits", 6, listTraits)
	at("GET", "/traits/{name}", 6, showTrait)
	at("PUT", "/traits/{name}", 6, putTrait)
	at("DELETE", "/traits/{name}", 6, deleteTrait)
}

// intros are the sentences that stand before the detail of an error, by status.
var intros = map[int]string{
	http.StatusBadRequest:         "The server could not comply with the request since it is either malformed or otherwise incorrect.",
	http.StatusNotFound:           "The resource could not be found.",
	http.StatusConflict:           "There was a conflict when trying to complete your request.",
	http.StatusForbidden:          "Access was denied to this resource.",
	http.StatusUnauthorized:       "This server could not verify that you are authorized to access the document you requested.",
	http.StatusServiceUnavailable: "The server is currently unavailable. Please try again at a later time.",
}

// fault answers an error in the API's shape.
func (c *call) fault(err error) {
	status := openstack.Status(errs.KindOf(err))
	var special *faultError
	if errors.As(err, &special) {
		status = special.status
	}
	id := c.w.Header().Get("X-Openstack-Request-Id")
	detail := openstack.Message(err, id)
	if special != nil {
		detail = special.detail
	} else if status == http.StatusInternalServerError {
		c.Logger.ErrorContext(c.r.Context(), "placement request", "method", c.r.Method, "path", c.r.URL.Path, "request", httpapi.RequestID(c.r.Context()), "error", err)
	}
	if intro := intros[status]; intro != "" && intro != detail {
		detail = intro + "\n\n " + detail + "  "
	}
	if status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.IdentityURL+`"`)
	}
	one := document{"status": status, "title": http.StatusText(status), "detail": detail, "request_id": id}
	if c.minor >= 23 {
		one["code"] = placement.CodeOf(err)
	}
	if status == http.StatusNotAcceptable {
		one["min_version"], one["max_version"] = "1.0", fmt.Sprintf("1.%d", minorMax)
	}
	openstack.WriteJSON(c.w, status, document{"errors": []document{one}})
}

// json answers. Nothing may be cached: from 1.15 on the headers say so.
func (c *call) json(status int, body any) error {
	if c.minor >= 15 {
		c.w.Header().Set("Cache-Control", "no-cache")
	}
	openstack.WriteJSON(c.w, status, body)
	return nil
}

func (c *call) none(status int) error {
	c.w.WriteHeader(status)
	return nil
}

func (c *call) path(name string) string { return mux.Vars(c.r)[name] }

// body reads a JSON object into a struct, and refuses what the struct has no place for.
func (c *call) body(into any) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	return strict(raw, into)
}

func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errs.New(errs.Invalid, "JSON does not validate: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func (c *call) view(fn func(r state.Reader) error) error { return c.Store.View(c.r.Context(), fn) }

func (c *call) update(fn func(w state.Writer) error) error { return c.Store.Update(c.r.Context(), fn) }
