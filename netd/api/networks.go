package api

import (
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/netd/core"
	"henge/netd/fault"
	"henge/netd/model"
)

const (
	mtuMax  = 65535
	vniSane = 1<<31 - 1
)

func networks() resource[model.Network, *model.Network] {
	return resource[model.Network, *model.Network]{
		name: "network", plural: "networks", path: "networks", typ: "NetworkNotFound", label: "Network", table: model.Networks, others: true,
		sees:   seesNetwork,
		show:   showNetwork,
		create: createNetwork,
		update: updateNetwork,
		remove: func(c *call, w state.Writer, n model.Network) error { return c.Core.DeleteNetwork(w, n.ID) },
	}
}

// seesNetwork: what is shared, external, or lent to the caller's project.
func seesNetwork(c *call, r state.Reader, n *model.Network) bool {
	return n.Shared || n.External || c.lent(r, n.ID, "access_as_shared") || c.lent(r, n.ID, "access_as_external")
}

// lent tells whether an RBAC policy lets the caller's project use an object.
func (c *call) lent(r state.Reader, objectID, action string) bool {
	for p, err := range model.Policies.Where(r, "object", objectID) {
		if err == nil && p.Action == action && (p.Target == "*" || c.mine(p.Target)) {
			return true
		}
	}
	return false
}

// mayUse tells whether the caller may put ports on a network.
func (c *call) mayUse(r state.Reader, n model.Network) bool {
	return c.admin() || c.mine(n.ProjectID) || n.Shared || c.lent(r, n.ID, "access_as_shared")
}

func showNetwork(c *call, r state.Reader, n *model.Network) document {
	subnets := []string{}
	for s, err := range model.Subnets.Where(r, "network", n.ID) {
		if err == nil {
			subnets = append(subnets, s.ID)
		}
	}
	d := base(&n.Standard, document{"admin_state_up": n.AdminUp, "status": "ACTIVE", "shared": n.Shared || c.lent(r, n.ID, "access_as_shared"),
		"router:external": n.External, "is_default": n.IsDefault, "mtu": n.MTU, "port_security_enabled": n.PortSecurity, "subnets": subnets,
		"availability_zone_hints": orEmpty(n.ZoneHints), "availability_zones": []string{zoneName}, "l2_adjacency": true, "dns_domain": n.DNSDomain,
		"ipv4_address_scope": nil, "ipv6_address_scope": nil})
	if !n.AdminUp {
		d["status"] = "DOWN"
	}
	if c.admin() {
		d["provider:network_type"], d["provider:physical_network"], d["provider:segmentation_id"] = string(n.Type), orNull(n.PhysicalNetwork), orNull(n.VNI)
	}
	c.scopes(r, n.ID, d)
	return d
}

// scopes says which address scopes a network's subnets are in.
func (c *call) scopes(r state.Reader, networkID string, d document) {
	for s, err := range model.Subnets.Where(r, "network", networkID) {
		if err != nil || s.PoolID == "" {
			continue
		}
		pool, err := model.SubnetPools.Get(r, s.PoolID)
		if err != nil || pool.AddressScopeID == "" {
			continue
		}
		if s.CIDR.Addr().Is4() {
			d["ipv4_address_scope"] = pool.AddressScopeID
		} else {
			d["ipv6_address_scope"] = pool.AddressScopeID
		}
	}
}

// fillNetwork takes what create and update have in common.
func fillNetwork(in *input, n *model.Network) {
	in.standard(&n.Standard)
	in.boolean("admin_state_up", &n.AdminUp)
	in.privileged("shared", "router:external", "is_default", "provider:network_type", "provider:physical_network", "provider:segmentation_id")
	in.boolean("shared", &n.Shared)
	in.boolean("router:external", &n.External)
	in.boolean("is_default", &n.IsDefault)
	in.boolean("port_security_enabled", &n.PortSecurity)
	in.number("mtu", &n.MTU, 0, mtuMax)
	in.text("dns_domain", &n.DNSDomain, 255)
	in.texts("availability_zone_hints", &n.ZoneHints)
	in.zones(n.ZoneHints)
	in.once("availability_zone_hints", "provider:network_type", "provider:physical_network", "provider:segmentation_id")
	in.never("subnets", "availability_zones", "l2_adjacency", "ipv4_address_scope", "ipv6_address_scope")
	if n.IsDefault && !n.External {
		in.refuse(fault.Invalid("is_default can only be set on an external network"))
	}
}

