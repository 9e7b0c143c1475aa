package api

import (
	"net/http"

	"github.com/gorilla/mux"
)

// get, post and so on bind a path below /v3 to a handler for callers with a token.
func (s *Server) get(v3 *mux.Router, path string, h handler) {
	v3.Handle(path, s.authed(h)).Methods(http.MethodGet, http.MethodHead)
}

func (s *Server) on(v3 *mux.Router, method, path string, h handler) {
	v3.Handle(path, s.authed(h)).Methods(method)
}

// routes binds everything.
func (s *Server) routes() {
	r := s.router
	r.NotFoundHandler = s.open(func(c *call) error {
		c.faultStatus(http.StatusNotFound, "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.")
		return nil
	})
	r.MethodNotAllowedHandler = s.open(func(c *call) error {
		c.faultStatus(http.StatusMethodNotAllowed, "The method is not allowed for the requested URL.")
		return nil
	})
	r.Handle("/", s.open(versions)).Methods(http.MethodGet, http.MethodHead)
	r.Handle("/healthcheck", s.open(healthcheck)).Methods(http.MethodGet, http.MethodHead)
	r.Handle("/auth/v1.0", s.V1Auth())
	r.Handle("/auth/v1", s.V1Auth())
	r.Handle("/v3", s.open(version)).Methods(http.MethodGet, http.MethodHead)
	v3 := r.PathPrefix("/v3").Subrouter()
	v3.NotFoundHandler, v3.MethodNotAllowedHandler = r.NotFoundHandler, r.MethodNotAllowedHandler
	v3.Handle("/auth/tokens", s.open(authenticate)).Methods(http.MethodPost)
	s.get(v3, "/auth/tokens", showToken)
	s.on(v3, http.MethodDelete, "/auth/tokens", revokeToken)
	s.get(v3, "/auth/catalog", authCatalog)
	s.get(v3, "/auth/system", authSystem)
}

// healthcheck answers as long as the process does.
func healthcheck(c *call) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, err := c.w.Write([]byte("OK\n"))
	return err
}
