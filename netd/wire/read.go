package wire

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/netd/model"
)

// VXLANOverhead is what encapsulation takes off the underlay's MTU.
func VXLANOverhead(underlay netip.Addr) int {
	if underlay.Is6() && !underlay.Is4In6() {
		return 70
	}
	return 50
}

// Self is the peer that the desired state is read for.
type Self struct {
	Host        string
	Address     netip.Addr        // of the underlay
	Device      string            // that has it
	UnderlayMTU int               //
	Physical    map[string]string // physical network -> bridge
	PhysicalMTU map[string]int
	Masquerade  []Masquerade
}

// reader gathers Desired from one snapshot.
type reader struct {
	state.Reader
	self Self
	out  Desired
}

// Read reads what the peer has to have. A row that refers to something that is gone makes a fault of its own port or router, no error.
func Read(r state.Reader, self Self) (Desired, error) {
	b := &reader{Reader: r, self: self, out: Desired{Networks: map[string]Network{}, Sets: map[string]Set{}, Masquerade: self.Masquerade}}
	ports, err := model.PortsOn(r, self.Host)
	if err != nil {
		return b.out, err
	}
	slices.SortFunc(ports, func(a, b model.Port) int { return cmp.Compare(a.ID, b.ID) })
	guests := map[string][]Guest{}
	for _, p := range ports {
		if p.Router() || p.DeviceOwner == model.OwnerDHCP || p.DeviceOwner == model.OwnerFloatingIP {
			continue
		}
		if err := b.port(p); err != nil {
			return b.out, fmt.Errorf("read port %s: %w", p.ID, err)
		}
		guests[p.NetworkID] = append(guests[p.NetworkID], Guest{MAC: p.MAC, Name: p.DNSName, IPs: p.FixedIPs, Options: p.DHCPOptions})
	}
	for id, all := range guests {
		if err := b.dhcp(id, all); err != nil {
			return b.out, fmt.Errorf("read DHCP of network %s: %w", id, err)
		}
	}
	return b.out, b.routers()
}

// network makes sure that a network is among what is desired.
func (b *reader) network(id string) (Network, error) {
	if n, ok := b.out.Networks[id]; ok {
		return n, nil
	}
	row, there, err := model.Optional(model.Networks.Get(b, id))
	if err != nil {
		return Network{}, err
	}
	n := Network{ID: id, Bridge: kindBridge + short(id), MTU: row.MTU, Up: row.AdminUp}
	switch {
	case !there:
		n.Fault = fmt.Sprintf("there is no network %s", id)
	case row.Type == model.Flat:
		b.flat(&n, row.PhysicalNetwork)
	default:
		err = b.vxlan(&n, row.VNI)
	}
	b.out.Networks[id] = n
	return n, err
}

func (b *reader) flat(n *Network, physical string) {
	bridge, ok := b.self.Physical[physical]
	if !ok {
		n.Fault = fmt.Sprintf("physical network %q is not connected to peer %s", physical, b.self.Host)
		return
	}
	n.Bridge, n.Flat = bridge, true
	if has := b.self.PhysicalMTU[physical]; has > 0 && n.MTU > has {
		n.Fault = fmt.Sprintf("physical network %q needs MTU %d, %s has %d", physical, n.MTU, bridge, has)
	}
}

func (b *reader) vxlan(n *Network, vni int) error {
	n.VXLAN, n.VNI = kindVXLAN+short(n.ID), vni
	// One zone a network. Two networks whose VNIs are 65535 apart share one, which matters only if they also have equal addresses on this peer.
	n.Zone = 1 + (vni-1)%65535
	if needs := n.MTU + VXLANOverhead(b.self.Address); needs > b.self.UnderlayMTU {
		n.Fault = fmt.Sprintf("VNI %d needs MTU %d, %s has %d", vni, needs, b.self.Device, b.self.UnderlayMTU)
	}
	hosts, err := model.HostsOf(b, n.ID)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if host == b.self.Host {
			continue
		}
		agent, there, err := model.Optional(model.Agents.Get(b, host))
		if err != nil {
			return err
		}
		if there && agent.Address.IsValid() && agent.Address != b.self.Address {
			n.Remotes = append(n.Remotes, agent.Address.Unmap())
		}
	}
	slices.SortFunc(n.Remotes, netip.Addr.Compare)
	n.Remotes = slices.Compact(n.Remotes)
	return nil
}

func (b *reader) port(p model.Port) error {
	n, err := b.network(p.NetworkID)
	if err != nil {
		return err
	}
	out := Port{
		ID: p.ID, Tap: p.Tap(), NetworkID: n.ID, Bridge: n.Bridge, MTU: n.MTU, Up: p.AdminUp && n.Up, Secure: p.PortSecurity, MAC: p.MAC,
		DHCPLeg: kindDHCP + short(n.ID), Zone: n.Zone, Revision: p.Revision,
	}
	if p.PortSecurity {
		out.Sources = sources(p)
		for _, group := range p.Groups {
			if err := b.group(&out, group); err != nil {
				return err
			}
		}
	}
	b.out.Ports = append(b.out.Ports, out)
	return nil
}

