package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/netd/dhcp"
	"henge/netd/kernel"
	"henge/netd/model"
	"henge/netd/wire"
)

// service is what is served in one namespace: DHCP, router advertisements, metadata.
type service struct {
	ns      *kernel.Namespace
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	network atomic.Pointer[dhcp.Network]               // of a DHCP namespace
	legs    atomic.Pointer[map[string]dhcp.Advertised] // of a router's, by device

	asked    atomic.Pointer[[]string] // the networks whose guests may ask for metadata
	floating []wire.Floating          // of a router: what was in force last
	devices  []string                 // that advertise
}

const (
	metadataRequestsMax = 64 // under way in one namespace
	metadataStopWait    = time.Second
)

// serve begins the service of a namespace: its metadata. What else there is to serve is started by start.
func (a *Agent) serve(ns *kernel.Namespace) (*service, context.Context, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{ns: ns, cancel: cancel}
	s.asked.Store(&[]string{})
	ln, err := ns.Listen(netip.AddrPortFrom(wire.MetadataAddress, 80).String())
	if err != nil {
		cancel()
		return nil, nil, err
	}
	srv := httpapi.NewServer(httpapi.Config{
		Name: "metadata", Handler: a.metadata(s), Logger: a.cfg.Logger, RequestsMax: metadataRequestsMax,
	})
	s.tasks.Go(func() {
		if err := srv.Serve(ln); err != nil {
			a.cfg.Logger.Warn("serve metadata", "namespace", ns.Name(), "error", err)
		}
	})
	s.tasks.Go(func() {
		<-ctx.Done()
		late, done := context.WithTimeout(context.Background(), metadataStopWait)
		defer done()
		_ = srv.Shutdown(late)
	})
	a.services[ns.Name()] = s
	return s, ctx, nil
}

// serveNetwork brings a network's DHCP namespace about and serves in it.
func (a *Agent) serveNetwork(n wire.Network) error {
	d := n.DHCP
	ns, err := a.kernel.Namespace(d.Namespace)
	if err != nil {
		return err
	}
	if err := ns.Loopback(netip.PrefixFrom(wire.MetadataAddress, 32)); err != nil {
		return err
	}
	added, err := a.kernel.Leg(ns, kernel.Leg{
		Outside: d.Leg, Inside: wire.DHCPInside, Bridge: n.Bridge, MAC: d.MAC, MTU: n.MTU, Addresses: d.Addresses,
		Isolated: true, // not heard by other peers, which have their own with the same addresses
	})
	if err != nil {
		return err
	}
	s := a.services[d.Namespace]
	if s != nil && (s.ns != ns || len(added) > 0 && len(added) == len(d.Addresses)) {
		a.stopService(d.Namespace) // the device is another than the sockets were bound to
		s = nil
	}
	if s == nil {
		if s, err = a.serveDHCP(ns, n.MTU, *d); err != nil {
			return err
		}
	}
	s.network.Store(&dhcp.Network{MTU: n.MTU, DHCP: *d})
	s.asked.Store(&[]string{n.ID})
	return nil
}

func (a *Agent) serveDHCP(ns *kernel.Namespace, mtu int, d wire.DHCP) (*service, error) {
	s, ctx, err := a.serve(ns)
	if err != nil {
		return nil, err
	}
	s.network.Store(&dhcp.Network{MTU: mtu, DHCP: d})
	four, err := ns.ListenDHCP4(wire.DHCPInside)
	if err != nil {
		a.stopService(ns.Name())
		return nil, err
	}
	s.tasks.Go(func() { dhcp.Serve4(ctx, four, s.network.Load, a.cfg.Logger) })
	six, err := ns.ListenDHCP6(wire.DHCPInside)
	if err != nil {
		// Without IPv6 on the machine the rest works.
		a.cfg.Logger.Debug("no DHCPv6", "namespace", ns.Name(), "error", err)
		return s, nil
	}
	s.tasks.Go(func() { dhcp.Serve6(ctx, six, s.network.Load, a.cfg.Logger) })
	return s, nil
}

// serveRouter serves metadata and router advertisements in a router's namespace. fresh: a leg is another than before.
func (a *Agent) serveRouter(ns *kernel.Namespace, r wire.Router, up []string, fresh bool) error {
	var devices, networks []string
	legs := map[string]dhcp.Advertised{}
	for _, l := range r.Legs {
		if !slices.Contains(up, l.Inside) || l.Inside == r.Gateway {
			continue
		}
		networks = append(networks, l.NetworkID)
		if len(l.Subnets) > 0 {
			devices = append(devices, l.Inside)
			legs[l.Inside] = advertised(l)
		}
	}
	s := a.services[r.Namespace]
	if s != nil && (s.ns != ns || fresh || !slices.Equal(s.devices, devices)) {
		a.stopService(r.Namespace)
		s = nil
	}
	var bad []error
	if s == nil {
		var ctx context.Context
		var err error
		if s, ctx, err = a.serve(ns); err != nil {
			return err
		}
		s.legs.Store(&legs)
		s.devices = devices
		for _, device := range devices {
			conn, err := ns.ListenICMP6(device)
			if err != nil {
				bad = append(bad, err)
				continue
			}
			first := legs[device]
			s.tasks.Go(func() {
				dhcp.Advertise(ctx, conn, func() dhcp.Advertised {
					if l, ok := (*s.legs.Load())[device]; ok {
						return l
					}
					return first
				}, a.cfg.Logger)
			})
		}
	}
	s.legs.Store(&legs)
	s.asked.Store(&networks)
	s.floating = r.Floating
	return errors.Join(bad...)
}

func (a *Agent) stopService(namespace string) {
	if s, ok := a.services[namespace]; ok {
		s.cancel()
		s.tasks.Wait()
		delete(a.services, namespace)
	}
}

func (a *Agent) stopServices() {
	for _, s := range a.services {
		s.cancel()
	}
	for name := range a.services {
		a.stopService(name)
	}
}

// metadata finds out which port asks, by network and source address, and hands the request on.
func (a *Agent) metadata(s *service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.cfg.Metadata == nil {
			http.Error(w, "no metadata service runs here", http.StatusServiceUnavailable)
			return
		}
		addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if !ok || addr == nil || err != nil {
			http.Error(w, "no address", http.StatusBadRequest)
			return
		}
		port, err := a.portAt(r.Context(), *s.asked.Load(), from.Addr().Unmap())
		switch {
		case errs.Is(err, errs.NotFound):
			http.Error(w, "no port has the address "+from.Addr().String(), http.StatusNotFound)
		case err != nil:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		default:
			a.cfg.Metadata.ServeGuest(w, r, port.ID, port.DeviceID, port.ProjectID)
		}
	})
}

// portAt finds the port that has an address on one of the networks.
func (a *Agent) portAt(ctx context.Context, networks []string, ip netip.Addr) (port model.Port, err error) {
	err = a.cfg.Store.View(ctx, func(r state.Reader) error {
		for _, id := range networks {
			subnets, err := model.SubnetsOf(r, id)
			if err != nil {
				return err
			}
			for _, s := range subnets {
				if !s.CIDR.Contains(ip) {
					continue
				}
				row, there, err := model.Optional(model.Addresses.Get(r, model.AddressID(s.ID, ip)))
				if err != nil {
					return err
				}
				if there {
					port, err = model.Ports.Get(r, row.PortID)
					return err
				}
			}
		}
		return errs.New(errs.NotFound, "no port has the address %s", ip)
	})
	return port, err
}
