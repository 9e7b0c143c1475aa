package ring

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// history is a builder under random operations, and what must be known of its past to judge the next rebalance.
type history struct {
	b     *Builder
	now   time.Time
	seed  uint64
	moved []time.Time // by partition: when a replica of it last moved or was placed
}

func drawHistory(t *rapid.T) *history {
	b, err := NewBuilder(Config{
		Power:        uint8(rapid.IntRange(4, 8).Draw(t, "power")),
		Replicas:     rapid.SampledFrom([]float64{1, 2, 2.5, 3, 3, 3, 3.25, 4}).Draw(t, "replicas"),
		MinPartHours: rapid.IntRange(0, 4).Draw(t, "min_part_hours"),
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &history{b: b, now: day, moved: make([]time.Time, b.Partitions())}
	for range rapid.IntRange(1, 24).Draw(t, "devices") {
		h.add(t)
	}
	return h
}

func (h *history) add(t *rapid.T) {
	region, zone, peer := rapid.IntRange(1, 2).Draw(t, "region"), rapid.IntRange(1, 3).Draw(t, "zone"), rapid.IntRange(1, 3).Draw(t, "peer")
	_, err := h.b.Add(Device{Region: region, Zone: zone, Peer: fmt.Sprintf("p%d-%d-%d", region, zone, peer), Name: fmt.Sprintf("d%d", len(h.b.devices)),
		Weight: rapid.SampledFrom([]float64{1, 1, 1, 1, 2, 3.5, 10}).Draw(t, "weight")})
	if err != nil {
		t.Fatal(err)
	}
}

// change does one random thing that an operator might.
func (h *history) change(t *rapid.T) {
	devices := h.b.Devices()
	id := rapid.SampledFrom(devices).Draw(t, "device").ID
	var err error
	switch rapid.IntRange(0, 8).Draw(t, "change") {
	case 0, 1, 2:
		h.add(t)
	case 3:
		if len(devices) > 1 {
			err = h.b.Remove(id)
		}
	case 4:
		err = h.b.SetWeight(id, rapid.SampledFrom([]float64{1, 2, 5, 0.5}).Draw(t, "weight"))
	case 5:
		if len(devices) > 1 {
			err = h.b.SetWeight(id, 0)
		}
	case 6:
		err = h.b.SetOverload(rapid.SampledFrom([]float64{0, 0.1, 1}).Draw(t, "overload"))
	case 7:
		err = h.b.SetReplicas(rapid.SampledFrom([]float64{1, 2, 3, 3.5}).Draw(t, "replicas"))
	case 8:
		err = h.b.SetZone(id, rapid.IntRange(1, 4).Draw(t, "zone"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rebalance does it, and checks all that must hold of every one. False when no device has a weight.
func (h *history) rebalance(t *rapid.T) (Changes, bool) {
	before := h.b.Clone()
	h.seed++
	preview, previewErr := h.b.Preview(h.now, h.seed)
	if !reflect.DeepEqual(before, h.b.Clone()) {
		t.Fatal("a preview changed the builder")
	}
	c, err := h.b.Rebalance(h.now, h.seed)
	if !reflect.DeepEqual(preview, c) || (err == nil) != (previewErr == nil) {
		t.Fatalf("preview %+v, then %+v", preview, c)
	}
	usable := 0
	for _, d := range h.b.Devices() {
		if d.Weight > 0 {
			usable++
		}
	}
	if usable == 0 {
		if err == nil || !reflect.DeepEqual(before, h.b.Clone()) {
			t.Fatalf("no device with a weight: %v", err)
		}
		return c, false
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for p := range h.b.Partitions() {
		sum += h.checkPartition(t, before, p, usable)
	}
	if sum != c.Moved {
		t.Fatalf("%d replicas moved, said %d", sum, c.Moved)
	}
	return c, true
}

// checkPartition gives how many of p's replicas moved.
func (h *history) checkPartition(t *rapid.T, before *Builder, p, usable int) (moves int) {
	held := h.b.slots[p*h.b.stride : (p+1)*h.b.stride]
	want := min(usable, h.b.replicasOf(p))
	var now []uint32
	for _, id := range held {
		if id == noDevice {
			continue
		}
		if h.b.devices[id] == nil {
			t.Fatalf("partition %d is on device %d, which is gone", p, id)
		}
		if slices.Contains(now, id) {
			t.Fatalf("partition %d is twice on device %d", p, id)
		}
		now = append(now, id)
	}
	if len(now) != want {
		t.Fatalf("partition %d has %d replicas, want %d", p, len(now), want)
	}
	if before.slots == nil {
		h.moved[p] = h.now
		return 0
	}
	lost, forced := 0, 0
	old := before.slots[p*before.stride : (p+1)*before.stride]
	for _, id := range old {
		if id == noDevice || slices.Contains(now, id) {
			continue
		}
		lost++
		if before.devices[id] == nil {
			forced++
		}
	}
	gained := 0
	for _, id := range now {
		if !slices.Contains(old, id) {
			gained++
		}
	}
	moves = min(lost, gained)
	if free := moves - forced; free > 0 {
		if free > 1 || forced > 0 {
			t.Fatalf("partition %d: %d replicas moved at once, %d of them had to", p, moves, forced)
		}
		if since := h.now.Sub(h.moved[p]); since < time.Duration(h.b.minPartHours)*time.Hour {
			t.Fatalf("partition %d moved after %v", p, since)
		}
	}
	if gained > 0 {
		h.moved[p] = h.now
	}
	return moves
}

// TestRebalance_EveryStepIsSafe: whatever operators do, and whenever they rebalance.
func TestRebalance_EveryStepIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		h.rebalance(t)
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				h.change(t)
			}
			h.now = h.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "minutes")) * time.Minute)
			h.rebalance(t)
		}
		h.roundTrip(t)
	})
}

