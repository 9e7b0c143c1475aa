package model

import (
	"cmp"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
)

// GroupsOf lists the ids of a user's groups.
func GroupsOf(r state.Reader, userID string) ([]string, error) {
	var ids []string
	for m, err := range Memberships.Where(r, "user", userID) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, m.GroupID)
	}
	return ids, nil
}

// AssignmentsOf lists what a user was granted, himself or through a group, just as it was granted.
func AssignmentsOf(r state.Reader, userID string) ([]Assignment, error) {
	groups, err := GroupsOf(r, userID)
	if err != nil {
		return nil, err
	}
	actors := []Actor{{ActorUser, userID}}
	for _, id := range groups {
		actors = append(actors, Actor{ActorGroup, id})
	}
	var all []Assignment
	for _, actor := range actors {
		for a, err := range Assignments.Where(r, "actor", actor.Key()) {
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
	}
	return all, nil
}

// Ancestors lists a project's parents, nearest first, the domain not among them. A loop, which Put never makes, ends it.
func Ancestors(r state.Reader, p Project) ([]Project, error) {
	var up []Project
	for p.ParentID != "" && p.ParentID != p.DomainID && len(up) < projectDepthMax {
		parent, err := Projects.Get(r, p.ParentID)
		if err != nil {
			return nil, err
		}
		up, p = append(up, parent), parent
	}
	return up, nil
}

const projectDepthMax = 16

// ProjectDepthMax is how many projects may stand one below the other.
const ProjectDepthMax = 5

// applies tells whether an assignment counts on target, given the ids of the projects above it and its domain.
func (a Assignment) applies(target Target, domainID string, above []Project) bool {
	if !a.Inherited {
		return a.Target == target
	}
	if target.Kind != TargetProject {
		return false
	}
	if a.Target.Kind == TargetDomain {
		return a.Target.ID == domainID
	}
	return slices.ContainsFunc(above, func(p Project) bool { return a.Target == Target{TargetProject, p.ID} })
}

// RolesOn lists the roles that a user holds on a target: granted to him or to a group of his, there or inherited, and all that these imply. Roles of a
// domain are followed but not listed, as Keystone's tokens do. Sorted by name; empty when he holds none.
func RolesOn(r state.Reader, userID string, target Target) ([]Role, error) {
	granted, err := AssignmentsOf(r, userID)
	if err != nil {
		return nil, err
	}
	return rolesFrom(r, granted, target)
}

func rolesFrom(r state.Reader, granted []Assignment, target Target) ([]Role, error) {
	var domainID string
	var above []Project
	if target.Kind == TargetProject {
		p, err := Projects.Get(r, target.ID)
		if err != nil {
			return nil, err
		}
		domainID = p.DomainID
		if above, err = Ancestors(r, p); err != nil {
			return nil, err
		}
	}
	var ids []string
	for _, a := range granted {
		if a.applies(target, domainID, above) {
			ids = append(ids, a.RoleID)
		}
	}
	return Expand(r, ids)
}

// Expand follows implications from some role ids and gives the roles, those of a domain left out, sorted by name.
func Expand(r state.Reader, ids []string) ([]Role, error) {
	all, err := Closure(r, ids)
	if err != nil {
		return nil, err
	}
	roles := make([]Role, 0, len(all))
	for _, id := range all {
		role, found, err := Optional(Roles.Get(r, id))
		if err != nil {
			return nil, err
		}
		if found && role.DomainID == "" {
			roles = append(roles, role)
		}
	}
	slices.SortFunc(roles, func(a, b Role) int { return cmp.Compare(a.Name, b.Name) })
	return roles, nil
}

// Closure gives ids and the ids of all that they imply, each once.
func Closure(r state.Reader, ids []string) ([]string, error) {
	var all []string
	queue := slices.Clone(ids)
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if slices.Contains(all, id) {
			continue
		}
		all = append(all, id)
		for i, err := range Implications.Where(r, "prior", id) {
			if err != nil {
				return nil, err
			}
			queue = append(queue, i.ImpliedID)
		}
	}
	return all, nil
}

// Grant writes an assignment whose actor, target and role exist. Granting twice is granting once.
func Grant(w state.Writer, a Assignment) error {
	if err := a.check(w); err != nil {
		return err
	}
	return Assignments.Put(w, a.RowID(), a)
}

func (a Assignment) check(r state.Reader) error {
	if _, err := Roles.Get(r, a.RoleID); err != nil {
		return err
	}
	if err := a.Actor.check(r); err != nil {
		return err
	}
	return a.Target.Check(r)
}

func (a Actor) check(r state.Reader) error {
	var err error
	switch a.Kind {
	case ActorUser:
		_, err = Users.Get(r, a.ID)
	case ActorGroup:
		_, err = Groups.Get(r, a.ID)
	default:
		err = errs.New(errs.Invalid, "roles cannot be granted to a %q", a.Kind)
	}
	return err
}

// Check tells whether the target exists: errs.NotFound when not.
func (t Target) Check(r state.Reader) error {
	var err error
	switch t.Kind {
	case TargetProject:
		_, err = Projects.Get(r, t.ID)
	case TargetDomain:
		_, err = Domains.Get(r, t.ID)
	case TargetSystem:
	default:
		err = errs.New(errs.Invalid, "roles cannot be granted on a %q", t.Kind)
	}
	return err
}

// ProjectsOf lists the projects on which a user holds any role, by id. Those inherited count.
func ProjectsOf(r state.Reader, userID string) ([]Project, error) {
	granted, err := AssignmentsOf(r, userID)
	if err != nil {
		return nil, err
	}
	found := map[string]Project{}
	for _, a := range granted {
		if err := a.projects(r, found); err != nil {
			return nil, err
		}
	}
	list := make([]Project, 0, len(found))
	for _, p := range found {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Project) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// projects adds the projects that the assignment counts on.
func (a Assignment) projects(r state.Reader, found map[string]Project) error {
	switch {
	case a.Target.Kind == TargetProject && !a.Inherited:
		p, there, err := Optional(Projects.Get(r, a.Target.ID))
		if there {
			found[p.ID] = p
		}
		return err
	case a.Target.Kind == TargetProject:
		below, err := Subtree(r, a.Target.ID)
		for _, p := range below {
			found[p.ID] = p
		}
		return err
	case a.Target.Kind == TargetDomain && a.Inherited:
		for p, err := range Projects.Where(r, "domain", a.Target.ID) {
			if err != nil {
				return err
			}
			found[p.ID] = p
		}
	}
	return nil
}

// DomainsOf lists the domains on which a user holds a role, by id.
func DomainsOf(r state.Reader, userID string) ([]Domain, error) {
	granted, err := AssignmentsOf(r, userID)
	if err != nil {
		return nil, err
	}
	var list []Domain
	for _, a := range granted {
		if a.Target.Kind != TargetDomain || a.Inherited || slices.ContainsFunc(list, func(d Domain) bool { return d.ID == a.Target.ID }) {
			continue
		}
		d, there, err := Optional(Domains.Get(r, a.Target.ID))
		if err != nil {
			return nil, err
		}
		if there {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b Domain) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Subtree lists the projects below one, parents before children.
func Subtree(r state.Reader, id string) ([]Project, error) {
	var all []Project
	queue := []string{id}
	for len(queue) > 0 {
		for p, err := range Projects.Where(r, "parent", queue[0]) {
			if err != nil {
				return nil, err
			}
			all, queue = append(all, p), append(queue, p.ID)
		}
		queue = queue[1:]
	}
	return all, nil
}
