package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/model"
)

func (w *world) update(fn func(w state.Writer) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// network makes a network with one subnet and its DHCP port at .2, the router's place at .1.
func (w *world) network(vni int, cidr string) (model.Network, model.Subnet) {
	w.t.Helper()
	n := model.Network{
		Standard: model.Standard{ID: model.NewID(), ProjectID: "p"}, AdminUp: true, PortSecurity: true, MTU: 1450, Type: model.VXLAN, VNI: vni,
	}
	w.update(func(tx state.Writer) error { return model.Networks.Put(tx, n.ID, n) })
	return n, w.subnet(n, cidr)
}

// public makes the flat external network.
func (w *world) public() (model.Network, model.Subnet) {
	w.t.Helper()
	n := model.Network{
		Standard: model.Standard{ID: model.NewID(), ProjectID: "admin"}, AdminUp: true, External: true, MTU: 1500, Type: model.Flat, PhysicalNetwork: "public",
	}
	s := model.Subnet{
		Standard: model.Standard{ID: model.NewID()}, NetworkID: n.ID, CIDR: netip.MustParsePrefix("172.24.4.0/24"), Gateway: netip.MustParseAddr("172.24.4.1"),
	}
	w.update(func(tx state.Writer) error {
		if err := model.Networks.Put(tx, n.ID, n); err != nil {
			return err
		}
		return model.Subnets.Put(tx, s.ID, s)
	})
	return n, s
}

func (w *world) subnet(n model.Network, cidr string) model.Subnet {
	w.t.Helper()
	p := netip.MustParsePrefix(cidr)
	s := model.Subnet{Standard: model.Standard{ID: model.NewID()}, NetworkID: n.ID, CIDR: p, Gateway: p.Addr().Next(), DHCP: true}
	if p.Addr().Is6() {
		s.RAMode, s.AddressMode = model.SLAAC, model.SLAAC
	}
	w.update(func(tx state.Writer) error { return model.Subnets.Put(tx, s.ID, s) })
	for _, d := range w.portsOf(n.ID) {
		if d.DeviceOwner == model.OwnerDHCP {
			d.FixedIPs = append(d.FixedIPs, model.FixedIP{SubnetID: s.ID, IP: p.Addr().Next().Next()})
			w.put(d)
			return s
		}
	}
	w.port("dhcp", n, "", func(d *model.Port) {
		d.DeviceOwner, d.DeviceID = model.OwnerDHCP, model.DHCPDeviceID
		d.FixedIPs = []model.FixedIP{{SubnetID: s.ID, IP: p.Addr().Next().Next()}}
	})
	return s
}

func (w *world) portsOf(networkID string) (ports []model.Port) {
	w.t.Helper()
	w.update(func(tx state.Writer) (err error) {
		ports, err = model.Collect(model.Ports.Where(tx, "network", networkID))
		return err
	})
	return ports
}

// port makes a port bound to a host.
func (w *world) port(name string, n model.Network, hostID string, change func(*model.Port)) model.Port {
	w.t.Helper()
	w.made++
	p := model.Port{
		Standard: model.Standard{ID: model.NewID(), ProjectID: n.ProjectID, Name: name, Revision: 1}, NetworkID: n.ID,
		MAC: fmt.Sprintf("fa:16:3e:00:%02x:%02x", w.made>>8, w.made&0xff), DeviceID: "server-" + name, DeviceOwner: "compute:nova",
		AdminUp: true, PortSecurity: true, BindingHost: hostID,
	}
	if change != nil {
		change(&p)
	}
	w.put(p)
	return p
}

// at gives a port an address.
func at(s model.Subnet, ip string, groups ...string) func(*model.Port) {
	return func(p *model.Port) {
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: s.ID, IP: netip.MustParseAddr(ip)})
		p.Groups = groups
	}
}

// put writes a port with its addresses and groups.
func (w *world) put(p model.Port) {
	w.t.Helper()
	w.update(func(tx state.Writer) error {
		for _, f := range p.FixedIPs {
			if err := model.Addresses.Put(tx, model.AddressID(f.SubnetID, f.IP), model.Address{PortID: p.ID}); err != nil {
				return err
			}
		}
		for _, g := range p.Groups {
			row := model.PortGroup{GroupID: g, PortID: p.ID}
			if err := model.PortGroups.Put(tx, row.RowID(), row); err != nil {
				return err
			}
		}
		return model.Ports.Put(tx, p.ID, p)
	})
}

