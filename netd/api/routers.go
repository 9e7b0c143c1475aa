package api

import (
	"encoding/json"
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/internal/openstack"
	"henge/netd/core"
	"henge/netd/fault"
	"henge/netd/model"
)

func routers() resource[model.Router, *model.Router] {
	return resource[model.Router, *model.Router]{
		name: "router", plural: "routers", path: "routers", typ: "RouterNotFound", label: "Router", table: model.Routers,
		show:   showRouter,
		create: createRouter,
		update: updateRouter,
		remove: func(c *call, w state.Writer, r model.Router) error { return c.Core.DeleteRouter(w, r.ID) },
	}
}

func showRouter(c *call, r state.Reader, x *model.Router) document {
	d := base(&x.Standard, document{"admin_state_up": x.AdminUp, "status": routerStatus(r, x), "external_gateway_info": nil, "routes": showRoutes(x.Routes),
		"availability_zone_hints": orEmpty(x.ZoneHints), "availability_zones": []string{}, "flavor_id": nil})
	if x.Host != "" {
		d["availability_zones"] = []string{zoneName}
	}
	if c.admin() {
		d["ha"], d["distributed"] = false, false
	}
	if x.Gateway == nil {
		return d
	}
	fixed := []document{}
	if p, err := model.Ports.Get(r, x.Gateway.PortID); err == nil {
		for _, f := range p.FixedIPs {
			fixed = append(fixed, document{"subnet_id": f.SubnetID, "ip_address": f.IP.String()})
		}
	}
	d["external_gateway_info"] = document{"network_id": x.Gateway.NetworkID, "enable_snat": x.Gateway.SNAT, "external_fixed_ips": fixed}
	return d
}

// routerStatus is ERROR only when its agent has said why it cannot be.
func routerStatus(r state.Reader, x *model.Router) string {
	if seen, err := model.ObservedRouters.Get(r, x.ID); err == nil && seen.Host == x.Host && seen.Status == model.Faulted {
		return "ERROR"
	}
	return "ACTIVE"
}

// gateway takes external_gateway_info: nil when it was not given, with no network when it is to go.
func (in *input) gateway(r state.Reader, old *model.Gateway) *core.GatewayRequest {
	item, given := in.object("external_gateway_info")
	if !given {
		return nil
	}
	req := &core.GatewayRequest{SNAT: true}
	if item == nil || len(item.raw) == 0 {
		return req
	}
	item.name, item.creating = in.name, in.creating
	if old != nil {
		req.SNAT = old.SNAT
	}
	item.id("network_id", &req.NetworkID)
	if item.has("enable_snat") && !in.c.admin() {
		in.refuse(denied(in.verb() + ":external_gateway_info:enable_snat"))
	}
	item.boolean("enable_snat", &req.SNAT)
	req.Addresses, req.Given = item.addresses("external_fixed_ips")
	if slices.ContainsFunc(req.Addresses, func(a core.AddressRequest) bool { return a.IP.IsValid() }) && !in.c.admin() {
		in.refuse(denied(in.verb() + ":external_gateway_info:external_fixed_ips"))
	}
	in.also(item)
	if in.err == nil && req.NetworkID != "" {
		if _, err := networks().fetch(in.c, r, req.NetworkID); err != nil {
			in.refuse(err)
		}
	}
	return req
}

func fillRouter(in *input, x *model.Router) {
	in.standard(&x.Standard)
	in.boolean("admin_state_up", &x.AdminUp)
	in.texts("availability_zone_hints", &x.ZoneHints)
	in.zones(x.ZoneHints)
	in.once("availability_zone_hints")
	in.never("availability_zones")
	in.privileged("ha", "distributed")
	for _, name := range []string{"ha", "distributed"} {
		var on bool
		in.boolean(name, &on)
		if on {
			in.refuse(fault.BadRequest("router", "%s routers are not supported: a router runs on one peer, and on another one when that peer is lost", name))
		}
	}
	var flavor string
	in.text("flavor_id", &flavor, 64)
	if flavor != "" {
		in.refuse(fault.NotFound("FlavorNotFound", "Flavor %s could not be found.", flavor))
	}
}

func createRouter(c *call, w state.Writer, in *input) (model.Router, error) {
	x := model.Router{AdminUp: true}
	fillRouter(in, &x)
	in.never("routes")
	gateway := in.gateway(w, nil)
	if err := in.done(); err != nil {
		return x, err
	}
	if gateway != nil && gateway.NetworkID == "" {
		gateway = nil
	}
	return c.Core.CreateRouter(w, x, gateway)
}

