package core

import (
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// SubnetRequest is a subnet to be made. Its Gateway is taken as it is (none: none) unless AutoGateway asks for the first address; Pools nil are everything but the gateway.
type SubnetRequest struct {
	model.Subnet
	AutoGateway bool
	Length      int // with a PoolID and no CIDR: of the prefix to be cut; 0: the pool's default
	IPVersion   int
}

// CreateSubnet makes a subnet, and gives the network's DHCP port an address on it.
func (c *Core) CreateSubnet(w state.Writer, req SubnetRequest) (model.Subnet, error) {
	s := req.Subnet
	if _, err := Network(w, s.NetworkID); err != nil {
		return s, err
	}
	if err := c.room(w, s.ProjectID, "subnet"); err != nil {
		return s, err
	}
	if s.PoolID != "" {
		cidr, err := c.cut(w, req)
		if err != nil {
			return s, err
		}
		s.CIDR = cidr
	}
	if err := checkCIDR(w, s); err != nil {
		return s, err
	}
	if req.AutoGateway {
		s.Gateway = firstHost(s.CIDR)
	}
	if s.Pools == nil {
		s.Pools = defaultPools(s.CIDR, s.Gateway)
	}
	if err := checkSubnet(s); err != nil {
		return s, err
	}
	c.born(&s.Standard)
	if err := model.Subnets.Put(w, s.ID, s); err != nil {
		return s, err
	}
	if err := c.serveDHCP(w, s.NetworkID); err != nil {
		return s, err
	}
	return s, c.deriveOnPorts(w, s)
}

// firstHost is the address that a gateway has by custom.
func firstHost(cidr netip.Prefix) netip.Addr {
	first := cidr.Masked().Addr()
	if first.BitLen()-cidr.Bits() <= 1 {
		return first
	}
	return first.Next()
}

// defaultPools are all host addresses but the gateway's.
func defaultPools(cidr netip.Prefix, gateway netip.Addr) []model.Range {
	start, end := cidr.Masked().Addr(), last(cidr)
	if start.BitLen()-cidr.Bits() > 1 {
		start = start.Next()
		if end.Is4() {
			end = end.Prev()
		}
	}
	if !gateway.IsValid() || gateway.Less(start) || end.Less(gateway) {
		return []model.Range{{Start: start, End: end}}
	}
	var pools []model.Range
	if start.Less(gateway) {
		pools = append(pools, model.Range{Start: start, End: gateway.Prev()})
	}
	if gateway.Less(end) {
		pools = append(pools, model.Range{Start: gateway.Next(), End: end})
	}
	return pools
}

// checkCIDR: no other subnet of the network has any of the addresses.
func checkCIDR(r state.Reader, s model.Subnet) error {
	if !s.CIDR.IsValid() || s.CIDR.Bits() == 0 {
		return fault.Invalid("Invalid CIDR %s for subnet", s.CIDR)
	}
	if s.CIDR.Addr().IsMulticast() || s.CIDR.Addr().IsLoopback() {
		return fault.Invalid("%s is a multicast or loopback range and cannot be a subnet's", s.CIDR)
	}
	others, err := model.SubnetsOf(r, s.NetworkID)
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.CIDR.Overlaps(s.CIDR) {
			return fault.Invalid("Requested subnet with cidr: %s for network: %s overlaps with another subnet", s.CIDR, s.NetworkID)
		}
	}
	return nil
}

