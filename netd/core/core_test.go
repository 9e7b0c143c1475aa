package core

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// cloud is a core over a store of its own.
type cloud struct {
	t     testing.TB
	store *state.Memory
	core  *Core
	dead  map[string]bool
}

func newCloud(t testing.TB) *cloud {
	c := &cloud{t: t, store: state.NewMemory(), dead: map[string]bool{}}
	c.core = New(Config{Clock: clock.NewManual(time.Unix(1_700_000_000, 0)), Alive: func(h string) bool { return !c.dead[h] }})
	return c
}

// try runs one thing in a transaction of its own.
func try[T any](c *cloud, fn func(w state.Writer) (T, error)) (row T, err error) {
	err = c.store.Update(c.t.Context(), func(w state.Writer) (err error) { row, err = fn(w); return err })
	return row, err
}

// must is try where nothing may go wrong.
func must[T any](c *cloud, fn func(w state.Writer) (T, error)) T {
	c.t.Helper()
	row, err := try(c, fn)
	if err != nil {
		c.t.Fatal(err)
	}
	return row
}

// wants an error of the API's type.
func (c *cloud) refused(err error, typ string, kind errs.Kind) {
	c.t.Helper()
	if f := fault.Of(err); f == nil || f.Type != typ || !errs.Is(err, kind) {
		c.t.Fatalf("got %v, want %s (%s)", err, typ, kind)
	}
}

func (c *cloud) network(change func(*model.Network)) model.Network {
	c.t.Helper()
	n := model.Network{AdminUp: true, PortSecurity: true}
	n.ProjectID = "p"
	if change != nil {
		change(&n)
	}
	return must(c, func(w state.Writer) (model.Network, error) { return c.core.CreateNetwork(w, NetworkRequest{n}) })
}

func (c *cloud) subnetOf(n model.Network, cidr string, change func(*SubnetRequest)) model.Subnet {
	c.t.Helper()
	req := SubnetRequest{AutoGateway: true, Subnet: model.Subnet{NetworkID: n.ID, CIDR: netip.MustParsePrefix(cidr)}}
	req.ProjectID = n.ProjectID
	if change != nil {
		change(&req)
	}
	return must(c, func(w state.Writer) (model.Subnet, error) { return c.core.CreateSubnet(w, req) })
}

func (c *cloud) port(n model.Network, requests ...AddressRequest) model.Port {
	c.t.Helper()
	return must(c, func(w state.Writer) (model.Port, error) { return c.core.CreatePort(w, portOn(n, requests...)) })
}

func portOn(n model.Network, requests ...AddressRequest) PortRequest {
	req := PortRequest{Port: model.Port{NetworkID: n.ID, AdminUp: true}, Addresses: requests, AddressesGiven: len(requests) > 0}
	req.ProjectID = n.ProjectID
	return req
}

func at(s model.Subnet, ip string) AddressRequest {
	return AddressRequest{SubnetID: s.ID, IP: netip.MustParseAddr(ip)}
}

// consistent checks what must hold between the tables at any moment.
func (c *cloud) consistent() {
	c.t.Helper()
	err := c.store.View(c.t.Context(), func(r state.Reader) error { return check(r) })
	if err != nil {
		c.t.Fatal(err)
	}
}

func check(r state.Reader) error {
	held, macs := map[string]string{}, map[string]string{}
	groups := 0
	for p, err := range model.Ports.All(r) {
		if err != nil {
			return err
		}
		if other := macs[p.NetworkID+p.MAC]; other != "" {
			return fmt.Errorf("ports %s and %s have the MAC address %s", p.ID, other, p.MAC)
		}
		macs[p.NetworkID+p.MAC] = p.ID
		groups += len(p.Groups)
		for _, f := range p.FixedIPs {
			s, err := model.Subnets.Get(r, f.SubnetID)
			if err != nil || !s.CIDR.Contains(f.IP) {
				return fmt.Errorf("port %s has %s outside of %s: %w", p.ID, f.IP, s.CIDR, err)
			}
			id := model.AddressID(f.SubnetID, f.IP)
			if held[id] != "" {
				return fmt.Errorf("%s is given twice", f.IP)
			}
			held[id] = p.ID
			if row, err := model.Addresses.Get(r, id); err != nil || row.PortID != p.ID {
				return fmt.Errorf("%s of port %s is noted as %s's: %w", f.IP, p.ID, row.PortID, err)
			}
		}
	}
	addresses, inGroups := 0, 0
	for range r.Scan(model.Addresses.Prefix()) {
		addresses++
	}
	for range r.Scan(model.PortGroups.Prefix()) {
		inGroups++
	}
	if addresses != len(held) || inGroups != groups {
		return fmt.Errorf("%d addresses are noted and %d held; %d places in groups noted and %d held", addresses, len(held), inGroups, groups)
	}
	return nil
}

