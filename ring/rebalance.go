package ring

import (
	"math"
	"math/rand/v2"
	"time"

	"henge/internal/errs"
)

// Rebalance brings the placement to what the devices and settings now ask for, and says what moved. The same builder, time and seed give the same result.
//
// Replicas on removed devices, and replicas that are new, get places at once. Beyond that at most one replica of a partition moves, and only when none of it
// moved for min_part_hours; so a large change may need several rebalances with time between them. Nothing moves that need not: the
// count of moves is the count of replicas that devices have too much, plus those that stand too near to each other.
//
// errs.Invalid when no device has a weight; nothing has changed then.
func (b *Builder) Rebalance(now time.Time, seed uint64) (Changes, error) {
	t := newTree(b.devices)
	if t.nodes[0].usable == 0 {
		return Changes{}, errs.New(errs.Invalid, "no device with a weight in the ring: add devices first")
	}
	before := b.Clone()
	w := newWork(b, t, now, seed)
	if before.slots == nil {
		w.placeAll()
	} else {
		w.fill()
		w.separate()
		w.level()
		w.chain()
	}
	changes := b.diff(before)
	changes.Held = w.held()
	if b.changed || changes.Moved+changes.Placed+changes.Dropped > 0 {
		b.version++
	}
	b.changed, b.waiting, b.removed = false, changes.Held > 0, nil
	return changes, nil
}

// Preview says what Rebalance with the same arguments would do, and does nothing.
func (b *Builder) Preview(now time.Time, seed uint64) (Changes, error) {
	return b.Clone().Rebalance(now, seed)
}

// work is one rebalance under way. It writes to the builder's slots.
type work struct {
	b      *Builder
	t      *tree
	rng    *rand.Rand
	now    uint32
	groups []group // partitions by how many replicas they have: one or two groups
	split  int     // partitions before it are of groups[0], the others of the last group

	path   [][LevelDevice]int32 // by device number: its nodes at region, zone, host, device
	need   []int                // by leaf: quota less what it holds; negative when it holds too much
	wants  []int                // by node: the sum of its leaves' positive needs
	over   int                  // the sum of all leaves' negative needs, as a positive number
	fresh  []uint32             // by partition: the slots that this rebalance filled, as bits
	held0  []uint32             // scratch: the devices of one partition
	tried  [LevelDevice][]int32 // scratch of choose
	budget int                  // of chain: legal moves that it may still look at
}

// group is the partitions with the same number of replicas.
type group struct {
	plan     *plan
	from, to int
	lows     []int32 // nodes that hold at least one replica of each partition
}

func newWork(b *Builder, t *tree, now time.Time, seed uint64) *work {
	w := &work{b: b, t: t, rng: newRandom(seed), fresh: make([]uint32, b.Partitions()), need: make([]int, len(t.nodes)), wants: make([]int, len(t.nodes))}
	w.now = seconds(now)
	w.path = make([][LevelDevice]int32, len(b.devices))
	for id, leaf := range t.leaves {
		for n, l := leaf, int(LevelDevice)-1; n > 0; n, l = t.nodes[n].parent, l-1 {
			w.path[id][l] = int32(n)
		}
	}
	w.reshape()
	w.split = b.last
	for _, g := range []group{{from: 0, to: b.last}, {from: b.last, to: b.Partitions()}} {
		if g.from == g.to || b.replicasOf(g.from) == 0 {
			continue
		}
		g.plan = newPlan(t, b.replicasOf(g.from), b.overload)
		for i := 1; i < len(t.nodes); i++ {
			if g.plan.low[i] > 0 {
				g.lows = append(g.lows, int32(i))
			}
		}
		w.groups = append(w.groups, g)
	}
	w.count()
	return w
}