// checkSubnet looks at the subnet alone.
func checkSubnet(s model.Subnet) error {
	for _, check := range []func(model.Subnet) error{checkGateway, checkPools, checkModes, checkRoutes} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

func checkGateway(s model.Subnet) error {
	if !s.Gateway.IsValid() {
		return nil
	}
	if s.Gateway.Is4() != s.CIDR.Addr().Is4() {
		return fault.Invalid("gateway_ip '%s' does not match the ip_version", s.Gateway)
	}
	if s.CIDR.Contains(s.Gateway) && !usable(s.CIDR, s.Gateway) && s.CIDR.Addr().Is4() {
		return fault.Invalid("Gateway is not valid on subnet")
	}
	return nil
}

func checkPools(s model.Subnet) error {
	sorted := slices.Clone(s.Pools)
	slices.SortFunc(sorted, func(a, b model.Range) int { return a.Start.Compare(b.Start) })
	for i, pool := range sorted {
		switch {
		case pool.Start.Is4() != s.CIDR.Addr().Is4() || pool.End.Is4() != s.CIDR.Addr().Is4() || pool.End.Less(pool.Start):
			return fault.New(errs.Invalid, "InvalidAllocationPool", "Invalid allocation pool %s-%s: it is not a range of the subnet's ip_version.", pool.Start, pool.End)
		case !usable(s.CIDR, pool.Start) || !usable(s.CIDR, pool.End):
			return fault.New(errs.Invalid, "OutOfBoundsAllocationPool", "The allocation pool %s-%s spans beyond the subnet cidr %s.", pool.Start, pool.End, s.CIDR)
		case i > 0 && !sorted[i-1].End.Less(pool.Start):
			return fault.Conflict("OverlappingAllocationPools", "Found overlapping allocation pools: %s-%s, %s-%s for subnet %s.",
				sorted[i-1].Start, sorted[i-1].End, pool.Start, pool.End, s.CIDR)
		case s.Gateway.IsValid() && pool.Holds(s.Gateway):
			return fault.Conflict("GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s-%s.", s.Gateway, pool.Start, pool.End)
		}
	}
	return nil
}

func checkModes(s model.Subnet) error {
	four := s.CIDR.Addr().Is4()
	switch {
	case s.RAMode == "" && s.AddressMode == "":
		if four && s.DHCP && s.CIDR.Bits() > 30 {
			return fault.Invalid("Subnet has a prefix length that is incompatible with DHCP service enabled")
		}
		return nil
	case four:
		return fault.Invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is 4")
	case !s.DHCP:
		return fault.Invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	case s.RAMode != "" && s.AddressMode != "" && s.RAMode != s.AddressMode:
		return fault.Invalid("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. If both attributes are set, they must be the same value", s.RAMode, s.AddressMode)
	case (s.Derived() || s.RAMode == model.SLAAC || s.RAMode == model.DHCPv6Stateless) && s.CIDR.Bits() != 64:
		return fault.Invalid("Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64", s.CIDR)
	}
	return nil
}

func checkRoutes(s model.Subnet) error {
	for _, route := range s.Routes {
		if route.Destination.Addr().Is4() != s.CIDR.Addr().Is4() || route.NextHop.Is4() != s.CIDR.Addr().Is4() {
			return fault.Invalid("host route %s via %s does not match the ip_version", route.Destination, route.NextHop)
		}
	}
	return nil
}

// UpdateSubnet puts a changed subnet in place of the old one.
func (c *Core) UpdateSubnet(w state.Writer, s model.Subnet) (model.Subnet, error) {
	old, err := Subnet(w, s.ID)
	if err != nil {
		return s, err
	}
	if s.Gateway != old.Gateway && old.Gateway.IsValid() {
		if err := gatewayUnused(w, old); err != nil {
			return s, err
		}
	}
	if err := checkSubnet(s); err != nil {
		return s, err
	}
	c.changed(&s.Standard)
	if err := model.Subnets.Put(w, s.ID, s); err != nil {
		return s, err
	}
	if s.DHCP == old.DHCP {
		return s, nil
	}
	return s, c.serveDHCP(w, s.NetworkID)
}

// gatewayUnused: a router's leg does not lose its address under it.
func gatewayUnused(r state.Reader, s model.Subnet) error {
	row, there, err := model.Optional(model.Addresses.Get(r, model.AddressID(s.ID, s.Gateway)))
	if err != nil || !there {
		return err
	}
	p, there, err := model.Optional(model.Ports.Get(r, row.PortID))
	if err != nil || !there || p.DeviceOwner != model.OwnerRouterInterface {
		return err
	}
	return fault.Conflict("GatewayIpInUse", "Current gateway ip %s already in use by port %s. Unable to update.", s.Gateway, p.ID)
}

// DeleteSubnet removes a subnet unless ports have addresses on it, those aside that we made ourselves (DHCP, and what follows from MAC addresses).
func (c *Core) DeleteSubnet(w state.Writer, id string) error {
	s, err := Subnet(w, id)
	if err != nil {
		return err
	}
	var held []model.Port
	for _, portID := range takenBy(w, id) {
		p, err := Port(w, portID)
		if err != nil {
			return err
		}
		if p.DeviceOwner != model.OwnerDHCP && (!s.Derived() || p.Router() || p.DeviceOwner == model.OwnerFloatingIP) {
			return fault.Conflict("SubnetInUse", "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", id)
		}
		held = append(held, p)
	}
	for _, p := range held {
		if err := c.leaveSubnet(w, p, id); err != nil {
			return err
		}
	}
	if err := model.Subnets.Delete(w, id); err != nil {
		return err
	}
	return c.serveDHCP(w, s.NetworkID)
}

// takenBy lists the ports with addresses on a subnet, each once.
func takenBy(r state.Reader, subnetID string) []string {
	var ids []string
	for _, portID := range model.TakenIn(r, subnetID) {
		if !slices.Contains(ids, portID) {
			ids = append(ids, portID)
		}
	}
	return ids
}

// leaveSubnet takes a port's addresses on a subnet from it.
func (c *Core) leaveSubnet(w state.Writer, p model.Port, subnetID string) error {
	var keep, gone []model.FixedIP
	for _, f := range p.FixedIPs {
		if f.SubnetID == subnetID {
			gone = append(gone, f)
		} else {
			keep = append(keep, f)
		}
	}
	p.FixedIPs = keep
	if err := release(w, gone); err != nil {
		return err
	}
	c.changed(&p.Standard)
	return model.Ports.Put(w, p.ID, p)
}

// deriveOnPorts gives ports that were there before the subnet their automatic address.
func (c *Core) deriveOnPorts(w state.Writer, s model.Subnet) error {
	if !s.Derived() {
		return nil
	}
	ports, err := model.Collect(model.Ports.Where(w, "network", s.NetworkID))
	if err != nil {
		return err
	}
	for _, p := range ports {
		if p.Router() || p.DeviceOwner == model.OwnerFloatingIP || slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID }) {
			continue
		}
		if err := take(w, &p, s, derived(s, p.MAC)); err != nil {
			return err
		}
		c.changed(&p.Standard)
		if err := model.Ports.Put(w, p.ID, p); err != nil {
			return err
		}
	}
	return nil
}

