package wire

import (
	"fmt"
	"net/netip"
	"strings"
)

// MetadataAddress is where guests find what their cloud knows of them.
var MetadataAddress = netip.MustParseAddr("169.254.169.254")

// NAT is the nft script that makes a router's address translation anew, in one step.
func (r Router) NAT() string {
	var b strings.Builder
	b.WriteString("add table ip henge\ndelete table ip henge\ntable ip henge {\n")
	b.WriteString("\tchain prerouting {\n\t\ttype nat hook prerouting priority -100;\n")
	r.dnat(&b)
	b.WriteString("\t}\n\tchain output {\n\t\ttype nat hook output priority -100;\n")
	r.dnat(&b)
	b.WriteString("\t}\n\tchain postrouting {\n\t\ttype nat hook postrouting priority 100;\n")
	for _, f := range r.Floating {
		fmt.Fprintf(&b, "\t\toifname %q ip saddr %s snat to %s\n", r.Gateway, f.Fixed, f.Address)
		// A floating IP called from inside: the answer must come back through the router.
		fmt.Fprintf(&b, "\t\tct status dnat ip saddr %s snat to %s\n", f.Fixed, f.Address)
	}
	if source, ok := r.gatewayIPv4(); ok {
		if inside := r.inside(); inside != "" {
			fmt.Fprintf(&b, "\t\tct status dnat ip saddr { %s } snat to %s\n", inside, source)
		}
		if r.SNAT {
			fmt.Fprintf(&b, "\t\toifname %q snat to %s\n", r.Gateway, source)
		}
	}
	b.WriteString("\t}\n\tchain input {\n\t\ttype filter hook input priority 0;\n")
	if r.Gateway != "" {
		fmt.Fprintf(&b, "\t\tiifname %q ip daddr %s drop\n", r.Gateway, MetadataAddress)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

func (r Router) dnat(b *strings.Builder) {
	for _, f := range r.Floating {
		fmt.Fprintf(b, "\t\tip daddr %s dnat to %s\n", f.Address, f.Fixed)
	}
}

func (r Router) gatewayIPv4() (netip.Addr, bool) {
	for _, p := range r.GatewayIPs {
		if p.Addr().Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// inside lists the router's IPv4 subnets but the gateway's.
func (r Router) inside() string {
	var all []string
	for _, l := range r.Legs {
		for _, a := range l.Addresses {
			if l.Inside != r.Gateway && a.Addr().Is4() {
				all = append(all, a.Masked().String())
			}
		}
	}
	return strings.Join(all, ", ")
}
