package core

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// PortRequest is a port to be made. Its MAC "" is any that is free; its FixedIPs are not looked at.
type PortRequest struct {
	model.Port
	Addresses      []AddressRequest
	AddressesGiven bool // false: addresses as the network has them
	GroupsGiven    bool // false: the project's default group
	SecurityGiven  bool // false: PortSecurity as the network has it
}

// CreatePort makes a port with its addresses.
func (c *Core) CreatePort(w state.Writer, req PortRequest) (model.Port, error) {
	p := req.Port
	network, err := Network(w, p.NetworkID)
	if err != nil {
		return p, err
	}
	if err := c.room(w, p.ProjectID, "port"); err != nil {
		return p, err
	}
	if !req.SecurityGiven {
		p.PortSecurity = network.PortSecurity
	}
	if err := c.fillGroups(w, &p, req.GroupsGiven); err != nil {
		return p, err
	}
	if err := checkSecurity(p); err != nil {
		return p, err
	}
	p.FixedIPs = nil
	if p.BindingVNIC == "" {
		p.BindingVNIC = "normal"
	}
	if err := c.bornPort(w, &p); err != nil {
		return p, err
	}
	if err := assign(w, &p, req.Addresses, req.AddressesGiven); err != nil {
		return p, err
	}
	if err := joinGroups(w, p, nil); err != nil {
		return p, err
	}
	return p, model.Ports.Put(w, p.ID, p)
}

// fillGroups puts a port into its project's default group when nothing else was said, and checks the groups otherwise.
func (c *Core) fillGroups(w state.Writer, p *model.Port, given bool) error {
	if !given {
		if !p.PortSecurity || p.ProjectID == "" || trusted(*p) {
			return nil
		}
		g, err := c.DefaultGroup(w, p.ProjectID)
		p.Groups = []string{g.ID}
		return err
	}
	for _, id := range p.Groups {
		if _, err := Group(w, id); err != nil {
			return err
		}
	}
	return nil
}

// trusted ports are the network's own: no groups, no anti-spoofing.
func trusted(p model.Port) bool {
	return p.Router() || p.DeviceOwner == model.OwnerDHCP || p.DeviceOwner == model.OwnerFloatingIP
}

func checkSecurity(p model.Port) error {
	switch {
	case !p.PortSecurity && len(p.Groups) > 0:
		return fault.New(errs.Conflict, "PortSecurityAndIPRequiredForSecurityGroups", "Port security must be enabled and port must have an IP address in order to use security groups.")
	case !p.PortSecurity && len(p.AddressPairs) > 0:
		return fault.New(errs.Conflict, "AddressPairAndPortSecurityRequired", "Port Security must be enabled in order to have allowed address pairs on a port.")
	}
	return nil
}

const macProbes = 32

