package model

import "strconv"

// protocols are the IP protocols that rules may name.
var protocols = map[string]int{
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0, "ipip": 4,
	"ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113,
	"rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}

// ProtocolNumber is the IP protocol that a rule's word stands for; false when it stands for none. "icmp" in a rule for IPv6 is ICMPv6.
func ProtocolNumber(word, etherType string) (int, bool) {
	if word == "icmp" && etherType == IPv6 {
		return protocols["ipv6-icmp"], true
	}
	if n, ok := protocols[word]; ok {
		return n, true
	}
	n, err := strconv.Atoi(word)
	return n, err == nil && n >= 0 && n <= 255
}

// MatchesPorts tells whether PortMin and PortMax of a rule for the protocol are ports.
func MatchesPorts(number int) bool {
	return number == protocols["tcp"] || number == protocols["udp"] || number == protocols["sctp"] || number == protocols["dccp"] ||
		number == protocols["udplite"]
}

// MatchesTypes tells whether PortMin and PortMax of a rule for the protocol are an ICMP type and code.
func MatchesTypes(number int) bool {
	return number == protocols["icmp"] || number == protocols["ipv6-icmp"]
}
