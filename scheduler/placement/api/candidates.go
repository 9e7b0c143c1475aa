package api

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

// candidatesMax bounds how many candidates are given, whatever the limit in the query.
const candidatesMax = 10_000

// search is what a query for candidates asks for.
type search struct {
	groups   []group // the one without a suffix first, if there is one
	isolate  bool
	limit    int
	root     group      // what the root of a tree must be like
	subtrees [][]string // suffixes whose providers must lie under one of them
}

// candidate is one way to give what is asked for: by group the provider of each resource class.
type candidate struct {
	allocations map[string]map[string]int64
	mappings    map[string][]string
}

func (c *call) parseSearch() (s search, err error) {
	query := c.r.URL.Query()
	suffixes := map[string]bool{}
	for key := range query {
		if suffix, ok := strings.CutPrefix(key, "resources"); ok && (suffix == "" || c.minor >= 25 && suffixForm.MatchString(suffix)) {
			suffixes[suffix] = true
		}
	}
	for key := range query {
		if !c.knownKey(key, suffixes) {
			return s, badQuery("Invalid query string parameters: Additional properties are not allowed ('%.60s' was unexpected)", key)
		}
	}
	if len(suffixes) == 0 {
		return s, placement.Coded(errs.Invalid, placement.CodeMissingQueryValue, "Invalid query string parameters: 'resources' is a required property")
	}
	for _, suffix := range slices.Sorted(maps.Keys(suffixes)) {
		g, err := c.parseGroup(query, suffix)
		if err != nil {
			return s, err
		}
		s.groups = append(s.groups, g)
	}
	return s, c.parseRest(query, &s)
}

// knownKey tells whether a parameter means something at this microversion.
func (c *call) knownKey(key string, suffixes map[string]bool) bool {
	if from, ok := map[string]int{"limit": 16, "group_policy": 25, "root_required": 35, "same_subtree": 36}[key]; ok {
		return c.minor >= from
	}
	for name, from := range map[string]int{"resources": 10, "required": 17, "member_of": 21, "in_tree": 31} {
		if suffix, ok := strings.CutPrefix(key, name); ok && c.minor >= from && (suffix == "" || suffixes[suffix]) {
			return true
		}
	}
	return false
}

func (c *call) parseRest(query url.Values, s *search) (err error) {
	s.limit = candidatesMax
	if text := query.Get("limit"); query.Has("limit") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return badQuery("Invalid query string parameters: '%.20s' is no limit", text)
		}
		s.limit = min(n, candidatesMax)
	}
	numbered := 0
	for _, g := range s.groups {
		if g.suffix != "" {
			numbered++
		}
	}
	switch policy := query.Get("group_policy"); {
	case policy == "isolate":
		s.isolate = true
	case policy != "" && policy != "none":
		return badQuery("Invalid query string parameters: '%.20s' is not one of ['none', 'isolate'], for 'group_policy'", policy)
	case policy == "" && numbered > 1:
		return badQuery("The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter.")
	}
	if text := query.Get("root_required"); text != "" {
		if err := s.root.require(text, min(c.minor, 38)); err != nil {
			return err
		}
	}
	for _, text := range query["same_subtree"] {
		suffixes := strings.Split(text, ",")
		for _, suffix := range suffixes {
			if !slices.ContainsFunc(s.groups, func(g group) bool { return g.suffix == suffix && suffix != "" }) {
				return badQuery("Real suffixes should be specified in same_subtree: %.60s", text)
			}
		}
		s.subtrees = append(s.subtrees, suffixes)
	}
	return nil
}

func candidates(c *call) error {
	s, err := c.parseSearch()
	if err != nil {
		return err
	}
	return c.view(func(r state.Reader) error {
		for i := range s.groups {
			if err := s.groups[i].check(r); err != nil {
				return err
			}
		}
		if err := s.root.check(r); err != nil {
			return err
		}
		trees := map[string][]placement.Provider{}
		for p, err := range placement.Providers.All(r) {
			if err != nil {
				return err
			}
			trees[p.Root] = append(trees[p.Root], p)
		}
		var found []candidate
		summaries := document{}
		for _, root := range slices.Sorted(maps.Keys(trees)) {
			some := s.inTree(trees[root], s.limit-len(found), c.minor)
			if len(some) > 0 {
				found = append(found, some...)
				c.summarize(summaries, trees[root], some)
			}
			if len(found) >= s.limit {
				break
			}
		}
		return c.json(http.StatusOK, document{"allocation_requests": c.requests(found), "provider_summaries": summaries})
	})
}

// inTree finds the ways to give what is asked for out of one tree, at most max.
func (s *search) inTree(tree []placement.Provider, most, minor int) (found []candidate) {
	root := slices.IndexFunc(tree, func(p placement.Provider) bool { return p.Parent == "" })
	if root < 0 || !s.root.allows(&tree[root]) || len(tree) > 1 && minor < 29 && !slices.ContainsFunc(tree, func(p placement.Provider) bool { return len(p.Inventories) > 0 }) {
		return nil
	}
	var choose func(i int, so candidate)
	choose = func(i int, so candidate) {
		if len(found) >= most {
			return
		}
		if i == len(s.groups) {
			if s.holds(tree, so) {
				found = append(found, so)
			}
			return
		}
		g := &s.groups[i]
		if g.tree != "" && !slices.ContainsFunc(tree, func(p placement.Provider) bool { return p.UUID == g.tree }) {
			return
		}
		for _, way := range g.ways(tree, minor) {
			if next, ok := so.with(g, way, s.isolate); ok {
				choose(i+1, next)
			}
		}
	}
	choose(0, candidate{map[string]map[string]int64{}, map[string][]string{}})
	return found
}