func updateRouter(c *call, w state.Writer, x model.Router, in *input) (model.Router, error) {
	fillRouter(in, &x)
	gateway := in.gateway(w, x.Gateway)
	in.routes("routes", &x.Routes)
	if err := in.done(); err != nil {
		return x, err
	}
	return c.Core.UpdateRouter(w, x, gateway)
}

// interfaces binds adding and removing interfaces and single routes.
func (s *Server) interfaces() {
	at := "PUT /v2.0/routers/{id}/"
	s.mux.Handle(at+"add_router_interface", s.authed(addInterface))
	s.mux.Handle(at+"remove_router_interface", s.authed(removeInterface))
	s.mux.Handle(at+"add_extraroutes", s.authed(func(c *call) error { return changeRoutes(c, addRoutes) }))
	s.mux.Handle(at+"remove_extraroutes", s.authed(func(c *call) error { return changeRoutes(c, dropRoutes) }))
}

// leg reads {"subnet_id": ...} or {"port_id": ...}.
func (c *call) leg() (subnetID, portID string, err error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return "", "", err
	}
	in := &input{c: c, name: "router", taken: map[string]bool{}}
	if err := json.Unmarshal(raw, &in.raw); err != nil || in.raw == nil {
		return "", "", fault.BadRequest("router", "Invalid type for body: it is an object with subnet_id or port_id")
	}
	in.id("subnet_id", &subnetID)
	in.id("port_id", &portID)
	return subnetID, portID, in.done()
}

func addInterface(c *call) error {
	subnetID, portID, err := c.leg()
	if err != nil {
		return err
	}
	switch {
	case subnetID == "" && portID == "":
		return fault.BadRequest("router", "Either subnet_id or port_id must be specified")
	case subnetID != "" && portID != "":
		return fault.BadRequest("router", "Cannot specify both subnet-id and port-id")
	}
	return c.interfaceChange("add_router_interface", func(w state.Writer, r model.Router) (model.Port, error) {
		if subnetID != "" {
			if _, err := subnets().fetch(c, w, subnetID); err != nil {
				return model.Port{}, err
			}
		} else if _, err := ports().fetch(c, w, portID); err != nil {
			return model.Port{}, err
		}
		return c.Core.AddInterface(w, r.ID, subnetID, portID)
	})
}

func removeInterface(c *call) error {
	subnetID, portID, err := c.leg()
	if err != nil {
		return err
	}
	if subnetID == "" && portID == "" {
		return fault.BadRequest("router", "Either subnet_id or port_id must be specified")
	}
	return c.interfaceChange("remove_router_interface", func(w state.Writer, r model.Router) (model.Port, error) {
		return c.Core.RemoveInterface(w, r.ID, subnetID, portID)
	})
}

// interfaceChange runs one and answers what Neutron answers.
func (c *call) interfaceChange(rule string, fn func(w state.Writer, r model.Router) (model.Port, error)) error {
	var answer document
	err := c.change(func(w state.Writer) error {
		r, err := routers().fetch(c, w, c.r.PathValue("id"))
		if err != nil {
			return err
		}
		if !c.mayWrite() {
			return denied(rule)
		}
		p, err := fn(w, r)
		if err != nil {
			return err
		}
		var ids []string
		for _, f := range p.FixedIPs {
			ids = append(ids, f.SubnetID)
		}
		answer = document{"id": r.ID, "tenant_id": r.ProjectID, "project_id": r.ProjectID, "port_id": p.ID, "network_id": p.NetworkID, "subnet_ids": orEmpty(ids)}
		if len(ids) > 0 {
			answer["subnet_id"] = ids[0]
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// changeRoutes adds or takes single routes, whatever others do at the same time.
func changeRoutes(c *call, merge func(have, routes []model.Route) []model.Route) error {
	x := routers()
	items, _, err := x.body(c, false)
	if err != nil {
		return err
	}
	return x.changeRow(c, func(w state.Writer, row model.Router) (model.Router, error) {
		in := &input{c: c, name: x.name, raw: items[0], taken: map[string]bool{}}
		var routes []model.Route
		in.routes("routes", &routes)
		if err := in.done(); err != nil {
			return row, err
		}
		row.Routes = merge(row.Routes, routes)
		return c.Core.UpdateRouter(w, row, nil)
	})
}

func addRoutes(have, routes []model.Route) []model.Route {
	all := slices.Clone(have)
	for _, r := range routes {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

func dropRoutes(have, routes []model.Route) []model.Route {
	return slices.DeleteFunc(slices.Clone(have), func(r model.Route) bool { return slices.Contains(routes, r) })
}
