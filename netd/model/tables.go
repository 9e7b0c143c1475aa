package model

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
)

// Prefix is where all rows lie: one watch sees everything that can change what a peer has to wire.
const Prefix = "network."

// Sep stands between the parts of a compound index key. Ids never hold it.
const Sep = "\x1f"

// The tables. Rows lie under their ids unless a comment says otherwise.
var (
	Networks = state.NewTable[Network](Prefix+"networks").
			Index("project", false, func(n Network) string { return n.ProjectID }).
			Index("open", false, Network.open) // "shared", "external": seen by others too
	Subnets = state.NewTable[Subnet](Prefix+"subnets").
		Index("network", false, func(s Subnet) string { return s.NetworkID }).
		Index("project", false, func(s Subnet) string { return s.ProjectID }).
		Index("pool", false, func(s Subnet) string { return s.PoolID })
	SubnetPools = state.NewTable[SubnetPool](Prefix+"subnetpools").
			Index("project", false, func(p SubnetPool) string { return p.ProjectID }).
			Index("scope", false, func(p SubnetPool) string { return p.AddressScopeID })
	AddressScopes = state.NewTable[AddressScope](Prefix+"address_scopes").
			Index("project", false, func(a AddressScope) string { return a.ProjectID })
	Ports = state.NewTable[Port](Prefix+"ports").
		Index("network", false, func(p Port) string { return p.NetworkID }).
		Index("project", false, func(p Port) string { return p.ProjectID }).
		Index("device", false, func(p Port) string { return p.DeviceID }).
		Index("host", false, func(p Port) string { return p.BindingHost }).
		Index("mac", true, func(p Port) string { return p.NetworkID + Sep + p.MAC })
	PortGroups = state.NewTable[PortGroup](Prefix+"port_groups"). // by PortGroup.RowID
			Index("group", false, func(g PortGroup) string { return g.GroupID })
	ObservedPorts = state.NewTable[Observed](Prefix+"observed_ports"). // by port
			Index("host", false, func(o Observed) string { return o.Host })
	Routers = state.NewTable[Router](Prefix+"routers").
		Index("project", false, func(r Router) string { return r.ProjectID }).
		Index("host", false, func(r Router) string { return r.Host }).
		Index("external", false, Router.external) // the external network of the gateway
	ObservedRouters = state.NewTable[ObservedRouter](Prefix + "observed_routers") // by router
	FloatingIPs     = state.NewTable[FloatingIP](Prefix+"floatingips").
			Index("project", false, func(f FloatingIP) string { return f.ProjectID }).
			Index("network", false, func(f FloatingIP) string { return f.NetworkID }).
			Index("port", false, func(f FloatingIP) string { return f.PortID }).
			Index("router", false, func(f FloatingIP) string { return f.RouterID })
	SecurityGroups = state.NewTable[SecurityGroup](Prefix+"security_groups").
			Index("project", false, func(g SecurityGroup) string { return g.ProjectID }).
			Index("default", true, SecurityGroup.defaultOf) // the project, of its default group
	Rules = state.NewTable[Rule](Prefix+"rules").
		Index("group", false, func(r Rule) string { return r.GroupID }).
		Index("project", false, func(r Rule) string { return r.ProjectID }).
		Index("remote", false, func(r Rule) string { return r.RemoteGroup }).
		Index("same", true, Sameness)
	Quotas   = state.NewTable[Quota](Prefix + "quotas")                                                       // by project
	Agents   = state.NewTable[Agent](Prefix+"agents").Index("id", true, func(a Agent) string { return a.ID }) // by host
	Policies = state.NewTable[RBAC](Prefix+"rbac").
			Index("object", false, func(p RBAC) string { return p.ObjectID }).
			Index("same", true, func(p RBAC) string { return p.ObjectID + Sep + p.Action + Sep + p.Target }).
			Index("target", false, func(p RBAC) string { return p.Target })
	Segments  = state.NewTable[Segment](Prefix + "segments")  // by SegmentID
	Addresses = state.NewTable[Address](Prefix + "addresses") // by AddressID
)