func (w *world) remove(p model.Port) {
	w.t.Helper()
	w.update(func(tx state.Writer) error {
		for _, g := range p.Groups {
			if err := model.PortGroups.Delete(tx, model.PortGroup{GroupID: g, PortID: p.ID}.RowID()); err != nil {
				return err
			}
		}
		if err := model.ObservedPorts.Delete(tx, p.ID); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		return model.Ports.Delete(tx, p.ID)
	})
}

// rule makes a rule: "ingress tcp 80", "egress", "ingress icmp", "ingress tcp 22 10.0.0.0/8", "ingress6 ipv6-icmp".
func (w *world) rule(group, text string) model.Rule {
	w.t.Helper()
	r := model.Rule{Standard: model.Standard{ID: model.NewID()}, GroupID: group, EtherType: model.IPv4}
	fields := strings.Fields(text)
	if r.Direction = strings.TrimSuffix(fields[0], "6"); r.Direction != fields[0] {
		r.EtherType = model.IPv6
	}
	for _, f := range fields[1:] {
		var n int
		switch {
		case strings.HasPrefix(f, "group="):
			r.RemoteGroup = f[6:]
		case strings.Contains(f, "/"):
			r.RemotePrefix = netip.MustParsePrefix(f)
		case r.Protocol != "" && sscan(f, &n):
			r.PortMin, r.PortMax = &n, &n
		default:
			r.Protocol = f
		}
	}
	w.update(func(tx state.Writer) error { return model.Rules.Put(tx, r.ID, r) })
	return r
}

func sscan(text string, n *int) bool {
	_, err := fmt.Sscan(text, n)
	return err == nil
}

func (w *world) dropRule(r model.Rule) {
	w.t.Helper()
	w.update(func(tx state.Writer) error { return model.Rules.Delete(tx, r.ID) })
}

// group makes a security group that lets all out.
func (w *world) group() string {
	id := model.NewID()
	w.rule(id, "egress")
	w.rule(id, "egress6")
	return id
}

// observed waits for what the agent says of a port.
func (w *world) observed(p model.Port) model.Observed {
	w.t.Helper()
	var o model.Observed
	eventually(w.t, "an observation of port "+p.Name, func() bool {
		return w.store.View(context.Background(), func(r state.Reader) (err error) {
			o, err = model.ObservedPorts.Get(r, p.ID)
			return err
		}) == nil
	})
	return o
}

// wired waits until ports are wired.
func (w *world) wired(ports ...model.Port) {
	w.t.Helper()
	for _, p := range ports {
		o := w.observed(p)
		eventually(w.t, "wiring of port "+p.Name, func() bool { o = w.observed(p); return o.Status == model.Wired && o.Revision == p.Revision })
	}
}

// router makes a router with legs, each at its subnet's gateway address.
func (w *world) router(hostID string, external model.Network, externalSubnet model.Subnet, ip string, legs ...model.Subnet) model.Router {
	w.t.Helper()
	r := model.Router{Standard: model.Standard{ID: model.NewID(), ProjectID: "p", Revision: 1}, AdminUp: true, Host: hostID}
	own := func(owner string) func(*model.Port) {
		return func(p *model.Port) { p.DeviceID, p.DeviceOwner, p.PortSecurity = r.ID, owner, false }
	}
	for _, s := range legs {
		w.port("leg", model.Network{Standard: model.Standard{ID: s.NetworkID}}, hostID, func(p *model.Port) {
			own(model.OwnerRouterInterface)(p)
			at(s, s.Gateway.String())(p)
		})
	}
	if ip != "" {
		gw := w.port("gateway", external, hostID, func(p *model.Port) {
			own(model.OwnerRouterGateway)(p)
			at(externalSubnet, ip)(p)
		})
		r.Gateway = &model.Gateway{NetworkID: external.ID, PortID: gw.ID, SNAT: true}
	}
	w.update(func(tx state.Writer) error { return model.Routers.Put(tx, r.ID, r) })
	return r
}

// runs waits until a router is observed as wired.
func (w *world) runs(r model.Router) {
	w.t.Helper()
	eventually(w.t, "the router", func() bool {
		var o model.ObservedRouter
		return w.store.View(context.Background(), func(tx state.Reader) (err error) {
			o, err = model.ObservedRouters.Get(tx, r.ID)
			return err
		}) == nil && o.Status == model.Wired && o.Revision == r.Revision
	})
}
