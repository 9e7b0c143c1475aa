package core

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// AddressRequest asks for an address: that one, or any of the subnet.
type AddressRequest struct {
	SubnetID string
	IP       netip.Addr
}

const (
	fixedIPsMax = 32
	probes      = 16
	windowFirst = 64
)

// assign gives a port its addresses. requests nil: one of IPv4, one of IPv6 where there are subnets for it. What follows from the MAC address is given in
// any case, but to routers.
func assign(w state.Writer, p *model.Port, requests []AddressRequest, given bool) error {
	subnets, err := model.SubnetsOf(w, p.NetworkID)
	if err != nil {
		return err
	}
	if len(requests) > fixedIPsMax {
		return fault.Invalid("Exceeded maximum amount of fixed ips per port")
	}
	if given {
		for _, req := range requests {
			if err := assignOne(w, p, subnets, req); err != nil {
				return err
			}
		}
	} else if err := assignAny(w, p, subnets); err != nil {
		return err
	}
	if p.Router() || p.DeviceOwner == model.OwnerFloatingIP || given && len(requests) == 0 {
		return nil
	}
	return assignDerived(w, p, subnets)
}

func assignDerived(w state.Writer, p *model.Port, subnets []model.Subnet) error {
	for _, s := range subnets {
		if s.Derived() && !slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID }) {
			if err := take(w, p, s, derived(s, p.MAC)); err != nil {
				return err
			}
		}
	}
	return nil
}

// assignAny takes an address of each family, from the first subnet that has one.
func assignAny(w state.Writer, p *model.Port, subnets []model.Subnet) error {
	for _, four := range []bool{true, false} {
		var candidates []model.Subnet
		for _, s := range subnets {
			if s.CIDR.Addr().Is4() == four && !s.Derived() && serves(s, p.DeviceOwner) {
				candidates = append(candidates, s)
			}
		}
		var err error
		for _, s := range candidates {
			if err = takeAny(w, p, s); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// assignOne does what one entry of fixed_ips asks for.
func assignOne(w state.Writer, p *model.Port, subnets []model.Subnet, req AddressRequest) error {
	at := slices.IndexFunc(subnets, func(s model.Subnet) bool {
		if req.SubnetID != "" {
			return s.ID == req.SubnetID
		}
		return s.CIDR.Contains(req.IP)
	})
	switch {
	case at < 0 && req.SubnetID != "":
		return fault.Invalid("Failed to create port on network %s, because fixed_ips included invalid subnet %s", p.NetworkID, req.SubnetID)
	case at < 0 && !req.IP.IsValid():
		return fault.Invalid("IP allocation requires subnet_id or ip_address")
	case at < 0:
		return fault.New(errs.Invalid, "InvalidIpForNetwork", "IP address %s is not a valid IP for any of the subnets on the specified network.", req.IP)
	}
	s := subnets[at]
	if !req.IP.IsValid() {
		if s.Derived() {
			if p.Router() {
				return take(w, p, s, s.Gateway)
			}
			return take(w, p, s, derived(s, p.MAC))
		}
		return takeAny(w, p, s)
	}
	if !usable(s.CIDR, req.IP) {
		return fault.New(errs.Invalid, "InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", req.IP)
	}
	if s.Derived() && !p.Router() && req.IP != derived(s, p.MAC) && p.DeviceOwner != model.OwnerDHCP {
		return fault.Invalid("IPv6 address %s can not be directly assigned to a port on subnet %s as the subnet is configured for automatic addresses", req.IP, s.ID)
	}
	return take(w, p, s, req.IP)
}

// usable tells whether a host may have the address: not that of the network, nor IPv4's broadcast.
func usable(cidr netip.Prefix, ip netip.Addr) bool {
	if !cidr.Contains(ip) {
		return false
	}
	if ip.BitLen()-cidr.Bits() <= 1 {
		return true
	}
	return ip != cidr.Masked().Addr() && (!ip.Is4() || ip != last(cidr))
}

// last is the highest address of a prefix.
func last(cidr netip.Prefix) netip.Addr {
	raw := cidr.Masked().Addr().AsSlice()
	for i := cidr.Bits(); i < len(raw)*8; i++ {
		raw[i/8] |= 0x80 >> (i % 8)
	}
	ip, _ := netip.AddrFromSlice(raw)
	return ip
}

// derived is the EUI-64 address of a MAC address on a subnet.
func derived(s model.Subnet, mac string) netip.Addr {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return netip.Addr{}
	}
	raw := s.CIDR.Masked().Addr().As16()
	copy(raw[8:], []byte{hw[0] ^ 2, hw[1], hw[2], 0xff, 0xfe, hw[3], hw[4], hw[5]})
	return netip.AddrFrom16(raw)
}

// take gives the port that address. That the address's key is absent is read in the transaction: two cannot both win.
func take(w state.Writer, p *model.Port, s model.Subnet, ip netip.Addr) error {
	if !ip.IsValid() {
		return fault.Invalid("subnet %s has no address for port %s", s.ID, p.ID)
	}
	id := model.AddressID(s.ID, ip)
	if _, taken, err := model.Optional(model.Addresses.Get(w, id)); err != nil || taken {
		if err == nil {
			err = fault.Conflict("IpAddressAlreadyAllocated", "IP address %s already allocated in subnet %s.", ip, s.ID)
		}
		return err
	}
	p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: s.ID, IP: ip})
	return model.Addresses.Put(w, id, model.Address{PortID: p.ID})
}

