package api

import (
	"net/http"

	"henge/computed/netcalls"
)

// netRoutes binds Nova's old calls about networks.
func (s *Server) netRoutes() {
	for pattern, h := range netcalls.Routes() {
		s.bind(pattern, func(c *call) error { return c.netCall(h) })
	}
}

func (c *call) netCall(h netcalls.Handler) error {
	if err := c.goneSince(36); err != nil {
		return err
	}
	allowed := c.member
	if c.r.Method == http.MethodGet {
		allowed = c.reader
	}
	if err := allowed(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	p, err := parsePage(query)
	if err != nil {
		return err
	}
	d, err := h(&netcalls.Request{Ctx: c.r.Context(), Who: c.who, Networks: c.Networks, Query: query, Limit: p.limit, Path: c.path, Body: c.body})
	switch {
	case err != nil:
		return err
	case d == nil:
		return c.empty(http.StatusAccepted)
	}
	return c.json(http.StatusOK, d)
}
