package ring

import (
	"fmt"
	"math"
	"testing"
	"time"

	"henge/internal/errs"
)

func mustRebalance(t testing.TB, b *Builder, now time.Time) Changes {
	t.Helper()
	c, err := b.Rebalance(now, 1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRebalance_OnePercentMoreMovesOnePercent(t *testing.T) {
	b := cluster(t, 14, 3, 2, 3, 4, 4) // 96 devices
	mustRebalance(t, b, day)
	if _, err := b.Add(Device{Region: 0, Zone: 0, Peer: "p0-0-0", Name: "new", Weight: 96}); err != nil {
		t.Fatal(err)
	}
	c := mustRebalance(t, b, day.Add(2*time.Hour))
	if share := c.Share(); share < 0.0095 || share > 0.0125 {
		t.Fatalf("1 %% more capacity moved %.2f %%: %d replicas", 100*share, c.Moved)
	}
	if c.Held != 0 || c.Partitions != c.Moved {
		t.Fatalf("%+v", c)
	}
	for _, d := range c.Level(LevelDevice) {
		if (d.Tier.Name == "new") != (d.In > 0) && d.Out == 0 && d.In > 0 {
			t.Errorf("%s took %d", d.Tier, d.In)
		}
	}
}

func TestRebalance_RemovedAtOnceDrainedInTime(t *testing.T) {
	b := cluster(t, 8, 3, 1, 4, 1, 2)
	mustRebalance(t, b, day)
	held := b.Balances()[0].Parts

	if err := b.SetWeight(0, 0); err != nil {
		t.Fatal(err)
	}
	c := mustRebalance(t, b, day.Add(59*time.Minute))
	if c.Moved != 0 || c.Held < held || b.Wait(day.Add(59*time.Minute)) != time.Minute {
		t.Fatalf("a drained device lost replicas within min_part_hours: %+v", c)
	}
	if err := b.Remove(1); err != nil {
		t.Fatal(err)
	}
	if len(b.Validate()) == 0 || len(b.Removed()) != 1 {
		t.Fatal("a removed device is not noticed")
	}
	c = mustRebalance(t, b, day.Add(59*time.Minute))
	if c.Moved < held/2 {
		t.Fatalf("a removed device kept its replicas: %+v", c)
	}
	for _, tc := range c.Level(LevelDevice) {
		if tc.Tier.ID == 1 && (tc.After != 0 || tc.Out != tc.Before || tc.Before == 0) {
			t.Fatalf("%+v", tc)
		}
	}
	for hours := 2; ; hours += 2 {
		if c = mustRebalance(t, b, day.Add(time.Duration(hours)*time.Hour)); c.Held == 0 {
			break
		}
		if hours > 20 {
			t.Fatalf("%+v", c)
		}
	}
	if x := b.Balances()[0]; x.Parts != 0 || x.Balance != 0 {
		t.Fatalf("the drained device still has %d", x.Parts)
	}
	if errs := b.Validate(); len(errs) != 0 {
		t.Fatal(errs)
	}
}

func TestRebalance_PretendLetsEverythingMove(t *testing.T) {
	b := cluster(t, 8, 3, 1, 3, 1, 2)
	mustRebalance(t, b, day)
	if err := b.SetWeight(0, 0); err != nil {
		t.Fatal(err)
	}
	b.PretendMinPartHoursPassed()
	if b.Wait(day) != 0 {
		t.Fatal(b.Wait(day))
	}
	if c := mustRebalance(t, b, day); c.Held != 0 || c.Moved == 0 {
		t.Fatalf("%+v", c)
	}
}

// Three zones, of which one has less weight: by weight alone it cannot take a replica of every partition; with overload it does.
func TestRebalance_OverloadTradesWeightForDistance(t *testing.T) {
	b, err := NewBuilder(Config{Power: 10, Replicas: 3, MinPartHours: 0})
	if err != nil {
		t.Fatal(err)
	}
	for zone, disks := range []int{10, 10, 9} {
		for d := range disks {
			if _, err := b.Add(Device{Zone: zone, Peer: fmt.Sprintf("p%d", zone), Name: fmt.Sprintf("d%d", d), Weight: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustRebalance(t, b, day)
	if d := b.Dispersion(); d.Percent < 1 || d.Worst == nil || b.Balance() > 1 {
		t.Fatalf("by weight: dispersion %.2f, balance %.2f", d.Percent, b.Balance())
	}
	if err := b.SetOverload(0.04); err != nil { // a part of what it takes
		t.Fatal(err)
	}
	for range 4 {
		mustRebalance(t, b, day)
	}
	part := b.Dispersion().Percent
	if err := b.SetOverload(0.1); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		mustRebalance(t, b, day)
	}
	d := b.Dispersion()
	if d.Percent != 0 || d.Worst != nil || part <= 0 || part >= 2.5 {
		t.Fatalf("dispersion %.2f with overload, %.2f with some", d.Percent, part)
	}
	if x := b.Balances()[28]; x.Parts != 113 && x.Parts != 114 || math.Abs(b.Balance()-7.4) > 0.5 {
		t.Fatalf("a device of the small zone holds %d, balance %.2f", x.Parts, b.Balance())
	}
}

func TestRebalance_FewerDevicesThanReplicas(t *testing.T) {
	b := cluster(t, 4, 3, 1, 1, 1, 2)
	mustRebalance(t, b, day)
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Primaries(7, nil)); n != 2 || r.Replicas() != 3 {
		t.Fatalf("%d primaries", n)
	}
	for range r.Handoffs(7) {
		t.Fatal("a handoff that is a primary")
	}
	if len(b.Validate()) != 2 {
		t.Fatal(b.Validate())
	}
	if _, err := b.Add(Device{Peer: "other", Name: "d1", Weight: 1}); err != nil {
		t.Fatal(err)
	}
	c := mustRebalance(t, b, day) // what has no place waits for nothing
	if c.Placed != 16 || len(b.Validate()) != 0 {
		t.Fatalf("%+v %v", c, b.Validate())
	}
}

func TestRebalance_FractionalReplicas(t *testing.T) {
	b := cluster(t, 8, 2.25, 1, 4, 1, 2)
	mustRebalance(t, b, day)
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	for p := range r.Partitions() {
		want := 2
		if p < 64 {
			want = 3
		}
		if n := len(r.Primaries(Partition(p), nil)); n != want {
			t.Fatalf("partition %d has %d", p, n)
		}
	}
	if r.Replicas() != 2.25 || r.Primaries(256, nil) != nil {
		t.Fatal(r.Replicas())
	}
	if err := b.SetReplicas(2); err != nil {
		t.Fatal(err)
	}
	if c := mustRebalance(t, b, day.Add(2*time.Hour)); c.Dropped != 64 || c.Held != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestBuilder_RefusesNonsense(t *testing.T) {
	for _, c := range []Config{{0, 3, 1}, {25, 3, 1}, {8, 0, 1}, {8, 33, 1}, {8, math.NaN(), 1}, {8, math.Inf(1), 1}, {8, 3, -1}, {8, 3, 256}, {24, 5, 1}} {
		if _, err := NewBuilder(c); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	b := cluster(t, 4, 3, 1, 1, 1, 1)
	version := b.Version()
	for _, d := range []Device{
		{Peer: "", Name: "d", Weight: 1}, {Peer: "a/b", Name: "d", Weight: 1}, {Peer: "a", Name: "d_1", Weight: 1}, {Peer: "a", Name: "d e", Weight: 1},
		{Peer: "a", Name: "d", Weight: -1}, {Peer: "a", Name: "d", Weight: math.NaN()}, {Peer: "a", Name: "d", Weight: math.Inf(1)}, {Peer: "a", Name: "d", Weight: 1e-300},
		{Peer: "a", Name: "d", Region: -1}, {Peer: "a", Name: "d", Zone: -1}, {Peer: "a", Name: "d", Meta: "\xff"}, {Peer: "a", Name: "d", Address: "x\ny"},
	} {
		if _, err := b.Add(d); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if _, err := b.Add(Device{Region: 5, Peer: "p0-0-0", Name: "d0", Weight: 1}); !errs.Is(err, errs.Exists) {
		t.Error(err)
	}
	for _, err := range []error{b.Remove(1), b.Remove(-1), b.SetWeight(7, 1), b.SetZone(7, 1)} {
		if !errs.Is(err, errs.NotFound) {
			t.Error(err)
		}
	}
	for _, err := range []error{b.SetWeight(0, -1), b.SetRegion(0, -1), b.SetOverload(-1), b.SetOverload(math.NaN()), b.SetReplicas(-1), b.SetMinPartHours(-1)} {
		if !errs.Is(err, errs.Invalid) {
			t.Error(err)
		}
	}
	if _, err := b.Ring(); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if b.Version() != version {
		t.Error("what was refused has changed something")
	}
}

func TestBuilder_NumbersAreNotUsedTwice(t *testing.T) {
	b := cluster(t, 4, 1, 1, 1, 1, 2)
	if err := b.Remove(1); err != nil {
		t.Fatal(err)
	}
	mustRebalance(t, b, day)
	id, err := b.Add(Device{Peer: "x", Name: "d", Weight: 1})
	if err != nil || id != 2 {
		t.Fatal(id, err)
	}
}

// A ring made earlier keeps what it was made of.
func TestRing_DoesNotChangeWithItsBuilder(t *testing.T) {
	b := cluster(t, 4, 2, 1, 2, 1, 1)
	mustRebalance(t, b, day)
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	digest, version := r.Digest(), r.Version()
	if err := b.SetWeight(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(1); err != nil {
		t.Fatal(err)
	}
	mustRebalance(t, b, day.Add(2*time.Hour))
	if len(r.Primaries(3, nil)) != 2 || r.Devices()[0].Weight != 100 || r.Digest() != digest || r.Version() != version || b.Version() <= version {
		t.Fatal("the ring changed")
	}
}

// Weights as far apart as they can be still leave every replica with a place.
func TestRebalance_ExtremeWeights(t *testing.T) {
	b, err := NewBuilder(Config{Power: 6, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range []float64{1e15, 1, 1e-6} {
		if _, err := b.Add(Device{Zone: i, Peer: fmt.Sprint("p", i), Name: "d", Weight: w}); err != nil {
			t.Fatal(err)
		}
	}
	mustRebalance(t, b, day)
	if wrong := b.Validate(); len(wrong) != 0 {
		t.Fatal(wrong)
	}
	if _, err := b.Add(Device{Zone: 4, Peer: "p4", Name: "d", Weight: 1e-6}); err != nil {
		t.Fatal(err)
	}
	mustRebalance(t, b, day)
	if wrong := b.Validate(); len(wrong) != 0 {
		t.Fatal(wrong)
	}
}
