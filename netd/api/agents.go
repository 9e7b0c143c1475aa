package api

import (
	"encoding/json"
	"net/http"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/netd/fault"
	"henge/netd/model"
)

// zoneName is the one zone that there is until peers are put into several.
const zoneName = "nova"

const agentType = "Henge network agent"

func (s *Server) agentRoutes() {
	s.mux.Handle("GET /v2.0/agents", s.authed(listAgents))
	s.mux.Handle("GET /v2.0/agents/{id}", s.authed(showAgents))
	s.mux.Handle("PUT /v2.0/agents/{id}", s.authed(putAgent))
	s.mux.Handle("DELETE /v2.0/agents/{id}", s.authed(dropAgent))
	s.mux.Handle("GET /v2.0/agents/{id}/l3-routers", s.authed(agentRouters))
	s.mux.Handle("GET /v2.0/routers/{id}/l3-agents", s.authed(routerAgents))
	s.mux.Handle("GET /v2.0/networks/{id}/dhcp-agents", s.authed(networkAgents))
	s.mux.Handle("GET /v2.0/agents/{id}/dhcp-networks", s.authed(agentNetworks))
	s.mux.Handle("GET /v2.0/availability_zones", s.authed(listZones))
}

func showAgent(c *call, r state.Reader, a *model.Agent) document {
	alive := c.Alive(a.Host) && a.Fault == ""
	beat := a.StartedAt
	if alive {
		beat = c.Clock.Now()
	}
	format := "2006-01-02 15:04:05"
	return document{"id": a.ID, "agent_type": agentType, "binary": "henge", "topic": "N/A", "host": a.Host, "availability_zone": zoneName,
		"admin_state_up": !a.Disabled, "alive": alive, "created_at": a.CreatedAt.UTC().Format(format), "started_at": a.StartedAt.UTC().Format(format),
		"heartbeat_timestamp": beat.UTC().Format(format), "description": orNull(a.Description), "resources_synced": nil,
		"configurations": document{"tunnel_types": []string{"vxlan"}, "tunneling_ip": addrOrNull(a.Address), "device": a.Device, "underlay_mtu": a.UnderlayMTU,
			"bridge_mappings": a.Physical, "routers": model.Routers.Count(r, "host", a.Host), "fault": orNull(a.Fault)}}
}

func listAgents(c *call) error {
	if !c.admin() {
		return c.page("agents", "agents", nil)
	}
	all := []document{}
	err := c.view(func(r state.Reader) error {
		keep, err := newFilter(c.r.URL.Query(), showAgent(c, r, &model.Agent{}))
		if err != nil {
			return err
		}
		for a, err := range model.Agents.All(r) {
			if err != nil {
				return err
			}
			if shown := showAgent(c, r, &a); keep.keeps(shown) {
				all = append(all, shown)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.page("agents", "agents", all)
}

// agent finds the agent of the path.
func (c *call) agent(r state.Reader) (model.Agent, error) {
	id := c.r.PathValue("id")
	a, err := model.Agents.First(r, "id", id)
	if errs.Is(err, errs.NotFound) || err == nil && !c.admin() {
		return a, fault.NotFound("AgentNotFound", "Agent %s could not be found.", brief([]byte(id)))
	}
	return a, err
}

func showAgents(c *call) error {
	var shown document
	err := c.view(func(r state.Reader) error {
		a, err := c.agent(r)
		if err == nil {
			shown = showAgent(c, r, &a)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"agent": shown})
}

func putAgent(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	var body map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &body); err != nil || body["agent"] == nil {
		return fault.BadBody("Unable to find 'agent' in request body")
	}
	var shown document
	err = c.change(func(w state.Writer) error {
		a, err := c.agent(w)
		if err != nil {
			return err
		}
		in := &input{c: c, name: "agent", raw: body["agent"], taken: map[string]bool{}}
		up := !a.Disabled
		in.boolean("admin_state_up", &up)
		in.text("description", &a.Description, 255)
		if err := in.done(); err != nil {
			return err
		}
		a.Disabled = !up
		shown = showAgent(c, w, &a)
		return model.Agents.Put(w, a.Host, a)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"agent": shown})
}

func dropAgent(c *call) error {
	err := c.change(func(w state.Writer) error {
		a, err := c.agent(w)
		if err != nil {
			return err
		}
		return model.Agents.Delete(w, a.Host)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func agentRouters(c *call) error {
	shown := []document{}
	err := c.view(func(r state.Reader) error {
		a, err := c.agent(r)
		if err != nil {
			return err
		}
		for x, err := range model.Routers.Where(r, "host", a.Host) {
			if err != nil {
				return err
			}
			shown = append(shown, showRouter(c, r, &x))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"routers": shown})
}

func routerAgents(c *call) error {
	shown := []document{}
	err := c.view(func(r state.Reader) error {
		x, err := routers().fetch(c, r, c.r.PathValue("id"))
		if err != nil {
			return err
		}
		if !c.admin() {
			return denied("get_l3-agents")
		}
		if a, there, err := model.Optional(model.Agents.Get(r, x.Host)); err != nil || !there || x.Host == "" {
			return err
		} else {
			shown = append(shown, showAgent(c, r, &a))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"agents": shown})
}

// networkAgents are the agents of all peers that have ports of the network: each serves DHCP to its own.
func networkAgents(c *call) error {
	shown := []document{}
	err := c.view(func(r state.Reader) error {
		n, err := networks().fetch(c, r, c.r.PathValue("id"))
		if err != nil {
			return err
		}
		if !c.admin() {
			return denied("get_dhcp-agents")
		}
		hosts, err := model.HostsOf(r, n.ID)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			if a, err := model.Agents.Get(r, host); err == nil {
				shown = append(shown, showAgent(c, r, &a))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"agents": shown})
}

// agentNetworks are the networks that a peer has ports of.
func agentNetworks(c *call) error {
	shown := []document{}
	err := c.view(func(r state.Reader) error {
		a, err := c.agent(r)
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for p, err := range model.Ports.Where(r, "host", a.Host) {
			if err != nil {
				return err
			}
			if seen[p.NetworkID] {
				continue
			}
			seen[p.NetworkID] = true
			if n, err := model.Networks.Get(r, p.NetworkID); err == nil {
				shown = append(shown, showNetwork(c, r, &n))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"networks": shown})
}

func listZones(c *call) error {
	all := []document{}
	for _, kind := range []string{"network", "router"} {
		all = append(all, document{"name": zoneName, "resource": kind, "state": "available"})
	}
	return c.json(http.StatusOK, document{"availability_zones": all})
}
