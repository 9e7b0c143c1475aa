package core

import (
	"net/netip"

	"henge/cluster/state"
	"henge/netd/fault"
	"henge/netd/model"
)

// FloatingRequest is a floating IP to be made, or what becomes of one.
type FloatingRequest struct {
	model.FloatingIP        // Address: that one, if it is valid; PortID "": not associated; FixedIP: which of the port's, if it is valid
	SubnetID         string // of the address
}

// FloatingIP fetches a floating IP.
func FloatingIP(r state.Reader, id string) (model.FloatingIP, error) {
	return get(r, model.FloatingIPs, "FloatingIPNotFound", "Floating IP", id)
}

// CreateFloatingIP takes an address of an external network.
func (c *Core) CreateFloatingIP(w state.Writer, req FloatingRequest) (model.FloatingIP, error) {
	f := req.FloatingIP
	n, err := Network(w, f.NetworkID)
	if err != nil {
		return f, err
	}
	if !n.External {
		return f, fault.BadRequest("floatingip", "Network %s is not a valid external network", n.ID)
	}
	if err := c.room(w, f.ProjectID, "floatingip"); err != nil {
		return f, err
	}
	c.born(&f.Standard)
	if err := c.floatingPort(w, &f, req.SubnetID); err != nil {
		return f, err
	}
	if err := c.associate(w, &f); err != nil {
		return f, err
	}
	return f, model.FloatingIPs.Put(w, f.ID, f)
}

// floatingPort makes the port that holds the address. It belongs to no project, as Neutron's do.
func (c *Core) floatingPort(w state.Writer, f *model.FloatingIP, subnetID string) error {
	p := model.Port{NetworkID: f.NetworkID, DeviceID: f.ID, DeviceOwner: model.OwnerFloatingIP, AdminUp: true, BindingVNIC: "normal"}
	if err := c.bornPort(w, &p); err != nil {
		return err
	}
	var requests []AddressRequest
	if subnetID != "" || f.Address.IsValid() {
		requests = []AddressRequest{{SubnetID: subnetID, IP: f.Address}}
	} else if four, ok := subnetFor4(w, f.NetworkID); ok {
		requests = four
	}
	if err := assign(w, &p, requests, requests != nil); err != nil {
		return err
	}
	if len(p.FixedIPs) == 0 || !p.FixedIPs[0].IP.Is4() {
		return fault.BadRequest("floatingip", "Network %s does not contain any IPv4 subnet", f.NetworkID)
	}
	f.Address, f.OwnPortID = p.FixedIPs[0].IP, p.ID
	return model.Ports.Put(w, p.ID, p)
}

// subnetFor4 asks for an address on any of the network's IPv4 subnets that has one.
func subnetFor4(r state.Reader, networkID string) ([]AddressRequest, bool) {
	for s, err := range model.Subnets.Where(r, "network", networkID) {
		if err != nil || !s.CIDR.Addr().Is4() || !serves(s, model.OwnerFloatingIP) {
			continue
		}
		if _, free := firstFree(r, s); free {
			return []AddressRequest{{SubnetID: s.ID}}, true
		}
	}
	return nil, false
}

// associate checks that the floating IP can stand for the address it names, and finds the router that makes it so.
func (c *Core) associate(w state.Writer, f *model.FloatingIP) error {
	if f.PortID == "" {
		if f.FixedIP.IsValid() {
			return fault.BadRequest("floatingip", "fixed_ip_address cannot be specified without a port_id")
		}
		f.RouterID = ""
		return nil
	}
	p, err := Port(w, f.PortID)
	if err != nil {
		return err
	}
	leg, err := legOf(p, f.FixedIP)
	if err != nil {
		return err
	}
	f.FixedIP = leg.IP
	for other, err := range model.FloatingIPs.Where(w, "port", p.ID) {
		if err != nil {
			return err
		}
		if other.ID != f.ID && other.FixedIP == f.FixedIP && other.NetworkID == f.NetworkID {
			return fault.Conflict("FloatingIPPortAlreadyAssociated", "Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.",
				f.Address, f.ID, p.ID, f.FixedIP, f.NetworkID)
		}
	}
	f.RouterID, err = routerBetween(w, p, leg, f.NetworkID)
	return err
}

// legOf picks the IPv4 address of the port.
func legOf(p model.Port, want netip.Addr) (model.FixedIP, error) {
	var fours []model.FixedIP
	for _, x := range p.FixedIPs {
		if x.IP == want && want.Is4() {
			return x, nil
		}
		if x.IP.Is4() {
			fours = append(fours, x)
		}
	}
	switch {
	case want.IsValid():
		return model.FixedIP{}, fault.BadRequest("floatingip", "Port %s does not have fixed ip %s", p.ID, want)
	case len(fours) == 0:
		return model.FixedIP{}, fault.BadRequest("floatingip", "Cannot add floating IP to port %s that has no fixed IPv4 addresses", p.ID)
	case len(fours) > 1:
		return model.FixedIP{}, fault.BadRequest("floatingip", "Port %s has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a floating IP", p.ID)
	}
	return fours[0], nil
}

// routerBetween finds the router with a leg on the port's subnet and its gateway in the external network.
func routerBetween(r state.Reader, p model.Port, leg model.FixedIP, externalID string) (string, error) {
	for other, err := range model.Ports.Where(r, "network", p.NetworkID) {
		if err != nil {
			return "", err
		}
		if other.DeviceOwner != model.OwnerRouterInterface {
			continue
		}
		for _, x := range other.FixedIPs {
			if x.SubnetID != leg.SubnetID {
				continue
			}
			router, there, err := model.Optional(model.Routers.Get(r, other.DeviceID))
			if err != nil {
				return "", err
			}
			if there && router.Gateway != nil && router.Gateway.NetworkID == externalID {
				return router.ID, nil
			}
		}
	}
	return "", fault.NotFound("ExternalGatewayForFloatingIPNotFound", "External network %s is not reachable from subnet %s.  Therefore, cannot associate Port %s with a Floating IP.", externalID, leg.SubnetID, p.ID)
}

// UpdateFloatingIP changes a floating IP, above all what it is associated with.
func (c *Core) UpdateFloatingIP(w state.Writer, f model.FloatingIP) (model.FloatingIP, error) {
	if _, err := FloatingIP(w, f.ID); err != nil {
		return f, err
	}
	if err := c.associate(w, &f); err != nil {
		return f, err
	}
	c.changed(&f.Standard)
	return f, model.FloatingIPs.Put(w, f.ID, f)
}

// DeleteFloatingIP gives the address back.
func (c *Core) DeleteFloatingIP(w state.Writer, id string) error {
	f, err := FloatingIP(w, id)
	if err != nil {
		return err
	}
	if p, there, err := model.Optional(model.Ports.Get(w, f.OwnPortID)); err != nil {
		return err
	} else if there {
		if err := c.dropPort(w, p); err != nil {
			return err
		}
	}
	return model.FloatingIPs.Delete(w, id)
}

// dropFloating dissociates floating IPs from those of a port's addresses that go.
func (c *Core) dropFloating(w state.Writer, portID string, gone func(netip.Addr) bool) error {
	floating, err := model.Collect(model.FloatingIPs.Where(w, "port", portID))
	if err != nil {
		return err
	}
	for _, f := range floating {
		if !gone(f.FixedIP) {
			continue
		}
		f.PortID, f.RouterID, f.FixedIP = "", "", netip.Addr{}
		c.changed(&f.Standard)
		if err := model.FloatingIPs.Put(w, f.ID, f); err != nil {
			return err
		}
	}
	return nil
}
