package model

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"henge/cluster/state"
	"henge/internal/errs"
)

func update(t *testing.T, s state.Store, fn func(w state.Writer) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestObserve_OnlyWhereBound(t *testing.T) {
	s := state.NewMemory()
	port := Port{Standard: Standard{ID: NewID()}, NetworkID: "n", MAC: "fa:16:3e:00:00:01", BindingHost: "a"}
	update(t, s, func(w state.Writer) error { return Ports.Put(w, port.ID, port) })
	seen := Observed{PortID: port.ID, Host: "a", Device: port.Tap(), MTU: 1450, Status: Wired}
	update(t, s, func(w state.Writer) error { return Observe(w, seen) })
	var before state.Index
	_ = s.View(t.Context(), func(r state.Reader) error { before = r.Index(); return nil })
	update(t, s, func(w state.Writer) error { return Observe(w, seen) })
	_ = s.View(t.Context(), func(r state.Reader) error {
		if r.Index() != before {
			t.Error("the same row again is a write")
		}
		return nil
	})
	err := s.Update(t.Context(), func(w state.Writer) error { return Observe(w, Observed{PortID: port.ID, Host: "b"}) })
	if !errs.Is(err, errs.Conflict) {
		t.Errorf("from a peer that the port is not bound to: %v", err)
	}
	err = s.Update(t.Context(), func(w state.Writer) error { return Observe(w, Observed{PortID: NewID(), Host: "a"}) })
	if !errs.Is(err, errs.NotFound) {
		t.Errorf("of a port that is gone: %v", err)
	}
}

func TestRecords_RoundTrip(t *testing.T) {
	five := 5
	for _, row := range []any{
		&Subnet{CIDR: netip.MustParsePrefix("10.0.0.0/24"), Pools: []Range{{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.9")}}},
		&Rule{PortMin: &five, RemotePrefix: netip.MustParsePrefix("::/0")},
		&FloatingIP{Address: netip.MustParseAddr("172.24.4.9")},
		&Router{Gateway: &Gateway{NetworkID: "n", SNAT: true}, Routes: []Route{{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParseAddr("10.0.0.7")}}},
	} {
		raw, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(row).Elem()).Interface()
		if err := json.Unmarshal(raw, back); err != nil || !reflect.DeepEqual(row, back) {
			t.Errorf("%s came back as %+v: %v", raw, back, err)
		}
	}
}

func TestTakenIn_Ordered(t *testing.T) {
	s := state.NewMemory()
	var want []netip.Addr
	for _, text := range []string{"10.0.0.9", "10.0.0.10", "10.0.0.200"} {
		ip := netip.MustParseAddr(text)
		want = append(want, ip)
		update(t, s, func(w state.Writer) error { return Addresses.Put(w, AddressID("s", ip), Address{PortID: text}) })
	}
	_ = s.View(t.Context(), func(r state.Reader) error {
		var got []netip.Addr
		for ip, port := range TakenIn(r, "s") {
			if port != ip.String() {
				t.Errorf("%s is %s's", ip, port)
			}
			got = append(got, ip)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		return nil
	})
}

func TestProtocolNumber(t *testing.T) {
	for _, tc := range []struct {
		word, ether string
		number      int
		ok          bool
	}{{"tcp", IPv4, 6, true}, {"icmp", IPv4, 1, true}, {"icmp", IPv6, 58, true}, {"132", IPv4, 132, true}, {"256", IPv4, 256, false}, {"smoke", IPv4, 0, false}} {
		if n, ok := ProtocolNumber(tc.word, tc.ether); n != tc.number || ok != tc.ok {
			t.Errorf("%s: %d, %v", tc.word, n, ok)
		}
	}
}

func TestRule_SamenessKnowsNamesAndNumbers(t *testing.T) {
	a := Rule{GroupID: "g", Direction: Ingress, EtherType: IPv4, Protocol: "tcp", RemotePrefix: netip.MustParsePrefix("10.0.0.7/8")}
	b := Rule{GroupID: "g", Direction: Ingress, EtherType: IPv4, Protocol: "6", RemotePrefix: netip.MustParsePrefix("10.0.0.0/8")}
	if Sameness(a) != Sameness(b) {
		t.Errorf("%q and %q differ", Sameness(a), Sameness(b))
	}
}
