package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
)

// found is an assignment as it is listed, with what it comes from when it is an effective one.
type found struct {
	model.Assignment
	group     string // the group through which a user has it
	prior     string // the role that implies it
	inherited *model.Target
}

// assignmentFilter is what GET /v3/role_assignments was asked for.
type assignmentFilter struct {
	user, group, role, project, domain string
	system, effective, names, subtree  bool
	inherited                          *bool
}

func parseAssignmentFilter(query url.Values) (assignmentFilter, error) {
	f := assignmentFilter{user: query.Get("user.id"), group: query.Get("group.id"), role: query.Get("role.id"), project: query.Get("scope.project.id"),
		domain: query.Get("scope.domain.id"), system: query.Has("scope.system"), effective: asked(query, "effective"),
		names: asked(query, "include_names"), subtree: asked(query, "include_subtree")}
	if query.Has("scope.OS-INHERIT:inherited_to") {
		inherited := query.Get("scope.OS-INHERIT:inherited_to") == "projects"
		f.inherited = &inherited
	}
	switch {
	case f.project != "" && f.domain != "":
		return f, errs.New(errs.Invalid, "Specify a domain or project, not both")
	case f.user != "" && f.group != "":
		return f, errs.New(errs.Invalid, "Specify a user or group, not both")
	case f.effective && f.group != "":
		return f, errs.New(errs.Invalid, "Combining effective and group filter will always result in an empty list.")
	case f.effective && f.inherited != nil && *f.inherited:
		return f, errs.New(errs.Invalid, "Combining effective and inherited filter will always result in an empty list.")
	case f.subtree && f.project == "":
		return f, errs.New(errs.Invalid, "scope.project.id must be specified if include_subtree is also specified")
	}
	return f, nil
}

// listAssignments is GET /v3/role_assignments.
func listAssignments(c *call) error {
	filter, err := parseAssignmentFilter(c.r.URL.Query())
	if err != nil {
		return err
	}
	var rows []document
	err = c.view(func(r state.Reader) error {
		lister := assignmentLister{call: c, r: r, filter: filter}
		rows, err = lister.list()
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"role_assignments": rows, "links": document{"self": c.PublicURL(c.r) + c.r.URL.RequestURI(), "previous": nil, "next": nil}})
}

type assignmentLister struct {
	*call
	r        state.Reader
	filter   assignmentFilter
	projects []string // ids wanted, with a subtree
}

func (l *assignmentLister) list() ([]document, error) {
	if err := l.may(); err != nil {
		return nil, err
	}
	if l.filter.project != "" {
		l.projects = []string{l.filter.project}
		if l.filter.subtree {
			below, err := model.Subtree(l.r, l.filter.project)
			if err != nil {
				return nil, err
			}
			l.projects = append(l.projects, idsOf(below)...)
		}
	}
	stored, err := l.stored()
	if err != nil {
		return nil, err
	}
	docs := []document{}
	for _, a := range stored {
		expanded := []found{{Assignment: a}}
		if l.filter.effective {
			if expanded, err = l.expand(a); err != nil {
				return nil, err
			}
		}
		for _, f := range expanded {
			visible, err := l.visible(f)
			if err != nil {
				return nil, err
			}
			if !visible {
				continue
			}
			d, err := l.document(f)
			if err != nil {
				return nil, err
			}
			docs = append(docs, d)
		}
	}
	return docs, nil
}

// may: readers; and for everybody his own, and for a token of a project with the role admin that project's (covered by admin).
func (l *assignmentLister) may() error {
	if l.readsAll() || l.reads(l.who.DomainID) || l.isUser(l.filter.user) {
		return nil
	}
	return l.denied()
}

// stored reads the rows that can matter: those of one user, one group, one target, or all.
func (l *assignmentLister) stored() ([]model.Assignment, error) {
	switch {
	case l.filter.user != "" && l.filter.effective:
		return model.AssignmentsOf(l.r, l.filter.user)
	case l.filter.user != "":
		return collect(model.Assignments.Where(l.r, "actor", model.Actor{Kind: model.ActorUser, ID: l.filter.user}.Key()))
	case l.filter.group != "":
		return collect(model.Assignments.Where(l.r, "actor", model.Actor{Kind: model.ActorGroup, ID: l.filter.group}.Key()))
	case l.filter.project != "" && !l.filter.effective && !l.filter.subtree:
		return collect(model.Assignments.Where(l.r, "target", model.Target{Kind: model.TargetProject, ID: l.filter.project}.Key()))
	default:
		return collect(model.Assignments.All(l.r))
	}
}

func collect[T any](rows func(func(T, error) bool)) ([]T, error) {
	var list []T
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, nil
}

// expand turns a stored assignment into what it means: groups into their users, inheritance into projects, roles into what they imply.
func (l *assignmentLister) expand(a model.Assignment) ([]found, error) {
	actors, err := l.actors(a)
	if err != nil {
		return nil, err
	}
	targets, err := l.targets(a)
	if err != nil {
		return nil, err
	}
	roles, err := model.Expand(l.r, []string{a.RoleID})
	if err != nil {
		return nil, err
	}
	var all []found
	for _, actor := range actors {
		for _, target := range targets {
			for _, role := range roles {
				f := found{Assignment: model.Assignment{Actor: actor, Target: target, RoleID: role.ID}}
				if a.Actor.Kind == model.ActorGroup {
					f.group = a.Actor.ID
				}
				if role.ID != a.RoleID {
					f.prior = a.RoleID
				}
				if a.Inherited {
					f.inherited = &a.Target
				}
				all = append(all, f)
			}
		}
	}
	return all, nil
}

