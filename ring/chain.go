package ring

import "slices"

// chainBudget bounds the moves that one rebalance looks at in search of chains: a second or two.
const chainBudget = 20_000_000

// link is one move of a chain: a replica of a partition goes from the device that the link belongs to, to the next.
type link struct {
	partition int
	to        uint32
}

// chain resolves what single moves cannot: a device holds too much and another too little, but nothing may go straight from the one to the other. Then
// something goes from the full device to a third one, and something else from there on. Small rings need it; with thousands of partitions there is
// nearly always a straight move.
func (w *work) chain() {
	w.budget = chainBudget
	for w.over > 0 && w.budget > 0 && w.chainOne() {
	}
}

// chainOne makes the shortest chain that there is: a search in breadth, back from the devices that lack something.
func (w *work) chainOne() bool {
	links := map[uint32]link{}
	var frontier []uint32
	for id, leaf := range w.t.leaves {
		if leaf >= 0 && w.need[leaf] > 0 {
			frontier = append(frontier, uint32(id))
			links[uint32(id)] = link{partition: -1}
		}
	}
	for len(frontier) > 0 && w.budget > 0 {
		var next []uint32
		for p := range w.b.Partitions() {
			for i, from := range w.devices(p) {
				if _, known := links[from]; known || !w.movable(p, i) {
					continue
				}
				at := slices.IndexFunc(frontier, func(to uint32) bool { return w.legal(p, i, to) })
				if at < 0 {
					continue
				}
				l := link{p, frontier[at]}
				if w.need[w.t.leaves[from]] >= 0 {
					links[from] = l
					next = append(next, from)
				} else if w.follow(from, l, links) {
					return true
				}
			}
		}
		frontier = next
	}
	return false
}

// follow makes the moves of a chain, unless two of them are of one partition.
func (w *work) follow(from uint32, l link, links map[uint32]link) bool {
	seen := map[int]bool{}
	for at := l; at.partition >= 0; at = links[at.to] {
		if seen[at.partition] {
			return false
		}
		seen[at.partition] = true
	}
	for l.partition >= 0 {
		w.move(l.partition, slices.Index(w.devices(l.partition), from), l.to)
		from, l = l.to, links[l.to]
	}
	return true
}

// legal tells whether p's i-th replica may go to a device without coming nearer to another one.
func (w *work) legal(p, i int, to uint32) bool {
	w.budget--
	held := w.devices(p)
	if slices.Contains(held, to) {
		return false
	}
	faults := w.faults(w.group(p), held)
	return w.faults(w.group(p), append(w.without(held, i), to)) <= faults
}
