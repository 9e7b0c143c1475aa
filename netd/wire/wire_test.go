package wire

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"henge/netd/model"
)

func TestNames(t *testing.T) {
	id := "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
	for _, name := range []string{model.TapName(id), kindBridge + short(id), kindVXLAN + short(id), kindDHCP + short(id), kindLeg + short(id)} {
		if !Ours(name) || len(name) > 15 {
			t.Errorf("%s", name)
		}
	}
	for _, name := range []string{"tap0", "eth0", "br-int", "docker0", "hbr", "tap0f1e2d3c-4", "henge-public"} {
		if Ours(name) {
			t.Errorf("%s is not ours", name)
		}
	}
	if n := setName(id, true); len(n)+2 > 31 || !OurSet(n) {
		t.Errorf("set %s", n)
	}
}

func TestRule_Match(t *testing.T) {
	for _, tc := range []struct {
		rule Rule
		want string
	}{
		{Rule{Direction: model.Ingress, Protocol: -1, Min: -1, Max: -1}, ""},
		{Rule{Direction: model.Ingress, Protocol: 6, Min: 22, Max: 22}, "-p 6 -m multiport --dports 22"},
		{Rule{Direction: model.Ingress, Protocol: 17, Min: 0, Max: 9, Remote: netip.MustParsePrefix("10.1.2.3/8")}, "-p 17 -s 10.0.0.0/8 -m multiport --dports 0:9"},
		{Rule{Direction: model.Egress, Protocol: -1, Min: -1, Max: -1, Set: "hg4-x"}, "-m set --match-set hg4-x dst"},
		{Rule{Direction: model.Ingress, Protocol: 1, Min: 8, Max: -1}, "-p 1 -m icmp --icmp-type 8"},
		{Rule{Direction: model.Ingress, Six: true, Protocol: 58, Min: 128, Max: 0}, "-p 58 -m icmp6 --icmpv6-type 128/0"},
		{Rule{Direction: model.Ingress, Protocol: 47, Min: -1, Max: -1}, "-p 47"},
		{Rule{Direction: model.Ingress, Protocol: 0, Min: -1, Max: -1}, ""},
	} {
		if got := tc.rule.match(); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.rule, got, tc.want)
		}
	}
}

func TestPermits(t *testing.T) {
	own := netip.MustParseAddr("10.0.0.5")
	d := Desired{
		Sets: map[string]Set{"s": {Members: []netip.Prefix{netip.MustParsePrefix("10.0.0.6/32")}}},
		Ports: []Port{{
			Secure: true, Zone: 7, Sources: []Source{{"m", netip.PrefixFrom(own, 32)}},
			Rules: []Rule{
				{Direction: model.Ingress, Protocol: 6, Min: 80, Max: 90, Set: "s"},
				{Direction: model.Egress, Protocol: -1, Min: -1, Max: -1, Remote: netip.MustParsePrefix("10.0.0.0/8")},
			},
		}},
	}
	for _, tc := range []struct {
		name string
		flow Flow
		want bool
	}{
		{"from the group", Flow{7, 6, netip.MustParseAddr("10.0.0.6"), own, 85}, true},
		{"another port", Flow{7, 6, netip.MustParseAddr("10.0.0.6"), own, 91}, false},
		{"not in the group", Flow{7, 6, netip.MustParseAddr("10.0.0.7"), own, 85}, false},
		{"another zone", Flow{8, 6, netip.MustParseAddr("10.0.0.7"), own, 85}, true},
		{"out", Flow{7, 17, own, netip.MustParseAddr("10.9.9.9"), 1}, true},
		{"out too far", Flow{7, 17, own, netip.MustParseAddr("11.9.9.9"), 1}, false},
		{"asking for an address", Flow{7, 17, own, netip.MustParseAddr("11.9.9.9"), 67}, true},
	} {
		if got := d.Permits(tc.flow); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestSources_PairsAndLinkLocal(t *testing.T) {
	p := model.Port{
		MAC: "fa:16:3e:00:00:01", FixedIPs: []model.FixedIP{{IP: netip.MustParseAddr("10.0.0.5")}},
		AddressPairs: []model.AddressPair{{Prefix: netip.MustParsePrefix("10.0.0.77/28"), MAC: "fa:16:3e:00:00:02"}},
	}
	want := []Source{
		{"fa:16:3e:00:00:01", netip.MustParsePrefix("fe80::f816:3eff:fe00:1/128")}, {"fa:16:3e:00:00:01", netip.MustParsePrefix("10.0.0.5/32")},
		{"fa:16:3e:00:00:02", netip.MustParsePrefix("fe80::f816:3eff:fe00:2/128")}, {"fa:16:3e:00:00:02", netip.MustParsePrefix("10.0.0.64/28")},
	}
	if got := sources(p); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestSpoof_KeepsTheTableOfATapThatStays(t *testing.T) {
	p := Port{Tap: "tap1", Secure: true, MAC: "fa:16:3e:00:00:01"}
	if strings.Contains(p.Spoof(false), "delete table") || !strings.Contains(p.Spoof(true), "delete table") {
		t.Error("a table is made anew only with its tap")
	}
	if p.Secure = false; strings.Contains(p.Spoof(false), "chain") {
		t.Error("no port security, no chain")
	}
}

func TestSet_HalvesOfEverything(t *testing.T) {
	var s Set
	s.add(netip.MustParsePrefix("0.0.0.0/0"))
	s.add(netip.MustParsePrefix("::/0"))
	if len(s.Members) != 2 || !s.holds(netip.MustParseAddr("200.1.1.1")) || !s.holds(netip.MustParseAddr("9.1.1.1")) {
		t.Errorf("%v", s.Members)
	}
}
