package agent

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/netd/model"
)

func TestTwoHosts_VXLANAndTrueCauses(t *testing.T) {
	w := newWorld(t)
	a, b := w.host("a", "10.99.0.1"), w.host("b", "10.99.0.2")
	a.wireTo(b, 1500)
	n, s := w.network(792, "10.0.0.0/24")
	g := w.group()
	w.rule(g, "ingress icmp")
	pa, pb := w.port("one", n, "a", at(s, "10.0.0.5", g)), w.port("two", n, "b", at(s, "10.0.0.6", g))
	a.start()
	b.start()
	w.wired(pa, pb)
	one, two := a.guest(pa), b.guest(pb)
	for _, x := range []*guest{one, two} {
		x.dhcp()
		if got := x.run("curl", "-s", "-m", "20", "http://169.254.169.254/"); !strings.Contains(got, x.port.ID) {
			t.Errorf("metadata: %q", got)
		}
	}
	eventually(t, "a ping from host to host", func() bool { return one.pings("10.0.0.6") })
	one.run("ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1422", "10.0.0.6") // as large as the MTU allows
	// The underlay becomes too small: what is wired says why it cannot be any more.
	a.run("ip", "link", "set", "under0", "mtu", "1400")
	eventually(t, "the cause", func() bool {
		return w.observed(pa).Fault == "VNI 792 needs MTU 1500, under0 has 1400"
	})
	a.run("ip", "link", "set", "under0", "mtu", "1500")
	w.wired(pa)
	if !one.pings("10.0.0.6") {
		t.Error("the network does not work after the MTU came back")
	}
}

// TestRestart_DropsNothing kills the agent and starts it again while a guest pings another.
func TestRestart_DropsNothing(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	ext, exts := w.public()
	n, s := w.network(120, "10.0.0.0/24")
	g := w.group()
	w.rule(g, "ingress icmp group="+g)
	pa, pb := w.port("one", n, "a", at(s, "10.0.0.5", g)), w.port("two", n, "a", at(s, "10.0.0.6", g))
	r := w.router("a", ext, exts, "172.24.4.10", s)
	h.start()
	w.wired(pa, pb)
	w.runs(r)
	one, two := h.guest(pa), h.guest(pb)
	one.dhcp()
	two.dhcp()
	eventually(t, "pings", func() bool { return one.pings("10.0.0.6") && one.pings("172.24.4.1") })
	pings := map[string]*exec.Cmd{}
	outs := map[string]*safeBuffer{}
	for _, ip := range []string{"10.0.0.6", "172.24.4.1"} {
		pings[ip], outs[ip] = one.command("ping", "-i", "0.01", "-c", "400", "-W", "5", ip), &safeBuffer{}
		pings[ip].Stdout = outs[ip]
		if err := pings[ip].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		h.kill()
		// Left over from before: a port that is gone, things half made.
		h.run("sh", "-c", fmt.Sprintf("ip link add hbr0000000%d-00 type bridge; ip tuntap add dev tap0000000%d-00 mode tap; touch /run/netns/henge-dhcp-%d; ip netns add henge-router-%d", i, i, i, i))
		w.update(func(tx state.Writer) error { return model.ObservedPorts.Delete(tx, pb.ID) })
		h.start()
		w.wired(pb)
	}
	for ip, cmd := range pings {
		_ = cmd.Wait()
		if out := outs[ip].take(); !strings.Contains(out, " 0% packet loss") {
			t.Errorf("packets to %s were lost: %s", ip, out[max(0, len(out)-300):])
		}
	}
	eventually(t, "the removal of what was left over", func() bool {
		out := h.run("sh", "-c", "ip -br link; ls /run/netns")
		return !strings.Contains(out, "0000000") && strings.Count(out, "henge-dhcp-") == 1 && strings.Count(out, "henge-router-") == 1
	})
}

// TestKilledAnywhere kills the agent at many moments of its work; in the end all is as it should be.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	ext, exts := w.public()
	n, s := w.network(130, "10.0.0.0/24")
	g := w.group()
	w.rule(g, "ingress icmp group="+g)
	pa, pb := w.port("one", n, "a", at(s, "10.0.0.5", g)), w.port("two", n, "a", at(s, "10.0.0.6", g))
	r := w.router("a", ext, exts, "172.24.4.10", s)
	for i := range 12 {
		h.start()
		timer := time.NewTimer(time.Duration(20+i*25) * time.Millisecond)
		<-timer.C
		h.kill()
	}
	h.start()
	w.wired(pa, pb)
	w.runs(r)
	one, two := h.guest(pa), h.guest(pb)
	one.dhcp()
	two.dhcp()
	eventually(t, "pings", func() bool { return one.pings("10.0.0.6") && one.pings("172.24.4.1") })
	w.remove(pb)
	eventually(t, "the tap of a deleted port to go", func() bool {
		_, err := h.try("ip", "link", "show", pb.Tap())
		return err != nil
	})
	w.remove(pa)
	w.update(func(tx state.Writer) error { return model.Routers.Delete(tx, r.ID) })
	eventually(t, "everything to go", func() bool {
		out := h.run("sh", "-c", "ip -br link; ls /run/netns; iptables-save; ip6tables-save; ipset list -name; nft list tables netdev")
		return !strings.Contains(out, "hbr0") && !strings.Contains(out, "tap") && !strings.Contains(out, "henge-router") && !strings.Contains(out, "henge-dhcp") &&
			!strings.Contains(out, "hgi-") && !strings.Contains(out, "hg4-") && !strings.Contains(out, "hg-")
	})
}

// TestOneBrokenPort wires the others all the same.
func TestOneBrokenPort(t *testing.T) {
	w := newWorld(t)
	h := w.host("a", "10.99.0.1")
	n, s := w.network(140, "10.0.0.0/24")
	bad := w.port("bad", n, "a", func(p *model.Port) { at(s, "10.0.0.5")(p); p.MAC = "not a MAC" })
	lost := w.port("lost", model.Network{Standard: model.Standard{ID: model.NewID()}}, "a", nil)
	flat := model.Network{Standard: model.Standard{ID: model.NewID()}, AdminUp: true, MTU: 1500, Type: model.Flat, PhysicalNetwork: "nowhere"}
	w.update(func(tx state.Writer) error { return model.Networks.Put(tx, flat.ID, flat) })
	nowhere := w.port("nowhere", flat, "a", nil)
	strange := w.group()
	w.update(func(tx state.Writer) error {
		low := 99
		r := model.Rule{Standard: model.Standard{ID: model.NewID()}, GroupID: strange, Direction: model.Ingress, EtherType: model.IPv4, Protocol: "tcp", PortMin: &low}
		low = 70000 // no API lets this in
		return model.Rules.Put(tx, r.ID, r)
	})
	refused := w.port("refused", n, "a", at(s, "10.0.0.7", strange))
	good := w.port("good", n, "a", at(s, "10.0.0.6"))
	h.start()
	w.wired(good)
	for p, want := range map[string]string{bad.ID: "MAC", lost.ID: "there is no network", nowhere.ID: `physical network "nowhere" is not connected`, refused.ID: "security group rules"} {
		o := w.observed(model.Port{Standard: model.Standard{ID: p}})
		if o.Status != model.Faulted || !strings.Contains(strings.ToLower(o.Fault), strings.ToLower(want)) {
			t.Errorf("%s: %+v", want, o)
		}
	}
	if err := w.store.View(context.Background(), func(r state.Reader) error { _, err := model.Agents.Get(r, "a"); return err }); err != nil {
		t.Error("the agent did not announce itself")
	}
}