// takeAny gives the port some free address of the subnet's pools. It looks at a few single keys first, in a window that grows, so that ports made at the same time
// seldom meet and only those that do are tried again; a subnet that is nearly full is read as a whole.
func takeAny(w state.Writer, p *model.Port, s model.Subnet) error {
	for probe := range probes {
		ip, ok := pick(s.Pools, windowFirst<<probe)
		if !ok {
			break
		}
		if ip == s.Gateway {
			continue
		}
		if _, taken, err := model.Optional(model.Addresses.Get(w, model.AddressID(s.ID, ip))); err != nil {
			return err
		} else if !taken {
			return take(w, p, s, ip)
		}
	}
	if ip, ok := firstFree(w, s); ok {
		return take(w, p, s, ip)
	}
	return fault.Conflict("IpAddressGenerationFailure", "No more IP addresses available on network %s.", s.NetworkID)
}

// pick chooses an address among the first window ones of the pools.
func pick(pools []model.Range, window uint64) (netip.Addr, bool) {
	total := uint64(0)
	for _, pool := range pools {
		total += min(window-total, size(pool, window))
	}
	if total == 0 {
		return netip.Addr{}, false
	}
	at := rand.Uint64N(total)
	for _, pool := range pools {
		n := size(pool, window)
		if at < n {
			return plus(pool.Start, at), true
		}
		at -= n
	}
	return netip.Addr{}, false
}

// size is how many addresses a range has, at most most.
func size(r model.Range, most uint64) uint64 {
	a, b := r.Start.As16(), r.End.As16()
	if binary.BigEndian.Uint64(a[:8]) != binary.BigEndian.Uint64(b[:8]) {
		return most
	}
	n := binary.BigEndian.Uint64(b[8:]) - binary.BigEndian.Uint64(a[8:])
	if n >= most {
		return most
	}
	return n + 1
}

// plus is the address n further on.
func plus(ip netip.Addr, n uint64) netip.Addr {
	raw := ip.As16()
	low := binary.BigEndian.Uint64(raw[8:])
	if low+n < low {
		binary.BigEndian.PutUint64(raw[:8], binary.BigEndian.Uint64(raw[:8])+1)
	}
	binary.BigEndian.PutUint64(raw[8:], low+n)
	next := netip.AddrFrom16(raw)
	if ip.Is4() {
		return next.Unmap()
	}
	return next
}

// firstFree walks the addresses that are taken, in order, beside the pools.
func firstFree(r state.Reader, s model.Subnet) (netip.Addr, bool) {
	var taken []netip.Addr
	for ip := range model.TakenIn(r, s.ID) {
		taken = append(taken, ip)
	}
	for _, pool := range s.Pools {
		at, _ := slices.BinarySearchFunc(taken, pool.Start, netip.Addr.Compare)
		for ip := pool.Start; ip.IsValid() && pool.Holds(ip); ip = ip.Next() {
			if at < len(taken) && taken[at] == ip {
				at++
				continue
			}
			if ip != s.Gateway {
				return ip, true
			}
		}
	}
	return netip.Addr{}, false
}

// release gives addresses back.
func release(w state.Writer, fixed []model.FixedIP) error {
	for _, f := range fixed {
		if err := model.Addresses.Delete(w, model.AddressID(f.SubnetID, f.IP)); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	return nil
}

// serves tells whether the subnet's service types, if it has any, let ports of an owner in.
func serves(s model.Subnet, owner string) bool {
	return len(s.ServiceType) == 0 || slices.Contains(s.ServiceType, owner)
}
