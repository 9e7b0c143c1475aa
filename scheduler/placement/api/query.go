package api

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

// group is one request group of a query: resources with what their provider must be like. The one without a suffix may be spread over the providers of a tree.
type group struct {
	suffix    string
	resources map[string]int64
	required  [][]string // one of each list
	forbidden []string
	memberOf  [][]string // one of each list
	notIn     []string
	tree      string // "": any
}

var suffixForm = regexp.MustCompile(`^([0-9]+|[a-zA-Z0-9_-]{1,64})$`)

// parseGroup reads the parameters of a suffix.
func (c *call) parseGroup(query url.Values, suffix string) (g group, err error) {
	g = group{suffix: suffix, tree: query.Get("in_tree" + suffix)}
	if values := query["resources"+suffix]; len(values) > 0 {
		if len(values) > 1 {
			return g, placement.Coded(errs.Invalid, placement.CodeDuplicateQueryKey, "Invalid query string parameters: 'resources%s' is given twice", suffix)
		}
		if g.resources, err = parseResources(values[0]); err != nil {
			return g, err
		}
	}
	values := query["required"+suffix]
	if len(values) > 1 && c.minor < 39 {
		return g, placement.Coded(errs.Invalid, placement.CodeDuplicateQueryKey, "Query parameter 'required%s' is given twice", suffix)
	}
	for _, value := range values {
		if err := g.require(value, c.minor); err != nil {
			return g, err
		}
	}
	values = query["member_of"+suffix]
	if len(values) > 1 && c.minor < 24 {
		return g, placement.Coded(errs.Invalid, placement.CodeDuplicateQueryKey, "Query parameter 'member_of%s' is given twice", suffix)
	}
	for _, value := range values {
		if err := g.member(value, c.minor); err != nil {
			return g, err
		}
	}
	return g, nil
}

func parseResources(value string) (map[string]int64, error) {
	resources := map[string]int64{}
	for _, one := range strings.Split(value, ",") {
		class, text, ok := strings.Cut(one, ":")
		amount, err := strconv.ParseInt(text, 10, 64)
		if !ok || class == "" || err != nil || amount < 1 || amount > unitMax {
			return nil, badQuery("Badly formed resources parameter. Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024. Got: %.100s.", value)
		}
		if _, twice := resources[class]; twice {
			return nil, badQuery("Badly formed resources parameter: '%s' is given twice.", class)
		}
		resources[class] = amount
	}
	return resources, nil
}

func (g *group) require(value string, minor int) error {
	if any, ok := strings.CutPrefix(value, "in:"); ok && minor >= 39 {
		g.required = append(g.required, strings.Split(any, ","))
		return nil
	}
	for _, name := range strings.Split(value, ",") {
		bare, no := strings.CutPrefix(name, "!")
		if bare == "" || no && minor < 22 {
			return badQuery("Invalid query string parameters: Expected 'required' parameter value of the form: HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: %.100s", value)
		}
		if no {
			g.forbidden = append(g.forbidden, bare)
		} else {
			g.required = append(g.required, []string{bare})
		}
	}
	for _, r := range g.required {
		if len(r) == 1 && slices.Contains(g.forbidden, r[0]) {
			return badQuery("Conflicting required and forbidden traits found in the following traits keys: required: %s", r[0])
		}
	}
	return nil
}

func (g *group) member(value string, minor int) error {
	bare, no := strings.CutPrefix(value, "!")
	list, many := strings.CutPrefix(bare, "in:")
	all := []string{list}
	if many {
		all = strings.Split(list, ",")
	}
	for i, text := range all {
		uuid, err := checkUUID(text)
		if err != nil {
			return badQuery("Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s). Got: %.100s", value)
		}
		all[i] = uuid
	}
	switch {
	case no && minor < 32:
		return badQuery("Forbidden member_of parameters are not supported in the specified microversion")
	case no:
		g.notIn = append(g.notIn, all...)
	default:
		g.memberOf = append(g.memberOf, all)
	}
	return nil
}

// check refuses classes and traits that nobody has made.
func (g *group) check(r state.Reader) error {
	for class := range g.resources {
		if err := knownClass(r, class); err != nil {
			return badQuery("Invalid resource class in resources parameter: %s", err)
		}
	}
	for _, list := range append(slices.Clone(g.required), g.forbidden) {
		for _, name := range list {
			if err := knownTraits(r, []string{name}); errs.Is(err, errs.Invalid) {
				return badQuery("%s", err)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// allows tells whether a provider is what the group asks for, apart from how much there is.
func (g *group) allows(p *placement.Provider) bool {
	return g.hasTraits(p.Traits) && g.inAggregates(p)
}

func (g *group) hasTraits(traits []string) bool {
	for _, one := range g.required {
		if !slices.ContainsFunc(one, func(t string) bool { return slices.Contains(traits, t) }) {
			return false
		}
	}
	return !slices.ContainsFunc(g.forbidden, func(t string) bool { return slices.Contains(traits, t) })
}

func (g *group) inAggregates(p *placement.Provider) bool {
	for _, one := range g.memberOf {
		if !slices.ContainsFunc(one, func(a string) bool { return slices.Contains(p.Aggregates, a) }) {
			return false
		}
	}
	return !slices.ContainsFunc(g.notIn, func(a string) bool { return slices.Contains(p.Aggregates, a) })
}

// covers tells whether a provider has room for all resources of the group.
func (g *group) covers(p *placement.Provider) bool {
	for class, amount := range g.resources {
		if !p.Has(class, amount) {
			return false
		}
	}
	return true
}
