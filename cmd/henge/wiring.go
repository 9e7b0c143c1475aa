package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"

	"henge/internal/clock"
	wiring "henge/netd/agent"
)

// wiringConfig is [wiring] of henge.toml.
type wiringConfig struct {
	Networks      string `toml:"networks"`
	PublicBridge  string `toml:"public_bridge"`
	PublicDevice  string `toml:"public_device"`
	PublicAddress string `toml:"public_address"`
	Masquerade    string `toml:"masquerade"`
}

const (
	wireAuto = "auto"
	wireOff  = "off"
	yes      = "on"
)

// upPublicAddress is the machine's address on the public network that henge up makes.
const upPublicAddress = "172.24.4.1/24"

// decide sets what the flags of henge up say, for its peer i.
func (c *wiringConfig) decide(o upOptions, i int) {
	c.Networks, c.Masquerade = o.wiring.Networks, o.wiring.Masquerade
	if c.PublicAddress == "" {
		c.PublicAddress = upPublicAddress
	}
	if p, err := netip.ParsePrefix(o.public); err == nil { // it is the gateway of the network "public"
		c.PublicAddress = netip.PrefixFrom(p.Addr().Next(), p.Bits()).String()
	}
	if i > 1 {
		c.Networks = wireOff // the machine has one kernel
	}
}

// physicalPublic is the physical network that public_bridge is.
const physicalPublic = "public"

func checkWiring(c wiringConfig) error {
	if c.Networks != wireAuto && c.Networks != wireOff {
		return fmt.Errorf("wiring.networks %q: it is auto or off", c.Networks)
	}
	if c.Masquerade != yes && c.Masquerade != wireOff {
		return fmt.Errorf("wiring.masquerade %q: it is on or off", c.Masquerade)
	}
	if len(c.PublicBridge) > 15 {
		return fmt.Errorf("wiring.public_bridge %q: names of devices have at most 15 characters", c.PublicBridge)
	}
	if c.PublicAddress == "" {
		return nil
	}
	if _, err := netip.ParsePrefix(c.PublicAddress); err != nil {
		return fmt.Errorf("wiring.public_address %q: it is an address with the length of its network, such as 172.24.4.1/24, or empty", c.PublicAddress)
	}
	return nil
}

// wireNetworks starts the network agent of the peer, if it plays a role that needs one. A machine that lacks something for it runs the rest.
func (p *peer) wireNetworks(life context.Context) error {
	if !p.cfg.has("network") && !p.cfg.has("compute") {
		return nil
	}
	reason := "it is switched off (wiring.networks)"
	if p.cfg.Wiring.Networks == wireAuto {
		a, err := wiring.New(p.agentConfig())
		if err == nil {
			p.run(life, "network agent", a.Run)
			return nil
		}
		reason = err.Error()
		p.cannot(lack{"network", "it wires no networks: " + reason, true})
	}
	p.run(life, "network agent", func(ctx context.Context) error {
		if err := wiring.Absent(ctx, p.node.State(), p.node.ID(), reason); err != nil && ctx.Err() == nil {
			p.logger.Warn("note that this peer wires no networks", "error", err)
		}
		return nil
	})
	return nil
}

func (p *peer) agentConfig() wiring.Config {
	c := wiring.Config{
		Store: p.node.State(), Host: p.node.ID(), Zone: "zone-" + strconv.Itoa(p.cfg.Zone), Address: netip.MustParseAddr(p.cfg.Address), Routers: p.cfg.has("network"),
		Metadata: &p.guestMetadata, Clock: clock.System{}, Logger: p.logger,
	}
	if w := p.cfg.Wiring; w.PublicBridge != "" {
		public := wiring.Physical{Name: physicalPublic, Bridge: w.PublicBridge, Device: w.PublicDevice, Masquerade: w.Masquerade == yes}
		if w.PublicAddress != "" {
			public.Address = netip.MustParsePrefix(w.PublicAddress)
		}
		c.Physical = append(c.Physical, public)
	}
	return c
}

// metadataDoor hands guests' requests to the compute service of this peer, once one stands inside.
type metadataDoor struct {
	inside atomic.Pointer[wiring.Metadata]
}

// ServeGuest answers one request.
func (d *metadataDoor) ServeGuest(w http.ResponseWriter, r *http.Request, portID, deviceID, projectID string) {
	m := d.inside.Load()
	if m == nil {
		http.Error(w, "no compute service runs on this peer", http.StatusServiceUnavailable)
		return
	}
	(*m).ServeGuest(w, r, portID, deviceID, projectID)
}