// LinkLocal is the address that an interface gives itself, after its MAC address.
func LinkLocal(mac string) netip.Addr {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, hw[0] ^ 2, hw[1], hw[2], 0xff, 0xfe, hw[3], hw[4], hw[5]})
}

// sources are the pairs of MAC and IP addresses that a port may send from: its own, its link-local one, and those that were allowed besides.
func sources(p model.Port) []Source {
	seen := map[string]bool{}
	var all []Source
	add := func(mac string, prefix netip.Prefix) {
		if local := LinkLocal(mac); local.IsValid() && !seen[mac] {
			seen[mac] = true
			all = append(all, Source{mac, netip.PrefixFrom(local, 128)})
		}
		all = append(all, Source{mac, prefix})
	}
	for _, f := range p.FixedIPs {
		add(p.MAC, netip.PrefixFrom(f.IP, f.IP.BitLen()))
	}
	for _, pair := range p.AddressPairs {
		mac := pair.MAC
		if mac == "" {
			mac = p.MAC
		}
		add(mac, pair.Prefix.Masked())
	}
	if len(all) == 0 {
		if local := LinkLocal(p.MAC); local.IsValid() {
			all = append(all, Source{p.MAC, netip.PrefixFrom(local, 128)})
		}
	}
	return all
}

// group adds a security group's rules to a port.
func (b *reader) group(p *Port, id string) error {
	rules, err := model.RulesOf(b, id)
	if err != nil {
		return err
	}
	for _, r := range rules {
		out := Rule{Direction: r.Direction, Six: r.EtherType == model.IPv6, Protocol: -1, Min: -1, Max: -1, Remote: r.RemotePrefix}
		if n, ok := model.ProtocolNumber(r.Protocol, r.EtherType); ok {
			out.Protocol = n
		} else if r.Protocol != "" {
			continue // the API lets none in; a rule that nobody understands lets nothing pass
		}
		if r.PortMin != nil {
			out.Min = *r.PortMin
		}
		if r.PortMax != nil {
			out.Max = *r.PortMax
		}
		if r.RemoteGroup != "" {
			out.Set = setName(r.RemoteGroup, out.Six)
			if err := b.set(r.RemoteGroup, out.Six); err != nil {
				return err
			}
		}
		p.Rules = append(p.Rules, out)
	}
	return nil
}

// set gathers the addresses of a group's ports, wherever they are.
func (b *reader) set(groupID string, six bool) error {
	name := setName(groupID, six)
	if _, ok := b.out.Sets[name]; ok {
		return nil
	}
	ids, err := model.GroupPorts(b, groupID)
	if err != nil {
		return err
	}
	s := Set{Six: six}
	for _, id := range ids {
		p, there, err := model.Optional(model.Ports.Get(b, id))
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		for _, f := range p.FixedIPs {
			s.add(netip.PrefixFrom(f.IP, f.IP.BitLen()))
		}
		for _, pair := range p.AddressPairs {
			s.add(pair.Prefix.Masked())
		}
	}
	slices.SortFunc(s.Members, comparePrefixes)
	s.Members = slices.Compact(s.Members)
	b.out.Sets[name] = s
	return nil
}

func (s *Set) add(p netip.Prefix) {
	if !p.IsValid() || p.Addr().Is4() == s.Six {
		return
	}
	if p.Bits() > 0 {
		s.Members = append(s.Members, p)
		return
	}
	// A set of prefixes takes no /0: two halves are the same.
	low, high := netip.PrefixFrom(p.Addr(), 1), netip.MustParsePrefix("128.0.0.0/1")
	if s.Six {
		high = netip.MustParsePrefix("8000::/1")
	}
	s.Members = append(s.Members, low, high)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// dhcp adds a network's DHCP namespace, if the network has a DHCP port.
func (b *reader) dhcp(networkID string, guests []Guest) error {
	n, err := b.network(networkID)
	if err != nil || n.Fault != "" {
		return err
	}
	ports, err := model.Collect(model.Ports.Where(b, "network", networkID))
	if err != nil {
		return err
	}
	at := slices.IndexFunc(ports, func(p model.Port) bool { return p.DeviceOwner == model.OwnerDHCP })
	if at < 0 {
		return nil
	}
	row, err := model.Networks.Get(b, networkID)
	if err != nil {
		return err
	}
	d := &DHCP{Namespace: dhcpNamespace + networkID, Leg: kindDHCP + short(networkID), MAC: ports[at].MAC, Domain: row.DNSDomain, Guests: guests}
	for _, f := range ports[at].FixedIPs {
		s, there, err := model.Optional(model.Subnets.Get(b, f.SubnetID))
		if err != nil {
			return err
		}
		if there {
			d.Addresses = append(d.Addresses, netip.PrefixFrom(f.IP, s.CIDR.Bits()))
			d.Subnets = append(d.Subnets, s)
		}
	}
	n.DHCP = d
	b.out.Networks[networkID] = n
	return nil
}