// ways are the choices of a provider for each class of the group.
func (g *group) ways(tree []placement.Provider, minor int) (ways []map[string]string) {
	if g.suffix != "" || minor < 29 || len(tree) == 1 {
		for i := range tree {
			p := &tree[i]
			if minor < 29 && p.Parent != "" || !g.allows(p) || !g.covers(p) {
				continue
			}
			way := map[string]string{}
			for class := range g.resources {
				way[class] = p.UUID
			}
			ways = append(ways, way)
		}
		return ways
	}
	if !slices.ContainsFunc(tree, func(p placement.Provider) bool { return g.inAggregates(&p) }) {
		return nil
	}
	ways = []map[string]string{{}}
	for _, class := range slices.Sorted(maps.Keys(g.resources)) {
		var longer []map[string]string
		for _, way := range ways {
			for i := range tree {
				if p := &tree[i]; p.Has(class, g.resources[class]) && !slices.ContainsFunc(g.forbidden, func(t string) bool { return slices.Contains(p.Traits, t) }) && len(longer) < candidatesMax {
					next := maps.Clone(way)
					next[class] = p.UUID
					longer = append(longer, next)
				}
			}
		}
		ways = longer
	}
	// The traits that are required may be on any of the providers that give something.
	return slices.DeleteFunc(ways, func(way map[string]string) bool {
		var traits []string
		for _, p := range tree {
			if slices.Contains(slices.Collect(maps.Values(way)), p.UUID) {
				traits = append(traits, p.Traits...)
			}
		}
		return !g.hasTraits(traits)
	})
}

// with adds a group's choice; not ok when groups are to be on providers of their own and are not.
func (so candidate) with(g *group, way map[string]string, isolate bool) (candidate, bool) {
	next := candidate{map[string]map[string]int64{}, maps.Clone(so.mappings)}
	for uuid, resources := range so.allocations {
		next.allocations[uuid] = maps.Clone(resources)
	}
	for class, uuid := range way {
		if isolate && g.suffix != "" {
			for suffix, others := range so.mappings {
				if suffix != "" && slices.Contains(others, uuid) {
					return so, false
				}
			}
		}
		if next.allocations[uuid] == nil {
			next.allocations[uuid] = map[string]int64{}
		}
		next.allocations[uuid][class] += g.resources[class]
		if !slices.Contains(next.mappings[g.suffix], uuid) {
			next.mappings[g.suffix] = append(slices.Clone(next.mappings[g.suffix]), uuid)
		}
	}
	slices.Sort(next.mappings[g.suffix])
	return next, true
}

// holds checks what only the whole shows: that each provider has room for the sum, and that subtrees are as asked for.
func (s *search) holds(tree []placement.Provider, so candidate) bool {
	parents := map[string]string{}
	for i := range tree {
		parents[tree[i].UUID] = tree[i].Parent
		for class, amount := range so.allocations[tree[i].UUID] {
			if !tree[i].Has(class, amount) {
				return false
			}
		}
	}
	for _, suffixes := range s.subtrees {
		var all []string
		for _, suffix := range suffixes {
			all = append(all, so.mappings[suffix]...)
		}
		under := func(above string) bool {
			return !slices.ContainsFunc(all, func(uuid string) bool {
				for ; uuid != "" && uuid != above; uuid = parents[uuid] {
				}
				return uuid == ""
			})
		}
		if !slices.ContainsFunc(all, under) {
			return false
		}
	}
	return true
}

func (c *call) requests(found []candidate) []document {
	all := []document{}
	for _, one := range found {
		var allocations any
		if c.minor >= 12 {
			by := document{}
			for uuid, resources := range one.allocations {
				by[uuid] = document{"resources": resources}
			}
			allocations = by
		} else {
			var list []document
			for uuid, resources := range one.allocations {
				list = append(list, document{"resource_provider": document{"uuid": uuid}, "resources": resources})
			}
			allocations = list
		}
		d := document{"allocations": allocations}
		if c.minor >= 34 {
			d["mappings"] = one.mappings
		}
		all = append(all, d)
	}
	return all
}

// summarize describes the providers of the candidates; from 1.27 on every class of them, from 1.29 on the whole tree.
func (c *call) summarize(into document, tree []placement.Provider, found []candidate) {
	asked := map[string]bool{}
	in := map[string]bool{}
	for _, one := range found {
		for uuid, resources := range one.allocations {
			in[uuid] = true
			for class := range resources {
				asked[class] = true
			}
		}
	}
	for _, p := range tree {
		if !in[p.UUID] && c.minor < 29 {
			continue
		}
		resources := document{}
		for class, i := range p.Inventories {
			if c.minor >= 27 || asked[class] {
				resources[class] = document{"capacity": i.Capacity(), "used": p.Used[class]}
			}
		}
		d := document{"resources": resources}
		if c.minor >= 17 {
			d["traits"] = append([]string{}, p.Traits...)
		}
		if c.minor >= 29 {
			d["parent_provider_uuid"], d["root_provider_uuid"] = nullable(p.Parent), p.Root
		}
		into[p.UUID] = d
	}
}
