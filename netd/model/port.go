package model

import "net/netip"

// Owners of ports, beside "compute:ZONE" for those of guests.
const (
	OwnerDHCP            = "network:dhcp"
	OwnerRouterInterface = "network:router_interface"
	OwnerRouterGateway   = "network:router_gateway"
	OwnerFloatingIP      = "network:floatingip"
	OwnerComputePrefix   = "compute:"
)

// DHCPDeviceID is the device id of every network's DHCP port.
const DHCPDeviceID = "henge-dhcp"

// Port is what is desired of one interface.
type Port struct {
	Standard
	NetworkID    string        `json:"network_id"`
	MAC          string        `json:"mac"` // lower case, with colons
	FixedIPs     []FixedIP     `json:"fixed_ips,omitempty"`
	DeviceID     string        `json:"device_id,omitempty"` // the server or router that it belongs to
	DeviceOwner  string        `json:"device_owner,omitempty"`
	AdminUp      bool          `json:"admin_up"`
	PortSecurity bool          `json:"port_security"` // false: neither groups nor anti-spoofing apply
	Groups       []string      `json:"groups,omitempty"`
	AddressPairs []AddressPair `json:"address_pairs,omitempty"` // may be sent from, besides the port's own
	DHCPOptions  []DHCPOption  `json:"dhcp_options,omitempty"`
	DNSName      string        `json:"dns_name,omitempty"`

	BindingHost    string         `json:"binding_host,omitempty"` // the id of the peer that wires it; "": nobody
	BindingVNIC    string         `json:"binding_vnic"`           // "normal"
	BindingProfile map[string]any `json:"binding_profile,omitempty"`
}

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID string     `json:"subnet_id"`
	IP       netip.Addr `json:"ip"`
}

// AddressPair is a source that a port may send from. A single address is a prefix of full length.
type AddressPair struct {
	Prefix netip.Prefix `json:"prefix"`
	MAC    string       `json:"mac"`
}

// DHCPOption is one option for this port's guest. Name is dnsmasq's word for it or its number.
type DHCPOption struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	IPVersion int    `json:"ip_version"`
}

// Tap is the name of the port's device on its host.
func (p Port) Tap() string { return TapName(p.ID) }

// TapName is the name of a port's device: "tap" and the first 11 characters of its id.
func TapName(portID string) string { return "tap" + portID[:min(11, len(portID))] }

// Compute tells whether the port is a guest's.
func (p Port) Compute() bool {
	return len(p.DeviceOwner) > len(OwnerComputePrefix) && p.DeviceOwner[:len(OwnerComputePrefix)] == OwnerComputePrefix
}

// Router says whether the port is a router's.
func (p Port) Router() bool {
	return p.DeviceOwner == OwnerRouterInterface || p.DeviceOwner == OwnerRouterGateway
}

// Wiring is how far an agent has come with a port.
type Wiring string

// How far an agent has come.
const (
	Wired   Wiring = "wired" // the device is there, and DHCP, groups and anti-spoofing are in force
	Faulted Wiring = "fault" // it cannot be; the agent tries again when something changes
)

// Observed is what the agent of a port's host has made of the port. No row: not seen to yet.
type Observed struct {
	PortID   string `json:"port_id"`
	Host     string `json:"host"`
	Device   string `json:"device,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Status   Wiring `json:"status"`
	Fault    string `json:"fault,omitempty"`    // the true cause, for the user to read
	Revision int    `json:"revision,omitempty"` // of the port, when this was written
}

// PortGroup says that a port is in a security group; its row id is RowID.
type PortGroup struct {
	GroupID string `json:"group_id"`
	PortID  string `json:"port_id"`
}

// RowID is the row's place in its table.
func (g PortGroup) RowID() string { return g.GroupID + ":" + g.PortID }