func TestCreatePort_ConcurrentlyUntilFull(t *testing.T) {
	c := newCloud(t)
	n := c.network(nil)
	c.subnetOf(n, "10.0.0.0/26", nil) // 61 addresses besides the gateway's
	var wg sync.WaitGroup
	results := make([]error, 80)
	for i := range results {
		wg.Go(func() {
			_, results[i] = try(c, func(w state.Writer) (model.Port, error) { return c.core.CreatePort(w, portOn(n)) })
		})
	}
	wg.Wait()
	made := 0
	for _, err := range results {
		if err == nil {
			made++
			continue
		}
		c.refused(err, "IpAddressGenerationFailure", errs.Conflict)
	}
	if made != 61 {
		t.Errorf("%d ports on 61 addresses", made)
	}
	c.consistent()
}

func TestCreatePort_SameAddressAtOnce(t *testing.T) {
	c := newCloud(t)
	n := c.network(nil)
	s := c.subnetOf(n, "10.0.0.0/24", nil)
	var wg sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		wg.Go(func() {
			_, results[i] = try(c, func(w state.Writer) (model.Port, error) { return c.core.CreatePort(w, portOn(n, at(s, "10.0.0.77"))) })
		})
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else {
			c.refused(err, "IpAddressAlreadyAllocated", errs.Conflict)
		}
	}
	if won != 1 {
		t.Errorf("%d ports have the address", won)
	}
}

func TestQuota_HoldsUnderConcurrency(t *testing.T) {
	c := newCloud(t)
	must(c, func(w state.Writer) (bool, error) {
		return true, model.Quotas.Put(w, "p", model.Quota{Limits: map[string]int{"network": 5}})
	})
	var wg sync.WaitGroup
	results := make([]error, 12)
	for i := range results {
		wg.Go(func() {
			n := model.Network{}
			n.ProjectID = "p"
			_, results[i] = try(c, func(w state.Writer) (model.Network, error) { return c.core.CreateNetwork(w, NetworkRequest{n}) })
		})
	}
	wg.Wait()
	made := 0
	for _, err := range results {
		if err == nil {
			made++
		} else {
			c.refused(err, "OverQuota", errs.Conflict)
		}
	}
	if made != 5 {
		t.Errorf("%d networks, 5 are allowed", made)
	}
}

func TestNetwork_MTUFollowsTheUnderlay(t *testing.T) {
	c := newCloud(t)
	if n := c.network(nil); n.MTU != 1450 {
		t.Errorf("with no agents: %d", n.MTU)
	}
	for host, mtu := range map[string]int{"a": 9000, "b": 1400, "dead": 1000} {
		must(c, func(w state.Writer) (bool, error) {
			return true, model.Announce(w, model.Agent{Host: host, UnderlayMTU: mtu, Address: netip.MustParseAddr("192.0.2.1")})
		})
	}
	c.dead["dead"] = true
	if n := c.network(nil); n.MTU != 1350 {
		t.Errorf("over 9000 and 1400: %d", n.MTU)
	}
	n := model.Network{MTU: 1400}
	_, err := try(c, func(w state.Writer) (model.Network, error) { return c.core.CreateNetwork(w, NetworkRequest{n}) })
	c.refused(err, "InvalidInput", errs.Invalid)
}

