package core

import (
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// GatewayRequest is the leg that a router shall have in an external network.
type GatewayRequest struct {
	NetworkID string
	SNAT      bool
	Addresses []AddressRequest
	Given     bool // that Addresses were said
}

const routesMax = 30

// CreateRouter makes a router, on a peer that can run it, with its gateway if one is asked for.
func (c *Core) CreateRouter(w state.Writer, r model.Router, gateway *GatewayRequest) (model.Router, error) {
	if err := c.room(w, r.ProjectID, "router"); err != nil {
		return r, err
	}
	c.born(&r.Standard)
	host, _, err := c.pickHost(w, nil)
	if err != nil {
		return r, err
	}
	r.Host = host
	if gateway != nil {
		if err := c.openGateway(w, &r, *gateway); err != nil {
			return r, err
		}
	}
	return r, model.Routers.Put(w, r.ID, r)
}

// pickHost chooses the peer with the fewest routers among those that can run them; "" when there is none now. Peers that are connected to the physical networks
// come first; suits is false when none is.
func (c *Core) pickHost(r state.Reader, physical []string) (best string, suits bool, err error) {
	fewest := 0
	for a, err := range model.Agents.All(r) {
		if err != nil {
			return "", false, err
		}
		if !a.Routers || a.Disabled || a.Fault != "" || !c.cfg.Alive(a.Host) {
			continue
		}
		n, connected := model.Routers.Count(r, "host", a.Host), connects(a, physical)
		if best == "" || connected && !suits || connected == suits && n < fewest {
			best, fewest, suits = a.Host, n, connected
		}
	}
	return best, suits, nil
}

func connects(a model.Agent, physical []string) bool {
	return !slices.ContainsFunc(physical, func(name string) bool { return a.Physical[name] == "" })
}

// physicalOf are the physical networks that a router has legs in.
func physicalOf(r state.Reader, routerID string) (names []string, err error) {
	ports, err := model.PortsOf(r, routerID)
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		n, err := Network(r, p.NetworkID)
		if err != nil {
			return nil, err
		}
		if n.Type == model.Flat {
			names = append(names, n.PhysicalNetwork)
		}
	}
	return names, nil
}

// seat answers where a router should be: on its peer, if that lives and is connected to the router's physical networks, or if no other is; "" when no peer can run it.
func (c *Core) seat(r state.Reader, router model.Router) (host string, err error) {
	physical, err := physicalOf(r, router.ID)
	if err != nil {
		return "", err
	}
	stays := router.Host != "" && c.cfg.Alive(router.Host)
	if a, there, err := model.Optional(model.Agents.Get(r, router.Host)); err != nil || stays && there && connects(a, physical) {
		return router.Host, err
	}
	host, suits, err := c.pickHost(r, physical)
	if stays && !suits {
		return router.Host, err
	}
	return host, err
}

// UpdateRouter changes a router. gateway nil: it stays; with a network of "" it goes.
func (c *Core) UpdateRouter(w state.Writer, r model.Router, gateway *GatewayRequest) (model.Router, error) {
	if _, err := Router(w, r.ID); err != nil {
		return r, err
	}
	if gateway != nil {
		if err := c.moveGateway(w, &r, *gateway); err != nil {
			return r, err
		}
	}
	if err := checkRouterRoutes(w, r); err != nil {
		return r, err
	}
	c.changed(&r.Standard)
	return r, model.Routers.Put(w, r.ID, r)
}

// moveGateway changes, opens or closes the gateway.
func (c *Core) moveGateway(w state.Writer, r *model.Router, req GatewayRequest) error {
	if r.Gateway != nil && r.Gateway.NetworkID == req.NetworkID {
		r.Gateway.SNAT = req.SNAT
		if !req.Given {
			return nil
		}
		p, err := Port(w, r.Gateway.PortID)
		if err != nil {
			return err
		}
		_, err = c.UpdatePort(w, PortChange{Port: p, Addresses: req.Addresses, AddressesGiven: true})
		return err
	}
	if r.Gateway != nil {
		if err := c.closeGateway(w, r); err != nil {
			return err
		}
	}
	if req.NetworkID == "" {
		return nil
	}
	return c.openGateway(w, r, req)
}

