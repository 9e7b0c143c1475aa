package core

import (
	"math/rand/v2"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

const (
	vniMax     = 1<<24 - 1
	vniFirst   = 1000 // networks get small numbers while there are small ones: they are easier to read in a capture
	vniProbes  = 24
	mtuDefault = 1500 // of an underlay that no agent has described
	mtuMin     = 68
	mtuMinIPv6 = 1280
	vxlanOver4 = 50 // outer Ethernet, IPv4, UDP and VXLAN headers
	vxlanOver6 = 70
)

// NetworkRequest is a network to be made. Its Type "" is VXLAN; MTU 0 is the largest that fits; VNI 0 is any free one.
type NetworkRequest struct{ model.Network }

// CreateNetwork makes a network.
func (c *Core) CreateNetwork(w state.Writer, req NetworkRequest) (model.Network, error) {
	n := req.Network
	if err := c.room(w, n.ProjectID, "network"); err != nil {
		return n, err
	}
	if n.Type == "" {
		n.Type = model.VXLAN
	}
	c.born(&n.Standard)
	if err := c.takeSegment(w, &n); err != nil {
		return n, err
	}
	if err := c.fitMTU(w, &n); err != nil {
		return n, err
	}
	if err := checkDefault(w, n); err != nil {
		return n, err
	}
	return n, model.Networks.Put(w, n.ID, n)
}

// takeSegment makes the VNI or the physical network this network's alone.
func (c *Core) takeSegment(w state.Writer, n *model.Network) error {
	switch {
	case n.Type == model.Flat && n.PhysicalNetwork == "":
		return fault.Invalid("physical_network required for flat provider network")
	case n.Type == model.Flat && n.VNI != 0:
		return fault.Invalid("segmentation_id prohibited for flat provider network")
	case n.Type == model.VXLAN && n.PhysicalNetwork != "":
		return fault.Invalid("provider:physical_network specified for vxlan network")
	case n.Type != model.Flat && n.Type != model.VXLAN:
		return fault.Invalid("network_type value '%s' not supported", n.Type)
	}
	if n.VNI < 0 || n.VNI > vniMax {
		return fault.Invalid("segmentation_id out of range (1 through %d)", vniMax)
	}
	if n.Type == model.VXLAN && n.VNI == 0 {
		return takeVNI(w, n)
	}
	if _, taken, err := model.Optional(model.Segments.Get(w, model.SegmentID(*n))); err != nil {
		return err
	} else if taken && n.Type == model.Flat {
		return fault.Conflict("FlatNetworkInUse", "Unable to create the flat network. Physical network %s is in use.", n.PhysicalNetwork)
	} else if taken {
		return fault.Conflict("TunnelIdInUse", "Unable to create the network. The tunnel ID %d is in use.", n.VNI)
	}
	return model.Segments.Put(w, model.SegmentID(*n), model.Segment{NetworkID: n.ID})
}

// takeVNI tries some numbers at random, in a window that grows, so that networks made at the same time seldom want the same one.
func takeVNI(w state.Writer, n *model.Network) error {
	for probe := range vniProbes {
		window := min(vniMax-vniFirst, 256<<min(probe, 16))
		n.VNI = vniFirst + rand.IntN(window)
		_, taken, err := model.Optional(model.Segments.Get(w, model.SegmentID(*n)))
		if err != nil {
			return err
		}
		if !taken {
			return model.Segments.Put(w, model.SegmentID(*n), model.Segment{NetworkID: n.ID})
		}
	}
	return errs.With(errs.Unavailable, &fault.Error{Type: "NoNetworkAvailable", Message: "Unable to create the network. No tenant network is available for allocation."})
}

// fitMTU gives the network the largest MTU that its frames have on every peer, or checks the one that was asked for.
func (c *Core) fitMTU(r state.Reader, n *model.Network) error {
	most, err := c.mtuMax(r, *n)
	if err != nil {
		return err
	}
	if n.MTU == 0 {
		n.MTU = most
	}
	if n.MTU > most || n.MTU < mtuMin {
		return fault.Invalid("Requested MTU is too big or too small: %d is not between %d and %d, what the peers' underlay carries", n.MTU, mtuMin, most)
	}
	return nil
}

// mtuMax looks at what the agents have said of their interfaces.
func (c *Core) mtuMax(r state.Reader, n model.Network) (int, error) {
	least := 0
	for a, err := range model.Agents.All(r) {
		if err != nil {
			return 0, err
		}
		if !c.cfg.Alive(a.Host) {
			continue
		}
		mtu := a.PhysicalMTU[n.PhysicalNetwork]
		if n.Type == model.VXLAN {
			mtu = a.UnderlayMTU - vxlanOver4
			if a.Address.Is6() && !a.Address.Is4In6() {
				mtu = a.UnderlayMTU - vxlanOver6
			}
		}
		if mtu >= mtuMin && (least == 0 || mtu < least) {
			least = mtu
		}
	}
	switch {
	case least > 0:
		return least, nil
	case n.Type == model.VXLAN:
		return mtuDefault - vxlanOver4, nil
	}
	return mtuDefault, nil
}

func checkDefault(r state.Reader, n model.Network) error {
	if !n.IsDefault {
		return nil
	}
	for other, err := range model.Networks.All(r) {
		if err != nil {
			return err
		}
		if other.IsDefault && other.ID != n.ID {
			return fault.Conflict("DefaultExternalNetworkExists", "A default external network already exists: %s.", other.ID)
		}
	}
	return nil
}

// UpdateNetwork puts a changed network in place of the old one; what cannot change must not have.
func (c *Core) UpdateNetwork(w state.Writer, n model.Network) (model.Network, error) {
	old, err := Network(w, n.ID)
	if err != nil {
		return n, err
	}
	if n.MTU != old.MTU {
		if err := c.fitMTU(w, &n); err != nil {
			return n, err
		}
	}
	if old.External && !n.External {
		if err := unusedOutside(w, n.ID); err != nil {
			return n, err
		}
	}
	if old.Shared && !n.Shared {
		if err := onlyUsedBy(w, n); err != nil {
			return n, err
		}
	}
	if err := checkDefault(w, n); err != nil {
		return n, err
	}
	c.changed(&n.Standard)
	return n, model.Networks.Put(w, n.ID, n)
}

// unusedOutside fails while routers or floating IPs stand on an external network.
func unusedOutside(r state.Reader, id string) error {
	if model.Routers.Count(r, "external", id) > 0 || model.FloatingIPs.Count(r, "network", id) > 0 {
		return fault.Conflict("ExternalNetworkInUse", "External network %s cannot be updated to be made non-external, since it has existing gateway ports.", id)
	}
	return nil
}

// onlyUsedBy fails while other projects have ports on a network that is to be shared no longer.
func onlyUsedBy(r state.Reader, n model.Network) error {
	for p, err := range model.Ports.Where(r, "network", n.ID) {
		if err != nil {
			return err
		}
		if p.ProjectID != n.ProjectID && p.ProjectID != "" {
			return fault.Conflict("InvalidSharedSetting", "Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", n.ID)
		}
	}
	return nil
}

// DeleteNetwork removes a network with its subnets, unless somebody has a port on it.
func (c *Core) DeleteNetwork(w state.Writer, id string) error {
	n, err := Network(w, id)
	if err != nil {
		return err
	}
	ports, err := model.Collect(model.Ports.Where(w, "network", id))
	if err != nil {
		return err
	}
	floating, err := model.Collect(model.FloatingIPs.Where(w, "network", id))
	if err != nil {
		return err
	}
	held := slices.ContainsFunc(floating, func(f model.FloatingIP) bool { return f.PortID != "" })
	if held || slices.ContainsFunc(ports, func(p model.Port) bool {
		return p.DeviceOwner != model.OwnerDHCP && p.DeviceOwner != model.OwnerFloatingIP
	}) {
		return fault.Conflict("NetworkInUse", "Unable to complete operation on network %s. There are one or more ports still in use on the network.", id)
	}
	for _, f := range floating { // those that stand for nobody go with it
		if err := model.FloatingIPs.Delete(w, f.ID); err != nil {
			return err
		}
	}
	for _, p := range ports {
		if err := c.dropPort(w, p); err != nil {
			return err
		}
	}
	subnets, err := model.SubnetsOf(w, id)
	if err != nil {
		return err
	}
	for _, s := range subnets {
		if err := model.Subnets.Delete(w, s.ID); err != nil {
			return err
		}
	}
	if err := dropPolicies(w, id); err != nil {
		return err
	}
	if err := model.Segments.Delete(w, model.SegmentID(n)); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return model.Networks.Delete(w, id)
}

// dropPolicies removes the RBAC policies of an object that goes.
func dropPolicies(w state.Writer, objectID string) error {
	policies, err := model.Collect(model.Policies.Where(w, "object", objectID))
	if err != nil {
		return err
	}
	for _, p := range policies {
		if err := model.Policies.Delete(w, p.ID); err != nil {
			return err
		}
	}
	return nil
}