func createNetwork(c *call, w state.Writer, in *input) (model.Network, error) {
	n := model.Network{AdminUp: true, PortSecurity: true}
	var typ string
	in.text("provider:network_type", &typ, 64)
	in.text("provider:physical_network", &n.PhysicalNetwork, 64)
	in.number("provider:segmentation_id", &n.VNI, 0, vniSane)
	fillNetwork(in, &n)
	if err := in.done(); err != nil {
		return n, err
	}
	n.Type = model.NetworkType(typ)
	return c.Core.CreateNetwork(w, core.NetworkRequest{Network: n})
}

func updateNetwork(c *call, w state.Writer, n model.Network, in *input) (model.Network, error) {
	fillNetwork(in, &n)
	if err := in.done(); err != nil {
		return n, err
	}
	return c.Core.UpdateNetwork(w, n)
}

// zones checks hints; there is one zone until peers are put into several.
func (in *input) zones(hints []string) {
	for _, hint := range hints {
		if hint != zoneName && in.err == nil && in.has("availability_zone_hints") {
			in.refuse(fault.NotFound("AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", brief([]byte(hint))))
		}
	}
}

func subnets() resource[model.Subnet, *model.Subnet] {
	return resource[model.Subnet, *model.Subnet]{
		name: "subnet", plural: "subnets", path: "subnets", typ: "SubnetNotFound", label: "Subnet", table: model.Subnets, others: true,
		sees:   seesSubnet,
		show:   showSubnet,
		create: createSubnet,
		update: updateSubnet,
		owns: func(c *call, r state.Reader, s *model.Subnet) bool {
			n, err := model.Networks.Get(r, s.NetworkID)
			return err == nil && c.mine(n.ProjectID)
		},
		remove: func(c *call, w state.Writer, s model.Subnet) error { return c.Core.DeleteSubnet(w, s.ID) },
	}
}

// seesSubnet: those of networks that the caller may use.
func seesSubnet(c *call, r state.Reader, s *model.Subnet) bool {
	n, err := model.Networks.Get(r, s.NetworkID)
	return err == nil && c.mayUse(r, n)
}

func showSubnet(_ *call, _ state.Reader, s *model.Subnet) document {
	version := 4
	if s.CIDR.IsValid() && s.CIDR.Addr().Is6() {
		version = 6
	}
	pools := []document{}
	for _, p := range s.Pools {
		pools = append(pools, document{"start": p.Start.String(), "end": p.End.String()})
	}
	return base(&s.Standard, document{"network_id": s.NetworkID, "ip_version": version, "cidr": s.CIDR.String(), "gateway_ip": addrOrNull(s.Gateway),
		"allocation_pools": pools, "dns_nameservers": orEmpty(s.DNS), "host_routes": showRoutes(s.Routes), "enable_dhcp": s.DHCP,
		"ipv6_ra_mode": orNull(string(s.RAMode)), "ipv6_address_mode": orNull(string(s.AddressMode)), "subnetpool_id": orNull(s.PoolID),
		"service_types": orEmpty(s.ServiceType), "segment_id": nil})
}

func addrOrNull(ip netip.Addr) any {
	if !ip.IsValid() {
		return nil
	}
	return ip.String()
}

func showRoutes(routes []model.Route) []document {
	shown := []document{}
	for _, r := range routes {
		shown = append(shown, document{"destination": r.Destination.String(), "nexthop": r.NextHop.String()})
	}
	return shown
}

// routes takes a list of destinations and next hops.
func (in *input) routes(name string, into *[]model.Route) {
	items, given := in.objects(name)
	if !given {
		return
	}
	*into = nil
	for _, item := range items {
		var r model.Route
		item.require("destination", "nexthop")
		item.prefix("destination", &r.Destination)
		item.addr("nexthop", &r.NextHop)
		in.also(item)
		if in.err == nil && (!r.Destination.IsValid() || !r.NextHop.IsValid()) {
			in.fail(name, "a route has a destination and a nexthop")
		}
		if in.err == nil && slices.Contains(*into, r) {
			in.fail(name, "Duplicate items in the list: %s via %s", r.Destination, r.NextHop)
		}
		*into = append(*into, r)
	}
}

// fillSubnet takes what create and update have in common.
func fillSubnet(in *input, s *model.Subnet) {
	in.standard(&s.Standard)
	in.boolean("enable_dhcp", &s.DHCP)
	in.texts("dns_nameservers", &s.DNS)
	for i, server := range s.DNS {
		if _, err := netip.ParseAddr(server); err != nil && in.has("dns_nameservers") {
			in.fail("dns_nameservers", "'%s' is not a valid nameserver. '%s' is not a valid IP address", server, server)
		}
		if slices.Contains(s.DNS[:i], server) && in.has("dns_nameservers") {
			in.fail("dns_nameservers", "Duplicate items in the list: '%s'", server)
		}
	}
	in.routes("host_routes", &s.Routes)
	in.texts("service_types", &s.ServiceType)
	if items, given := in.objects("allocation_pools"); given {
		s.Pools = []model.Range{}
		for _, item := range items {
			var pool model.Range
			item.require("start", "end")
			item.addr("start", &pool.Start)
			item.addr("end", &pool.End)
			in.also(item)
			s.Pools = append(s.Pools, pool)
		}
	}
	in.never("dns_publish_fixed_ip")
	if raw, ok := in.get("segment_id"); ok && !null(raw) {
		in.fail("segment_id", "there are no routed networks here")
	}
}