func (c *Core) openGateway(w state.Writer, r *model.Router, req GatewayRequest) error {
	n, err := Network(w, req.NetworkID)
	if err != nil {
		return err
	}
	if !n.External {
		return fault.BadRequest("router", "Network %s is not an external network", n.ID)
	}
	for _, a := range req.Addresses {
		if err := c.apart(w, *r, a.SubnetID); err != nil {
			return err
		}
	}
	p := model.Port{NetworkID: n.ID, DeviceID: r.ID, DeviceOwner: model.OwnerRouterGateway, AdminUp: true, BindingVNIC: "normal", BindingHost: r.Host}
	if err := c.bornPort(w, &p); err != nil {
		return err
	}
	if err := assign(w, &p, req.Addresses, req.Given && len(req.Addresses) > 0); err != nil {
		return err
	}
	r.Gateway = &model.Gateway{NetworkID: n.ID, PortID: p.ID, SNAT: req.SNAT}
	if err := model.Ports.Put(w, p.ID, p); err != nil {
		return err
	}
	// A router is placed before it has legs: its peer need not be connected to the external network.
	host, err := c.seat(w, *r)
	if err != nil || host == "" || host == r.Host {
		return err
	}
	return c.rehost(w, r, host)
}

func (c *Core) closeGateway(w state.Writer, r *model.Router) error {
	if model.FloatingIPs.Count(w, "router", r.ID) > 0 {
		return fault.Conflict("RouterExternalGatewayInUseByFloatingIp", "Gateway cannot be updated for router %s, since a gateway to external network %s is required by one or more floating IPs.",
			r.ID, r.Gateway.NetworkID)
	}
	p, err := Port(w, r.Gateway.PortID)
	if err != nil {
		return err
	}
	r.Gateway = nil
	return c.dropPort(w, p)
}

// checkRouterRoutes: every next hop is a neighbour.
func checkRouterRoutes(r state.Reader, router model.Router) error {
	if len(router.Routes) > routesMax {
		return fault.New(errs.Invalid, "RoutesExhausted", "Unable to complete operation for %s. The number of routes exceeds the maximum %d.", router.ID, routesMax)
	}
	if len(router.Routes) == 0 {
		return nil
	}
	subnets, own, err := around(r, router.ID)
	if err != nil {
		return err
	}
	for _, route := range router.Routes {
		if slices.Contains(own, route.NextHop) {
			return badRoute(route, "the nexthop is used by router")
		}
		if !slices.ContainsFunc(subnets, func(s model.Subnet) bool { return s.CIDR.Contains(route.NextHop) }) {
			return badRoute(route, "the nexthop is not connected with router")
		}
		if route.Destination.Addr().Is4() != route.NextHop.Is4() {
			return badRoute(route, "destination and nexthop are not of the same IP version")
		}
	}
	return nil
}

func badRoute(route model.Route, why string) error {
	return fault.New(errs.Invalid, "InvalidRoutes", "Invalid format for routes: {'destination': '%s', 'nexthop': '%s'}, %s", route.Destination, route.NextHop, why)
}

// around lists the subnets that a router is on, and its own addresses.
func around(r state.Reader, routerID string) (subnets []model.Subnet, own []netip.Addr, err error) {
	ports, err := model.PortsOf(r, routerID)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range ports {
		for _, f := range p.FixedIPs {
			s, err := Subnet(r, f.SubnetID)
			if err != nil {
				return nil, nil, err
			}
			subnets, own = append(subnets, s), append(own, f.IP)
		}
	}
	return subnets, own, nil
}

// DeleteRouter removes a router without interfaces; its gateway goes with it.
func (c *Core) DeleteRouter(w state.Writer, id string) error {
	r, err := Router(w, id)
	if err != nil {
		return err
	}
	ports, err := model.PortsOf(w, id)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ports, func(p model.Port) bool { return p.DeviceOwner == model.OwnerRouterInterface }) {
		return fault.Conflict("RouterInUse", "Router %s still has ports", id)
	}
	if r.Gateway != nil {
		if err := c.closeGateway(w, &r); err != nil {
			return err
		}
	}
	if err := model.ObservedRouters.Delete(w, id); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return model.Routers.Delete(w, id)
}