func (n Network) open() string {
	switch {
	case n.Shared:
		return "shared"
	case n.External:
		return "external"
	}
	return ""
}

func (r Router) external() string {
	if r.Gateway == nil {
		return ""
	}
	return r.Gateway.NetworkID
}

func (g SecurityGroup) defaultOf() string {
	if g.IsDefault {
		return g.ProjectID
	}
	return ""
}

// Sameness is equal for rules that let the same pass.
func Sameness(r Rule) string {
	bound := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	protocol, remote := r.Protocol, ""
	if n, ok := ProtocolNumber(r.Protocol, r.EtherType); ok {
		protocol = strconv.Itoa(n)
	}
	if r.RemotePrefix.IsValid() {
		remote = r.RemotePrefix.Masked().String()
	}
	return strings.Join([]string{r.GroupID, r.Direction, r.EtherType, protocol, bound(r.PortMin), bound(r.PortMax), remote, r.RemoteGroup}, Sep)
}

// SegmentID is where the table Segments has a network's VNI or physical network.
func SegmentID(n Network) string {
	if n.Type == VXLAN {
		return fmt.Sprintf("vxlan:%d", n.VNI)
	}
	return string(n.Type) + ":" + n.PhysicalNetwork
}

// AddressID is where the table Addresses has an address; in the order of the addresses within a subnet.
func AddressID(subnetID string, ip netip.Addr) string {
	return subnetID + ":" + hex.EncodeToString(ip.AsSlice())
}

// TakenIn yields the addresses of a subnet that are taken, in order, with their ports.
func TakenIn(r state.Reader, subnetID string) func(yield func(netip.Addr, string) bool) {
	prefix := Addresses.Prefix() + subnetID + ":"
	return func(yield func(netip.Addr, string) bool) {
		for key, value := range r.Scan(prefix) {
			raw, err := hex.DecodeString(key[len(prefix):])
			ip, ok := netip.AddrFromSlice(raw)
			_, row, derr := Addresses.Decode(state.Change{Key: key, Value: value})
			if err != nil || !ok || derr != nil {
				continue // nobody writes such a key
			}
			if !yield(ip, row.PortID) {
				return
			}
		}
	}
}

// Observe writes what an agent found of a port, unless the port is gone or bound elsewhere by now; then it does nothing and answers errs.NotFound or
// errs.Conflict. The same row again writes nothing.
func Observe(w state.Writer, o Observed) error {
	port, err := Ports.Get(w, o.PortID)
	if err != nil {
		return err
	}
	if port.BindingHost != o.Host {
		return errs.New(errs.Conflict, "port %s is bound to %q, not to %q", o.PortID, port.BindingHost, o.Host)
	}
	if old, err := ObservedPorts.Get(w, o.PortID); err == nil && old == o {
		return nil
	}
	return ObservedPorts.Put(w, o.PortID, o)
}

// ObserveRouter is Observe for a router.
func ObserveRouter(w state.Writer, o ObservedRouter) error {
	router, err := Routers.Get(w, o.RouterID)
	if err != nil {
		return err
	}
	if router.Host != o.Host {
		return errs.New(errs.Conflict, "router %s is run by %q, not by %q", o.RouterID, router.Host, o.Host)
	}
	if old, err := ObservedRouters.Get(w, o.RouterID); err == nil && old == o {
		return nil
	}
	return ObservedRouters.Put(w, o.RouterID, o)
}

// Announce writes an agent's row; what only the API writes (id, Disabled, Description, CreatedAt) stays as it was. The same row again writes nothing.
func Announce(w state.Writer, a Agent) error {
	old, err := Agents.Get(w, a.Host)
	switch {
	case err == nil:
		a.ID, a.Disabled, a.Description, a.CreatedAt = old.ID, old.Disabled, old.Description, old.CreatedAt
	case !errs.Is(err, errs.NotFound):
		return err
	case a.ID == "":
		a.ID, a.CreatedAt = NewID(), a.StartedAt
	}
	if reflect.DeepEqual(old, a) {
		return nil
	}
	return Agents.Put(w, a.Host, a)
}