// reshape gives the slots the form that the replica count asks for, empties those of devices that are gone, and moves each partition's devices to the front.
func (w *work) reshape() {
	b := w.b
	old, oldStride := b.slots, b.stride
	b.stride, b.last = int(math.Ceil(b.replicas)), b.extra()
	b.slots = make([]uint32, b.Partitions()*max(b.stride, oldStride))
	if len(b.moved) == 0 {
		b.moved = make([]uint32, b.Partitions())
	}
	wide := max(b.stride, oldStride) // until dropExtra has narrowed it
	for i := range b.slots {
		b.slots[i] = noDevice
	}
	for p := range b.Partitions() {
		if old == nil {
			break
		}
		n := 0
		for _, id := range old[p*oldStride : (p+1)*oldStride] {
			if id != noDevice && b.devices[id] != nil {
				b.slots[p*wide+n] = id
				n++
			}
		}
	}
	if wide > b.stride {
		w.dropExtra(wide)
	}
}

// dropExtra keeps the first replicas of each partition. Which one goes is as good as random: slots have no order.
func (w *work) dropExtra(wide int) {
	b := w.b
	for p := range b.Partitions() {
		copy(b.slots[p*b.stride:(p+1)*b.stride], b.slots[p*wide:])
	}
	b.slots = b.slots[: b.Partitions()*b.stride : b.Partitions()*b.stride]
}

// count works out quotas and needs from the slots.
func (w *work) count() {
	have := make([]int, len(w.t.nodes))
	for _, g := range w.groups {
		for p := g.from; p < g.to; p++ {
			w.trim(p, g)
			for _, id := range w.devices(p) {
				have[w.t.leaves[id]]++
			}
		}
	}
	for i := len(w.t.nodes) - 1; i > 0; i-- {
		have[w.t.nodes[i].parent] += have[i]
	}
	wanted := quota(w.t, w.groups, have)
	clear(w.wants)
	w.over = 0
	for _, leaf := range w.t.leaves {
		if leaf < 0 {
			continue
		}
		w.need[leaf] = wanted[leaf] - have[leaf]
		w.over += max(0, -w.need[leaf])
		w.t.up(leaf, func(n int) { w.wants[n] += max(0, w.need[leaf]) })
	}
}

// trim empties the slots of a partition beyond the replicas that it shall have.
func (w *work) trim(p int, g group) {
	slots := w.b.slots[p*w.b.stride : (p+1)*w.b.stride]
	for i := g.plan.replicas; i < len(slots); i++ {
		slots[i] = noDevice
	}
}

func (w *work) group(p int) *group {
	if p < w.split {
		return &w.groups[0]
	}
	return &w.groups[len(w.groups)-1]
}

// devices are those that hold p now.
func (w *work) devices(p int) []uint32 {
	slots := w.b.slots[p*w.b.stride : (p+1)*w.b.stride]
	for i, id := range slots {
		if id == noDevice {
			return slots[:i]
		}
	}
	return slots
}

// give notes that the device has one replica more (by 1) or less (by -1).
func (w *work) give(id uint32, by int) {
	leaf := w.t.leaves[id]
	before := w.need[leaf]
	w.need[leaf] -= by
	wants := max(0, w.need[leaf]) - max(0, before)
	w.over += max(0, -w.need[leaf]) - max(0, -before)
	if wants != 0 {
		for n := leaf; n >= 0; n = w.t.nodes[n].parent {
			w.wants[n] += wants
		}
	}
}

// movable tells whether p's i-th replica may move: this rebalance put it where it is, so that it can as well go elsewhere; or nothing of p has moved
// now, nor for min_part_hours.
func (w *work) movable(p, i int) bool {
	if w.fresh[p] != 0 {
		return w.fresh[p]&(1<<i) != 0
	}
	at := w.b.moved[p]
	return at == 0 || int64(w.now)-int64(at) >= int64(w.b.minPartHours)*3600
}

// put fills a slot of p.
func (w *work) put(p, slot int, id uint32) {
	w.b.slots[p*w.b.stride+slot] = id
	w.give(id, 1)
	w.fresh[p] |= 1 << slot
	w.b.moved[p] = w.now
}

// shuffled is the partitions of g in random order.
func (w *work) shuffled(g group) []int {
	ps := make([]int, g.to-g.from)
	for i := range ps {
		ps[i] = g.from + i
	}
	w.rng.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
	return ps
}

