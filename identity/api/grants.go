package api

import (
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
)

// grantOf reads an assignment off the path, whatever form of the path it is.
func (c *call) grantOf() model.Assignment {
	a := model.Assignment{RoleID: c.path("role"), Actor: model.Actor{Kind: model.ActorUser, ID: c.path("user")}, Target: model.SystemTarget()}
	if id := c.path("group"); id != "" {
		a.Actor = model.Actor{Kind: model.ActorGroup, ID: id}
	}
	if id := c.path("project"); id != "" {
		a.Target = model.Target{Kind: model.TargetProject, ID: id}
	} else if id := c.path("domain"); id != "" {
		a.Target = model.Target{Kind: model.TargetDomain, ID: id}
	}
	a.Inherited = c.path("inherited") != ""
	return a
}

// grantRule is who may do something with grants on a target and an actor, given the domains of both.
func (c *call) grantRule(r state.Reader, a model.Assignment, rule func(domainID string) bool) error {
	targetDomain, err := domainOfTarget(r, a.Target)
	if err == nil {
		var actorDomain string
		if actorDomain, err = domainOfActor(r, a.Actor); err == nil {
			return c.require(rule(targetDomain) && rule(actorDomain))
		}
	}
	if errs.Is(err, errs.NotFound) && !c.readsAll() {
		return c.denied()
	}
	return err
}

// domainOfTarget is "" for the system, which is in none.
func domainOfTarget(r state.Reader, t model.Target) (string, error) {
	switch t.Kind {
	case model.TargetProject:
		p, err := model.Projects.Get(r, t.ID)
		return p.DomainID, named(err, "project", t.ID)
	case model.TargetDomain:
		d, err := model.Domains.Get(r, t.ID)
		return d.ID, named(err, "domain", t.ID)
	}
	return "", nil
}

func domainOfActor(r state.Reader, a model.Actor) (string, error) {
	if a.Kind == model.ActorGroup {
		g, err := model.Groups.Get(r, a.ID)
		return g.DomainID, named(err, "group", a.ID)
	}
	u, err := model.Users.Get(r, a.ID)
	return u.DomainID, named(err, "user", a.ID)
}

// managersRoles are those that the manager of a domain may hand out.
var managersRoles = []string{"manager", "member", "reader"}

// changesGrant tells whether the caller may make or take away a grant, and that its role exists and fits.
func (c *call) changesGrant(r state.Reader, a model.Assignment) error {
	if err := c.grantRule(r, a, c.manages); err != nil {
		return err
	}
	role, err := model.Roles.Get(r, a.RoleID)
	if err != nil {
		return named(err, "role", a.RoleID)
	}
	if !c.admin() && (role.DomainID != "" || !slices.Contains(managersRoles, role.Name)) {
		return c.denied()
	}
	targetDomain, err := domainOfTarget(r, a.Target)
	if err == nil && role.DomainID != "" && role.DomainID != targetDomain {
		err = errs.New(errs.Denied, "The role %s belongs to another domain than what it is to be granted on.", role.ID)
	}
	return err
}

func grant(c *call) error {
	a := c.grantOf()
	err := c.update(func(w state.Writer) error {
		if err := c.changesGrant(w, a); err != nil {
			return err
		}
		return model.Grant(w, a)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func ungrant(c *call) error {
	a := c.grantOf()
	err := c.update(func(w state.Writer) error {
		if err := c.changesGrant(w, a); err != nil {
			return err
		}
		return notGranted(model.Revoke(w, a), a)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func checkGrant(c *call) error {
	a := c.grantOf()
	err := c.view(func(r state.Reader) error {
		if err := c.grantRule(r, a, c.reads); err != nil {
			return err
		}
		if _, err := model.Roles.Get(r, a.RoleID); err != nil {
			return named(err, "role", a.RoleID)
		}
		_, err := model.Assignments.Get(r, a.RowID())
		return notGranted(err, a)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func notGranted(err error, a model.Assignment) error {
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "Could not find role assignment with role: %s, user or group: %s, project, domain, or system: %s.", a.RoleID, a.Actor.ID, a.Target.ID)
	}
	return err
}

// listGrants lists what was granted to just this actor on just this target.
func listGrants(c *call) error {
	a := c.grantOf()
	var roles []document
	err := c.view(func(r state.Reader) error {
		if err := c.grantRule(r, a, c.reads); err != nil {
			return err
		}
		for row, err := range model.Assignments.Where(r, "actor", a.Actor.Key()) {
			if err != nil {
				return err
			}
			if row.Target != a.Target || row.Inherited != a.Inherited {
				continue
			}
			role, err := model.Roles.Get(r, row.RoleID)
			if err != nil {
				return err
			}
			roles = append(roles, c.roleDocument(role))
		}
		return nil
	})
	if err != nil {
		return err
	}
	sortByID(roles)
	return c.list("roles", roles, "name")
}

// grantRoutes binds the grants on every target to every actor, plain and inherited.
func (s *Server) grantRoutes(bind binder) {
	for _, target := range []string{"/projects/{project}", "/domains/{domain}", "/system"} {
		for _, actor := range []string{"/users/{user}", "/groups/{group}"} {
			s.grantPaths(bind, target+actor+"/roles", "")
			if target != "/system" {
				s.grantPaths(bind, "/OS-INHERIT"+target+actor+"/roles", "/{inherited:inherited_to_projects}")
			}
		}
	}
}

func (s *Server) grantPaths(bind binder, list, suffix string) {
	one := list + "/{role}" + suffix
	bind(http.MethodGet, list+suffix, listGrants)
	bind(http.MethodGet, one, checkGrant)
	bind(http.MethodPut, one, grant)
	bind(http.MethodDelete, one, ungrant)
}
