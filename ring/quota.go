package ring

import (
	"cmp"
	"math"
	"slices"
)

// quotas turns a plan's targets into whole numbers of partition replicas by node, for count partitions. They sum up exactly at every tier, and each lies
// within what the plan's low and high allow, so that a placement that meets all of them exists.
func (p *plan) quotas(t *tree, count int) []int {
	q := make([]int, len(t.nodes))
	q[0] = p.replicas * count
	for i := range t.nodes {
		if len(t.nodes[i].children) > 0 {
			p.apportion(t, i, count, q)
		}
	}
	return q
}

// apportion divides node i's quota among its children by largest remainders.
func (p *plan) apportion(t *tree, i, count int, q []int) {
	type part struct {
		node      int
		remainder float64
	}
	parts := make([]part, 0, len(t.nodes[i].children))
	left := q[i]
	for _, c := range t.nodes[i].children {
		x := p.target[c] * float64(count)
		if r := math.Round(x); math.Abs(x-r) < 1e-6*max(1, x/1e6) {
			x = r
		}
		whole := math.Floor(x)
		q[c] = min(max(int(whole), int(p.low[c])*count), int(p.high[c])*count)
		left -= q[c]
		parts = append(parts, part{c, x - whole})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.remainder, a.remainder) })
	// One round serves but for rounding errors of the floats; further rounds end when nobody can take or give more.
	for step := 1; left != 0 && step > 0; {
		step = 0
		for k := range parts {
			if left < 0 {
				k = len(parts) - 1 - k
			}
			c := parts[k].node
			switch {
			case left > 0 && q[c] < int(p.high[c])*count:
				q[c], left, step = q[c]+1, left-1, step+1
			case left < 0 && q[c] > int(p.low[c])*count:
				q[c], left, step = q[c]-1, left+1, step+1
			}
			if left == 0 {
				break
			}
		}
	}
}
