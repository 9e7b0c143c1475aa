package ring

import (
	"fmt"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func cluster(t testing.TB, power uint8, replicas float64, regions, zones, peers, disks int) *Builder {
	t.Helper()
	b, err := NewBuilder(Config{Power: power, Replicas: replicas, MinPartHours: 1})
	if err != nil {
		t.Fatal(err)
	}
	for r := range regions {
		for z := range zones {
			for p := range peers {
				for d := range disks {
					if _, err := b.Add(Device{Region: r, Zone: z, Peer: fmt.Sprintf("p%d-%d-%d", r, z, p), Name: fmt.Sprintf("d%d", d), Weight: 100}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	return b
}

func TestPrimaries_ApartAndByWeight(t *testing.T) {
	b := cluster(t, 10, 3, 1, 4, 3, 2)
	if _, err := b.Rebalance(day, 1); err != nil {
		t.Fatal(err)
	}
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	held := map[int]int{}
	for p := range r.Partitions() {
		zones := map[int]bool{}
		ds := r.Primaries(Partition(p), nil)
		for _, d := range ds {
			zones[d.Zone] = true
			held[d.ID]++
		}
		if len(ds) != 3 || len(zones) != 3 {
			t.Fatalf("partition %d: %v", p, ds)
		}
		n := 0
		for d := range r.Handoffs(Partition(p)) {
			if n == 0 && zones[d.Zone] {
				t.Fatalf("partition %d: first handoff %s in a zone of %v", p, d, ds)
			}
			n++
		}
		if n != 24-3 {
			t.Fatalf("partition %d: %d handoffs", p, n)
		}
	}
	for id, n := range held {
		if n != 128 {
			t.Errorf("device %d holds %d, want 128", id, n)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		bld := cluster(b, 18, 3, 1, 5, 20, 10)
		if _, err := bld.Rebalance(day, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrimaries(b *testing.B) {
	bld := cluster(b, 18, 3, 1, 5, 20, 10)
	if _, err := bld.Rebalance(day, 1); err != nil {
		b.Fatal(err)
	}
	r, err := bld.Ring()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var into [8]*Device
	var h Hash
	for i := 0; b.Loop(); i++ {
		x := scatter(uint64(i))
		h[0], h[1], h[2], h[3] = byte(x), byte(x>>8), byte(x>>16), byte(x>>24)
		if len(r.Primaries(r.Partition(h), into[:0])) != 3 {
			b.Fatal("not 3")
		}
	}
}
