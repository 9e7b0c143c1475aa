package guests

import (
	"context"
	"net/netip"

	"henge/cluster/state"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/errs"
	"henge/netd/core"
	net "henge/netd/model"
)

// Floating are the floating IPs for Nova's old calls.
func (n Networks) Floating() neighbour.Floating { return guestFloating{n} }

type guestFloating struct{ n Networks }

func detailFloating(r state.Reader, f net.FloatingIP) (neighbour.FloatingDetail, error) {
	network, err := core.Network(r, f.NetworkID)
	d := neighbour.FloatingDetail{ID: f.ID, Address: f.Address.String(), Pool: network.Name}
	if err != nil || f.PortID == "" {
		return d, err
	}
	if f.FixedIP.IsValid() {
		d.FixedIP = f.FixedIP.String()
	}
	p, _, err := net.Optional(net.Ports.Get(r, f.PortID))
	if p.Compute() {
		d.ServerID = p.DeviceID
	}
	return d, err
}

// externals are the networks that floating IPs come from.
func externals(r state.Reader) (all []net.Network, err error) {
	for n, err := range net.Networks.All(r) {
		if err != nil {
			return nil, err
		}
		if n.External {
			all = append(all, n)
		}
	}
	return all, nil
}

func (g guestFloating) Pools(ctx context.Context, _ *authn.Identity) (names []string, err error) {
	err = g.n.Store.View(ctx, func(r state.Reader) error {
		all, err := externals(r)
		for _, n := range all {
			names = append(names, n.Name)
		}
		return err
	})
	return names, err
}

func (g guestFloating) List(ctx context.Context, who *authn.Identity) (all []neighbour.FloatingDetail, err error) {
	err = g.n.Store.View(ctx, func(r state.Reader) error {
		for f, err := range net.FloatingIPs.Where(r, "project", who.ProjectID) {
			if err != nil {
				return err
			}
			d, err := detailFloating(r, f)
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		return nil
	})
	return all, err
}

// floatingOf finds one of the caller's.
func floatingOf(r state.Reader, who *authn.Identity, id string) (net.FloatingIP, error) {
	f, err := net.FloatingIPs.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && f.ProjectID != who.ProjectID && !who.HasRole("admin") {
		return f, errs.New(errs.NotFound, "Floating IP not found for ID %s", id)
	}
	return f, err
}

// floatingAt finds one of the caller's by its address.
func floatingAt(r state.Reader, who *authn.Identity, address string) (net.FloatingIP, error) {
	ip, err := netip.ParseAddr(address)
	if err == nil {
		for f, err := range net.FloatingIPs.Where(r, "project", who.ProjectID) {
			if err != nil || f.Address == ip {
				return f, err
			}
		}
	}
	return net.FloatingIP{}, errs.New(errs.NotFound, "floating IP not found")
}

func (g guestFloating) Show(ctx context.Context, who *authn.Identity, id string) (d neighbour.FloatingDetail, err error) {
	err = g.n.Store.View(ctx, func(r state.Reader) error {
		f, err := floatingOf(r, who, id)
		if err == nil {
			d, err = detailFloating(r, f)
		}
		return err
	})
	return d, err
}

func (g guestFloating) Allocate(ctx context.Context, who *authn.Identity, pool string) (d neighbour.FloatingDetail, err error) {
	err = g.n.update(ctx, func(w state.Writer) error {
		all, err := externals(w)
		if err != nil {
			return err
		}
		for _, n := range all {
			if pool != "" && n.Name != pool && n.ID != pool {
				continue
			}
			f, err := g.n.Netd.Core().CreateFloatingIP(w, core.FloatingRequest{FloatingIP: net.FloatingIP{Standard: net.Standard{ProjectID: who.ProjectID}, NetworkID: n.ID}})
			if err == nil {
				d, err = detailFloating(w, f)
			}
			return err
		}
		return errs.New(errs.NotFound, "Floating IP pool not found.")
	})
	return d, err
}

func (g guestFloating) Release(ctx context.Context, who *authn.Identity, id string) error {
	return g.n.update(ctx, func(w state.Writer) error {
		f, err := floatingOf(w, who, id)
		if err != nil {
			return err
		}
		return g.n.Netd.Core().DeleteFloatingIP(w, f.ID)
	})
}

func (g guestFloating) Associate(ctx context.Context, who *authn.Identity, address, serverID, fixed string) error {
	return g.n.update(ctx, func(w state.Writer) error {
		f, err := floatingAt(w, who, address)
		if err != nil {
			return err
		}
		ports, err := net.PortsOf(w, serverID)
		if err != nil {
			return err
		}
		for _, p := range ports {
			for _, ip := range p.FixedIPs {
				if fixed == ip.IP.String() || fixed == "" && ip.IP.Is4() {
					f.PortID, f.FixedIP = p.ID, ip.IP
					_, err := g.n.Netd.Core().UpdateFloatingIP(w, f)
					return refused(err)
				}
			}
		}
		if fixed != "" {
			return errs.New(errs.Invalid, "Specified fixed address not assigned to instance")
		}
		return errs.New(errs.Invalid, "No fixed IPs associated to instance")
	})
}

// refused is what the network service will not do, as Nova says it: 400, whatever the network service's own status is.
func refused(err error) error {
	if errs.Is(err, errs.Conflict) || errs.Is(err, errs.NotFound) {
		return errs.New(errs.Invalid, "%s", err)
	}
	return err
}

func (g guestFloating) Disassociate(ctx context.Context, who *authn.Identity, address, serverID string) error {
	return g.n.update(ctx, func(w state.Writer) error {
		f, err := floatingAt(w, who, address)
		if err != nil {
			return err
		}
		p, _, err := net.Optional(net.Ports.Get(w, f.PortID))
		if err != nil {
			return err
		}
		if f.PortID == "" || p.DeviceID != serverID {
			return errs.New(errs.Conflict, "Floating IP %s is not associated with instance %s.", address, serverID)
		}
		f.PortID, f.FixedIP = "", netip.Addr{}
		_, err = g.n.Netd.Core().UpdateFloatingIP(w, f)
		return err
	})
}
