package wire

import (
	"fmt"
	"slices"
	"strings"
)

// Spoof is the nft script that puts a tap's anti-spoofing table in force, in one step: what the guest sends must come from its own MAC and IP addresses, say so
// in ARP and neighbour advertisements, and be no answer of a DHCP server or router. With port security off there is no table. A table whose tap was
// made anew must be made anew, too; otherwise only its rules are exchanged, so that no packet meets an empty chain.
func (p Port) Spoof(fresh bool) string {
	var b strings.Builder
	name := SpoofTable(p.Tap)
	if fresh || !p.Secure {
		fmt.Fprintf(&b, "add table netdev %s\ndelete table netdev %s\n", name, name)
	}
	if !p.Secure {
		return b.String()
	}
	fmt.Fprintf(&b, "add table netdev %s\n", name)
	fmt.Fprintf(&b, "add chain netdev %s in { type filter hook ingress device %q priority -300; policy drop; }\n", name, p.Tap)
	fmt.Fprintf(&b, "add chain netdev %s six\nflush chain netdev %s in\nflush chain netdev %s six\n", name, name, name)
	for _, rule := range append(p.spoofFour(), p.spoofSix()...) {
		fmt.Fprintf(&b, "add rule netdev %s in %s\n", name, rule)
	}
	for _, s := range p.Sources {
		if s.Prefix.Addr().Is6() {
			fmt.Fprintf(&b, "add rule netdev %s six ether saddr %s ip6 saddr %s accept\n", name, s.MAC, s.Prefix)
		}
	}
	return b.String()
}

func (p Port) spoofFour() []string {
	var macs []string
	for _, s := range append([]Source{{MAC: p.MAC}}, p.Sources...) {
		if !slices.Contains(macs, s.MAC) {
			macs = append(macs, s.MAC)
		}
	}
	own := strings.Join(macs, ", ")
	rules := []string{
		"ether saddr != { " + own + " } drop",
		"ether type arp arp saddr ether != { " + own + " } drop",
		"arp saddr ip 0.0.0.0 accept", // asking whether an address is free
		"ether type ip udp sport 67 udp dport 68 drop",
		"ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
	}
	for _, s := range p.Sources {
		if s.Prefix.Addr().Is4() {
			rules = append(rules, fmt.Sprintf("arp saddr ether %s arp saddr ip %s accept", s.MAC, s.Prefix),
				fmt.Sprintf("ether saddr %s ip saddr %s accept", s.MAC, s.Prefix))
		}
	}
	return rules
}

func (p Port) spoofSix() []string {
	rules := []string{"ether type ip6 udp sport 547 udp dport 546 drop", "icmpv6 type { nd-router-advert, nd-redirect } drop"}
	for _, s := range p.Sources {
		// The target of a neighbour advertisement stands 64 bits into the ICMPv6 message. Of a prefix whole bytes are looked at.
		if whole := s.Prefix.Bits() / 8; s.Prefix.Addr().Is6() && whole > 0 {
			raw := s.Prefix.Masked().Addr().As16()
			rules = append(rules, fmt.Sprintf("icmpv6 type nd-neighbor-advert @th,64,%d 0x%x jump six", whole*8, raw[:whole]))
		}
	}
	return append(rules, "icmpv6 type nd-neighbor-advert drop",
		"ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, mld-listener-report, mld2-listener-report } accept", "jump six")
}
