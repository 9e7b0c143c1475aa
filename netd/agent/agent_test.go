package agent

import (
	"os"
	"strings"
	"testing"
)

// dhcpScript is what udhcpc does with what it was told.
const dhcpScript = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
[ -n "$mtu" ] && ip link set $interface mtu $mtu
set -- $staticroutes
while [ -n "$1" ]; do ip route add $1 via $2 dev $interface; shift 2; done
echo "lease $ip $mask $router $mtu $dns $hostname"
`

// dhcp lets the guest ask for its address with a real client.
func (g *guest) dhcp() string {
	g.t.Helper()
	script := g.t.TempDir() + "/udhcpc.sh"
	writeFile(g.t, script, dhcpScript)
	var out string
	eventually(g.t, "a lease for "+g.port.Name, func() bool {
		var err error
		out, err = g.try("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-O", "mtu", "-O", "staticroutes", "-s", script)
		return err == nil && strings.Contains(out, "lease ")
	})
	return out
}

func (g *guest) pings(ip string) bool {
	_, err := g.try("ping", "-c", "1", "-W", "1", ip)
	return err == nil
}

func TestGuest_AddressMTURoutesMetadata(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	n, s := w.network(101, "10.0.0.0/24")
	g := w.group()
	p := w.port("one", n, "a", at(s, "10.0.0.5", g))
	h.start()
	w.wired(p)
	one := h.guest(p)
	lease := one.dhcp()
	if !strings.Contains(lease, "lease 10.0.0.5 24 10.0.0.1 1450") {
		t.Errorf("lease: %s", lease)
	}
	if routes := one.run("ip", "route"); !strings.Contains(routes, "default via 10.0.0.1") || !strings.Contains(routes, "169.254.169.254 via 10.0.0.2") {
		t.Errorf("routes: %s", routes)
	}
	if !strings.Contains(one.run("ip", "link", "show", "eth0"), "mtu 1450") {
		t.Error("the guest's MTU is another")
	}
	got := one.run("curl", "-s", "-m", "20", "http://169.254.169.254/latest/meta-data/")
	if got != "/latest/meta-data/ "+p.ID+" server-one p" {
		t.Errorf("metadata: %q", got)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
