package ring

import (
	"cmp"
	"math"
	"slices"
)

// quota is, by node, how many replicas of all partitions of some groups shall be there. It turns the targets of the groups' plans into whole numbers
// that sum up exactly at every tier, and of which each lies within what the plans' low and high allow. have is what each node holds now: where a
// fraction can be rounded either way, it is rounded so that less has to move.
func quota(t *tree, groups []group, have []int) []int {
	a := apportioner{
		tree: t, have: have, quota: make([]int, len(t.nodes)),
		target: make([]float64, len(t.nodes)), low: make([]int, len(t.nodes)), high: make([]int, len(t.nodes)),
	}
	for _, g := range groups {
		count := g.to - g.from
		a.quota[0] += g.plan.replicas * count
		for i := range t.nodes {
			a.target[i] += g.plan.target[i] * float64(count)
			a.low[i] += int(g.plan.low[i]) * count
			a.high[i] += int(g.plan.high[i]) * count
		}
	}
	for i := range t.nodes {
		if len(t.nodes[i].children) > 0 {
			a.divide(i)
		}
	}
	return a.quota
}

type apportioner struct {
	*tree
	have, quota []int
	target      []float64
	low, high   []int
}

// divide gives node i's quota to its children by largest remainders, those first that hold the odd replica already.
func (a *apportioner) divide(i int) {
	type part struct {
		node      int
		remainder float64
		keeps     bool // rounded up, it gives away one less
	}
	parts := make([]part, 0, len(a.nodes[i].children))
	left := a.quota[i]
	for _, c := range a.nodes[i].children {
		x := a.target[c]
		if r := math.Round(x); math.Abs(x-r) < 1e-6*max(1, x/1e6) {
			x = r
		}
		whole := math.Floor(x)
		a.quota[c] = min(max(int(whole), a.low[c]), a.high[c])
		left -= a.quota[c]
		parts = append(parts, part{c, x - whole, x > whole && a.have[c] > int(whole)})
	}
	slices.SortStableFunc(parts, func(x, y part) int {
		if x.keeps != y.keeps {
			if x.keeps {
				return -1
			}
			return 1
		}
		return cmp.Compare(y.remainder, x.remainder)
	})
	// One round serves but for rounding errors of the floats; further rounds end when nobody can take or give more.
	for step := 1; left != 0 && step > 0; {
		step = 0
		for k := range parts {
			if left < 0 {
				k = len(parts) - 1 - k
			}
			c := parts[k].node
			switch {
			case left > 0 && a.quota[c] < a.high[c]:
				a.quota[c], left, step = a.quota[c]+1, left-1, step+1
			case left < 0 && a.quota[c] > a.low[c]:
				a.quota[c], left, step = a.quota[c]-1, left+1, step+1
			}
			if left == 0 {
				break
			}
		}
	}
}
