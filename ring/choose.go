package ring

// at counts the replicas among held that are below a node of a level (0 is regions).
func (w *work) at(held []uint32, level int, n int32) (count int32) {
	for _, id := range held {
		if w.path[id][level] == n {
			count++
		}
	}
	return count
}

// faults counts by how much the places of one partition's replicas break the plan's bounds.
func (w *work) faults(g *group, held []uint32) (faults int32) {
	for i, id := range held {
		for l, n := range w.path[id] {
			// Each node once, at its first replica.
			if w.at(held[:i], l, n) == 0 {
				faults += max(0, w.at(held[i:], l, n)-g.plan.high[n])
			}
		}
	}
	for _, n := range g.lows {
		faults += max(0, g.plan.low[n]-w.at(held, int(w.t.nodes[n].tier.Level)-1, n))
	}
	return faults
}

// choose finds the device for one more replica beside held: tier by tier the one that wants most, first among those where the plan asks for a
// replica and there is none. With needed, only devices below their quota come into question, and noDevice means that none of them is legal.
func (w *work) choose(g *group, held []uint32, needed bool) uint32 {
	return w.descend(g, held, 0, 0, needed)
}

func (w *work) descend(g *group, held []uint32, n int32, level int, needed bool) uint32 {
	if level == int(LevelDevice) {
		return uint32(w.t.nodes[n].device.ID)
	}
	children := w.t.nodes[n].children
	w.tried[level] = w.tried[level][:0]
	for {
		best := w.best(g, held, children, level, needed)
		if best < 0 {
			return noDevice
		}
		if id := w.descend(g, held, best, level+1, needed); id != noDevice {
			return id
		}
		w.tried[level] = append(w.tried[level], best)
	}
}

// best is the child that wants most, of those not tried yet; -1 when none is legal. The scan begins anywhere, so that equals are chosen equally often.
func (w *work) best(g *group, held []uint32, children []int, level int, needed bool) int32 {
	best, bestLacks, bestWants := int32(-1), false, 0
	start := w.rng.IntN(len(children))
	for k := range children {
		if k += start; k >= len(children) {
			k -= len(children)
		}
		n := children[k]
		wants := w.wants[n]
		if level == int(LevelDevice)-1 {
			wants = w.need[n]
		}
		high := g.plan.high[n]
		if high == 0 || needed && wants <= 0 && g.plan.low[n] == 0 || best >= 0 && wants <= bestWants && (bestLacks || g.plan.low[n] == 0) {
			continue
		}
		count := w.at(held, level, int32(n))
		lacks := count < g.plan.low[n]
		if needed && lacks && w.wasTried(level, int32(n)) {
			return -1 // going elsewhere instead would leave it lacking
		}
		if count >= high || best >= 0 && (bestLacks && !lacks || bestLacks == lacks && wants <= bestWants) || w.wasTried(level, int32(n)) {
			continue
		}
		best, bestLacks, bestWants = int32(n), lacks, wants
	}
	if needed && bestWants <= 0 {
		return -1 // it lacks a replica of this partition, but wants no more in sum
	}
	return best
}

func (w *work) wasTried(level int, n int32) bool {
	for _, t := range w.tried[level] {
		if t == n {
			return true
		}
	}
	return false
}
