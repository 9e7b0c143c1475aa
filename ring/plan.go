package ring

import "math"

// plan says how many replicas of one partition each tier shall hold on average, for partitions with a given number of replicas.
type plan struct {
	replicas int       // that can be placed: at most one on a device
	target   []float64 // by node
	low      []int32   // by node: no partition has fewer replicas there...
	high     []int32   // ...nor more
}

// slack is how near a float must be to a whole number to be taken for it. Targets are sums of a few thousand products; what differs in real
// weights differs by far more.
const slack = 1e-9

func floor(x float64) int { return int(math.Floor(x + slack)) }
func ceil(x float64) int  { return int(math.Ceil(x - slack)) }

// newPlan finds the targets. By weight alone first, no device above one replica; then, as far as the overload lets devices take more
// than their weight, towards an even spread over regions, zones and hosts.
func newPlan(t *tree, replicas int, overload float64) *plan {
	n := len(t.nodes)
	p := &plan{replicas: min(replicas, t.nodes[0].usable), target: make([]float64, n), low: make([]int32, n), high: make([]int32, n)}
	weighted, room := weightedShares(t, float64(p.replicas), overload)
	p.target[0] = float64(p.replicas)
	for i := range t.nodes { // parents come first
		if len(t.nodes[i].children) > 0 {
			p.divide(t, i, weighted, room)
		}
	}
	for i := range p.target {
		p.low[i], p.high[i] = int32(floor(p.target[i])), int32(ceil(p.target[i]))
	}
	return p
}

// weightedShares gives, by node, the replicas that its weight is worth, and the most that it may take under the overload.
func weightedShares(t *tree, replicas, overload float64) (weighted, room []float64) {
	weighted, room = make([]float64, len(t.nodes)), make([]float64, len(t.nodes))
	var leaves []int
	var share, low, high []float64
	for _, leaf := range t.leaves {
		if leaf >= 0 && t.nodes[leaf].device.Weight > 0 {
			leaves = append(leaves, leaf)
			share = append(share, t.nodes[leaf].device.Weight)
			low, high = append(low, 0), append(high, 1)
		}
	}
	for i, x := range level(replicas, share, low, high) {
		weighted[leaves[i]] = x
		room[leaves[i]] = min(1, x*(1+overload))
	}
	for i := len(t.nodes) - 1; i > 0; i-- { // children come after their parents
		weighted[t.nodes[i].parent] += weighted[i]
		room[t.nodes[i].parent] += room[i]
	}
	return weighted, room
}

// divide gives each child of node i its part of the node's target.
func (p *plan) divide(t *tree, i int, weighted, room []float64) {
	children := t.nodes[i].children
	n := len(children)
	total := p.target[i]
	share, limit, none := make([]float64, n), make([]float64, n), make([]float64, n)
	for k, c := range children {
		share[k], limit[k] = weighted[c], room[c]
	}
	byWeight := level(total, share, none, limit)
	low, high := evenly(t, children, total)
	wanted := level(total, share, low, high)
	// What a child cannot take for lack of room goes back to those that would have given it up, by how much they gave.
	var short, given float64
	for k := range children {
		short += max(0, wanted[k]-limit[k])
		given += max(0, byWeight[k]-wanted[k])
	}
	for k, c := range children {
		x := min(wanted[k], limit[k])
		if given > 0 {
			x += short * max(0, byWeight[k]-wanted[k]) / given
		}
		if r := math.Round(x); math.Abs(x-r) < slack {
			x = r
		}
		p.target[c] = x
	}
}

// evenly bounds what each child holds when total replicas are spread as evenly as whole replicas and the number of devices allow.
func evenly(t *tree, children []int, total float64) (low, high []float64) {
	full := 0
	for {
		sum := 0
		for _, c := range children {
			sum += min(t.nodes[c].usable, full+1)
		}
		if float64(sum) > total+slack || full > ReplicasMax {
			break
		}
		full++
	}
	for _, c := range children {
		low = append(low, float64(min(t.nodes[c].usable, full)))
		high = append(high, float64(min(t.nodes[c].usable, full+1)))
	}
	return low, high
}

// level divides total in proportion to share, but gives nobody less than low or more than high: some one factor times share, clamped. When
// the bounds leave no such division, it comes as near as they allow.
func level(total float64, share, low, high []float64) []float64 {
	out := make([]float64, len(share))
	fill := func(factor float64) (sum float64) {
		for i, s := range share {
			out[i] = min(max(s*factor, low[i]), high[i])
			sum += out[i]
		}
		return sum
	}
	// The sum grows with the factor, in straight lines between the points where somebody meets a bound: bisect to such a line, then solve it.
	lo, hi := 0.0, 1.0
	for range 200 {
		if fill(hi) >= total {
			break
		}
		hi *= 4
	}
	for range 200 {
		mid := (lo + hi) / 2
		if mid <= lo || mid >= hi {
			break
		}
		if fill(mid) < total {
			lo = mid
		} else {
			hi = mid
		}
	}
	fill(hi)
	var fixed, free float64
	for i, s := range share {
		if s*hi > low[i] && s*hi < high[i] {
			free += s
		} else {
			fixed += out[i]
		}
	}
	if free > 0 {
		fill((total - fixed) / free)
	}
	return out
}
