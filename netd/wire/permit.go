package wire

import (
	"net/netip"

	"henge/netd/model"
)

// Flow is a connection that the kernel keeps track of, as it began.
type Flow struct {
	Zone     int
	Protocol int
	Src, Dst netip.Addr
	DstPort  int
}

// Permits tells whether the rules would let the flow begin now. Flows of no port of this peer are none of our business.
func (d Desired) Permits(f Flow) bool {
	for _, p := range d.Ports {
		if !p.Secure || p.Zone != f.Zone {
			continue
		}
		if p.has(f.Src) && !d.passes(p, model.Egress, f, f.Dst) {
			return false
		}
		if p.has(f.Dst) && !d.passes(p, model.Ingress, f, f.Src) {
			return false
		}
	}
	return true
}

func (p Port) has(a netip.Addr) bool {
	for _, s := range p.Sources {
		if s.Prefix.IsSingleIP() && s.Prefix.Addr() == a {
			return true
		}
	}
	return false
}

func (d Desired) passes(p Port, direction string, f Flow, far netip.Addr) bool {
	const udp = 17
	if f.Protocol == udp && (f.DstPort == 67 || f.DstPort == 68 || f.DstPort == 546 || f.DstPort == 547) {
		return true
	}
	for _, r := range p.Rules {
		if r.Direction != direction || r.Six != f.Dst.Is6() || r.Protocol > 0 && r.Protocol != f.Protocol {
			continue
		}
		if model.MatchesPorts(r.Protocol) && r.Min >= 0 && (f.DstPort < r.Min || f.DstPort > max(r.Min, r.Max)) {
			continue
		}
		if r.Remote.IsValid() && !r.Remote.Contains(far) {
			continue
		}
		if r.Set == "" || d.Sets[r.Set].holds(far) {
			return true
		}
	}
	return false
}

func (s Set) holds(a netip.Addr) bool {
	for _, m := range s.Members {
		if m.Contains(a) {
			return true
		}
	}
	return false
}
