package api

import (
	"slices"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
)

// The rules are Keystone's defaults: the role admin may do everything; a reader of the system reads everything; reader and manager of a domain
// read and manage what belongs to the domain; and everybody reads and keeps his own.

// admin may do everything.
func (c *call) admin() bool { return c.who.HasRole("admin") }

// readsAll may see every row of every domain.
func (c *call) readsAll() bool { return c.admin() || c.who.System && c.who.HasRole("reader") }

// reads may see what belongs to a domain.
func (c *call) reads(domainID string) bool {
	return c.readsAll() || domainID != "" && c.who.DomainID == domainID && c.who.HasRole("reader")
}

// manages may change users, groups, projects and grants of a domain.
func (c *call) manages(domainID string) bool {
	return c.admin() || domainID != "" && c.who.DomainID == domainID && c.who.HasRole("manager")
}

// isUser is the user himself.
func (c *call) isUser(userID string) bool { return userID != "" && c.who.UserID == userID }

// denied is the answer to somebody known who may not.
func (c *call) denied() error {
	return errs.New(errs.Denied, "You are not authorized to perform the requested action: %s %s.", c.r.Method, c.r.URL.Path)
}

// require turns a rule into an error.
func (c *call) require(allowed bool) error {
	if !allowed {
		return c.denied()
	}
	return nil
}

// outranked keeps the manager of a domain from whoever has more than he could grant: by setting such a user's password, or by joining such a group, he
// would get it.
func (c *call) outranked(r state.Reader, grants []model.Assignment) error {
	if c.admin() {
		return nil
	}
	for _, a := range grants {
		roles, err := model.Expand(r, []string{a.RoleID})
		if err != nil {
			return err
		}
		for _, role := range roles {
			if !slices.Contains(managersRoles, role.Name) {
				return c.denied()
			}
		}
	}
	return nil
}