// AddInterface puts a router on a subnet with the subnet's gateway address, or takes the port that is named.
func (c *Core) AddInterface(w state.Writer, routerID, subnetID, portID string) (model.Port, error) {
	r, err := Router(w, routerID)
	if err != nil {
		return model.Port{}, err
	}
	var p model.Port
	if portID != "" {
		p, err = c.interfaceOfPort(w, r, portID)
	} else {
		p, err = c.interfaceOnSubnet(w, r, subnetID)
	}
	if err != nil {
		return p, err
	}
	c.changed(&r.Standard)
	return p, model.Routers.Put(w, r.ID, r)
}

func (c *Core) interfaceOnSubnet(w state.Writer, r model.Router, subnetID string) (model.Port, error) {
	s, err := Subnet(w, subnetID)
	if err != nil {
		return model.Port{}, err
	}
	if !s.Gateway.IsValid() {
		return model.Port{}, fault.BadRequest("router", "Subnet for router interface must have a gateway IP")
	}
	if s.CIDR.Addr().Is6() && s.RAMode == "" && s.AddressMode != "" {
		return model.Port{}, fault.BadRequest("router", "IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router", s.ID)
	}
	if err := c.apart(w, r, s.ID); err != nil {
		return model.Port{}, err
	}
	p := model.Port{NetworkID: s.NetworkID, DeviceID: r.ID, DeviceOwner: model.OwnerRouterInterface, AdminUp: true, BindingVNIC: "normal", BindingHost: r.Host}
	p.ProjectID = r.ProjectID
	if err := c.room(w, p.ProjectID, "port"); err != nil {
		return p, err
	}
	if err := c.bornPort(w, &p); err != nil {
		return p, err
	}
	if err := take(w, &p, s, s.Gateway); err != nil {
		return p, err
	}
	return p, model.Ports.Put(w, p.ID, p)
}

func (c *Core) interfaceOfPort(w state.Writer, r model.Router, portID string) (model.Port, error) {
	p, err := Port(w, portID)
	if err != nil {
		return p, err
	}
	switch {
	case p.DeviceID != "":
		return p, fault.Conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.", p.ID, p.NetworkID, p.DeviceID)
	case len(p.FixedIPs) == 0:
		return p, fault.BadRequest("router", "Router port must have at least one fixed IP")
	}
	for _, f := range p.FixedIPs {
		if err := c.apart(w, r, f.SubnetID); err != nil {
			return p, err
		}
	}
	p.DeviceID, p.DeviceOwner, p.BindingHost = r.ID, model.OwnerRouterInterface, r.Host
	groups := p.Groups
	p.Groups, p.AddressPairs, p.PortSecurity = nil, nil, false
	if err := joinGroups(w, p, groups); err != nil {
		return p, err
	}
	c.changed(&p.Standard)
	return p, model.Ports.Put(w, p.ID, p)
}

// apart: a router is on no two subnets whose addresses overlap.
func (c *Core) apart(r state.Reader, router model.Router, subnetID string) error {
	s, err := Subnet(r, subnetID)
	if err != nil {
		return err
	}
	others, _, err := around(r, router.ID)
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.ID == s.ID {
			return fault.BadRequest("router", "Router already has a port on subnet %s", s.ID)
		}
		if other.CIDR.Overlaps(s.CIDR) {
			return fault.BadRequest("router", "Cidr %s of subnet %s overlaps with cidr %s of subnet %s", s.CIDR, s.ID, other.CIDR, other.ID)
		}
	}
	return nil
}