// serveDHCP makes the network's DHCP port have an address on just those subnets that DHCP serves; without any the port goes.
func (c *Core) serveDHCP(w state.Writer, networkID string) error {
	network, err := Network(w, networkID)
	if err != nil {
		return err
	}
	subnets, err := model.SubnetsOf(w, networkID)
	if err != nil {
		return err
	}
	port, there, err := dhcpPort(w, networkID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(subnets, func(s model.Subnet) bool { return s.DHCP }) {
		if there {
			return c.dropPort(w, port)
		}
		return nil
	}
	if !there {
		port = model.Port{NetworkID: networkID, DeviceID: model.DHCPDeviceID, DeviceOwner: model.OwnerDHCP, AdminUp: true, BindingVNIC: "normal"}
		port.ProjectID = network.ProjectID
		if err := c.bornPort(w, &port); err != nil {
			return err
		}
	}
	return c.addressDHCP(w, port, subnets)
}

func (c *Core) addressDHCP(w state.Writer, port model.Port, subnets []model.Subnet) error {
	for _, s := range subnets {
		has := slices.ContainsFunc(port.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID })
		switch {
		case s.DHCP && !has && s.Derived():
			if err := take(w, &port, s, derived(s, port.MAC)); err != nil {
				return err
			}
		case s.DHCP && !has:
			// The lowest address, so that nobody who chooses his own meets it by chance. A subnet too full for a DHCP server has none; its other ports work.
			if ip, free := firstFree(w, s); free {
				if err := take(w, &port, s, ip); err != nil {
					return err
				}
			}
		case !s.DHCP && has:
			at := slices.IndexFunc(port.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID })
			if err := release(w, port.FixedIPs[at:at+1]); err != nil {
				return err
			}
			port.FixedIPs = slices.Delete(port.FixedIPs, at, at+1)
		}
	}
	c.changed(&port.Standard)
	return model.Ports.Put(w, port.ID, port)
}

// dhcpPort finds a network's DHCP port.
func dhcpPort(r state.Reader, networkID string) (model.Port, bool, error) {
	for p, err := range model.Ports.Where(r, "network", networkID) {
		if err != nil || p.DeviceOwner == model.OwnerDHCP {
			return p, err == nil, err
		}
	}
	return model.Port{}, false, nil
}