// bornPort gives a port its id and a MAC address that no other port of the network has.
func (c *Core) bornPort(w state.Writer, p *model.Port) error {
	c.born(&p.Standard)
	if p.MAC != "" {
		if macTaken(w, *p) {
			return fault.Conflict("MacAddressInUse", "Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
		}
		return nil
	}
	for range macProbes {
		var b [3]byte
		_, _ = rand.Read(b[:]) // never fails
		p.MAC = fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", b[0], b[1], b[2])
		if !macTaken(w, *p) {
			return nil
		}
	}
	return fault.New(errs.Unavailable, "MacAddressGenerationFailure", "Unable to generate unique mac on network %s.", p.NetworkID)
}

func macTaken(r state.Reader, p model.Port) bool {
	other, err := model.Ports.First(r, "mac", p.NetworkID+model.Sep+p.MAC)
	return err == nil && other.ID != p.ID
}

// joinGroups keeps the table of who is in which group.
func joinGroups(w state.Writer, p model.Port, before []string) error {
	for _, id := range before {
		if !slices.Contains(p.Groups, id) {
			if err := model.PortGroups.Delete(w, model.PortGroup{GroupID: id, PortID: p.ID}.RowID()); err != nil {
				return err
			}
		}
	}
	for _, id := range p.Groups {
		if !slices.Contains(before, id) {
			row := model.PortGroup{GroupID: id, PortID: p.ID}
			if err := model.PortGroups.Put(w, row.RowID(), row); err != nil {
				return err
			}
		}
	}
	return nil
}

// PortChange is what becomes of a port: Port as it shall be, but for its addresses, which stay unless AddressesGiven.
type PortChange struct {
	model.Port
	Addresses      []AddressRequest
	AddressesGiven bool
}

// UpdatePort changes a port.
func (c *Core) UpdatePort(w state.Writer, change PortChange) (model.Port, error) {
	p := change.Port
	old, err := Port(w, p.ID)
	if err != nil {
		return p, err
	}
	p.FixedIPs = old.FixedIPs
	for _, id := range p.Groups {
		if _, err := Group(w, id); err != nil {
			return p, err
		}
	}
	if err := checkSecurity(p); err != nil {
		return p, err
	}
	if p.MAC != old.MAC && macTaken(w, p) {
		return p, fault.Conflict("MacAddressInUse", "Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
	}
	if p.MAC != old.MAC && old.BindingHost != "" {
		return p, fault.Conflict("PortBound", "Unable to complete operation on port %s, port is already bound, port type: bridge, old_mac %s, new_mac %s.", p.ID, old.MAC, p.MAC)
	}
	if change.AddressesGiven || p.MAC != old.MAC {
		if err := c.readdress(w, &p, change); err != nil {
			return p, err
		}
	}
	if err := joinGroups(w, p, old.Groups); err != nil {
		return p, err
	}
	if p.BindingHost != old.BindingHost {
		if err := forgetObserved(w, p.ID); err != nil {
			return p, err
		}
	}
	c.changed(&p.Standard)
	return p, model.Ports.Put(w, p.ID, p)
}

// readdress keeps what is asked for again, gives back the rest and takes what is new.
func (c *Core) readdress(w state.Writer, p *model.Port, change PortChange) error {
	old := p.FixedIPs
	if err := release(w, old); err != nil {
		return err
	}
	requests := change.Addresses
	if !change.AddressesGiven {
		for _, f := range old {
			s, err := Subnet(w, f.SubnetID)
			if err != nil {
				return err
			}
			if !s.Derived() {
				requests = append(requests, AddressRequest{SubnetID: f.SubnetID, IP: f.IP})
			}
		}
	}
	p.FixedIPs = nil
	if err := assign(w, p, keepOld(requests, old), true); err != nil {
		return err
	}
	return c.dropFloating(w, p.ID, func(ip netip.Addr) bool {
		return !slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP == ip })
	})
}

// keepOld lets a request for any address of a subnet have the one that the port has there already.
func keepOld(requests []AddressRequest, old []model.FixedIP) []AddressRequest {
	requests = slices.Clone(requests)
	for _, f := range old {
		wanted := slices.ContainsFunc(requests, func(r AddressRequest) bool { return r.IP == f.IP })
		at := slices.IndexFunc(requests, func(r AddressRequest) bool { return r.SubnetID == f.SubnetID && !r.IP.IsValid() })
		if !wanted && at >= 0 {
			requests[at].IP = f.IP
		}
	}
	return requests
}

func forgetObserved(w state.Writer, portID string) error {
	if err := model.ObservedPorts.Delete(w, portID); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return nil
}

// DeletePort removes a port of a user's or of a guest's; a router's own and a floating IP's go with these.
func (c *Core) DeletePort(w state.Writer, id string) error {
	p, err := Port(w, id)
	if err != nil {
		return err
	}
	if p.Router() || p.DeviceOwner == model.OwnerFloatingIP {
		if _, there, err := model.Optional(model.Routers.Get(w, p.DeviceID)); err != nil || there || p.DeviceOwner == model.OwnerFloatingIP {
			if err == nil {
				err = fault.Conflict("ServicePortInUse", "Port %s cannot be deleted directly via the port API: has device owner %s.", id, p.DeviceOwner)
			}
			return err
		}
	}
	return c.dropPort(w, p)
}

// dropPort removes a port and all that hangs on it. The agent of its host takes the device away.
func (c *Core) dropPort(w state.Writer, p model.Port) error {
	if err := release(w, p.FixedIPs); err != nil {
		return err
	}
	if err := c.dropFloating(w, p.ID, func(netip.Addr) bool { return true }); err != nil {
		return err
	}
	groups := p.Groups
	p.Groups = nil
	if err := joinGroups(w, p, groups); err != nil {
		return err
	}
	if err := forgetObserved(w, p.ID); err != nil {
		return err
	}
	return model.Ports.Delete(w, p.ID)
}
