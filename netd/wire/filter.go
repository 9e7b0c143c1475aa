package wire

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"henge/netd/model"
)

// The chains that all ports share. Packets of bridges come here because the bridges pass them to the packet filter.
const (
	chainForward = "henge-fwd"
	chainInput   = "henge-in"
	chainZones   = "henge-pre"
	chainOut     = "henge-nat"
)

// Hook is a chain of the kernel's from which one of ours is called.
type Hook struct{ Table, From, To string }

// Hooks are all of them, for either family.
func Hooks() []Hook {
	return []Hook{
		{"raw", "PREROUTING", chainZones}, {"filter", "FORWARD", chainForward}, {"filter", "INPUT", chainInput}, {"nat", "POSTROUTING", chainOut},
	}
}

// OurChain tells whether a packet filter chain was made by the agent.
func OurChain(name string) bool {
	return strings.HasPrefix(name, "hgi-") || strings.HasPrefix(name, "hgo-") || strings.HasPrefix(name, "henge-")
}

// Chain is one chain's rules, in the words of iptables-save.
type Chain struct {
	Table, Name string
	Port        string // whose it is; "" for those that ports share
	Rules       []string
}

// Chains are the packet filter chains of one family that the peer has to have.
func (d Desired) Chains(six bool) []Chain {
	zones := Chain{Table: "raw", Name: chainZones}
	forward := Chain{Table: "filter", Name: chainForward}
	input := Chain{Table: "filter", Name: chainInput}
	var bridges []string
	for _, id := range slices.Sorted(maps.Keys(d.Networks)) {
		n := d.Networks[id]
		if n.Fault != "" {
			continue
		}
		if n.Zone > 0 {
			zones.Rules = append(zones.Rules, fmt.Sprintf("-i %s -j CT --zone %d", n.Bridge, n.Zone))
		}
		if n.Flat && !slices.Contains(bridges, n.Bridge) {
			bridges = append(bridges, n.Bridge)
		}
	}
	// Networks of projects end at their bridges: the peer itself neither answers there nor routes from or to them.
	input.Rules = []string{"-i " + kindBridge + "+ -j DROP"}
	forward.Rules = []string{
		"-i " + kindBridge + "+ -m physdev ! --physdev-is-bridged -j DROP",
		"-o " + kindBridge + "+ -m physdev ! --physdev-is-bridged -j DROP",
	}
	bridges = append([]string{kindBridge + "+"}, bridges...)
	for _, bridge := range bridges {
		forward.Rules = append(forward.Rules, "-i "+bridge+" -m physdev --physdev-is-bridged -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	}
	all := []Chain{}
	for _, p := range d.Ports {
		if !p.Secure {
			continue
		}
		out, in := p.chain(model.Egress, six), p.chain(model.Ingress, six)
		forward.Rules = append(forward.Rules,
			"-m physdev --physdev-is-bridged --physdev-in "+p.Tap+" -j "+out.Name, "-m physdev --physdev-is-bridged --physdev-out "+p.Tap+" -j "+in.Name)
		all = append(all, out, in)
	}
	for _, bridge := range bridges {
		forward.Rules = append(forward.Rules, "-i "+bridge+" -m physdev --physdev-is-bridged -j ACCEPT")
	}
	out := Chain{Table: "nat", Name: chainOut}
	for _, m := range d.Masquerade {
		if m.From.Addr().Is4() == six {
			continue
		}
		out.Rules = append(out.Rules, fmt.Sprintf("-s %s ! -o %s -j MASQUERADE", m.From.Masked(), m.Bridge))
		forward.Rules = append(forward.Rules, "-i "+m.Bridge+" -j ACCEPT", "-o "+m.Bridge+" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	}
	return append(all, zones, forward, input, out)
}

// chain is what a port lets pass in one direction: what returns from it may go on, the rest is dropped.
func (p Port) chain(direction string, six bool) Chain {
	c := Chain{Table: "filter", Name: chain(direction, p.ID), Port: p.ID, Rules: []string{"-m conntrack --ctstate INVALID -j DROP"}}
	c.Rules = append(c.Rules, p.always(direction, six)...)
	for _, r := range p.Rules {
		if r.Direction == direction && r.Six == six {
			c.Rules = append(c.Rules, r.match()+" -j RETURN")
		}
	}
	c.Rules = append(c.Rules, "-j DROP")
	return c
}

// always is what no group need let pass: getting an address and finding neighbours. Who may answer is the anti-spoofing table's business.
func (p Port) always(direction string, six bool) []string {
	ingress := direction == model.Ingress
	switch {
	case ingress && !six:
		return []string{"-m physdev --physdev-in " + p.DHCPLeg + " -p udp -m udp --sport 67 --dport 68 -j RETURN"}
	case !six:
		return []string{"-p udp -m udp --sport 68 --dport 67 -j RETURN"}
	case ingress:
		rules := []string{"-m physdev --physdev-in " + p.DHCPLeg + " -p udp -m udp --sport 547 --dport 546 -j RETURN"}
		return append(rules, icmp6(130, 131, 132, 134, 135, 136)...)
	}
	return append([]string{"-p udp -m udp --sport 546 --dport 547 -j RETURN"}, icmp6(131, 132, 133, 135, 136, 143)...)
}

func icmp6(kinds ...int) []string {
	var rules []string
	for _, k := range kinds {
		rules = append(rules, fmt.Sprintf("-p ipv6-icmp -m icmp6 --icmpv6-type %d -j RETURN", k))
	}
	return rules
}

// match is a rule in iptables' words.
func (r Rule) match() string {
	var b []string
	if r.Protocol > 0 { // 0 is any, too: iptables and Neutron agree
		b = append(b, "-p", strconv.Itoa(r.Protocol))
	}
	far, side := "-s", "src"
	if r.Direction == model.Egress {
		far, side = "-d", "dst"
	}
	if r.Remote.IsValid() {
		b = append(b, far, r.Remote.Masked().String())
	}
	if r.Set != "" {
		b = append(b, "-m set --match-set", r.Set, side)
	}
	switch {
	case model.MatchesPorts(r.Protocol) && r.Min >= 0:
		ports := strconv.Itoa(r.Min)
		if r.Max > r.Min {
			ports += ":" + strconv.Itoa(r.Max)
		}
		b = append(b, "-m multiport --dports", ports)
	case model.MatchesTypes(r.Protocol) && r.Min >= 0:
		kind := strconv.Itoa(r.Min)
		if r.Max >= 0 {
			kind += "/" + strconv.Itoa(r.Max)
		}
		if r.Six {
			b = append(b, "-m icmp6 --icmpv6-type", kind)
		} else {
			b = append(b, "-m icmp --icmp-type", kind)
		}
	}
	return strings.Join(b, " ")
}

// Script fills a set in the words of ipset-restore; the exchange is atomic.
func (s Set) Script(name string) string {
	family := "inet"
	if s.Six {
		family = "inet6"
	}
	var b strings.Builder
	spare := name + "-n"
	fmt.Fprintf(&b, "create %s hash:net family %s maxelem 131072 -exist\n", name, family)
	fmt.Fprintf(&b, "create %s hash:net family %s maxelem 131072 -exist\nflush %s\n", spare, family, spare)
	for _, m := range s.Members {
		fmt.Fprintf(&b, "add %s %s -exist\n", spare, m)
	}
	fmt.Fprintf(&b, "swap %s %s\ndestroy %s\n", spare, name, spare)
	return b.String()
}

// OurSet tells whether a set was made by the agent.
func OurSet(name string) bool {
	return strings.HasPrefix(name, "hg4-") || strings.HasPrefix(name, "hg6-")
}
