package agent

import (
	"os"
	"strings"
	"testing"

	"henge/netd/model"
)

// answers makes a guest answer TCP on a port, until the test ends.
func (g *guest) answers(port string) {
	g.t.Helper()
	cmd := g.command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=echo "+port)
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(g.t, "a listener", func() bool {
		out, _ := g.try("cat", "/proc/net/tcp", "/proc/net/tcp6")
		return strings.Contains(out, " 0A ")
	})
}

// connects tells whether a TCP connection brings an echo.
func (g *guest) connects(ip, port string) bool {
	cmd := g.command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=call "+ip+" "+port)
	return cmd.Run() == nil
}

func TestSecurityGroups(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	n, s := w.network(102, "10.0.0.0/24")
	servers, clients := w.group(), w.group()
	ps := w.port("server", n, "a", at(s, "10.0.0.5", servers))
	pc := w.port("client", n, "a", at(s, "10.0.0.6", clients))
	po := w.port("other", n, "a", at(s, "10.0.0.7", w.group()))
	open := w.port("open", n, "a", func(p *model.Port) { at(s, "10.0.0.8")(p); p.PortSecurity = false })
	h.start()
	w.wired(ps, pc, po, open)
	server, client, other, opened := h.guest(ps), h.guest(pc), h.guest(po), h.guest(open)
	for g, ip := range map[*guest]string{server: "10.0.0.5", client: "10.0.0.6", other: "10.0.0.7", opened: "10.0.0.8"} {
		g.run("ip", "addr", "add", ip+"/24", "dev", "eth0")
	}
	server.answers("80")
	if client.pings("10.0.0.5") || client.connects("10.0.0.5", "80") {
		t.Error("nothing was let in, yet the server answers")
	}
	if !client.pings("10.0.0.8") {
		t.Error("a port without port security does not answer")
	}
	tcp := w.rule(servers, "ingress tcp 80 group="+clients)
	eventually(t, "the remote group to be let in", func() bool { return client.connects("10.0.0.5", "80") })
	if other.connects("10.0.0.5", "80") {
		t.Error("who is not in the remote group comes in")
	}
	if client.pings("10.0.0.5") {
		t.Error("a ping comes in by a rule for TCP")
	}
	w.rule(servers, "ingress icmp")
	eventually(t, "pings to be let in", func() bool { return other.pings("10.0.0.5") })

	// A connection that lasts is cut when its rule goes.
	lasting := client.command("sh", "-c", "(while :; do echo tick; sleep 0.1; done) | busybox nc 10.0.0.5 80")
	out, err := lasting.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lasting.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lasting.Process.Kill(); _ = lasting.Wait() })
	var ticks counter
	go ticks.count(out)
	eventually(t, "the connection to stand", func() bool { return ticks.n.Load() > 3 })
	w.dropRule(tcp)
	eventually(t, "the connection to be cut", func() bool { return ticks.still() })
}

func TestSpoofing(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	n, s := w.network(103, "10.0.0.0/24")
	g := w.group()
	w.rule(g, "ingress")
	w.rule(g, "ingress6")
	pe := w.port("evil", n, "a", at(s, "10.0.0.5", g))
	pv := w.port("victim", n, "a", at(s, "10.0.0.6", g))
	pair := w.port("pair", n, "a", func(p *model.Port) {
		at(s, "10.0.0.7", g)(p)
		p.AddressPairs = []model.AddressPair{{Prefix: prefix("10.0.0.64/28"), MAC: p.MAC}}
	})
	h.start()
	w.wired(pe, pv, pair)
	evil, victim, paired := h.guest(pe), h.guest(pv), h.guest(pair)
	evil.run("ip", "addr", "add", "10.0.0.5/24", "dev", "eth0")
	victim.run("ip", "addr", "add", "10.0.0.6/24", "dev", "eth0")
	paired.run("ip", "addr", "add", "10.0.0.7/24", "dev", "eth0")
	eventually(t, "the network to work", func() bool { return evil.pings("10.0.0.6") && paired.pings("10.0.0.6") })
	evil.run("ip", "addr", "add", "10.0.0.9/24", "dev", "eth0")
	if _, err := evil.try("ping", "-c", "1", "-W", "1", "-I", "10.0.0.9", "10.0.0.6"); err == nil {
		t.Error("a packet from an address that the port does not have came through")
	}
	victim.run("ip", "neigh", "flush", "all")
	_, _ = evil.try("busybox", "arping", "-c", "2", "-A", "-I", "eth0", "10.0.0.9")
	if out := victim.run("ip", "neigh"); strings.Contains(out, "10.0.0.9 dev eth0 lladdr") {
		t.Errorf("a false ARP message was believed: %s", out)
	}
	paired.run("ip", "addr", "add", "10.0.0.65/24", "dev", "eth0")
	paired.run("ping", "-c", "1", "-W", "5", "-I", "10.0.0.65", "10.0.0.6")
	evil.run("sh", "-c", "ip link set eth0 down; ip link set eth0 address fa:16:3e:ff:ff:ff; ip link set eth0 up")
	if evil.pings("10.0.0.6") {
		t.Error("frames from a MAC address that is not the port's came through")
	}
}

func TestTwoTenantsWithTheSameAddresses(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	var guests []*guest
	var ports []model.Port
	for i, name := range []string{"red", "blue"} {
		n, s := w.network(104+i, "10.0.0.0/24")
		g := w.group()
		w.rule(g, "ingress")
		ports = append(ports, w.port(name+"1", n, "a", at(s, "10.0.0.5", g)), w.port(name+"2", n, "a", at(s, "10.0.0.6", g)))
	}
	h.start()
	w.wired(ports...)
	for _, p := range ports {
		g := h.guest(p)
		if lease := g.dhcp(); !strings.Contains(lease, p.FixedIPs[0].IP.String()) {
			t.Errorf("%s: %s", p.Name, lease)
		}
		guests = append(guests, g)
	}
	for i, g := range guests {
		want := ports[i^1].MAC
		eventually(t, "a neighbour", func() bool { return g.pings(ports[i^1].FixedIPs[0].IP.String()) })
		if out := g.run("ip", "neigh"); !strings.Contains(out, want) {
			t.Errorf("%s talks to another tenant's guest: %s", ports[i].Name, out)
		}
		if got := g.run("curl", "-s", "-m", "20", "http://169.254.169.254/"); !strings.Contains(got, ports[i].ID) {
			t.Errorf("metadata of %s: %q", ports[i].Name, got)
		}
	}
}
