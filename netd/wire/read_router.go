package wire

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"henge/netd/model"
)

func (b *reader) routers() error {
	rows, err := model.RoutersOn(b, b.self.Host)
	if err != nil {
		return err
	}
	slices.SortFunc(rows, func(a, b model.Router) int { return cmp.Compare(a.ID, b.ID) })
	for _, row := range rows {
		if err := b.router(row); err != nil {
			return fmt.Errorf("read router %s: %w", row.ID, err)
		}
	}
	return nil
}

func (b *reader) router(row model.Router) error {
	r := Router{ID: row.ID, Namespace: routerNamespace + row.ID, Up: row.AdminUp, Revision: row.Revision, Routes: row.Routes}
	ports, err := model.PortsOf(b, row.ID)
	if err != nil {
		return err
	}
	slices.SortFunc(ports, func(a, b model.Port) int { return cmp.Compare(a.ID, b.ID) })
	for _, p := range ports {
		if !p.Router() || !p.AdminUp {
			continue
		}
		if err := b.leg(&r, row, p); err != nil {
			return err
		}
	}
	if err := b.floating(&r); err != nil {
		return err
	}
	b.out.Routers = append(b.out.Routers, r)
	return nil
}

func (b *reader) leg(r *Router, row model.Router, p model.Port) error {
	n, err := b.network(p.NetworkID)
	if err != nil {
		return err
	}
	if n.Fault != "" && r.Fault == "" {
		r.Fault = n.Fault
	}
	leg := Leg{
		PortID: p.ID, Outside: kindLeg + short(p.ID), Inside: kindInside + short(p.ID), Bridge: n.Bridge, NetworkID: n.ID, MAC: p.MAC, MTU: n.MTU,
	}
	gateway := p.DeviceOwner == model.OwnerRouterGateway
	for _, f := range p.FixedIPs {
		s, there, err := model.Optional(model.Subnets.Get(b, f.SubnetID))
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		leg.Addresses = append(leg.Addresses, netip.PrefixFrom(f.IP, s.CIDR.Bits()))
		if gateway && s.Gateway.IsValid() {
			r.Defaults = append(r.Defaults, s.Gateway)
		}
		if !gateway && f.IP.Is6() && s.RAMode != "" {
			leg.Subnets = append(leg.Subnets, s)
		}
	}
	if gateway {
		r.Gateway, r.GatewayIPs = leg.Inside, leg.Addresses
		r.SNAT = row.Gateway != nil && row.Gateway.SNAT
	}
	r.Legs = append(r.Legs, leg)
	return nil
}

func (b *reader) floating(r *Router) error {
	rows, err := model.Collect(model.FloatingIPs.Where(b, "router", r.ID))
	if err != nil {
		return err
	}
	for _, f := range rows {
		if f.FixedIP.IsValid() && f.Address.Is4() && r.Gateway != "" {
			r.Floating = append(r.Floating, Floating{f.ID, f.Address, f.FixedIP})
		}
	}
	slices.SortFunc(r.Floating, func(a, b Floating) int { return a.Address.Compare(b.Address) })
	return nil
}
