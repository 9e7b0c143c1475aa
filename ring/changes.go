package ring

import (
	"cmp"
	"slices"
)

// Changes says what a Rebalance did, or would do.
type Changes struct {
	Replicas   int // of all partitions together
	Partitions int // of which at least one replica moved
	Moved      int // replicas that went from one device to another
	Placed     int // replicas that had no place before
	Dropped    int // replicas that are no more
	Held       int // replicas that should move still: min_part_hours or one move a partition hold them back
	Tiers      []TierChange
}

// TierChange is how many replicas come to a tier, and leave it. A move inside of a tier counts in its parts, not in itself.
type TierChange struct {
	Tier          Tier
	Before, After int
	In, Out       int
}

// Share is what part of all replicas moved: 0 to 1.
func (c Changes) Share() float64 {
	if c.Replicas == 0 {
		return 0
	}
	return float64(c.Moved) / float64(c.Replicas)
}

// Level gives the changes of one level only: the devices, the hosts, ...
func (c Changes) Level(l Level) []TierChange {
	var out []TierChange
	for _, t := range c.Tiers {
		if t.Tier.Level == l {
			out = append(out, t)
		}
	}
	return out
}

// diff compares the builder with what it was. Devices that were removed in between count as places that lost all.
func (b *Builder) diff(before *Builder) Changes {
	var c Changes
	all := append([]*Device(nil), b.devices...)
	for _, d := range before.removed {
		all[d.ID] = d
	}
	t := newTree(all)
	byNode := make([]TierChange, len(t.nodes))
	for i, n := range t.nodes {
		byNode[i].Tier = n.tier
	}
	d := differ{tree: t, byNode: byNode, gone: make([]int, len(t.nodes)), come: make([]int, len(t.nodes))}
	for p := range b.Partitions() {
		var old []uint32
		if before.slots != nil {
			old = before.slots[p*before.stride : (p+1)*before.stride]
		}
		now := b.slots[p*b.stride : (p+1)*b.stride]
		lost, gained, had, has := d.partition(old, now)
		c.Replicas += has
		moved := min(lost, gained)
		c.Moved += moved
		c.Placed += gained - moved
		if has < had {
			c.Dropped += lost - moved
		}
		if moved > 0 {
			c.Partitions++
		}
	}
	for _, tc := range byNode[1:] {
		if tc.Before+tc.After > 0 {
			c.Tiers = append(c.Tiers, tc)
		}
	}
	slices.SortStableFunc(c.Tiers, func(a, b TierChange) int { return cmp.Compare(a.Tier.Level, b.Tier.Level) })
	return c
}

type differ struct {
	*tree
	byNode     []TierChange
	gone, come []int // by node, of one partition; zero between partitions
}

// partition counts one partition's devices that are no longer there, and that are new.
func (d *differ) partition(old, now []uint32) (lost, gained, had, has int) {
	for _, id := range old {
		if id == noDevice {
			continue
		}
		had++
		leaf := d.leaves[id]
		d.up(leaf, func(n int) { d.byNode[n].Before++ })
		if !slices.Contains(now, id) {
			lost++
			d.up(leaf, func(n int) { d.gone[n]++ })
		}
	}
	for _, id := range now {
		if id == noDevice {
			continue
		}
		has++
		leaf := d.leaves[id]
		d.up(leaf, func(n int) { d.byNode[n].After++ })
		if !slices.Contains(old, id) {
			gained++
			d.up(leaf, func(n int) { d.come[n]++ })
		}
	}
	if lost+gained == 0 {
		return lost, gained, had, has
	}
	for _, ids := range [][]uint32{old, now} {
		for _, id := range ids {
			if id == noDevice {
				continue
			}
			d.up(d.leaves[id], func(n int) {
				stayed := min(d.gone[n], d.come[n])
				d.byNode[n].Out += d.gone[n] - stayed
				d.byNode[n].In += d.come[n] - stayed
				d.gone[n], d.come[n] = 0, 0
			})
		}
	}
	return lost, gained, had, has
}

// up visits a leaf and the tiers above it.
func (t *tree) up(leaf int, visit func(n int)) {
	for n := leaf; n >= 0; n = t.nodes[n].parent {
		visit(n)
	}
}
