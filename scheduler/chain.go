package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"henge/internal/errs"
)

// Weigher says how good a host is for a request: the higher, the better. Its numbers are scaled to 0..1 over the hosts that are left, then multiplied.
type Weigher func(h *HostState, r *Request) float64

// WeigherChoice is a weigher with its multiplier: a negative one packs where a positive one spreads.
type WeigherChoice struct {
	Name       string
	Multiplier float64
}

// DefaultWeighers spread servers by what is free.
func DefaultWeighers() []WeigherChoice { return []WeigherChoice{{"RAM", 1}, {"CPU", 1}, {"Disk", 1}} }

func builtinWeighers() map[string]Weigher {
	return map[string]Weigher{
		"RAM":             func(h *HostState, _ *Request) float64 { return float64(h.RAM.Free()) },
		"CPU":             func(h *HostState, _ *Request) float64 { return float64(h.CPU.Free()) },
		"Disk":            func(h *HostState, _ *Request) float64 { return float64(h.Disk.Free()) },
		"ServerGroupSoft": soft,
	}
}

// soft prefers what a group with a soft policy asks for.
func soft(h *HostState, r *Request) float64 {
	switch n := float64(r.members[h.ProviderID]); {
	case r.Group != nil && r.Group.Policy == "soft-affinity":
		return n
	case r.Group != nil && r.Group.Policy == "soft-anti-affinity":
		return -n
	}
	return 0
}

// ChainConfig says which filters and weighers run, in which order, by name.
type ChainConfig struct {
	Filters    []string        // empty: DefaultFilters
	Weighers   []WeigherChoice // empty: DefaultWeighers
	SubsetSize int             // the choice is made at random among so many of the best; 0 is 1
	// More are filters and weighers of one's own, or others under known names.
	MoreFilters  map[string]Filter
	MoreWeighers map[string]Weigher
	// Random gives a number below n.
	Random func(n int) int
}

// Chain is the filters and weighers that were chosen. Pure and safe for concurrent use.
type Chain struct {
	filters  []namedFilter
	weighers []namedWeigher
	subset   int
	random   func(n int) int
}

type namedFilter struct {
	name  string
	apply Filter
}

type namedWeigher struct {
	apply      Weigher
	multiplier float64
}

// NewChain finds the filters and weighers that are named; errs.Invalid names one that is not there. Nova's names (RamFilter) are understood.
func NewChain(cfg ChainConfig) (*Chain, error) {
	c := &Chain{subset: max(cfg.SubsetSize, 1), random: cfg.Random}
	if c.random == nil {
		c.random = func(int) int { return 0 }
	}
	if len(cfg.Filters) == 0 {
		cfg.Filters = DefaultFilters()
	}
	if len(cfg.Weighers) == 0 {
		cfg.Weighers = append(DefaultWeighers(), WeigherChoice{"ServerGroupSoft", 1})
	}
	for _, name := range cfg.Filters {
		f, err := find(builtinFilters(), cfg.MoreFilters, name, "Filter")
		if err != nil {
			return nil, err
		}
		c.filters = append(c.filters, namedFilter{strings.TrimSuffix(name, "Filter"), f})
	}
	for _, choice := range cfg.Weighers {
		w, err := find(builtinWeighers(), cfg.MoreWeighers, choice.Name, "Weigher")
		if err != nil {
			return nil, err
		}
		if choice.Multiplier != 0 {
			c.weighers = append(c.weighers, namedWeigher{w, choice.Multiplier})
		}
	}
	return c, nil
}

func find[T any](builtin, more map[string]T, name, kind string) (T, error) {
	for _, table := range []map[string]T{more, builtin} {
		for _, n := range []string{name, strings.TrimSuffix(name, kind)} {
			if f, ok := table[n]; ok {
				return f, nil
			}
		}
	}
	var known []string
	for _, table := range []map[string]T{more, builtin} {
		for n := range table {
			known = append(known, n)
		}
	}
	slices.Sort(known)
	var none T
	return none, errs.New(errs.Invalid, "there is no scheduler %s %q; there are %s", strings.ToLower(kind), name, strings.Join(known, ", "))
}

// removal is how many hosts a filter removed.
type removal struct {
	filter string
	hosts  int
}

// NoValidHostError says why no host was left.
type NoValidHostError struct {
	Hosts    int // there were
	removals []removal
}

