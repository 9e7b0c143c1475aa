package wire

import (
	"net/netip"

	"henge/netd/model"
)

// Desired is all that one peer has to have in its kernel.
type Desired struct {
	Networks map[string]Network // by id: those that have a port or a router here
	Ports    []Port             // by id
	Routers  []Router           // by id
	Sets     map[string]Set     // by name

	Masquerade []Masquerade
}

// Masquerade lets a physical network out through the peer's own addresses.
type Masquerade struct {
	Bridge string
	From   netip.Prefix
}

// Network is a network's bridge on the peer and what hangs on it besides ports.
type Network struct {
	ID     string
	Bridge string
	Flat   bool // the bridge is a physical network's: it stays when the network goes
	MTU    int
	Up     bool
	Zone   int // of connection tracking, so that two networks may use the same addresses; 0: the peer's own

	VXLAN   string // the device; "" for a flat network
	VNI     int
	Remotes []netip.Addr // the other peers that have ports of the network, sorted

	DHCP  *DHCP  // nil: not served here
	Fault string // why it cannot be wired here
}

// DHCP is a network's DHCP and metadata namespace on the peer.
type DHCP struct {
	Namespace string
	Leg       string
	MAC       string
	Addresses []netip.Prefix // with the length of their subnet
	Subnets   []model.Subnet
	Domain    string
	Guests    []Guest // those whose ports are on this peer
}

// Guest is who may ask for an address.
type Guest struct {
	MAC     string
	Name    string
	IPs     []model.FixedIP
	Options []model.DHCPOption
}

// Port is a guest's interface.
type Port struct {
	ID, Tap, NetworkID, Bridge string
	MTU                        int
	Up                         bool
	Secure                     bool // groups and anti-spoofing apply
	MAC                        string
	Sources                    []Source
	DHCPLeg                    string // whose DHCP answers are let in
	Zone                       int
	Rules                      []Rule
	Revision                   int
}

// Source is what a port may send from.
type Source struct {
	MAC    string
	Prefix netip.Prefix
}

// Rule is a security group rule with everything looked up.
type Rule struct {
	Direction string
	Six       bool
	Protocol  int // -1: any
	Min, Max  int // destination ports, or ICMP type and code; -1: any
	Remote    netip.Prefix
	Set       string // the remote group's; "": not bounded by it
}

// Set is the addresses of a security group of one family.
type Set struct {
	Six     bool
	Members []netip.Prefix // sorted
}

// Router is a router's namespace.
type Router struct {
	ID, Namespace string
	Up            bool
	Revision      int
	Legs          []Leg
	Gateway       string         // the device of the external leg; "": none
	GatewayIPs    []netip.Prefix // its addresses
	Defaults      []netip.Addr   // next hops of the default routes, one a family
	SNAT          bool
	Routes        []model.Route
	Floating      []Floating
	Fault         string
}

// Leg is a router's interface.
type Leg struct {
	PortID, Outside, Inside, Bridge, NetworkID string
	MAC                                        string
	MTU                                        int
	Addresses                                  []netip.Prefix
	Subnets                                    []model.Subnet // IPv6 subnets that the router advertises
}

// Floating is an address that stands for a guest's.
type Floating struct {
	ID             string
	Address, Fixed netip.Addr
}
