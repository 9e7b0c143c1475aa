package ring

import (
	"fmt"
	"math"
	"time"
)

// BalanceMax is the balance of a device that holds partitions and has no weight.
const BalanceMax = 999.99

// DeviceBalance is how a device stands against its weight.
type DeviceBalance struct {
	Device  Device
	Parts   int     // replicas that it holds
	Wanted  float64 // replicas that its weight is worth
	Balance float64 // how much more (or less) it holds than that, in percent; 0 is perfect
}

// Balances are the devices by number. Wanted is by weight alone: it knows nothing of overload, nor that a device holds only one replica of a partition.
func (b *Builder) Balances() []DeviceBalance {
	held := make([]int, len(b.devices))
	for _, id := range b.slots {
		if id != noDevice {
			held[id]++
		}
	}
	var weights float64
	for _, d := range b.devices {
		if d != nil {
			weights += d.Weight
		}
	}
	var out []DeviceBalance
	for id, d := range b.devices {
		if d == nil {
			continue
		}
		x := DeviceBalance{Device: *d, Parts: held[id]}
		if d.Weight > 0 {
			x.Wanted = d.Weight / weights * float64(b.entries())
			x.Balance = 100*float64(x.Parts)/x.Wanted - 100
		} else if x.Parts > 0 {
			x.Balance = BalanceMax
		}
		out = append(out, x)
	}
	return out
}

// entries is how many replicas all partitions have together.
func (b *Builder) entries() int {
	return b.Partitions()*(int(math.Ceil(b.replicas))-1) + b.extra()
}

// Balance is that of the device farthest from its weight, in percent, without sign.
func (b *Builder) Balance() float64 {
	worst := 0.0
	for _, d := range b.Balances() {
		worst = max(worst, math.Abs(d.Balance))
	}
	return worst
}

// TierDispersion is how many replicas of one partition meet in a tier.
type TierDispersion struct {
	Tier   Tier
	Parts  int   // partitions with a replica there
	AtRisk int   // of which with more than Max replicas there
	Max    int   // replicas of one partition that must be there when all are spread as evenly as the number of places allows
	Counts []int // partitions by how many replicas they have there: Counts[0], Counts[1], ...
}

// Share is what part of the tier's partitions is at risk: 0 to 1.
func (d TierDispersion) Share() float64 {
	if d.Parts == 0 {
		return 0
	}
	return float64(d.AtRisk) / float64(d.Parts)
}

// Dispersion says how far apart replicas are.
type Dispersion struct {
	Percent float64          // of all replicas, those that share a tier with others of their partition though another one has room
	Worst   *TierDispersion  // the tier with the greatest share of partitions at risk; nil when there is none
	Tiers   []TierDispersion // regions, zones and hosts; a tier comes before those in it
}

// Dispersion compares the placement with the most even spread that the number of regions, zones, hosts and devices allows; weights do not
// matter to it. Where weights and spread contradict each other, the overload decides.
func (b *Builder) Dispersion() Dispersion {
	t := newTree(b.devices)
	slots := int(math.Ceil(b.replicas))
	most := maxima(t, slots)
	tiers := make([]TierDispersion, len(t.nodes))
	for i, n := range t.nodes {
		tiers[i] = TierDispersion{Tier: n.tier, Max: most[i], Counts: make([]int, slots+1)}
	}
	count := make([]int, len(t.nodes))
	excess := 0
	for p := range b.placed() {
		var byLevel [LevelDevice + 1]int
		held := b.slots[p*b.stride : (p+1)*b.stride]
		b.each(t, held, func(n int) { count[n]++ })
		b.each(t, held, func(n int) {
			if count[n] == 0 {
				return
			}
			over := max(0, count[n]-most[n])
			byLevel[t.nodes[n].tier.Level] += over
			tiers[n].Parts++
			tiers[n].Counts[min(count[n], slots)]++
			if over > 0 {
				tiers[n].AtRisk++
			}
			count[n] = 0
		})
		worst := 0
		for _, n := range byLevel {
			worst = max(worst, n)
		}
		excess += worst
	}
	d := Dispersion{Percent: 100 * float64(excess) / float64(b.entries())}
	for i := 1; i < len(tiers); i++ {
		tiers[i].Counts[0] = b.Partitions() - tiers[i].Parts
		if tiers[i].Tier.Level < LevelDevice {
			d.Tiers = append(d.Tiers, tiers[i])
		}
	}
	for i := range d.Tiers {
		if x := &d.Tiers[i]; x.AtRisk > 0 && (d.Worst == nil || x.Share() > d.Worst.Share()) {
			d.Worst = x
		}
	}
	return d
}

