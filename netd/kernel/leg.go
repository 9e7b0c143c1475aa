package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"path/filepath"
)

// Leg is a pair of devices: one in a bridge of the peer, the other in a namespace.
type Leg struct {
	Outside, Inside string
	Bridge          string
	MAC             string
	MTU             int
	Addresses       []netip.Prefix
	Isolated        bool
}

// Leg makes sure that the namespace has the leg, with just those addresses. It answers the addresses that it did not have before.
func (k *Kernel) Leg(ns *Namespace, l Leg) (added []netip.Prefix, err error) {
	hw, err := net.ParseMAC(l.MAC)
	if err != nil {
		return nil, fmt.Errorf("leg %s: %w", l.Inside, err)
	}
	inside, err := k.legPair(ns, l, hw)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(inside.Attrs().HardwareAddr, hw) {
		if err := ns.handle.LinkSetHardwareAddr(inside, hw); err != nil {
			return nil, fmt.Errorf("set MAC address of %s: %w", l.Inside, err)
		}
	}
	if err := setMTU(ns.handle, inside, l.MTU); err != nil {
		return nil, err
	}
	// An address that is already taken is the API's business: no waiting for IPv6's own check.
	if err := ns.Sysctl("net/ipv6/conf/"+l.Inside+"/accept_dad", "0"); err != nil {
		return nil, err
	}
	if err := ns.Sysctl("net/ipv6/conf/"+l.Inside+"/accept_ra", "0"); err != nil {
		return nil, err
	}
	if added, err = ns.addresses(inside, l.Addresses); err != nil {
		return added, err
	}
	if err := ns.handle.LinkSetUp(inside); err != nil {
		return added, fmt.Errorf("bring %s up: %w", l.Inside, err)
	}
	outside, err := netlink.LinkByName(l.Outside)
	if err != nil {
		return added, fmt.Errorf("find %s: %w", l.Outside, err)
	}
	if err := errors.Join(quiet(outside), setMTU(nil, outside, l.MTU)); err != nil {
		return added, err
	}
	return added, k.Attach(l.Outside, l.Bridge, true, l.Isolated)
}

// legPair finds the inner end, or makes the pair anew: a half that lost its other half is of no use.
func (k *Kernel) legPair(ns *Namespace, l Leg, hw net.HardwareAddr) (netlink.Link, error) {
	_, err := netlink.LinkByName(l.Outside)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("find %s: %w", l.Outside, err)
	}
	inside, inErr := ns.handle.LinkByName(l.Inside)
	if err == nil && inErr == nil {
		return inside, nil
	}
	if err == nil {
		if err := k.Delete(l.Outside); err != nil {
			return nil, err
		}
	}
	if inErr == nil {
		_ = ns.handle.LinkDel(inside)
	}
	fd, err := netns.GetFromPath(filepath.Join(namespaceDir, ns.name))
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", ns.name, err)
	}
	defer fd.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l.Outside, l.MTU
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: l.Inside, PeerHardwareAddr: hw, PeerNamespace: netlink.NsFd(fd), PeerMTU: uint32(l.MTU)}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make leg %s: %w", l.Outside, err)
	}
	inside, err = ns.handle.LinkByName(l.Inside)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", l.Inside, ns.name, err)
	}
	return inside, nil
}

// DropLegs removes the devices of the namespace whose names pass and are not kept.
func (ns *Namespace) DropLegs(keep []string) error {
	links, err := ns.handle.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list devices of %s: %w", ns.name, err)
	}
	var bad []error
	for _, l := range links {
		if l.Type() == "veth" && !slices.Contains(keep, l.Attrs().Name) {
			bad = append(bad, ns.handle.LinkDel(l))
		}
	}
	return errors.Join(bad...)
}

// Loopback brings the namespace's loopback up, with the addresses besides its own.
func (ns *Namespace) Loopback(addresses ...netip.Prefix) error {
	lo, err := ns.handle.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo in %s: %w", ns.name, err)
	}
	if err := ns.handle.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring lo up in %s: %w", ns.name, err)
	}
	for _, a := range addresses {
		if err := ns.handle.AddrReplace(lo, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
			return fmt.Errorf("give %s to %s: %w", a, ns.name, err)
		}
	}
	return nil
}

func (ns *Namespace) addresses(link netlink.Link, want []netip.Prefix) (added []netip.Prefix, err error) {
	have, err := ns.handle.AddrList(link, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	there := map[netip.Prefix]bool{}
	for _, a := range have {
		ip, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		p := netip.PrefixFrom(ip.Unmap(), bits)
		if there[p] = true; slices.Contains(want, p) || p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
			continue
		}
		if err := ns.handle.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, fmt.Errorf("take %s from %s: %w", p, link.Attrs().Name, err)
		}
	}
	for _, p := range want {
		if there[p] {
			continue
		}
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := ns.handle.AddrReplace(link, addr); err != nil {
			return added, fmt.Errorf("give %s to %s: %w", p, link.Attrs().Name, err)
		}
		added = append(added, p)
	}
	return added, nil
}

// Route is a way out of a namespace. An invalid Destination is the default.
type Route struct {
	Destination netip.Prefix
	Via         netip.Addr
	Device      string // with no Via: what is reached directly
}

// protocolOurs marks routes that we made (RTPROT_STATIC is what ip(8) gives to others).
const protocolOurs = 93

// Routes makes sure that the namespace has just these routes of ours, beside the kernel's own. What cannot be reached is an error of its own; the others are set.
func (ns *Namespace) Routes(want []Route) error {
	have, err := ns.handle.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocolOurs}, netlink.RT_FILTER_PROTOCOL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list routes of %s: %w", ns.name, err)
	}
	var bad []error
	keep := map[string]bool{}
	for _, w := range want {
		r := netlink.Route{Protocol: protocolOurs, Gw: w.Via.AsSlice()}
		if !w.Destination.IsValid() {
			w.Destination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if w.Via.Is6() {
				w.Destination = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
		}
		r.Dst = ipNet(w.Destination.Masked())
		keep[r.Dst.String()] = true
		if w.Device != "" {
			link, err := ns.handle.LinkByName(w.Device)
			if err != nil {
				bad = append(bad, fmt.Errorf("find %s in %s: %w", w.Device, ns.name, err))
				continue
			}
			r.LinkIndex, r.Scope = link.Attrs().Index, netlink.SCOPE_LINK
			if w.Via.IsValid() {
				r.Scope, r.Flags = netlink.SCOPE_UNIVERSE, int(netlink.FLAG_ONLINK)
			}
		}
		if err := ns.handle.RouteReplace(&r); err != nil {
			bad = append(bad, fmt.Errorf("route %s by %s: %w", w.Destination, w.Via, err))
		}
	}
	for _, r := range have {
		if r.Dst == nil || !keep[r.Dst.String()] {
			if err := ns.handle.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				bad = append(bad, fmt.Errorf("remove route %s: %w", r.Dst, err))
			}
		}
	}
	return errors.Join(bad...)
}
