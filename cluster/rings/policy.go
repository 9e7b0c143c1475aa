package rings

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/internal/erasure"
	"henge/internal/errs"
)

// Policy is a storage policy: which object ring a container's objects are placed by.
type Policy struct {
	Index      int      `json:"index"`
	Name       string   `json:"name"`
	Aliases    []string `json:"aliases,omitempty"`
	Default    bool     `json:"default,omitempty"`    // for containers made without naming one; exactly one policy is
	Deprecated bool     `json:"deprecated,omitempty"` // no new containers
	// Coding is k+m of an erasure-coded policy, whose ring has k+m replicas; nil: each replica is a whole copy. It never changes.
	Coding *erasure.Shape `json:"coding,omitempty"`
}

const (
	placementPrefix = "placement/"
	ringPrefix      = placementPrefix + "ring/"
	secretKey       = placementPrefix + "secret"
	builderPrefix   = "builders/"
)

func policyTable() state.Table[Policy] { return state.NewTable[Policy](placementPrefix + "policies") }

// Policies are the policies by index.
func Policies(r state.Reader) ([]Policy, error) {
	var all []Policy
	for p, err := range policyTable().All(r) {
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Policy) int { return cmp.Compare(a.Index, b.Index) })
	return all, nil
}

// PutPolicy writes a policy, over the one of the same index that may be there. The first policy becomes the default, and a policy that is written as default takes
// that from the one that was. errs.Invalid: index or name out of range, a default that is deprecated, or no default left. errs.Exists: the name or an alias is another's.
func PutPolicy(w state.Writer, p Policy) error {
	all, err := Policies(w)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(all), func(o Policy) bool { return o.Index == p.Index })
	if len(others) == 0 {
		p.Default = true
	}
	if err := p.check(others); err != nil {
		return err
	}
	if err := p.checkCoding(w, all); err != nil {
		return err
	}
	table := policyTable()
	for _, o := range others {
		if p.Default && o.Default {
			o.Default = false
			if err := table.Put(w, strconv.Itoa(o.Index), o); err != nil {
				return err
			}
		}
	}
	return table.Put(w, strconv.Itoa(p.Index), p)
}

// checkCoding compares an erasure-coded policy with its ring, and with what it was before: objects that are there are kept as they were written, and what
// is not coded cannot be found among fragments.
func (p Policy) checkCoding(r state.Reader, all []Policy) error {
	for _, o := range all {
		if o.Index == p.Index && !sameShape(o.Coding, p.Coding) {
			return errs.New(errs.Invalid, "policy %d exists already, and its objects are kept as %s: make another policy", p.Index, describe(o.Coding))
		}
	}
	if p.Coding == nil {
		return nil
	}
	if err := p.Coding.Check(); err != nil {
		return err
	}
	name := ObjectName(p.Index)
	ring, err := PublishedRing(r, name)
	if err != nil {
		return err
	}
	if ring.Replicas() != float64(p.Coding.Total()) {
		return errs.New(errs.Invalid, "erasure coding %s needs a ring of %d replicas, and the %s ring has %g", p.Coding, p.Coding.Total(), name, ring.Replicas())
	}
	return nil
}

func sameShape(a, b *erasure.Shape) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

func describe(s *erasure.Shape) string {
	if s == nil {
		return "replicas"
	}
	return s.String()
}

func (p Policy) check(others []Policy) error {
	if p.Index < 0 || p.Index > PolicyIndexMax {
		return errs.New(errs.Invalid, "policy index %d is not in 0...%d", p.Index, PolicyIndexMax)
	}
	if p.Default && p.Deprecated {
		return errs.New(errs.Invalid, "policy %q cannot be the default and deprecated", p.Name)
	}
	if !p.Default && !slices.ContainsFunc(others, func(o Policy) bool { return o.Default }) {
		return errs.New(errs.Invalid, "policy %q is the default: make another one the default instead", p.Name)
	}
	for i, name := range p.names() {
		if name == "" || len(name) > 128 || strings.ContainsFunc(name, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
		}) {
			return errs.New(errs.Invalid, "policy name %q: 1 to 128 letters, digits and hyphens", name)
		}
		if strings.EqualFold(name, "Policy-0") && p.Index != 0 {
			return errs.New(errs.Invalid, "the name Policy-0 is kept for policy 0")
		}
		if slices.ContainsFunc(p.names()[:i], func(s string) bool { return strings.EqualFold(s, name) }) {
			return errs.New(errs.Invalid, "policy name %q is given twice", name)
		}
		for _, o := range others {
			if o.Named(name) {
				return errs.New(errs.Exists, "the name %q is policy %d's", name, o.Index)
			}
		}
	}
	return nil
}

func (p Policy) names() []string { return append([]string{p.Name}, p.Aliases...) }

// Named tells whether name is the policy's name or one of its aliases, in any case.
func (p Policy) Named(name string) bool {
	return slices.ContainsFunc(p.names(), func(s string) bool { return strings.EqualFold(s, name) })
}