func (l *assignmentLister) actors(a model.Assignment) ([]model.Actor, error) {
	if a.Actor.Kind == model.ActorUser {
		return []model.Actor{a.Actor}, nil
	}
	var users []model.Actor
	for m, err := range model.Memberships.Where(l.r, "group", a.Actor.ID) {
		if err != nil {
			return nil, err
		}
		users = append(users, model.Actor{Kind: model.ActorUser, ID: m.UserID})
	}
	return users, nil
}

func (l *assignmentLister) targets(a model.Assignment) ([]model.Target, error) {
	if !a.Inherited {
		return []model.Target{a.Target}, nil
	}
	var projects []model.Project
	var err error
	if a.Target.Kind == model.TargetDomain {
		projects, err = collect(model.Projects.Where(l.r, "domain", a.Target.ID))
	} else {
		projects, err = model.Subtree(l.r, a.Target.ID)
	}
	targets := make([]model.Target, 0, len(projects))
	for _, p := range projects {
		targets = append(targets, model.Target{Kind: model.TargetProject, ID: p.ID})
	}
	return targets, err
}

// visible applies the filters, and keeps a reader of a domain to his domain.
func (l *assignmentLister) visible(f found) (bool, error) {
	w := l.filter
	switch {
	case w.user != "" && f.Actor != model.Actor{Kind: model.ActorUser, ID: w.user},
		w.group != "" && f.Actor != model.Actor{Kind: model.ActorGroup, ID: w.group},
		w.role != "" && f.RoleID != w.role,
		w.project != "" && (f.Target.Kind != model.TargetProject || !slices.Contains(l.projects, f.Target.ID)),
		w.domain != "" && f.Target != model.Target{Kind: model.TargetDomain, ID: w.domain},
		w.system && f.Target.Kind != model.TargetSystem,
		w.inherited != nil && f.Inherited != *w.inherited:
		return false, nil
	}
	if l.readsAll() || l.isUser(f.Actor.ID) {
		return true, nil
	}
	domain, err := domainOfTarget(l.r, f.Target)
	return l.reads(domain), err
}

func (l *assignmentLister) document(f found) (document, error) {
	role, err := model.Roles.Get(l.r, f.RoleID)
	if err != nil {
		return nil, err
	}
	roleDoc := document{"id": role.ID}
	if l.filter.names {
		if roleDoc, err = l.named(role.ID, role.Name, role.DomainID); err != nil {
			return nil, err
		}
	}
	actor, err := l.actor(f.Actor)
	if err != nil {
		return nil, err
	}
	scope, err := l.target(f.Target)
	if err != nil {
		return nil, err
	}
	if f.Inherited || f.inherited != nil {
		scope["OS-INHERIT:inherited_to"] = "projects"
	}
	return document{"role": roleDoc, string(f.Actor.Kind): actor, "scope": scope, "links": l.links(f)}, nil
}

func (l *assignmentLister) links(f found) document {
	source := model.Assignment{Actor: f.Actor, Target: f.Target, RoleID: cmp.Or(f.prior, f.RoleID), Inherited: f.Inherited || f.inherited != nil}
	if f.group != "" {
		source.Actor = model.Actor{Kind: model.ActorGroup, ID: f.group}
	}
	if f.inherited != nil {
		source.Target = *f.inherited
	}
	path := []string{string(source.Target.Kind) + "s", source.Target.ID}
	if source.Target.Kind == model.TargetSystem {
		path = []string{"system"}
	}
	path = append(path, string(source.Actor.Kind)+"s", source.Actor.ID, "roles", source.RoleID)
	if source.Inherited {
		path = append(append([]string{"OS-INHERIT"}, path...), "inherited_to_projects")
	}
	links := document{"assignment": l.link(path...)}
	if f.group != "" {
		links["membership"] = l.link("groups", f.group, "users", f.Actor.ID)
	}
	if f.prior != "" {
		links["prior_role"] = l.link("prior_role", f.prior, "implies", f.RoleID)
	}
	return links
}

// named is a reference with names: {id, name, domain}.
func (l *assignmentLister) named(id, name, domainID string) (document, error) {
	d := document{"id": id, "name": name}
	if domainID == "" {
		return d, nil
	}
	domain, err := model.Domains.Get(l.r, domainID)
	d["domain"] = idName{domain.ID, domain.Name}
	return d, err
}

func (l *assignmentLister) actor(a model.Actor) (document, error) {
	if !l.filter.names {
		return document{"id": a.ID}, nil
	}
	if a.Kind == model.ActorGroup {
		g, err := model.Groups.Get(l.r, a.ID)
		if err != nil {
			return nil, err
		}
		return l.named(g.ID, g.Name, g.DomainID)
	}
	u, err := model.Users.Get(l.r, a.ID)
	if err != nil {
		return nil, err
	}
	return l.named(u.ID, u.Name, u.DomainID)
}

func (l *assignmentLister) target(t model.Target) (document, error) {
	if t.Kind == model.TargetSystem {
		return document{"system": document{"all": true}}, nil
	}
	if !l.filter.names {
		return document{string(t.Kind): document{"id": t.ID}}, nil
	}
	if t.Kind == model.TargetDomain {
		d, err := model.Domains.Get(l.r, t.ID)
		return document{"domain": document{"id": d.ID, "name": d.Name}}, err
	}
	p, err := model.Projects.Get(l.r, t.ID)
	if err != nil {
		return nil, err
	}
	d, err := l.named(p.ID, p.Name, p.DomainID)
	return document{"project": d}, err
}
