package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"henge/cluster/state"
	identitymodel "henge/identity/model"

	"henge/identity"
	"henge/internal/clock"
	"henge/netd"
)

// networkConfig is [network] of henge.toml.
type networkConfig struct {
	PublicURL     string `toml:"public_url"`
	PublicNetwork string `toml:"public_network"`
}

const (
	publicNetworkName = "public"        // of the network that henge up makes, and of its physical network
	publicNetworkCIDR = "172.24.4.0/24" // what henge up gives it

	privateNetworkName = "private" // of the first project, behind a router with a leg in the public one
	privateNetworkCIDR = "10.0.0.0/24"
	firstRouterName    = "router1"
)

// networkService is the Neutron API.
var networkService = service{
	role: "network", port: func(p *portsConfig) *int { return &p.Network }, help: "Neutron v2", health: "/healthcheck", try: "openstack network list",
	url: func(c *config) string { return publicURL(c, c.Network.PublicURL, c.Ports.Network) },
	catalog: func(url string) []identity.BootstrapService {
		return []identity.BootstrapService{{Type: "network", Name: "neutron", Description: "OpenStack Networking", Public: url, Internal: url, Admin: url}}
	},
	start: startNetwork,
}

func startNetwork(p *peer, life context.Context) (http.Handler, error) {
	s, err := netd.New(netd.Config{Store: p.node.State(), Clock: clock.System{}, Logger: p.logger, Tokens: p.identity.Tokens(), Alive: p.node.Alive,
		IdentityURL: p.cfg.identityURL()})
	if err != nil {
		return nil, err
	}
	p.run(life, "network", s.Run)
	return s.Handler(), nil
}

// checkNetwork looks at [network].
func checkNetwork(c networkConfig) error {
	if c.PublicNetwork == "" {
		return nil
	}
	prefix, err := netip.ParsePrefix(c.PublicNetwork)
	if err != nil || !prefix.Addr().Is4() || prefix.Masked() != prefix || prefix.Bits() > 29 {
		return fmt.Errorf("network.public_network %q: it is an IPv4 network of at least 8 addresses, such as %s, or empty", c.PublicNetwork, publicNetworkCIDR)
	}
	return nil
}

// seedNetwork makes the first networks, in the project admin.
func seedNetwork(ctx context.Context, store state.Store, c config) error {
	if c.Network.PublicNetwork == "" || !c.has("network") {
		return nil
	}
	var project identitymodel.Project
	err := store.View(ctx, func(r state.Reader) (err error) {
		project, err = identitymodel.FindProject(r, "", identitymodel.DefaultDomainID, "admin")
		return err
	})
	if err != nil {
		return err
	}
	return netd.Seed(ctx, store, clock.System{}, netd.First{Public: publicNetworkName, Physical: publicNetworkName,
		CIDR: netip.MustParsePrefix(c.Network.PublicNetwork), Project: project.ID,
		Private: privateNetworkName, PrivateCIDR: netip.MustParsePrefix(privateNetworkCIDR), Router: firstRouterName})
}