func (h *history) roundTrip(t *rapid.T) {
	var buf bytes.Buffer
	if _, err := h.b.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	back, err := ReadBuilder(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Clone(), h.b.Clone()) {
		t.Fatal("the builder file does not give the builder back")
	}
}

// TestRebalance_ComesToRest: with time between the rebalances, weights and distances are met in the end, exactly, and then nothing moves any more.
func TestRebalance_ComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		h.rebalance(t)
		for range rapid.IntRange(0, 6).Draw(t, "changes") {
			h.change(t)
			h.now = h.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "minutes")) * time.Minute)
			h.rebalance(t)
		}
		for round := 0; ; round++ {
			h.now = h.now.Add(5 * time.Hour)
			c, ok := h.rebalance(t)
			if !ok {
				return
			}
			if c.Held == 0 {
				break
			}
			if round > 15 {
				t.Fatalf("after %d rebalances %d replicas still wait", round, c.Held)
			}
		}
		h.checkQuotas(t)
		h.checkDistances(t)
		h.now = h.now.Add(5 * time.Hour)
		if c, _ := h.rebalance(t); c.Moved+c.Placed+c.Dropped+c.Held > 0 {
			t.Fatalf("it did not come to rest: %+v", c)
		}
	})
}

// checkQuotas: every device holds what its weight is worth, within the rounding of one replica for each whole number of replicas. Only without overload,
// and where no device is worth more than one replica of each partition, is that what plain arithmetic says.
func (h *history) checkQuotas(t *rapid.T) {
	if h.b.overload > 0 {
		return
	}
	for _, x := range h.b.Balances() {
		if x.Wanted > float64(h.b.Partitions()) {
			return
		}
	}
	slack := 1.0
	if h.b.replicas != math.Trunc(h.b.replicas) {
		// Partitions with more and with fewer replicas are planned apart, and there a device may be worth more than one replica.
		whole := math.Ceil(h.b.replicas)
		for _, x := range h.b.Balances() {
			if x.Wanted/h.b.replicas*whole > float64(h.b.Partitions()) {
				return
			}
		}
		slack = 2
	}
	for _, x := range h.b.Balances() {
		if math.Abs(float64(x.Parts)-x.Wanted) > slack {
			t.Fatalf("%s holds %d, its weight is worth %.2f", &x.Device, x.Parts, x.Wanted)
		}
	}
}

// checkDistances: no tier holds more replicas of a partition than its weight asks for, rounded up (so that none shares a zone or host while weights allow
// better), nor fewer than that rounded down.
func (h *history) checkDistances(t *rapid.T) {
	if h.b.overload > 0 || h.b.replicas != math.Trunc(h.b.replicas) {
		return
	}
	worth := map[Tier]float64{}
	for _, x := range h.b.Balances() {
		if x.Wanted > float64(h.b.Partitions())*(1-1e-9) {
			return // more than one replica of each partition: the others take what it cannot
		}
		for l := LevelRegion; l <= LevelPeer; l++ {
			worth[tierOf(&x.Device, l)] += x.Wanted / float64(h.b.Partitions())
		}
	}
	for p := range h.b.Partitions() {
		count := map[Tier]int{}
		for _, id := range h.b.slots[p*h.b.stride : (p+1)*h.b.stride] {
			for l := LevelRegion; l <= LevelPeer; l++ {
				count[tierOf(h.b.devices[id], l)]++
			}
		}
		for tier, w := range worth {
			if n := count[tier]; n > ceil(w) || n < floor(w) {
				t.Fatalf("partition %d has %d replicas in %s, which is worth %.3f", p, n, tier, w)
			}
		}
	}
}