// RemoveInterface takes a router off a subnet, or from a port, which goes too.
func (c *Core) RemoveInterface(w state.Writer, routerID, subnetID, portID string) (model.Port, error) {
	r, err := Router(w, routerID)
	if err != nil {
		return model.Port{}, err
	}
	p, err := findInterface(w, routerID, subnetID, portID)
	if err != nil {
		return p, err
	}
	for _, f := range p.FixedIPs {
		if err := interfaceUnneeded(w, r, f); err != nil {
			return p, err
		}
	}
	if err := c.dropPort(w, p); err != nil {
		return p, err
	}
	c.changed(&r.Standard)
	return p, model.Routers.Put(w, r.ID, r)
}

func findInterface(r state.Reader, routerID, subnetID, portID string) (model.Port, error) {
	ports, err := model.PortsOf(r, routerID)
	if err != nil {
		return model.Port{}, err
	}
	on := func(p model.Port) bool {
		return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == subnetID })
	}
	for _, p := range ports {
		if p.DeviceOwner != model.OwnerRouterInterface || portID != "" && p.ID != portID {
			continue
		}
		if subnetID == "" || on(p) {
			return p, nil
		}
		if portID != "" {
			return p, fault.Conflict("SubnetMismatchForPort", "Subnet on port %s does not match the requested subnet %s.", portID, subnetID)
		}
	}
	if portID != "" {
		return model.Port{}, fault.NotFound("RouterInterfaceNotFound", "Router %s does not have an interface with id %s", routerID, portID)
	}
	return model.Port{}, fault.NotFound("RouterInterfaceNotFoundForSubnet", "Router %s has no interface on subnet %s", routerID, subnetID)
}

// interfaceUnneeded: no floating IP and no route goes by way of the interface.
func interfaceUnneeded(r state.Reader, router model.Router, leg model.FixedIP) error {
	s, err := Subnet(r, leg.SubnetID)
	if err != nil {
		return err
	}
	for f, err := range model.FloatingIPs.Where(r, "router", router.ID) {
		if err != nil {
			return err
		}
		p, there, err := model.Optional(model.Ports.Get(r, f.PortID))
		if err != nil {
			return err
		}
		if there && slices.ContainsFunc(p.FixedIPs, func(x model.FixedIP) bool { return x.SubnetID == s.ID && x.IP == f.FixedIP }) {
			return fault.Conflict("RouterInterfaceInUseByFloatingIP", "Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", s.ID, router.ID)
		}
	}
	for _, route := range router.Routes {
		if s.CIDR.Contains(route.NextHop) {
			return fault.Conflict("RouterInterfaceInUseByRoute", "Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", s.ID, router.ID)
		}
	}
	return nil
}

// Place gives routers that no living peer runs to one that can, and those whose peer is not connected to their physical networks to one that is. It answers how many
// it moved; repeating it moves none.
func (c *Core) Place(w state.Writer) (int, error) {
	routers, err := model.Collect(model.Routers.All(w))
	if err != nil {
		return 0, err
	}
	moved := 0
	for _, r := range routers {
		host, err := c.seat(w, r)
		if err != nil {
			return moved, err
		}
		if host == "" || host == r.Host {
			continue
		}
		if err := c.rehost(w, &r, host); err != nil {
			return moved, err
		}
		c.changed(&r.Standard)
		if err := model.Routers.Put(w, r.ID, r); err != nil {
			return moved, err
		}
		moved++
	}
	return moved, nil
}

// Misplaced tells whether Place would move a router.
func (c *Core) Misplaced(r state.Reader) (bool, error) {
	for router, err := range model.Routers.All(r) {
		if err != nil {
			return false, err
		}
		if host, err := c.seat(r, router); err != nil || host != "" && host != router.Host {
			return err == nil, err
		}
	}
	return false, nil
}

// rehost binds a router's ports to another peer; the router's row is the caller's to write.
func (c *Core) rehost(w state.Writer, r *model.Router, host string) error {
	ports, err := model.PortsOf(w, r.ID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		p.BindingHost = host
		if err := forgetObserved(w, p.ID); err != nil {
			return err
		}
		c.changed(&p.Standard)
		if err := model.Ports.Put(w, p.ID, p); err != nil {
			return err
		}
	}
	if err := model.ObservedRouters.Delete(w, r.ID); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	r.Host = host
	return nil
}
