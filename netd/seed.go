package netd

import (
	"context"
	"fmt"
	"net/netip"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/netd/core"
	"henge/netd/model"
)

// First is what a new cloud begins with: an external network, and a network of the first project behind a router, as DevStack has them.
type First struct {
	Public   string // the external network's name
	Physical string
	CIDR     netip.Prefix
	Project  string // that they belong to

	Private     string // the project's network; "": none
	PrivateCIDR netip.Prefix
	Router      string
}

// Seed makes the first networks, unless the physical network is in use already. Repeating it changes nothing.
func Seed(ctx context.Context, store state.Store, c clock.Clock, f First) error {
	make := core.New(core.Config{Clock: c})
	err := store.Update(ctx, func(w state.Writer) error {
		n := model.Network{AdminUp: true, External: true, IsDefault: true, PortSecurity: true, Type: model.Flat, PhysicalNetwork: f.Physical}
		n.Name, n.ProjectID = f.Public, f.Project
		if _, there, err := model.Optional(model.Segments.Get(w, model.SegmentID(n))); err != nil || there {
			return err
		}
		public, _, err := f.network(w, make, n, f.CIDR)
		if err != nil || f.Private == "" {
			return err
		}
		return f.behind(w, make, public.ID)
	})
	if err != nil {
		return fmt.Errorf("make the first networks: %w", err)
	}
	return nil
}

func (f *First) network(w state.Writer, make *core.Core, n model.Network, cidr netip.Prefix) (model.Network, model.Subnet, error) {
	n, err := make.CreateNetwork(w, core.NetworkRequest{Network: n})
	if err != nil {
		return n, model.Subnet{}, err
	}
	s := core.SubnetRequest{AutoGateway: true, Subnet: model.Subnet{NetworkID: n.ID, CIDR: cidr, DHCP: !n.External}}
	s.Name, s.ProjectID = n.Name+"-subnet", f.Project
	subnet, err := make.CreateSubnet(w, s)
	return n, subnet, err
}

// behind makes the private network, and the router between it and the public one.
func (f *First) behind(w state.Writer, make *core.Core, publicID string) error {
	n := model.Network{AdminUp: true, PortSecurity: true}
	n.Name, n.ProjectID = f.Private, f.Project
	_, subnet, err := f.network(w, make, n, f.PrivateCIDR)
	if err != nil {
		return err
	}
	r := model.Router{AdminUp: true}
	r.Name, r.ProjectID = f.Router, f.Project
	if r, err = make.CreateRouter(w, r, &core.GatewayRequest{NetworkID: publicID, SNAT: true}); err != nil {
		return err
	}
	_, err = make.AddInterface(w, r.ID, subnet.ID, "")
	return err
}
