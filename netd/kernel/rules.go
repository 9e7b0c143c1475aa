package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func tool(six bool, verb string) string {
	if six {
		return "ip6tables-" + verb
	}
	return "iptables-" + verb
}

// Restore puts packet filter rules in force, in the words of iptables-save: those chains that are named, all of a table or none.
func (k *Kernel) Restore(six bool, document string) error {
	_, err := run(document, tool(six, "restore"), "--noflush", "-w", "10")
	return err
}

// Filter reads the packet filter: chains by table, and the rules of each chain as they were printed.
func (k *Kernel) Filter(six bool) (map[string]map[string][]string, error) {
	text, err := run("", tool(six, "save"))
	if err != nil {
		return nil, err
	}
	tables := map[string]map[string][]string{}
	var table map[string][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = map[string][]string{}
			tables[line[1:]] = table
		case strings.HasPrefix(line, ":") && table != nil:
			name, _, _ := strings.Cut(line[1:], " ")
			table[name] = nil
		case strings.HasPrefix(line, "-A ") && table != nil:
			name, rule, _ := strings.Cut(line[3:], " ")
			table[name] = append(table[name], rule)
		}
	}
	return tables, nil
}

// IPSet runs an ipset script.
func (k *Kernel) IPSet(script string) error {
	_, err := run(script, "ipset", "restore")
	return err
}

// IPSets lists the names of the sets.
func (k *Kernel) IPSets() ([]string, error) {
	text, err := run("", "ipset", "list", "-name")
	return strings.Fields(text), err
}

// NFT runs an nft script in the peer's own namespace: all of it or nothing.
func (k *Kernel) NFT(script string) error {
	_, err := run(script, "nft", "-f", "-")
	return err
}

// GuardTables lists the names of the nft tables of the netdev family.
func (k *Kernel) GuardTables() ([]string, error) {
	text, err := run("", "nft", "list", "tables", "netdev")
	var names []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 {
			names = append(names, fields[2])
		}
	}
	return names, err
}

// Flow is a connection that is tracked.
type Flow struct {
	Zone, Protocol   int
	Src, Dst         netip.Addr // as it began
	SrcPort, DstPort int
	ReplyDst         netip.Addr // whom answers go to: another than Src when that was translated
}

// Cut forgets the tracked connections that are not to stay, and answers how many. The next packet of such a connection is looked at as a first one.
func (k *Kernel) Cut(stays func(Flow) bool) (int, error) { return cut(&netlink.Handle{}, stays) }

// Cut does the same in the namespace.
func (ns *Namespace) Cut(stays func(Flow) bool) (int, error) { return cut(ns.handle, stays) }

type verdict func(Flow) bool

func (v verdict) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	src, ok1 := netip.AddrFromSlice(f.Forward.SrcIP)
	dst, ok2 := netip.AddrFromSlice(f.Forward.DstIP)
	answered, _ := netip.AddrFromSlice(f.Reverse.DstIP)
	return ok1 && ok2 && !v(Flow{
		Zone: int(f.Zone), Protocol: int(f.Forward.Protocol), Src: src.Unmap(), Dst: dst.Unmap(), SrcPort: int(f.Forward.SrcPort), DstPort: int(f.Forward.DstPort),
		ReplyDst: answered.Unmap(),
	})
}

func cut(h *netlink.Handle, stays func(Flow) bool) (int, error) {
	n := 0
	var bad []error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		some, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, verdict(stays))
		n += int(some)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.ENOENT) {
			bad = append(bad, err)
		}
	}
	if err := errors.Join(bad...); err != nil {
		return n, fmt.Errorf("forget connections: %w", err)
	}
	return n, nil
}
