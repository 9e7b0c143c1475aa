package guests

import (
	"context"
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/errs"
	"henge/netd"
	"henge/netd/core"
	net "henge/netd/model"
)

// Networks shows the network service to compute.
type Networks struct {
	Store state.Store
	Netd  *netd.Service
	ports *state.Memo[*neighbour.Port]
}

// portsMax bounds how many ports are remembered.
const portsMax = 8192

// NewNetworks shows a network service.
func NewNetworks(store state.Store, service *netd.Service) Networks {
	return Networks{Store: store, Netd: service, ports: state.NewMemo[*neighbour.Port](portsMax)}
}

func (n Networks) update(ctx context.Context, fn func(w state.Writer) error) error {
	return n.Store.Update(ctx, fn)
}

// mayUse follows Neutron's rules: the owner's, shared ones, and those that are lent.
func mayUse(r state.Reader, who *authn.Identity, network net.Network) bool {
	if who.HasRole("admin") || network.ProjectID == who.ProjectID || network.Shared {
		return true
	}
	for p, err := range net.Policies.Where(r, "object", network.ID) {
		if err == nil && p.Action == "access_as_shared" && (p.Target == "*" || p.Target == who.ProjectID) {
			return true
		}
	}
	return false
}

func describeNetwork(r state.Reader, network net.Network) (neighbour.Network, error) {
	subnets, err := net.SubnetsOf(r, network.ID)
	return neighbour.Network{ID: network.ID, Name: network.Name, Subnets: len(subnets), External: network.External, Shared: network.Shared}, err
}

