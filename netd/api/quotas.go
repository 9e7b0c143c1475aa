package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/netd/core"
	"henge/netd/fault"
	"henge/netd/model"
)

func (s *Server) quotaRoutes() {
	at := "/v2.0/quotas"
	s.mux.Handle("GET "+at, s.authed(listQuotas))
	s.mux.Handle("GET "+at+"/tenant", s.authed(func(c *call) error {
		return c.json(http.StatusOK, document{"tenant": document{"tenant_id": c.who.ProjectID}})
	}))
	s.mux.Handle("GET "+at+"/project", s.authed(func(c *call) error {
		return c.json(http.StatusOK, document{"project": document{"project_id": c.who.ProjectID}})
	}))
	s.mux.Handle("GET "+at+"/{project}", s.authed(showQuota))
	s.mux.Handle("GET "+at+"/{project}/default", s.authed(defaultQuota))
	s.mux.Handle("GET "+at+"/{project}/details", s.authed(quotaDetails))
	s.mux.Handle("PUT "+at+"/{project}", s.authed(putQuota))
	s.mux.Handle("DELETE "+at+"/{project}", s.authed(dropQuota))
}

// quotaProject is the project of the path, which is the caller's unless he is an administrator.
func (c *call) quotaProject() (string, error) {
	id := c.r.PathValue("project")
	if !validID(id) {
		return "", fault.BadBody("'%s' is not the id of a project", brief([]byte(id)))
	}
	if !c.admin() && !c.mine(id) {
		return "", denied("get_quota")
	}
	return id, nil
}

func listQuotas(c *call) error {
	if !c.admin() {
		return denied("get_quota")
	}
	shown := []document{}
	err := c.view(func(r state.Reader) error {
		for key := range r.Scan(model.Quotas.Prefix()) {
			id := key[len(model.Quotas.Prefix()):]
			limits, err := c.Core.Limits(r, id)
			if err != nil {
				return err
			}
			d := document{"tenant_id": id, "project_id": id}
			for name, n := range limits {
				d[name] = n
			}
			shown = append(shown, d)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quotas": shown})
}

func showQuota(c *call) error {
	id, err := c.quotaProject()
	if err != nil {
		return err
	}
	var limits map[string]int
	err = c.view(func(r state.Reader) (err error) {
		limits, err = c.Core.Limits(r, id)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota": limits})
}

func defaultQuota(c *call) error {
	if _, err := c.quotaProject(); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota": c.Core.DefaultLimits()})
}

func quotaDetails(c *call) error {
	id, err := c.quotaProject()
	if err != nil {
		return err
	}
	shown := document{}
	err = c.view(func(r state.Reader) error {
		limits, err := c.Core.Limits(r, id)
		for name, limit := range limits {
			shown[name] = document{"limit": limit, "used": core.Used(r, id, name), "reserved": 0}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota": shown})
}

func putQuota(c *call) error {
	id, err := c.quotaProject()
	if err != nil {
		return err
	}
	if !c.admin() {
		return denied("update_quota")
	}
	given, err := readQuota(c)
	if err != nil {
		return err
	}
	var limits map[string]int
	err = c.change(func(w state.Writer) error {
		row, _, err := model.Optional(model.Quotas.Get(w, id))
		if err != nil {
			return err
		}
		own := maps.Clone(row.Limits)
		if own == nil {
			own = map[string]int{}
		}
		maps.Copy(own, given)
		if err := model.Quotas.Put(w, id, model.Quota{Limits: own}); err != nil {
			return err
		}
		limits, err = c.Core.Limits(w, id)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota": limits})
}

func readQuota(c *call) (map[string]int, error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Quota map[string]json.RawMessage `json:"quota"`
	}
	if err := json.Unmarshal(raw, &body); err != nil || body.Quota == nil {
		return nil, fault.BadBody("Unable to find 'quota' in request body")
	}
	in := &input{c: c, name: "quota", raw: body.Quota, taken: map[string]bool{"tenant_id": true, "project_id": true, "check_limit": true, "force": true}}
	given := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(c.Core.DefaultLimits())) {
		if in.has(name) {
			n := 0
			in.number(name, &n, -1, 1<<31-1)
			given[name] = n
		}
	}
	return given, in.done()
}

func dropQuota(c *call) error {
	id, err := c.quotaProject()
	if err != nil {
		return err
	}
	if !c.admin() {
		return denied("delete_quota")
	}
	err = c.change(func(w state.Writer) error { return model.Quotas.Delete(w, id) })
	if errs.Is(err, errs.NotFound) {
		return fault.NotFound("TenantQuotaNotFound", "Quota for tenant %s could not be found.", id)
	}
	if err != nil {
		return err
	}
	return c.none()
}
