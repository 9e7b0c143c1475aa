package ring

import (
	"encoding/hex"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The hash decides where every name of a cluster lies: it can never change.
func TestHashPath_StaysAsItIs(t *testing.T) {
	secret := Secret{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for path, want := range map[[3]string]string{
		{"AUTH_test", "", ""}:         "fc2d2688366c6dbaf8018ea1d81ca593",
		{"AUTH_test", "c", ""}:        "dec8f0f69f66ba94e1563a84466bd6fc",
		{"AUTH_test", "c", "o/p ü"}:   "8d2420e77e24fbccf0d34c99951974be",
		{"AUTH_test", "", "ignored!"}: "fc2d2688366c6dbaf8018ea1d81ca593",
	} {
		h := HashPath(secret, path[0], path[1], path[2])
		if got := hex.EncodeToString(h[:]); got != want {
			t.Errorf("%q: %s", path, got)
		}
	}
	if HashPath(Secret{1}, "a", "", "") == HashPath(Secret{2}, "a", "", "") {
		t.Error("the secret makes no difference")
	}
	long := HashPath(secret, strings.Repeat("a", 256), strings.Repeat("c", 256), strings.Repeat("o", 4096))
	if long == (Hash{}) {
		t.Error("no hash of a long name")
	}
}

func TestLookups_AllocateNothing(t *testing.T) {
	b := cluster(t, 10, 3, 1, 4, 3, 2)
	mustRebalance(t, b, day)
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	var secret Secret
	object := strings.Repeat("o", 1024)
	into := make([]*Device, 0, 4)
	if n := testing.AllocsPerRun(100, func() {
		into = r.Primaries(r.Partition(HashPath(secret, "account", "container", object)), into[:0])
	}); n != 0 {
		t.Fatalf("%g allocations", n)
	}
	if len(into) != 3 {
		t.Fatal(into)
	}
}

func TestBuild_StaysWithinItsMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b := cluster(t, 15, 3, 1, 5, 20, 10) // an eighth of what BenchmarkBuild does, with an eighth of the memory that may take
	mustRebalance(t, b, day)
	if _, err := b.Ring(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 25 {
		t.Fatalf("2^15 partitions of 3 replicas on 1000 devices took %d MiB", n)
	}
}

func TestPartition_IsTheTopBits(t *testing.T) {
	for power, want := range map[uint8]Partition{1: 1, 8: 0xab, 16: 0xabcd, 24: 0xabcdef} {
		r := &Ring{power: power}
		if got := r.Partition(Hash{0xab, 0xcd, 0xef, 0x12}); got != want {
			t.Errorf("power %d: %x", power, got)
		}
	}
}

// TestHandoffs_FarthestFirst: each device once, none that is a primary, none that holds nothing; and never a device that brings a new
// region (zone, host) after one that did not.
func TestHandoffs_FarthestFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		h.rebalance(t)
		r, err := h.b.Ring()
		if err != nil {
			t.Fatal(err)
		}
		holding := 0
		for _, x := range h.b.Balances() {
			if x.Parts > 0 {
				holding++
			}
		}
		p := Partition(rapid.IntRange(0, r.Partitions()-1).Draw(t, "partition"))
		primaries := r.Primaries(p, nil)
		used := newPlaces()
		for _, d := range primaries {
			used.add(d)
		}
		handoffs := slices.Collect(r.Handoffs(p))
		if len(handoffs)+len(primaries) != holding {
			t.Fatalf("%d primaries, %d handoffs, %d devices hold something", len(primaries), len(handoffs), holding)
		}
		nearest := 0
		for _, d := range handoffs {
			z := zoneKey{d.Region, d.Zone}
			far := 0
			switch {
			case !has(used.regions, d.Region):
			case !has(used.zones, z):
				far = 1
			case !has(used.peers, peerKey{z, d.Peer}):
				far = 2
			case !has(used.devices, d.ID):
				far = 3
			default:
				t.Fatalf("%s comes twice", d)
			}
			if far < nearest {
				t.Fatalf("%s comes after nearer ones", d)
			}
			nearest = far
			used.add(d)
		}
		if !slices.Equal(handoffs, slices.Collect(r.Handoffs(p))) {
			t.Fatal("another order the second time")
		}
	})
}