func TestSubnet_Refusals(t *testing.T) {
	c := newCloud(t)
	n := c.network(nil)
	c.subnetOf(n, "10.0.0.0/24", nil)
	ip := netip.MustParseAddr
	for _, tc := range []struct {
		name, cidr, typ string
		kind            errs.Kind
		change          func(*SubnetRequest)
	}{
		{"overlap", "10.0.0.128/25", "InvalidInput", errs.Invalid, nil},
		{"pool outside", "10.1.0.0/24", "OutOfBoundsAllocationPool", errs.Invalid, func(r *SubnetRequest) { r.Pools = []model.Range{{Start: ip("10.1.0.9"), End: ip("10.1.1.9")}} }},
		{"pool backwards", "10.1.0.0/24", "InvalidAllocationPool", errs.Invalid, func(r *SubnetRequest) { r.Pools = []model.Range{{Start: ip("10.1.0.9"), End: ip("10.1.0.3")}} }},
		{"pools overlap", "10.1.0.0/24", "OverlappingAllocationPools", errs.Conflict, func(r *SubnetRequest) {
			r.Pools = []model.Range{{Start: ip("10.1.0.3"), End: ip("10.1.0.9")}, {Start: ip("10.1.0.9"), End: ip("10.1.0.20")}}
		}},
		{"gateway in pool", "10.1.0.0/24", "GatewayConflictWithAllocationPools", errs.Conflict, func(r *SubnetRequest) { r.Pools = []model.Range{{Start: ip("10.1.0.1"), End: ip("10.1.0.9")}} }},
		{"slaac not /64", "2001:db8::/80", "InvalidInput", errs.Invalid, func(r *SubnetRequest) { r.DHCP, r.AddressMode = true, model.SLAAC }},
		{"modes differ", "2001:db8::/64", "InvalidInput", errs.Invalid, func(r *SubnetRequest) { r.DHCP, r.AddressMode, r.RAMode = true, model.SLAAC, model.DHCPv6Stateful }},
		{"modes on IPv4", "10.1.0.0/24", "InvalidInput", errs.Invalid, func(r *SubnetRequest) { r.DHCP, r.RAMode = true, model.SLAAC }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := SubnetRequest{AutoGateway: true, Subnet: model.Subnet{NetworkID: n.ID, CIDR: netip.MustParsePrefix(tc.cidr)}}
			if tc.change != nil {
				tc.change(&req)
			}
			_, err := try(c, func(w state.Writer) (model.Subnet, error) { return c.core.CreateSubnet(w, req) })
			c.refused(err, tc.typ, tc.kind)
		})
	}
}

func TestPort_AddressesOfBothFamilies(t *testing.T) {
	c := newCloud(t)
	n := c.network(nil)
	before := c.port(n)
	four := c.subnetOf(n, "10.0.0.0/24", nil)
	six := c.subnetOf(n, "2001:db8::/64", func(r *SubnetRequest) { r.DHCP, r.AddressMode, r.RAMode = true, model.SLAAC, model.SLAAC })
	p := c.port(n)
	if len(p.FixedIPs) != 2 || p.FixedIPs[0].SubnetID != four.ID || p.FixedIPs[1].IP != derived(six, p.MAC) {
		t.Errorf("a new port has %v", p.FixedIPs)
	}
	again := must(c, func(w state.Writer) (model.Port, error) { return Port(w, before.ID) })
	if len(again.FixedIPs) != 1 || again.FixedIPs[0].IP != derived(six, before.MAC) {
		t.Errorf("a port from before the subnet has %v", again.FixedIPs)
	}
	mac := must(c, func(w state.Writer) (model.Port, error) {
		p.MAC = "fa:16:3e:00:00:09"
		return c.core.UpdatePort(w, PortChange{Port: p})
	})
	if !slices.ContainsFunc(mac.FixedIPs, func(f model.FixedIP) bool { return f.IP == derived(six, "fa:16:3e:00:00:09") }) {
		t.Errorf("after a new MAC address: %v", mac.FixedIPs)
	}
	_, err := try(c, func(w state.Writer) (bool, error) { return true, c.core.DeleteSubnet(w, four.ID) })
	c.refused(err, "SubnetInUse", errs.Conflict)
	must(c, func(w state.Writer) (bool, error) { return true, c.core.DeleteSubnet(w, six.ID) })
	c.consistent()
}