// Available leaves out what only admins may use: an admin's server goes on his own project's networks.
func (n Networks) Available(ctx context.Context, who *authn.Identity) (all []neighbour.Network, err error) {
	plain := &authn.Identity{ProjectID: who.ProjectID}
	err = n.Store.View(ctx, func(r state.Reader) error {
		for network, err := range net.Networks.All(r) {
			if err != nil {
				return err
			}
			if !mayUse(r, plain, network) {
				continue
			}
			d, err := describeNetwork(r, network)
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		return nil
	})
	return all, err
}

func (n Networks) Network(ctx context.Context, who *authn.Identity, id string) (d neighbour.Network, err error) {
	err = n.Store.View(ctx, func(r state.Reader) error {
		network, err := core.Network(r, id)
		if err == nil && !mayUse(r, who, network) && !network.External {
			err = errs.New(errs.NotFound, "Network %s could not be found.", id)
		}
		if err != nil {
			return err
		}
		d, err = describeNetwork(r, network)
		return err
	})
	return d, err
}

// AutoNetwork is the one network that the project has; none is made up.
func (n Networks) AutoNetwork(ctx context.Context, who *authn.Identity) (neighbour.Network, error) {
	all, err := n.Available(ctx, who)
	if err != nil {
		return neighbour.Network{}, err
	}
	all = slices.DeleteFunc(all, func(d neighbour.Network) bool { return d.External || d.Subnets == 0 })
	if len(all) != 1 {
		return neighbour.Network{}, errs.New(errs.Invalid, "Unable to automatically allocate a network for project %s: it has %d to choose from", who.ProjectID, len(all))
	}
	return all[0], nil
}

// describePort is a port with what compute shows of it.
func describePort(r state.Reader, p net.Port) (neighbour.Port, error) {
	network, err := core.Network(r, p.NetworkID)
	if err != nil {
		return neighbour.Port{}, err
	}
	d := neighbour.Port{ID: p.ID, ProjectID: p.ProjectID, NetworkID: p.NetworkID, NetworkName: network.Name, MAC: p.MAC, ServerID: p.DeviceID, Host: p.BindingHost, Status: "DOWN"}
	if seen, there, err := net.Optional(net.ObservedPorts.Get(r, p.ID)); err != nil {
		return d, err
	} else if there && seen.Status == net.Wired {
		d.Status = "ACTIVE"
	}
	for _, ip := range p.FixedIPs {
		d.Addresses = append(d.Addresses, model.Address{IP: ip.IP.String(), SubnetID: ip.SubnetID})
		s, err := core.Subnet(r, ip.SubnetID)
		if err != nil {
			return d, err
		}
		ref := model.SubnetRef{ID: s.ID, CIDR: s.CIDR.String(), DNS: s.DNS, DHCP: s.DHCP}
		if s.Gateway.IsValid() {
			ref.Gateway = s.Gateway.String()
		}
		d.Subnets = append(d.Subnets, ref)
	}
	for _, id := range p.Groups {
		g, there, err := net.Optional(net.SecurityGroups.Get(r, id))
		if err != nil {
			return d, err
		}
		if there {
			d.Groups = append(d.Groups, neighbour.SecurityGroup{ID: g.ID, Name: g.Name})
		}
	}
	for f, err := range net.FloatingIPs.Where(r, "port", p.ID) {
		if err != nil {
			return d, err
		}
		d.FloatingIPs = append(d.FloatingIPs, neighbour.FloatingIP{FixedIP: f.FixedIP.String(), IP: f.Address.String()})
	}
	return d, nil
}

func (n Networks) Port(ctx context.Context, who *authn.Identity, id string) (d neighbour.Port, err error) {
	err = n.Store.View(ctx, func(r state.Reader) error {
		p, err := core.Port(r, id)
		if err == nil && p.ProjectID != who.ProjectID && !who.HasRole("admin") {
			err = errs.New(errs.NotFound, "Port %s could not be found.", id)
		}
		if err != nil {
			return err
		}
		d, err = describePort(r, p)
		return err
	})
	return d, err
}

func (n Networks) PortsOf(ctx context.Context, serverID string) (all []neighbour.Port, err error) {
	err = n.Store.View(ctx, func(r state.Reader) error {
		ports, err := net.PortsOf(r, serverID)
		for _, p := range ports {
			if !p.Compute() {
				continue
			}
			d, err := describePort(r, p)
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		return err
	})
	return all, err
}

func (n Networks) Ports(ctx context.Context, ids []string) (map[string]*neighbour.Port, error) {
	found := map[string]*neighbour.Port{}
	err := n.Store.View(ctx, func(r state.Reader) error {
		for _, id := range ids {
			p, there, err := net.Optional(n.ports.Get(r, id, func(r state.Reader) (*neighbour.Port, error) {
				p, err := net.Ports.Get(r, id)
				if err != nil {
					return nil, err
				}
				d, err := describePort(r, p)
				return &d, err
			}))
			if err != nil {
				return err
			}
			if there {
				found[id] = p
			}
		}
		return nil
	})
	return found, err
}

// groupIn finds a security group of a project by id or name.
func groupIn(r state.Reader, who *authn.Identity, idOrName string) (net.SecurityGroup, error) {
	g, there, err := net.Optional(net.SecurityGroups.Get(r, idOrName))
	if err != nil || there && (g.ProjectID == who.ProjectID || who.HasRole("admin")) {
		return g, err
	}
	found := 0
	for other, err := range net.SecurityGroups.Where(r, "project", who.ProjectID) {
		if err != nil {
			return g, err
		}
		if other.Name == idOrName {
			g = other
			found++
		}
	}
	switch found {
	case 0:
		return g, errs.New(errs.NotFound, "Security group %s not found for project %s.", idOrName, who.ProjectID)
	case 1:
		return g, nil
	}
	return g, errs.New(errs.Conflict, "Multiple security groups found matching '%s'. Use an ID to be more specific.", idOrName)
}

func (n Networks) Group(ctx context.Context, who *authn.Identity, idOrName string) (d neighbour.SecurityGroup, err error) {
	err = n.update(ctx, func(w state.Writer) error { // the project's default group is made when it is first asked for
		if idOrName == "default" {
			g, err := n.Netd.Core().DefaultGroup(w, who.ProjectID)
			d = neighbour.SecurityGroup{ID: g.ID, Name: g.Name}
			return err
		}
		g, err := groupIn(w, who, idOrName)
		d = neighbour.SecurityGroup{ID: g.ID, Name: g.Name}
		return err
	})
	return d, err
}

func (n Networks) SetGroups(ctx context.Context, _ *authn.Identity, portID string, groupIDs []string) error {
	return n.update(ctx, func(w state.Writer) error {
		p, err := core.Port(w, portID)
		if err != nil {
			return err
		}
		p.Groups = groupIDs
		_, err = n.Netd.Core().UpdatePort(w, core.PortChange{Port: p})
		return err
	})
}

// keyDescription marks a port that compute made, so that it finds it again.
const keyDescription = "made for a server: "

func (n Networks) CreatePort(ctx context.Context, who *authn.Identity, req neighbour.PortRequest) (d neighbour.Port, err error) {
	err = n.update(ctx, func(w state.Writer) error {
		mine, err := net.PortsOf(w, req.ServerID)
		if err != nil {
			return err
		}
		for _, p := range mine {
			if p.Description == keyDescription+req.Key {
				if p, err = n.bind(w, p.ID, req.ServerID, req.Host); err == nil {
					d, err = describePort(w, p)
				}
				return err
			}
		}
		p, err := n.create(w, who, req)
		if err == nil {
			d, err = describePort(w, p)
		}
		return err
	})
	return d, err
}

func (n Networks) create(w state.Writer, who *authn.Identity, req neighbour.PortRequest) (net.Port, error) {
	asked := core.PortRequest{Port: net.Port{NetworkID: req.NetworkID, DeviceID: req.ServerID, DeviceOwner: net.OwnerComputePrefix + "nova", AdminUp: true, BindingHost: req.Host}}
	asked.ProjectID, asked.Description = req.ProjectID, keyDescription+req.Key
	if req.FixedIP != "" {
		ip, err := netip.ParseAddr(req.FixedIP)
		if err != nil {
			return net.Port{}, errs.New(errs.Invalid, "'%s' is no address", req.FixedIP)
		}
		asked.Addresses, asked.AddressesGiven = []core.AddressRequest{{IP: ip}}, true
	}
	owner := &authn.Identity{ProjectID: req.ProjectID, Roles: who.Roles}
	for _, name := range req.Groups {
		if name == "default" {
			g, err := n.Netd.Core().DefaultGroup(w, req.ProjectID)
			if err != nil {
				return net.Port{}, err
			}
			name = g.ID
		}
		g, err := groupIn(w, owner, name)
		if err != nil {
			return net.Port{}, err
		}
		asked.Groups, asked.GroupsGiven = append(asked.Groups, g.ID), true
	}
	return n.Netd.Core().CreatePort(w, asked)
}

func (n Networks) bind(w state.Writer, portID, serverID, host string) (net.Port, error) {
	return n.Netd.Core().BindPort(w, portID, core.Binding{Host: host, DeviceID: serverID, DeviceOwner: net.OwnerComputePrefix + "nova"})
}

func (n Networks) BindPort(ctx context.Context, _ *authn.Identity, portID, serverID, host string) (d neighbour.Port, err error) {
	err = n.update(ctx, func(w state.Writer) error {
		p, err := n.bind(w, portID, serverID, host)
		if err == nil {
			d, err = describePort(w, p)
		}
		return err
	})
	return d, err
}

// ifOf does something with a port if it is still the server's.
func (n Networks) ifOf(ctx context.Context, portID, serverID string, do func(w state.Writer) error) error {
	return n.update(ctx, func(w state.Writer) error {
		p, there, err := net.Optional(net.Ports.Get(w, portID))
		if err != nil || !there || p.DeviceID != serverID {
			return err
		}
		return do(w)
	})
}

func (n Networks) UnbindPort(ctx context.Context, portID, serverID string) error {
	return n.ifOf(ctx, portID, serverID, func(w state.Writer) error {
		_, err := n.Netd.Core().UnbindPort(w, portID)
		return err
	})
}

func (n Networks) DeletePort(ctx context.Context, portID, serverID string) error {
	return n.ifOf(ctx, portID, serverID, func(w state.Writer) error { return n.Netd.Core().DeletePort(w, portID) })
}

func (n Networks) Wired(ctx context.Context, portID, host string) (neighbour.Wire, error) {
	seen, err := n.Netd.Wait(ctx, portID, host)
	return neighbour.Wire{Tap: seen.Device, MTU: seen.MTU}, err
}

// changeAddresses replaces a port's addresses by what fn makes of them.
func (n Networks) changeAddresses(ctx context.Context, portID string, fn func(old []net.FixedIP) []core.AddressRequest) (d neighbour.Port, err error) {
	err = n.update(ctx, func(w state.Writer) error {
		p, err := core.Port(w, portID)
		if err != nil {
			return err
		}
		if p, err = n.Netd.Core().UpdatePort(w, core.PortChange{Port: p, Addresses: fn(p.FixedIPs), AddressesGiven: true}); err == nil {
			d, err = describePort(w, p)
		}
		return err
	})
	return d, err
}

func (n Networks) AddFixedIP(ctx context.Context, _ *authn.Identity, portID, _ string) (neighbour.Port, error) {
	return n.changeAddresses(ctx, portID, func(old []net.FixedIP) (all []core.AddressRequest) {
		for _, ip := range old {
			all = append(all, core.AddressRequest{SubnetID: ip.SubnetID, IP: ip.IP})
		}
		if len(old) > 0 {
			all = append(all, core.AddressRequest{SubnetID: old[0].SubnetID})
		}
		return all
	})
}

func (n Networks) RemoveFixedIP(ctx context.Context, _ *authn.Identity, portID, ip string) (neighbour.Port, error) {
	return n.changeAddresses(ctx, portID, func(old []net.FixedIP) (all []core.AddressRequest) {
		for _, have := range old {
			if have.IP.String() != ip {
				all = append(all, core.AddressRequest{SubnetID: have.SubnetID, IP: have.IP})
			}
		}
		return all
	})
}