// placed is how many partitions have places: all, or none before the first rebalance.
func (b *Builder) placed() int {
	if b.slots == nil {
		return 0
	}
	return b.Partitions()
}

// each visits the nodes above the devices that are there.
func (b *Builder) each(t *tree, held []uint32, visit func(n int)) {
	for _, id := range held {
		if id != noDevice && b.devices[id] != nil {
			t.up(t.leaves[id], visit)
		}
	}
}

// maxima is, by node, the most replicas of a partition that must meet there.
func maxima(t *tree, replicas int) []int {
	most := make([]int, len(t.nodes))
	most[0] = min(replicas, t.nodes[0].usable)
	for i, n := range t.nodes {
		if len(n.children) == 0 {
			continue
		}
		low, high := evenly(t, n.children, float64(most[i]))
		sum := 0
		for _, x := range low {
			sum += int(x)
		}
		for k, c := range n.children {
			if most[c] = int(high[k]); sum == most[i] {
				most[c] = int(low[k])
			}
		}
	}
	return most
}

// Validate says all that is wrong with the placement; nothing when it is sound. It looks at what the last Rebalance left, and at devices removed since.
func (b *Builder) Validate() []error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if b.slots == nil {
		say("the ring was never rebalanced")
		return wrong
	}
	usable := 0
	for _, d := range b.devices {
		if d != nil && d.Weight > 0 {
			usable++
		}
	}
	if float64(usable) < b.replicas {
		say("%g replicas, but only %d devices with a weight", b.replicas, usable)
	}
	empty, gone, twice := 0, 0, 0
	for p := range b.Partitions() {
		held := b.slots[p*b.stride : (p+1)*b.stride]
		slots := b.stride
		if p >= b.last {
			slots--
		}
		for i, id := range held[:slots] {
			switch {
			case id == noDevice:
				empty++
			case b.devices[id] == nil:
				gone++
			}
			for _, other := range held[:i] {
				if other == id && id != noDevice {
					twice++
				}
			}
		}
	}
	if empty > 0 {
		say("%d replicas have no device", empty)
	}
	if gone > 0 {
		say("%d replicas are on devices that were removed: rebalance", gone)
	}
	if twice > 0 {
		say("%d replicas are on the same device as another one of their partition", twice)
	}
	return wrong
}

// Wait is how long from now until min_part_hours have passed for every partition; 0 when any may move.
func (b *Builder) Wait(now time.Time) time.Duration {
	var latest uint32
	for _, at := range b.moved {
		latest = max(latest, at)
	}
	if latest == 0 {
		return 0
	}
	return max(0, time.Unix(int64(latest), 0).Add(time.Duration(b.minPartHours)*time.Hour).Sub(now))
}

// RequiredOverload is the overload with which weights no longer keep replicas from being spread as evenly as whole replicas allow; 0 when they do not now.
func (b *Builder) RequiredOverload() float64 {
	t := newTree(b.devices)
	if t.nodes[0].usable == 0 {
		return 0
	}
	replicas := int(math.Ceil(b.replicas))
	weighted, _ := weightedShares(t, float64(min(replicas, t.nodes[0].usable)), 0)
	spread := newPlan(t, replicas, math.Inf(1))
	required := 0.0
	for _, leaf := range t.leaves {
		if leaf >= 0 && weighted[leaf] > 0 {
			required = max(required, spread.target[leaf]/weighted[leaf]-1)
		}
	}
	if required < 1e-6 {
		return 0
	}
	return required
}
