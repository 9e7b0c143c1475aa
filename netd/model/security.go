package model

import "net/netip"

// SecurityGroup is a set of rules for the ports in it. What no rule lets pass is dropped; answers to what was let pass are not looked at again.
type SecurityGroup struct {
	Standard
	Stateless bool `json:"stateless,omitempty"`
	IsDefault bool `json:"is_default,omitempty"` // the one that a project's ports are in unless they say otherwise
}

// Directions of rules, as the guest sees it.
const (
	Ingress = "ingress"
	Egress  = "egress"
)

// Ether types of rules.
const (
	IPv4 = "IPv4"
	IPv6 = "IPv6"
)

// Rule lets something pass.
type Rule struct {
	Standard
	GroupID   string `json:"group_id"`
	Direction string `json:"direction"`
	EtherType string `json:"ether_type"`
	// Protocol is "" for any, a name (tcp, udp, icmp, ipv6-icmp, ...) or a number; ProtocolNumber gives the number.
	Protocol string `json:"protocol,omitempty"`
	// PortMin and PortMax bound the destination port, for ICMP they are type and code. Nil: any.
	PortMin      *int         `json:"port_min,omitempty"`
	PortMax      *int         `json:"port_max,omitempty"`
	RemotePrefix netip.Prefix `json:"remote_prefix"`             // invalid: not bounded by it
	RemoteGroup  string       `json:"remote_group_id,omitempty"` // the addresses of the ports in that group
}

// Quota is a project's own limits by resource, in place of the defaults; -1: no limit. The row's id is the project's.
type Quota struct {
	Limits map[string]int `json:"limits"`
}

// RBAC lets a project (or all, "*") use what belongs to another.
type RBAC struct {
	Standard
	ObjectType string `json:"object_type"` // network, security_group, address_scope, subnetpool
	ObjectID   string `json:"object_id"`
	Action     string `json:"action"` // access_as_shared, access_as_external
	Target     string `json:"target"`
}
