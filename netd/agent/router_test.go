package agent

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"henge/cluster/state"
	"henge/netd/model"
	"henge/netd/wire"
)

func (w *world) float(r model.Router, external model.Network, ip string, p model.Port) model.FloatingIP {
	f := model.FloatingIP{
		Standard: model.Standard{ID: model.NewID()}, NetworkID: external.ID, Address: netip.MustParseAddr(ip), PortID: p.ID, FixedIP: p.FixedIPs[0].IP, RouterID: r.ID,
	}
	w.update(func(tx state.Writer) error { return model.FloatingIPs.Put(tx, f.ID, f) })
	return f
}

// calls tells whether the host gets an echo.
func (h *host) calls(ip, port string) bool {
	cmd := h.command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=call "+ip+" "+port)
	return cmd.Run() == nil
}

func TestRouter_SNATFloatingIPs(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	ext, exts := w.public()
	n, s := w.network(110, "10.0.0.0/24")
	n2, s2 := w.network(111, "10.0.1.0/24")
	g := w.group()
	w.rule(g, "ingress tcp 22")
	w.rule(g, "ingress icmp")
	pa := w.port("one", n, "a", at(s, "10.0.0.5", g))
	pb := w.port("two", n2, "a", at(s2, "10.0.1.6", g))
	r := w.router("a", ext, exts, "172.24.4.10", s, s2)
	h.start()
	w.wired(pa, pb)
	w.runs(r)
	one, two := h.guest(pa), h.guest(pb)
	one.dhcp()
	two.dhcp()
	one.answers("22")
	eventually(t, "a way from one subnet to the other", func() bool { return two.pings("10.0.0.5") })
	eventually(t, "a way out", func() bool { return one.pings("172.24.4.1") })
	if got := one.run("curl", "-s", "-m", "20", "-H", "X-A: b", "http://169.254.169.254/x"); !strings.Contains(got, pa.ID) {
		t.Errorf("metadata: %q", got)
	}
	one.run("ip", "route", "del", "169.254.169.254") // by the router, as a guest without DHCP does
	if got := one.run("curl", "-s", "-m", "20", "http://169.254.169.254/x"); !strings.Contains(got, pa.ID) {
		t.Errorf("metadata by the router: %q", got)
	}
	if h.calls("172.24.4.20", "22") {
		t.Error("a floating IP answers before there is one")
	}
	f := w.float(r, ext, "172.24.4.20", pa)
	eventually(t, "the floating IP to answer", func() bool { return h.calls("172.24.4.20", "22") })
	if !two.connects("172.24.4.20", "22") {
		t.Error("the floating IP does not answer from inside")
	}
	eventually(t, "a way out by the floating IP", func() bool {
		one.run("ping", "-c", "1", "-W", "5", "172.24.4.1")
		return strings.Contains(h.run("ip", "neigh", "show", "dev", "henge-public"), "172.24.4.20")
	})
	w.update(func(tx state.Writer) error { return model.FloatingIPs.Delete(tx, f.ID) })
	eventually(t, "the floating IP to go", func() bool { return !h.calls("172.24.4.20", "22") })
	if !one.pings("172.24.4.1") {
		t.Error("no way out after the floating IP went")
	}
}

func TestIPv6_AdvertisedAndFiltered(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	ext, exts := w.public()
	n, s := w.network(112, "10.0.0.0/24")
	six := w.subnet(n, "2001:db8:1::/64")
	g := w.group()
	both := func(ip string) func(*model.Port) {
		return func(p *model.Port) {
			at(s, ip, g)(p)
			local := wire.LinkLocal(p.MAC).As16()
			pre := six.CIDR.Addr().As16()
			copy(local[:8], pre[:8])
			p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: six.ID, IP: netip.AddrFrom16(local)})
		}
	}
	pa, pb := w.port("one", n, "a", both("10.0.0.5")), w.port("two", n, "a", both("10.0.0.6"))
	r := w.router("a", ext, exts, "", six)
	h.start()
	w.wired(pa, pb)
	w.runs(r)
	one, two := h.guest(pa), h.guest(pb)
	for g, p := range map[*guest]model.Port{one: pa, two: pb} {
		eventually(t, "an address from the advertisement", func() bool {
			out := g.run("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
			return strings.Contains(out, p.FixedIPs[1].IP.String()) && !strings.Contains(out, "tentative")
		})
	}
	if !strings.Contains(one.run("ip", "-6", "route"), "default via fe80") {
		t.Error("no default route was advertised")
	}
	to := pb.FixedIPs[1].IP.String()
	if one.pings(to) {
		t.Error("a ping came in that no rule lets in")
	}
	w.rule(g, "ingress6 ipv6-icmp")
	eventually(t, "IPv6 pings to be let in", func() bool { return one.pings(to) })
	one.run("ip", "addr", "add", "2001:db8:1::bad/64", "dev", "eth0", "nodad")
	if _, err := one.try("ping", "-c", "1", "-W", "1", "-I", "2001:db8:1::bad", to); err == nil {
		t.Error("a packet from an IPv6 address that the port does not have came through")
	}
}
