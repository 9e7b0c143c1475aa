package ring

import (
	"math/rand/v2"
	"sort"
)

// placer lays out partitions that have no replica anywhere yet, so that every quota and every limit of the plan is met exactly.
//
// Systematic sampling: the devices lie on a line, each with a length of its quota, the devices of a host side by side, the hosts of a zone, and so
// on. Points one partition count apart are a partition's replicas. A tier as long as one partition count gets exactly one point of every
// partition; a tier of one and a half gets one or two. Small batches of partitions are drawn with the line shuffled between them, and
// with the lengths that remain, so that any two devices come to share partitions.
type placer struct {
	tree   *tree
	rng    *rand.Rand
	quota  []int // by node: what remains to be given; only leaves are kept up
	line   []int // leaves in this batch's order
	starts []int // where each leaf of the line begins
}

// place fills slots of each partition: the first replicas of them.
func (pl *placer) place(b *Builder, partitions []int, replicas int) {
	batch := max(1, len(pl.tree.leaves)/64)
	for len(partitions) > 0 {
		n := min(batch, len(partitions))
		pl.draw(b, partitions[:n], len(partitions), replicas)
		partitions = partitions[n:]
	}
}

// draw places one batch of n partitions; remaining (M) is how many there are with those of the batch.
//
// The points of the whole batch lie M/n apart on the line, so a tier of length w gets w·n/M of them, rounded down or up. When low·M <= w <= high·M holds before,
// it does after with M-n in place of M: the tier loses at most ceil(w·n/M) and at least floor(w·n/M), and n <= M. So no later batch finds a tier
// with more than a partition may have there, or with less.
func (pl *placer) draw(b *Builder, batch []int, remaining, replicas int) {
	pl.line, pl.starts = pl.line[:0], pl.starts[:0]
	pl.layOut(0)
	total := 0
	for _, leaf := range pl.line {
		pl.starts = append(pl.starts, total)
		total += pl.quota[leaf]
	}
	n := len(batch)
	offset := pl.rng.IntN(remaining)
	for k, p := range batch {
		first := pl.rng.IntN(replicas) // so that no tier tends to hold first replicas
		for j := range replicas {
			point := (offset + (k+j*n)*remaining) / n
			i := sort.SearchInts(pl.starts, point+1) - 1
			leaf := pl.line[i]
			pl.quota[leaf]--
			b.slots[p*b.stride+(first+j)%replicas] = uint32(pl.tree.nodes[leaf].device.ID)
		}
	}
}

// layOut appends the leaves below a node that want more, siblings in random order.
func (pl *placer) layOut(i int) {
	n := &pl.tree.nodes[i]
	if n.device != nil {
		if pl.quota[i] > 0 {
			pl.line = append(pl.line, i)
		}
		return
	}
	pl.rng.Shuffle(len(n.children), func(x, y int) { n.children[x], n.children[y] = n.children[y], n.children[x] })
	for _, c := range n.children {
		pl.layOut(c)
	}
}
