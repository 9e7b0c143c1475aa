package api

import (
	"net/http"

	"henge/computed/netcalls"
	"henge/internal/openstack"
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
	request, err := c.netRequest()
	if err != nil {
		return err
	}
	d, err := h(request)
	switch {
	case err != nil:
		return err
	case d == nil:
		return c.empty(http.StatusAccepted)
	}
	return c.json(http.StatusOK, d)
}

func (c *call) netRequest() (*netcalls.Request, error) {
	query := c.r.URL.Query()
	p, err := parsePage(query)
	return &netcalls.Request{Ctx: c.r.Context(), Who: c.who, Networks: c.Networks, Query: query, Limit: p.Limit, Path: c.path, Body: c.body}, err
}

// floatingAction is addFloatingIp or removeFloatingIp.
func floatingAction(do func(r *netcalls.Request, f *openstack.Fields, serverID string) error) action {
	return func(c *call, f *openstack.Fields) error {
		if err := c.goneSince(44); err != nil {
			return err
		}
		s, err := c.server()
		if err != nil {
			return err
		}
		request, err := c.netRequest()
		if err == nil {
			err = do(request, f, s.ID)
		}
		return orAccepted(c, err)
	}
}