func createSubnet(c *call, w state.Writer, in *input) (model.Subnet, error) {
	req := core.SubnetRequest{AutoGateway: true, IPVersion: 4}
	s := &req.Subnet
	s.DHCP = true
	in.require("network_id")
	in.id("network_id", &s.NetworkID)
	in.choiceOfInts("ip_version", &req.IPVersion, 4, 6)
	in.prefix("cidr", &s.CIDR)
	in.number("prefixlen", &req.Length, 0, 128)
	in.addr("gateway_ip", &s.Gateway)
	req.AutoGateway = !in.has("gateway_ip")
	in.mode("ipv6_ra_mode", &s.RAMode)
	in.mode("ipv6_address_mode", &s.AddressMode)
	in.poolOf(w, s, req.IPVersion)
	fillSubnet(in, s)
	in.shape(s, req.IPVersion)
	if err := in.done(); err != nil {
		return *s, err
	}
	n, err := networks().fetch(c, w, s.NetworkID)
	if err != nil {
		return *s, err
	}
	if !c.admin() && !c.mine(n.ProjectID) {
		return *s, networks().missing(n.ID)
	}
	if len(s.Pools) == 0 {
		s.Pools = nil
	}
	return c.Core.CreateSubnet(w, req)
}

// poolOf reads where the CIDR is to be cut from.
func (in *input) poolOf(r state.Reader, s *model.Subnet, version int) {
	in.id("subnetpool_id", &s.PoolID)
	var wanted bool
	in.boolean("use_default_subnetpool", &wanted)
	if wanted && s.PoolID == "" && in.err == nil {
		for p, err := range model.SubnetPools.All(r) {
			if err == nil && p.IsDefault && len(p.Prefixes) > 0 && p.Prefixes[0].Addr().Is4() == (version == 4) {
				s.PoolID = p.ID
			}
		}
		if s.PoolID == "" {
			in.refuse(fault.BadBody("No default subnetpool for IPv%d", version))
		}
	}
	if s.PoolID == "" || in.err != nil {
		return
	}
	if _, err := subnetPools().fetch(in.c, r, s.PoolID); err != nil {
		in.refuse(err)
	}
}

// shape looks at what must fit together before core sees it.
func (in *input) shape(s *model.Subnet, version int) {
	switch {
	case in.err != nil:
	case !s.CIDR.IsValid() && s.PoolID == "":
		in.refuse(fault.BadRequest("subnets", "a subnetpool must be specified in the absence of a cidr"))
	case s.CIDR.IsValid() && s.CIDR.Addr().Is4() != (version == 4):
		in.refuse(fault.Invalid("cidr '%s' does not match the ip_version '%d'", s.CIDR, version))
	case s.CIDR.IsValid() && s.CIDR.Masked() != s.CIDR:
		in.fail("cidr", "'%s' isn't a recognized IP subnet cidr, '%s' is recommended", s.CIDR, s.CIDR.Masked())
	}
}

// mode takes an IPv6 mode.
func (in *input) mode(name string, into *model.IPv6Mode) {
	if raw, ok := in.raw[name]; ok && null(raw) {
		in.get(name)
		return
	}
	var s string
	in.choice(name, &s, string(model.SLAAC), string(model.DHCPv6Stateful), string(model.DHCPv6Stateless))
	*into = model.IPv6Mode(s)
}

func (in *input) choiceOfInts(name string, into *int, choices ...int) {
	n := in.integer(name)
	if n == nil {
		return
	}
	if !slices.Contains(choices, *n) {
		in.fail(name, "'%d' is not in %v", *n, choices)
		return
	}
	*into = *n
}

func updateSubnet(c *call, w state.Writer, s model.Subnet, in *input) (model.Subnet, error) {
	in.once("network_id", "ip_version", "cidr", "prefixlen", "subnetpool_id", "use_default_subnetpool", "ipv6_ra_mode", "ipv6_address_mode")
	in.addr("gateway_ip", &s.Gateway)
	fillSubnet(in, &s)
	if err := in.done(); err != nil {
		return s, err
	}
	return c.Core.UpdateSubnet(w, s)
}