// placeAll is the first rebalance of a ring. Each group of partitions is laid out exactly; what two groups together round otherwise than each alone, a few
// moves put right.
func (w *work) placeAll() {
	for _, g := range w.groups {
		pl := placer{tree: w.t, rng: w.rng, quota: quota(w.t, []group{g}, make([]int, len(w.t.nodes)))}
		pl.place(w.b, w.shuffled(g), g.plan.replicas)
	}
	w.count()
	w.level()
	w.chain()
	for p := range w.b.moved {
		w.b.moved[p] = w.now
	}
}

// fill gives places to replicas that have none: their device is gone, or they are new.
func (w *work) fill() {
	for _, g := range w.groups {
		for _, p := range w.shuffled(g) {
			for held := w.devices(p); len(held) < g.plan.replicas; held = w.devices(p) {
				id := w.choose(&g, held, true)
				if id == noDevice {
					id = w.choose(&g, held, false)
				}
				if id == noDevice {
					break // a partition with two replicas in one place leaves no room for a third; separate and the next rebalance make it
				}
				w.put(p, len(held), id)
			}
		}
	}
}

// separate moves replicas that are where the plan allows no more (or nothing: a drained device), or that are missing where it asks for one.
func (w *work) separate() {
	for _, g := range w.groups {
		for _, p := range w.shuffled(g) {
			if w.faults(&g, w.devices(p)) > 0 && !w.separateOne(&g, p, true) {
				w.separateOne(&g, p, false)
			}
		}
	}
}

// separateOne makes the one move of p that removes most faults; false when none does.
func (w *work) separateOne(g *group, p int, needed bool) bool {
	held := w.devices(p)
	best, bestFaults, bestNeed := -1, w.faults(g, held), 0
	var bestTo uint32
	for i, from := range held {
		if !w.movable(p, i) {
			continue
		}
		to := w.choose(g, w.without(held, i), needed)
		if to == noDevice || to == from {
			continue
		}
		faults := w.faults(g, append(w.without(held, i), to))
		need := w.need[w.t.leaves[from]]
		if faults < bestFaults || best >= 0 && faults == bestFaults && need < bestNeed {
			best, bestFaults, bestNeed, bestTo = i, faults, need, to
		}
	}
	if best < 0 {
		return false
	}
	w.move(p, best, bestTo)
	return true
}

// without is held but its i-th, in scratch space that the next call takes again.
func (w *work) without(held []uint32, i int) []uint32 {
	w.held0 = append(append(w.held0[:0], held[:i]...), held[i+1:]...)
	return w.held0
}

func (w *work) move(p, slot int, to uint32) {
	w.give(w.b.slots[p*w.b.stride+slot], -1)
	w.put(p, slot, to)
}

// level moves replicas from devices that hold more than their quota to such as hold less.
func (w *work) level() {
	for _, g := range w.groups {
		for _, p := range w.shuffled(g) {
			if w.over == 0 {
				return
			}
			w.levelOne(&g, p)
		}
	}
}

// levelOne moves the replica of p whose device holds most too much, if some place for it is legal and wanted.
func (w *work) levelOne(g *group, p int) {
	held := w.devices(p)
	var tried uint64
	for range held {
		most := -1
		for i, id := range held {
			need := w.need[w.t.leaves[id]]
			if tried&(1<<i) == 0 && need < 0 && w.movable(p, i) && (most < 0 || need < w.need[w.t.leaves[held[most]]]) {
				most = i
			}
		}
		if most < 0 {
			return
		}
		tried |= 1 << most
		faults := w.faults(g, held)
		to := w.choose(g, w.without(held, most), true)
		if to != noDevice && w.faults(g, append(w.without(held, most), to)) <= faults {
			w.move(p, most, to)
			return
		}
	}
}

// held counts the replicas that should move still: at least so many, for one may both be too much on its device and stand too near to another one.
func (w *work) held() int {
	faulty := 0
	for _, g := range w.groups {
		for p := g.from; p < g.to; p++ {
			if w.faults(&g, w.devices(p)) > 0 {
				faulty++
			}
		}
	}
	return max(w.over, faulty)
}