// Error names each filter that removed hosts, in the order in which they ran.
func (e *NoValidHostError) Error() string {
	if e.Hosts == 0 {
		return "No valid host was found. There is no compute host."
	}
	var parts []string
	for _, r := range e.removals {
		if r.hosts > 0 {
			parts = append(parts, fmt.Sprintf("%s removed %d", r.filter, r.hosts))
		}
	}
	return fmt.Sprintf("No valid host was found. There are not enough hosts available: of %d, %s.", e.Hosts, strings.Join(parts, ", "))
}

// Removed is how many hosts a filter removed.
func (e *NoValidHostError) Removed(filter string) int {
	for _, r := range e.removals {
		if r.filter == filter {
			return r.hosts
		}
	}
	return 0
}

// The names under which hosts are removed before the filters run.
const (
	removedByRequest = "RequestedHost"
	removedByTries   = "AlreadyTried"
)

// Select gives the hosts that may take the server, the one to take first; the error is a NoValidHostError (errs.Unavailable) when there is none.
func (c *Chain) Select(hosts []*HostState, r *Request) ([]*HostState, error) {
	left, failure := c.filter(hosts, r)
	if len(left) == 0 {
		return nil, errs.With(errs.Unavailable, failure)
	}
	c.order(left, r)
	return left, nil
}

// filter runs the filters on each host; the first that does not let it pass is counted.
func (c *Chain) filter(hosts []*HostState, r *Request) ([]*HostState, *NoValidHostError) {
	all := make([]namedFilter, 0, len(c.filters)+2)
	if r.Host != "" {
		all = append(all, namedFilter{removedByRequest, func(h *HostState, r *Request) bool { return h.Name == r.Host }})
	}
	if len(r.Without) > 0 {
		all = append(all, namedFilter{removedByTries, func(h *HostState, r *Request) bool { return !slices.Contains(r.Without, h.Name) }})
	}
	all = append(all, c.filters...)
	failure := &NoValidHostError{Hosts: len(hosts), removals: make([]removal, len(all))}
	for i, f := range all {
		failure.removals[i].filter = f.name
	}
	left := make([]*HostState, 0, len(hosts))
next:
	for _, h := range hosts {
		for i := range all {
			if !all[i].apply(h, r) {
				failure.removals[i].hosts++
				continue next
			}
		}
		left = append(left, h)
	}
	return left, failure
}

// best is the host that Select would put first; nil when there is none. It sorts nothing but the few among which chance decides.
func (c *Chain) best(hosts []*HostState, r *Request) *HostState {
	left, _ := c.filter(hosts, r)
	if len(left) == 0 {
		return nil
	}
	weights := c.weigh(left, r)
	var top []int // the best so far, the best of them first
	equal := 1
	for i, w := range weights {
		at := len(top)
		for at > 0 && weights[top[at-1]] < w {
			at--
		}
		switch {
		case at < c.subset:
			if top = slices.Insert(top, at, i); len(top) > c.subset {
				top = top[:c.subset]
			}
			equal = 1
		case c.subset == 1 && weights[top[0]] == w:
			// Of hosts that are equally good each is chosen as often: many requests at once do not all go for the same.
			if equal++; c.random(equal) == 0 {
				top[0] = i
			}
		}
	}
	return left[top[c.random(len(top))]]
}

// weigh gives each host its weight.
func (c *Chain) weigh(hosts []*HostState, r *Request) []float64 {
	sum, one := make([]float64, len(hosts)), make([]float64, len(hosts))
	for _, w := range c.weighers {
		for i, h := range hosts {
			one[i] = w.apply(h, r)
		}
		low, high := slices.Min(one), slices.Max(one)
		if high == low {
			continue
		}
		for i := range one {
			sum[i] += w.multiplier * (one[i] - low) / (high - low)
		}
	}
	return sum
}

// order puts one of the best first, and the others behind it by their weight. Hosts of one weight stand in random order: many requests at once do not all go for the same.
func (c *Chain) order(hosts []*HostState, r *Request) {
	type weighed struct {
		host   *HostState
		weight float64
		tie    int
	}
	all := make([]weighed, len(hosts))
	for i, weight := range c.weigh(hosts, r) {
		all[i] = weighed{hosts[i], weight, c.random(1 << 30)}
	}
	slices.SortFunc(all, func(a, b weighed) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		}
		return a.tie - b.tie
	})
	for i := range all {
		hosts[i] = all[i].host
	}
	if n := min(c.subset, len(hosts)); n > 1 {
		first := c.random(n)
		hosts[0], hosts[first] = hosts[first], hosts[0]
	}
}
