package model

import (
	"net/netip"
	"time"
)

// Router joins subnets, and with a gateway the world outside. Its interfaces are the ports whose device id is its id.
type Router struct {
	Standard
	AdminUp   bool     `json:"admin_up"`
	Gateway   *Gateway `json:"gateway,omitempty"`
	Routes    []Route  `json:"routes,omitempty"`
	ZoneHints []string `json:"zone_hints,omitempty"`
	FlavorID  string   `json:"flavor_id,omitempty"`
	Host      string   `json:"host,omitempty"` // the peer that runs it; "": none could yet
}

// Gateway is a router's leg in an external network.
type Gateway struct {
	NetworkID string `json:"network_id"`
	PortID    string `json:"port_id"` // owner network:router_gateway; has the addresses
	SNAT      bool   `json:"snat"`
}

// FloatingIP is an address of an external network that may stand for a port's.
type FloatingIP struct {
	Standard
	NetworkID string     `json:"network_id"` // the external one
	Address   netip.Addr `json:"address"`
	OwnPortID string     `json:"own_port_id"` // holds the address; owner network:floatingip
	PortID    string     `json:"port_id,omitempty"`
	FixedIP   netip.Addr `json:"fixed_ip"` // of PortID; invalid: not associated
	RouterID  string     `json:"router_id,omitempty"`
	DNSName   string     `json:"dns_name,omitempty"`
	DNSDomain string     `json:"dns_domain,omitempty"`
}

// ObservedRouter is what the agent of a router's host has made of it, its floating IPs and routes included.
type ObservedRouter struct {
	RouterID string `json:"router_id"`
	Host     string `json:"host"`
	Status   Wiring `json:"status"`
	Fault    string `json:"fault,omitempty"`
	Revision int    `json:"revision,omitempty"` // of the router, when this was written
}

// Agent is a peer's network agent, as it described itself at its start or when something changed. Whether it is alive the membership tells.
type Agent struct {
	Host        string            `json:"host"` // the peer's id, and the row's
	ID          string            `json:"id"`
	Zone        string            `json:"zone,omitempty"`
	Address     netip.Addr        `json:"address"` // of the underlay: where other peers send VXLAN to
	Device      string            `json:"device,omitempty"`
	UnderlayMTU int               `json:"underlay_mtu"`
	Physical    map[string]string `json:"physical,omitempty"`     // physical network -> bridge or device
	PhysicalMTU map[string]int    `json:"physical_mtu,omitempty"` // physical network -> its MTU
	Routers     bool              `json:"routers"`                // it can run routers
	Fault       string            `json:"fault,omitempty"`        // why it can wire nothing
	StartedAt   time.Time         `json:"started_at"`
	Disabled    bool              `json:"disabled,omitempty"` // by an administrator: gets no new routers
	Description string            `json:"description,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
}