func TestDHCPPort_FollowsSubnets(t *testing.T) {
	c := newCloud(t)
	n := c.network(nil)
	s := c.subnetOf(n, "10.0.0.0/24", func(r *SubnetRequest) { r.DHCP = true })
	find := func() (p model.Port, there bool) {
		_ = c.store.View(t.Context(), func(r state.Reader) (err error) { p, there, err = dhcpPort(r, n.ID); return err })
		return p, there
	}
	p, there := find()
	if !there || len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != s.ID {
		t.Fatalf("the DHCP port: %v, %+v", there, p)
	}
	s.DHCP = false
	must(c, func(w state.Writer) (model.Subnet, error) { return c.core.UpdateSubnet(w, s) })
	if _, there := find(); there {
		t.Error("a DHCP port with nothing to serve")
	}
	s.DHCP = true
	must(c, func(w state.Writer) (model.Subnet, error) { return c.core.UpdateSubnet(w, s) })
	must(c, func(w state.Writer) (bool, error) { return true, c.core.DeleteNetwork(w, n.ID) })
	c.consistent()
	err := c.store.View(t.Context(), func(r state.Reader) error {
		for key := range r.Scan(model.Prefix) {
			return errors.New(key)
		}
		return nil
	})
	if err != nil {
		t.Errorf("a deleted network leaves %v", err)
	}
}

// routed is a project with a router to the world, as `openstack` makes it.
type routed struct {
	*cloud
	public, private model.Network
	subnet          model.Subnet
	router          model.Router
	port            model.Port
}

