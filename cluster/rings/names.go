package rings

import (
	"strconv"
	"strings"

	"henge/internal/errs"
)

// The rings that every cluster has. Each further storage policy has one of its own; see ObjectName.
const (
	Account   = "account"
	Container = "container"
	Object    = "object" // policy 0
)

// PolicyIndexMax is the highest index that a storage policy can have: it fits the one byte that records keep.
const PolicyIndexMax = 255

// ObjectName is the name of a storage policy's ring: "object" for policy 0, "object-N" for policy N.
func ObjectName(policy int) string {
	if policy == 0 {
		return Object
	}
	return Object + "-" + strconv.Itoa(policy)
}

// PolicyOf is the index of the policy that a ring's name belongs to; false for account, container and what is no ring's name.
func PolicyOf(name string) (int, bool) {
	if name == Object {
		return 0, true
	}
	digits, ok := strings.CutPrefix(name, Object+"-")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || n > PolicyIndexMax || strconv.Itoa(n) != digits {
		return 0, false
	}
	return n, true
}

// CheckName says whether name can be a ring's; errs.Invalid.
func CheckName(name string) error {
	if _, ok := PolicyOf(name); ok || name == Account || name == Container {
		return nil
	}
	return errs.New(errs.Invalid, "%q is no ring: account, container, object, or object-N for storage policy N", name)
}
