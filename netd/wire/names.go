package wire

import (
	"regexp"
	"strings"

	"henge/netd/model"
)

// Every device that the agent makes has a kind of three letters and the first eleven characters of an id, every namespace and every chain a prefix: what is
// left over from before is recognised by that alone.
const (
	kindBridge = "hbr" // of a network
	kindVXLAN  = "hvx" // of a network
	kindDHCP   = "hdp" // the leg of a network's DHCP namespace; by network
	kindLeg    = "hrp" // the leg of a router; by port
	kindInside = "hrl" // its other end, in the router's namespace; by port

	dhcpNamespace   = "henge-dhcp-"
	routerNamespace = "henge-router-"

	// DHCPInside is the device in a DHCP namespace.
	DHCPInside = "eth0"
)

var ours = regexp.MustCompile(`^(tap|hbr|hvx|hdp|hrp)[0-9a-f]{8}-[0-9a-f]{2}$`)

// Ours tells whether a device of the peer was made by the agent.
func Ours(device string) bool { return ours.MatchString(device) }

// OurNamespace tells whether a namespace was made by the agent.
func OurNamespace(name string) bool {
	return strings.HasPrefix(name, dhcpNamespace) || strings.HasPrefix(name, routerNamespace)
}

func short(id string) string { return id[:min(11, len(id))] }

// chain names the packet filter chain of a port for one direction.
func chain(direction, portID string) string {
	if direction == model.Ingress {
		return "hgi-" + short(portID)
	}
	return "hgo-" + short(portID)
}

// setName names the set of a security group's addresses of one family. Names of sets have at most 31 characters.
func setName(groupID string, six bool) string {
	hex := strings.ReplaceAll(groupID, "-", "")
	family := "4"
	if six {
		family = "6"
	}
	return "hg" + family + "-" + hex[:min(24, len(hex))]
}

// SpoofTable names the nft table that holds a tap's anti-spoofing rules.
func SpoofTable(tap string) string { return "hg-" + tap }

// OurSpoofTable tells whether an nft table of the netdev family was made by the agent.
func OurSpoofTable(name string) bool { return strings.HasPrefix(name, "hg-tap") }