func newRouted(t *testing.T) *routed {
	c := &routed{cloud: newCloud(t)}
	must(c.cloud, func(w state.Writer) (bool, error) {
		for _, host := range []string{"a", "b"} {
			if err := model.Announce(w, model.Agent{Host: host, Routers: true, UnderlayMTU: 1500}); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	c.public = c.network(func(n *model.Network) { n.External, n.Type, n.PhysicalNetwork = true, model.Flat, "public" })
	c.subnetOf(c.public, "172.24.4.0/24", nil)
	c.private = c.network(nil)
	c.subnet = c.subnetOf(c.private, "10.0.0.0/24", nil)
	c.router = must(c.cloud, func(w state.Writer) (model.Router, error) {
		r := model.Router{AdminUp: true}
		r.ProjectID = "p"
		return c.core.CreateRouter(w, r, &GatewayRequest{NetworkID: c.public.ID, SNAT: true})
	})
	c.port = c.cloud.port(c.private)
	return c
}

func (c *routed) join() {
	must(c.cloud, func(w state.Writer) (model.Port, error) { return c.core.AddInterface(w, c.router.ID, c.subnet.ID, "") })
}

func TestFloatingIP_NeedsARouterAndHoldsIt(t *testing.T) {
	c := newRouted(t)
	req := FloatingRequest{FloatingIP: model.FloatingIP{NetworkID: c.public.ID, PortID: c.port.ID}}
	req.ProjectID = "p"
	create := func(w state.Writer) (model.FloatingIP, error) { return c.core.CreateFloatingIP(w, req) }
	_, err := try(c.cloud, create)
	c.refused(err, "ExternalGatewayForFloatingIPNotFound", errs.NotFound)
	c.join()
	f := must(c.cloud, create)
	if f.RouterID != c.router.ID || f.FixedIP != c.port.FixedIPs[0].IP || !netip.MustParsePrefix("172.24.4.0/24").Contains(f.Address) {
		t.Fatalf("got %+v", f)
	}
	_, err = try(c.cloud, create)
	c.refused(err, "FloatingIPPortAlreadyAssociated", errs.Conflict)
	_, err = try(c.cloud, func(w state.Writer) (model.Port, error) {
		return c.core.RemoveInterface(w, c.router.ID, c.subnet.ID, "")
	})
	c.refused(err, "RouterInterfaceInUseByFloatingIP", errs.Conflict)
	_, err = try(c.cloud, func(w state.Writer) (model.Router, error) { return c.core.UpdateRouter(w, c.router, &GatewayRequest{}) })
	c.refused(err, "RouterExternalGatewayInUseByFloatingIp", errs.Conflict)
	_, err = try(c.cloud, func(w state.Writer) (bool, error) { return true, c.core.DeletePort(w, f.OwnPortID) })
	c.refused(err, "ServicePortInUse", errs.Conflict)
	must(c.cloud, func(w state.Writer) (bool, error) { return true, c.core.DeletePort(w, c.port.ID) })
	f = must(c.cloud, func(w state.Writer) (model.FloatingIP, error) { return FloatingIP(w, f.ID) })
	if f.PortID != "" || f.FixedIP.IsValid() || f.RouterID != "" {
		t.Errorf("after its port went: %+v", f)
	}
	must(c.cloud, func(w state.Writer) (model.Port, error) {
		return c.core.RemoveInterface(w, c.router.ID, c.subnet.ID, "")
	})
	must(c.cloud, func(w state.Writer) (bool, error) { return true, c.core.DeleteRouter(w, c.router.ID) })
	must(c.cloud, func(w state.Writer) (bool, error) { return true, c.core.DeleteFloatingIP(w, f.ID) })
	c.consistent()
}

func TestRouter_InterfacesAndRoutes(t *testing.T) {
	c := newRouted(t)
	c.join()
	_, err := try(c.cloud, func(w state.Writer) (model.Port, error) { return c.core.AddInterface(w, c.router.ID, c.subnet.ID, "") })
	c.refused(err, "BadRequest", errs.Invalid)
	other := c.network(nil)
	overlapping := c.subnetOf(other, "10.0.0.0/16", nil)
	_, err = try(c.cloud, func(w state.Writer) (model.Port, error) {
		return c.core.AddInterface(w, c.router.ID, overlapping.ID, "")
	})
	c.refused(err, "BadRequest", errs.Invalid)
	_, err = try(c.cloud, func(w state.Writer) (bool, error) { return true, c.core.DeleteRouter(w, c.router.ID) })
	c.refused(err, "RouterInUse", errs.Conflict)
	for nexthop, typ := range map[string]string{"10.0.0.1": "InvalidRoutes", "10.9.0.1": "InvalidRoutes"} {
		r := c.router
		r.Routes = []model.Route{{Destination: netip.MustParsePrefix("10.7.0.0/16"), NextHop: netip.MustParseAddr(nexthop)}}
		_, err := try(c.cloud, func(w state.Writer) (model.Router, error) { return c.core.UpdateRouter(w, r, nil) })
		c.refused(err, typ, errs.Invalid)
	}
	c.router.Routes = []model.Route{{Destination: netip.MustParsePrefix("10.7.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.200")}}
	must(c.cloud, func(w state.Writer) (model.Router, error) { return c.core.UpdateRouter(w, c.router, nil) })
	_, err = try(c.cloud, func(w state.Writer) (model.Port, error) {
		return c.core.RemoveInterface(w, c.router.ID, c.subnet.ID, "")
	})
	c.refused(err, "RouterInterfaceInUseByRoute", errs.Conflict)
	_, err = try(c.cloud, func(w state.Writer) (model.Port, error) {
		return c.core.RemoveInterface(w, c.router.ID, overlapping.ID, "")
	})
	c.refused(err, "RouterInterfaceNotFoundForSubnet", errs.NotFound)
}

func TestPlace_MovesRoutersOfALostPeer(t *testing.T) {
	c := newRouted(t)
	c.join()
	lost := c.router.Host
	if lost == "" {
		t.Fatal("the router is on no peer")
	}
	c.dead[lost] = true
	if moved := must(c.cloud, c.core.Place); moved != 1 {
		t.Fatalf("%d routers moved", moved)
	}
	if moved := must(c.cloud, c.core.Place); moved != 0 {
		t.Fatalf("%d routers moved again", moved)
	}
	_ = c.store.View(t.Context(), func(r state.Reader) error {
		ports, _ := model.PortsOf(r, c.router.ID)
		for _, p := range ports {
			if p.BindingHost == lost || p.BindingHost == "" {
				t.Errorf("port %s is bound to %q", p.ID, p.BindingHost)
			}
		}
		if len(ports) != 2 {
			t.Errorf("%d ports", len(ports))
		}
		return nil
	})
}

func TestBindPort(t *testing.T) {
	c := newRouted(t)
	bind := func(b Binding) error {
		_, err := try(c.cloud, func(w state.Writer) (model.Port, error) { return c.core.BindPort(w, c.port.ID, b) })
		return err
	}
	if err := bind(Binding{Host: "a", DeviceID: "server", DeviceOwner: "compute:nova"}); err != nil {
		t.Fatal(err)
	}
	must(c.cloud, func(w state.Writer) (bool, error) {
		return true, model.Observe(w, model.Observed{PortID: c.port.ID, Host: "a", Status: model.Wired})
	})
	c.refused(bind(Binding{Host: "a", DeviceID: "another", DeviceOwner: "compute:nova"}), "PortInUse", errs.Conflict)
	if err := bind(Binding{Host: "b", DeviceID: "server", DeviceOwner: "compute:nova"}); err != nil {
		t.Fatal(err)
	}
	_ = c.store.View(t.Context(), func(r state.Reader) error {
		if _, err := model.ObservedPorts.Get(r, c.port.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("what the old peer observed: %v", err)
		}
		return nil
	})
	p := must(c.cloud, func(w state.Writer) (model.Port, error) { return c.core.UnbindPort(w, c.port.ID) })
	if p.BindingHost != "" || p.DeviceID != "" || len(p.FixedIPs) != 1 {
		t.Errorf("after unbinding: %+v", p)
	}
}

func TestSecurityGroups(t *testing.T) {
	c := newCloud(t)
	n := c.network(nil)
	c.subnetOf(n, "10.0.0.0/24", nil)
	p := c.port(n)
	if len(p.Groups) != 1 {
		t.Fatalf("a new port is in %v", p.Groups)
	}
	_, err := try(c, func(w state.Writer) (bool, error) { return true, c.core.DeleteGroup(w, p.Groups[0]) })
	c.refused(err, "SecurityGroupInUse", errs.Conflict)
	g := model.SecurityGroup{}
	g.Name, g.ProjectID = "web", "p"
	g = must(c, func(w state.Writer) (model.SecurityGroup, error) { return c.core.CreateGroup(w, g) })
	eighty := 80
	rule := model.Rule{GroupID: g.ID, Direction: model.Ingress, EtherType: model.IPv4, Protocol: "tcp", PortMin: &eighty, PortMax: &eighty}
	must(c, func(w state.Writer) (model.Rule, error) { return c.core.CreateRule(w, rule) })
	rule.Protocol = "6"
	_, err = try(c, func(w state.Writer) (model.Rule, error) { return c.core.CreateRule(w, rule) })
	c.refused(err, "SecurityGroupRuleExists", errs.Conflict)
	for typ, change := range map[string]func(*model.Rule){
		"SecurityGroupInvalidPortRange":              func(r *model.Rule) { low := 90; r.PortMin = &low },
		"SecurityGroupProtocolRequiredWithPorts":     func(r *model.Rule) { r.Protocol = "" },
		"SecurityGroupRuleInvalidProtocol":           func(r *model.Rule) { r.Protocol = "smoke" },
		"SecurityGroupRuleParameterConflict":         func(r *model.Rule) { r.RemotePrefix = netip.MustParsePrefix("::/0") },
		"SecurityGroupMissingIcmpType":               func(r *model.Rule) { r.Protocol, r.PortMin = "icmp", nil },
		"SecurityGroupEthertypeConflictWithProtocol": func(r *model.Rule) { r.Protocol = "ipv6-icmp" },
	} {
		wrong := rule
		change(&wrong)
		_, err := try(c, func(w state.Writer) (model.Rule, error) { return c.core.CreateRule(w, wrong) })
		c.refused(err, typ, errs.Invalid)
	}
	must(c, func(w state.Writer) (bool, error) { return true, c.core.DeleteGroup(w, g.ID) })
	c.consistent()
}

func TestSubnetPool_CutsWithoutOverlap(t *testing.T) {
	c := newCloud(t)
	pool := model.SubnetPool{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/22")}, DefaultLength: 24}
	pool.ProjectID = "p"
	pool = must(c, func(w state.Writer) (model.SubnetPool, error) { return c.core.CreatePool(w, pool) })
	cut := func(length int) (model.Subnet, error) {
		n := c.network(nil)
		return try(c, func(w state.Writer) (model.Subnet, error) {
			return c.core.CreateSubnet(w, SubnetRequest{AutoGateway: true, Length: length, Subnet: model.Subnet{NetworkID: n.ID, PoolID: pool.ID}})
		})
	}
	var got []string
	for _, length := range []int{26, 24, 26, 0, 24} {
		s, err := cut(length)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.CIDR.String())
	}
	want := []string{"10.0.0.0/26", "10.0.1.0/24", "10.0.0.64/26", "10.0.2.0/24", "10.0.3.0/24"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, err := cut(24)
	c.refused(err, "SubnetAllocationError", errs.Invalid)
	_, err = cut(4)
	c.refused(err, "PrefixLengthOutOfBounds", errs.Invalid)
}

// A router is placed where it can run: on a peer that is connected to its external network, whenever it gets its gateway.
func TestRouter_PeerOfItsPhysicalNetwork(t *testing.T) {
	c := newCloud(t)
	agent := func(host string, physical map[string]string) {
		t.Helper()
		must(c, func(w state.Writer) (int, error) {
			return 0, model.Agents.Put(w, host, model.Agent{Host: host, ID: model.NewID(), Routers: true, Physical: physical})
		})
	}
	agent("a", nil)
	agent("b", map[string]string{"public": "br"})
	public := c.network(func(n *model.Network) { n.External, n.Type, n.PhysicalNetwork = true, model.Flat, "public" })
	c.subnetOf(public, "172.24.4.0/24", nil)
	with := func() model.Router {
		return must(c, func(w state.Writer) (model.Router, error) {
			return c.core.CreateRouter(w, model.Router{AdminUp: true}, &GatewayRequest{NetworkID: public.ID, SNAT: true})
		})
	}
	place := func() int {
		t.Helper()
		return must(c, func(w state.Writer) (int, error) { return c.core.Place(w) })
	}
	for range 3 {
		if r := with(); r.Host != "b" {
			t.Errorf("a router with a gateway is on %q", r.Host)
		}
	}
	r := must(c, func(w state.Writer) (model.Router, error) {
		return c.core.CreateRouter(w, model.Router{AdminUp: true}, nil)
	})
	if r.Host != "a" {
		t.Errorf("a router without a gateway is on %q, which has more", r.Host)
	}
	r = must(c, func(w state.Writer) (model.Router, error) {
		return c.core.UpdateRouter(w, r, &GatewayRequest{NetworkID: public.ID, SNAT: true})
	})
	ports := must(c, func(w state.Writer) ([]model.Port, error) { return model.PortsOf(w, r.ID) })
	if r.Host != "b" || len(ports) != 1 || ports[0].BindingHost != "b" {
		t.Errorf("after it got its gateway: %q, %+v", r.Host, ports)
	}
	if n := place(); n != 0 {
		t.Errorf("%d routers moved that were well placed", n)
	}
	c.dead["b"] = true
	if n := place(); n != 4 {
		t.Errorf("%d routers moved from a dead peer, to the only one left", n)
	}
	c.dead["b"] = false
	if n := place(); n != 4 {
		t.Errorf("%d routers moved back to the peer that can run them", n)
	}
}
