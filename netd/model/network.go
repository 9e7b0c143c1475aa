package model

import (
	"net/netip"
	"time"
)

// Standard is what every resource carries.
type Standard struct {
	ID          string    `json:"id"`
	ProjectID   string    `json:"project_id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Tags        []string  `json:"tags,omitempty"` // sorted
	Revision    int       `json:"revision"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// Common gives code that serves all kinds of resources the part that they share.
func (s *Standard) Common() *Standard { return s }

// NetworkType says how a network's frames travel between peers.
type NetworkType string

// The network types.
const (
	VXLAN NetworkType = "vxlan" // encapsulated, told apart by VNI
	Flat  NetworkType = "flat"  // a peer's interface as it is, named by PhysicalNetwork
)

// Network is one layer-2 segment.
type Network struct {
	Standard
	AdminUp         bool        `json:"admin_up"`
	Shared          bool        `json:"shared,omitempty"`
	External        bool        `json:"external,omitempty"`   // routers may have their gateway, floating IPs their address here
	IsDefault       bool        `json:"is_default,omitempty"` // of the external networks
	PortSecurity    bool        `json:"port_security"`        // what new ports begin with
	MTU             int         `json:"mtu"`                  // of the guests' interfaces: encapsulation is taken off already
	Type            NetworkType `json:"type"`
	PhysicalNetwork string      `json:"physical_network,omitempty"` // Flat only
	VNI             int         `json:"vni,omitempty"`              // VXLAN only
	DNSDomain       string      `json:"dns_domain,omitempty"`
	ZoneHints       []string    `json:"zone_hints,omitempty"`
}

// IPv6Mode is how addresses or router advertisements are handed out on an IPv6 subnet; "" is neither by us.
type IPv6Mode string

// The IPv6 modes.
const (
	SLAAC           IPv6Mode = "slaac"
	DHCPv6Stateful  IPv6Mode = "dhcpv6-stateful"
	DHCPv6Stateless IPv6Mode = "dhcpv6-stateless"
)

// Range is a range of addresses, both ends belong to it.
type Range struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

// Holds tells whether the address lies in the range.
func (r Range) Holds(a netip.Addr) bool { return r.Start.Compare(a) <= 0 && a.Compare(r.End) <= 0 }

// Route sends what goes to Destination to NextHop.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"nexthop"`
}

// Subnet is a range of addresses of a network.
type Subnet struct {
	Standard
	NetworkID   string       `json:"network_id"`
	CIDR        netip.Prefix `json:"cidr"`
	Gateway     netip.Addr   `json:"gateway"` // invalid (empty): none
	Pools       []Range      `json:"pools,omitempty"`
	DNS         []string     `json:"dns,omitempty"`
	Routes      []Route      `json:"routes,omitempty"` // of the guests
	DHCP        bool         `json:"dhcp"`
	RAMode      IPv6Mode     `json:"ra_mode,omitempty"`
	AddressMode IPv6Mode     `json:"address_mode,omitempty"`
	PoolID      string       `json:"pool_id,omitempty"` // the subnet pool that the CIDR was taken from
	ServiceType []string     `json:"service_types,omitempty"`
}

// Derived tells whether addresses on the subnet follow from the MAC address.
func (s Subnet) Derived() bool { return s.AddressMode == SLAAC || s.AddressMode == DHCPv6Stateless }

// SubnetPool is address space that subnets are cut from.
type SubnetPool struct {
	Standard
	Prefixes       []netip.Prefix `json:"prefixes"`
	DefaultLength  int            `json:"default_length"`
	MinLength      int            `json:"min_length"`
	MaxLength      int            `json:"max_length"`
	DefaultQuota   int            `json:"default_quota,omitempty"` // addresses (IPv4) or /64s (IPv6) a project; 0: no bound
	AddressScopeID string         `json:"address_scope_id,omitempty"`
	Shared         bool           `json:"shared,omitempty"`
	IsDefault      bool           `json:"is_default,omitempty"`
}

// AddressScope is a set of subnet pools whose addresses do not overlap.
type AddressScope struct {
	Standard
	IPVersion int  `json:"ip_version"`
	Shared    bool `json:"shared,omitempty"`
}

// Segment is a VNI or a physical network that is taken; its row id is SegmentID.
type Segment struct {
	NetworkID string `json:"network_id"`
}

// Address is one address of a subnet that is taken; its row id is AddressID.
type Address struct {
	PortID string `json:"port_id"`
}
