package core

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// holders are ports and their addresses as they must be: the plain map that the tables are held against.
type holders struct {
	*cloud
	rt  *rapid.T
	n   model.Network
	s   model.Subnet
	has map[string]netip.Addr
}

func (h *holders) taken(ip netip.Addr) bool {
	for _, other := range h.has {
		if other == ip {
			return true
		}
	}
	return false
}

// free counts what is left in the pools.
func (h *holders) free() (n int) {
	for _, pool := range h.s.Pools {
		for ip := pool.Start; pool.Holds(ip); ip = ip.Next() {
			if !h.taken(ip) {
				n++
			}
		}
	}
	return n
}

func (h *holders) some() string {
	return rapid.SampledFrom(slices.Sorted(maps.Keys(h.has))).Draw(h.rt, "port")
}

func (h *holders) any() {
	free := h.free()
	p, err := try(h.cloud, func(w state.Writer) (model.Port, error) { return h.core.CreatePort(w, portOn(h.n)) })
	if (err == nil) != (free > 0) {
		h.rt.Fatalf("%d free, and %v", free, err)
	}
	if err != nil {
		return
	}
	if h.taken(p.FixedIPs[0].IP) {
		h.rt.Fatalf("%s is given twice", p.FixedIPs[0].IP)
	}
	h.has[p.ID] = p.FixedIPs[0].IP
}

func (h *holders) that(ip netip.Addr) {
	p, err := try(h.cloud, func(w state.Writer) (model.Port, error) {
		return h.core.CreatePort(w, portOn(h.n, AddressRequest{IP: ip}))
	})
	expect(h.rt, err, usable(h.s.CIDR, ip), h.taken(ip))
	if err == nil {
		h.has[p.ID] = ip
	}
}

func (h *holders) move(id string, ip netip.Addr) {
	_, err := try(h.cloud, func(w state.Writer) (model.Port, error) {
		p, err := Port(w, id)
		if err != nil {
			return p, err
		}
		return h.core.UpdatePort(w, PortChange{Port: p, Addresses: []AddressRequest{{SubnetID: h.s.ID, IP: ip}}, AddressesGiven: true})
	})
	expect(h.rt, err, usable(h.s.CIDR, ip), h.taken(ip) && h.has[id] != ip)
	if err == nil {
		h.has[id] = ip
	}
}

func (h *holders) drop(id string) {
	if _, err := try(h.cloud, func(w state.Writer) (bool, error) { return true, h.core.DeletePort(w, id) }); err != nil {
		h.rt.Fatal(err)
	}
	delete(h.has, id)
}

// Ports come, change and go against a plain map of who has which address; the tables must agree with it after every step.
func TestAddresses_AgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &holders{cloud: newCloud(t), rt: rt, has: map[string]netip.Addr{}}
		h.n = h.network(nil)
		h.s = h.subnetOf(h.n, "10.0.0.0/28", func(r *SubnetRequest) {
			r.Pools = []model.Range{{Start: netip.MustParseAddr("10.0.0.2"), End: netip.MustParseAddr("10.0.0.5")}, {Start: netip.MustParseAddr("10.0.0.9"), End: netip.MustParseAddr("10.0.0.11")}}
		})
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 15).Draw(rt, "ip"))})
			switch op := rapid.SampledFrom([]string{"any", "that", "move", "drop"}).Draw(rt, "op"); {
			case op == "any":
				h.any()
			case op == "that":
				h.that(ip)
			case op == "move" && len(h.has) > 0:
				h.move(h.some(), ip)
			case op == "drop" && len(h.has) > 0:
				h.drop(h.some())
			}
			if err := h.store.View(t.Context(), check); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

func expect(rt *rapid.T, err error, usable, taken bool) {
	switch {
	case usable && !taken && err != nil:
		rt.Fatalf("a free address: %v", err)
	case usable && taken && (fault.Of(err) == nil || fault.Of(err).Type != "IpAddressAlreadyAllocated"):
		rt.Fatalf("a taken address: %v", err)
	case !usable && !errs.Is(err, errs.Invalid):
		rt.Fatalf("an address that no host may have: %v", err)
	}
}

func TestArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(0, 32).Draw(t, "bits")
		ip := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip")))
		p := netip.PrefixFrom(ip, bits).Masked()
		end := last(p)
		if !p.Contains(end) || end.Next().IsValid() && p.Contains(end.Next()) {
			t.Fatalf("the last of %s is not %s", p, end)
		}
		n := size(model.Range{Start: p.Addr(), End: end}, 1<<40)
		if n != 1<<(32-bits) || plus(p.Addr(), n-1) != end {
			t.Fatalf("%s has %d addresses, to %s", p, n, plus(p.Addr(), n-1))
		}
	})
	if got := derived(model.Subnet{CIDR: netip.MustParsePrefix("2001:db8::/64")}, "fa:16:3e:01:02:03"); got.String() != "2001:db8::f816:3eff:fe01:203" {
		t.Errorf("EUI-64: %s", got)
	}
	if got := plus(netip.MustParseAddr("2001:db8::ffff:ffff:ffff:ffff"), 1); got.String() != "2001:db8:0:1::" {
		t.Errorf("a carry: %s", got)
	}
}

func BenchmarkCreatePort(b *testing.B) {
	c := newCloud(b)
	n := c.network(nil)
	c.subnetOf(n, "10.0.0.0/16", func(r *SubnetRequest) { r.DHCP = true })
	for i := 0; b.Loop(); i++ {
		p := must(c, func(w state.Writer) (model.Port, error) { return c.core.CreatePort(w, portOn(n)) })
		if i%2 == 0 {
			must(c, func(w state.Writer) (bool, error) { return true, c.core.DeletePort(w, p.ID) })
		}
		if i%900 == 899 {
			c = newCloud(b)
			n = c.network(nil)
			c.subnetOf(n, "10.0.0.0/16", nil)
		}
	}
}
