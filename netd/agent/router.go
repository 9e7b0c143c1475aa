package agent

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"henge/netd/dhcp"
	"henge/netd/kernel"
	"henge/netd/wire"
)

func (a *Agent) routers(want wire.Desired) {
	for _, r := range want.Routers {
		a.settle(key("router", r.ID), r, func() error { return a.router(want, r) })
	}
}

// routerFault is why a router is not as it should be.
func (a *Agent) routerFault(r wire.Router) error {
	if r.Fault != "" {
		return errors.New(r.Fault)
	}
	return a.faults[key("router", r.ID)]
}

// router brings a router's namespace about. A leg whose network cannot be wired is left out; the others work.
func (a *Agent) router(want wire.Desired, r wire.Router) error {
	ns, err := a.kernel.Namespace(r.Namespace)
	if err != nil {
		return err
	}
	if err := a.prepareRouter(ns, r); err != nil {
		return err
	}
	var bad []error
	var keep []string
	var added []announcement
	fresh := false
	for _, l := range r.Legs {
		n := want.Networks[l.NetworkID]
		if !r.Up || n.Fault != "" {
			continue
		}
		if err := a.faults[key("network", l.NetworkID)]; err != nil {
			bad = append(bad, err)
			continue
		}
		keep = append(keep, l.Inside)
		some, err := a.kernel.Leg(ns, legOf(r, l))
		bad = append(bad, err)
		for _, ip := range some {
			added = append(added, announcement{l.Inside, l.MAC, ip.Addr()})
		}
		fresh = fresh || len(some) >= len(l.Addresses) && len(some) > 0
	}
	bad = append(bad, ns.DropLegs(keep), ns.Routes(routes(r)))
	for _, n := range added {
		bad = append(bad, ns.Announce(n.device, n.mac, n.ip))
	}
	a.translated(ns, r)
	return errors.Join(append(bad, a.serveRouter(ns, r, keep, fresh))...)
}

type announcement struct {
	device, mac string
	ip          netip.Addr
}

// prepareRouter makes the namespace forward, and translate addresses before anything can pass.
func (a *Agent) prepareRouter(ns *kernel.Namespace, r wire.Router) error {
	if err := ns.Loopback(netip.PrefixFrom(wire.MetadataAddress, 32)); err != nil {
		return err
	}
	for _, s := range [][2]string{
		{"net/ipv4/ip_forward", "1"}, {"net/ipv6/conf/all/forwarding", "1"}, {"net/ipv4/conf/all/rp_filter", "0"}, {"net/ipv4/conf/default/rp_filter", "0"},
	} {
		if err := ns.Sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return ns.NFT(r.NAT())
}

// legOf adds the floating IPs to the external leg's addresses.
func legOf(r wire.Router, l wire.Leg) kernel.Leg {
	out := kernel.Leg{Outside: l.Outside, Inside: l.Inside, Bridge: l.Bridge, MAC: l.MAC, MTU: l.MTU, Addresses: slices.Clone(l.Addresses)}
	if l.Inside == r.Gateway {
		for _, f := range r.Floating {
			out.Addresses = append(out.Addresses, netip.PrefixFrom(f.Address, 32))
		}
	}
	return out
}

func routes(r wire.Router) []kernel.Route {
	if !r.Up {
		return nil
	}
	var all []kernel.Route
	for _, via := range r.Defaults {
		all = append(all, kernel.Route{Via: via, Device: r.Gateway})
	}
	for _, to := range r.Routes {
		all = append(all, kernel.Route{Destination: to.Destination, Via: to.NextHop})
	}
	return all
}

// translated ends connections by floating IPs that stand for another port now, or for none.
func (a *Agent) translated(ns *kernel.Namespace, r wire.Router) {
	name := key("floating", r.ID)
	s := a.services[r.Namespace]
	var was []wire.Floating
	if s != nil {
		was = s.floating
	}
	var ended []netip.Addr
	for _, f := range was {
		if !slices.ContainsFunc(r.Floating, func(g wire.Floating) bool { return g.Address == f.Address && g.Fixed == f.Fixed }) {
			ended = append(ended, f.Address)
		}
	}
	if s == nil {
		// After a start it is not known what was before: connections that go by an address that is none of ours any more.
		ended = nil
	}
	if len(ended) == 0 {
		return
	}
	if _, err := ns.Cut(func(f kernel.Flow) bool { return !slices.Contains(ended, f.Dst) && !slices.Contains(ended, f.ReplyDst) }); err != nil {
		a.cfg.Logger.Warn("end connections", "what", name, "error", err)
	}
}

// advertised is what a leg tells of IPv6.
func advertised(l wire.Leg) dhcp.Advertised {
	hw, _ := net.ParseMAC(l.MAC)
	return dhcp.Advertised{Subnets: l.Subnets, MTU: l.MTU, MAC: hw, Device: l.Inside}
}
