package agent

import (
	"context"
	"fmt"
	"maps"
	"reflect"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/kernel"
	"henge/netd/model"
	"henge/netd/wire"
)

// loopbackMTU stands for the loopback's own, which is no network's: a cloud on one machine gets the MTUs that it would have on many.
const loopbackMTU = 1500

// self finds out what the peer is like now, connects its physical networks, and tells the others.
func (a *Agent) self(ctx context.Context) (wire.Self, error) {
	device, mtu, err := a.kernel.DeviceOf(a.cfg.Address)
	if err != nil {
		return wire.Self{}, err
	}
	if a.cfg.Address.IsLoopback() {
		mtu = loopbackMTU
	}
	self := wire.Self{
		Host: a.cfg.Host, Address: a.cfg.Address, Device: device, UnderlayMTU: mtu, Physical: map[string]string{}, PhysicalMTU: map[string]int{},
	}
	for _, p := range a.cfg.Physical {
		name := key("physical", p.Name)
		a.settle(name, p, func() error { return a.physical(p) })
		if a.faults[name] != nil {
			continue
		}
		links, err := a.kernel.Links()
		if err != nil {
			return self, err
		}
		self.Physical[p.Name], self.PhysicalMTU[p.Name] = p.Bridge, links[p.Bridge]
		if p.Masquerade && p.Address.IsValid() {
			self.Masquerade = append(self.Masquerade, wire.Masquerade{Bridge: p.Bridge, From: p.Address.Masked()})
		}
	}
	return self, a.announce(ctx, self)
}

func (a *Agent) physical(p Physical) error {
	b := kernel.Bridge{Name: p.Bridge}
	if p.Address.IsValid() {
		b.Addresses = append(b.Addresses, p.Address)
	}
	if err := a.kernel.Bridge(b); err != nil {
		return err
	}
	if p.Device != "" {
		// Isolated, as DHCP legs are: the DHCP server of a flat network is each peer's own, and is not heard outside.
		if err := a.kernel.Attach(p.Device, p.Bridge, true, true); err != nil {
			return err
		}
	}
	if p.Masquerade {
		return a.kernel.Sysctl("net/ipv4/ip_forward", "1")
	}
	return nil
}

// announce writes the peer's row when it is another than last time.
func (a *Agent) announce(ctx context.Context, self wire.Self) error {
	row := model.Agent{
		Host: a.cfg.Host, Zone: a.cfg.Zone, Address: self.Address, Device: self.Device, UnderlayMTU: self.UnderlayMTU,
		Physical: maps.Clone(self.Physical), PhysicalMTU: maps.Clone(self.PhysicalMTU), Routers: a.cfg.Routers, StartedAt: a.started.StartedAt,
	}
	if row.StartedAt.IsZero() {
		row.StartedAt = a.cfg.Clock.Now().UTC()
	} else if reflect.DeepEqual(row, a.started) {
		return nil
	}
	written := row
	written.ID, written.CreatedAt = model.NewID(), row.StartedAt
	if err := a.cfg.Store.Update(ctx, func(w state.Writer) error { return model.Announce(w, written) }); err != nil {
		return fmt.Errorf("announce the network agent: %w", err)
	}
	a.started = row
	return nil
}

// observe writes back how far ports and routers have come.
func (a *Agent) observe(ctx context.Context, want wire.Desired) error {
	ports := a.observedPorts(want)
	var routers []model.ObservedRouter
	for _, r := range want.Routers {
		f := fault(a.routerFault(r))
		routers = append(routers, model.ObservedRouter{RouterID: r.ID, Host: a.cfg.Host, Status: status(f), Fault: f, Revision: r.Revision})
	}
	news, newRouters, err := a.news(ctx, ports, routers)
	if err != nil {
		return err
	}
	for len(news)+len(newRouters) > 0 {
		some, rest := cutAt(news, observedMax)
		someRouters, restRouters := cutAt(newRouters, observedMax)
		if err := a.cfg.Store.Update(ctx, func(w state.Writer) error { return write(w, some, someRouters) }); err != nil {
			return fmt.Errorf("write what was observed: %w", err)
		}
		news, newRouters = rest, restRouters
	}
	return nil
}

// observedMax bounds the rows of one transaction.
const observedMax = 64

func cutAt[T any](all []T, n int) (some, rest []T) {
	return all[:min(n, len(all))], all[min(n, len(all)):]
}

func write(w state.Writer, ports []model.Observed, routers []model.ObservedRouter) error {
	for _, o := range ports {
		if err := model.Observe(w, o); err != nil && !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Conflict) {
			return err
		}
	}
	for _, o := range routers {
		if err := model.ObserveRouter(w, o); err != nil && !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Conflict) {
			return err
		}
	}
	return nil
}

func (a *Agent) observedPorts(want wire.Desired) []model.Observed {
	var all []model.Observed
	for _, p := range want.Ports {
		f := want.Networks[p.NetworkID].Fault
		if f == "" {
			f = fault(a.faults[key("port", p.ID)])
		}
		all = append(all, model.Observed{
			PortID: p.ID, Host: a.cfg.Host, Device: p.Tap, MTU: p.MTU, Status: status(f), Fault: f, Revision: p.Revision,
		})
	}
	for _, r := range want.Routers {
		f := fault(a.routerFault(r))
		for _, l := range r.Legs {
			all = append(all, model.Observed{PortID: l.PortID, Host: a.cfg.Host, Device: l.Outside, MTU: l.MTU, Status: status(f), Fault: f})
		}
	}
	return all
}

// news leaves out the rows that are there already.
func (a *Agent) news(ctx context.Context, ports []model.Observed, routers []model.ObservedRouter) (p []model.Observed, q []model.ObservedRouter, err error) {
	err = a.cfg.Store.View(ctx, func(r state.Reader) error {
		p, q = nil, nil
		for _, o := range ports {
			if old, err := model.ObservedPorts.Get(r, o.PortID); err != nil || old != o {
				p = append(p, o)
			}
		}
		for _, o := range routers {
			if old, err := model.ObservedRouters.Get(r, o.RouterID); err != nil || old != o {
				q = append(q, o)
			}
		}
		return nil
	})
	return p, q, err
}
