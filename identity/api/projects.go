package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) projectDocument(p model.Project) document {
	tags := p.Tags
	if tags == nil {
		tags = []string{}
	}
	return with(p.Extra, document{"id": p.ID, "name": p.Name, "domain_id": p.DomainID, "parent_id": p.ParentID, "description": p.Description,
		"enabled": p.Enabled, "is_domain": false, "tags": tags, "options": orEmpty(p.Options), "links": c.self("projects", p.ID)})
}

// domainAsProject is how a domain looks among the projects, to those who ask for is_domain.
func (c *call) domainAsProject(d model.Domain) document {
	return with(c.domainDocument(d), document{"domain_id": nil, "parent_id": nil, "is_domain": true, "links": c.self("projects", d.ID)})
}

// seesProject: besides readers, whoever has a token for the project.
func (c *call) seesProject(p model.Project) bool {
	return c.reads(p.DomainID) || c.who.ProjectID == p.ID
}

func (c *call) managesProject(p model.Project) bool { return c.manages(p.DomainID) }

func listProjects(c *call) error {
	domain, err := c.listedDomain()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	var projects []document
	err = c.view(func(r state.Reader) (err error) {
		if asked(query, "is_domain") {
			projects, err = gather(model.Domains.All(r), c.listsDomain, c.domainAsProject)
			return err
		}
		projects, err = gather(domainRows(r, model.Projects, domain, query.Get("name")), func(p model.Project) bool { return tagsMatch(p.Tags, query) }, c.projectDocument)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("projects", projects, "name", "enabled", "domain_id", "parent_id", "description")
}

// tagsMatch applies tags (all of them), tags-any, not-tags and not-tags-any.
func tagsMatch(tags []string, query url.Values) bool {
	has := func(tag string) bool { return slices.Contains(tags, tag) }
	all := func(list []string) bool {
		return !slices.ContainsFunc(list, func(tag string) bool { return !has(tag) })
	}
	for _, rule := range []struct {
		name string
		ok   func([]string) bool
	}{
		{"tags", all},
		{"tags-any", func(list []string) bool { return slices.ContainsFunc(list, has) }},
		{"not-tags", func(list []string) bool { return !all(list) }},
		{"not-tags-any", func(list []string) bool { return !slices.ContainsFunc(list, has) }},
	} {
		if query.Has(rule.name) && !rule.ok(strings.Split(query.Get(rule.name), ",")) {
			return false
		}
	}
	return true
}

func showProject(c *call) error {
	var shown document
	err := c.view(func(r state.Reader) error {
		if domain, there, err := model.Optional(model.Domains.Get(r, c.path("project"))); err != nil {
			return err
		} else if there && c.seesDomain(domain) {
			shown = c.domainAsProject(domain)
			return nil
		}
		project, err := fetch(c, r, model.Projects, "project", c.path("project"), c.seesProject)
		if err != nil {
			return err
		}
		shown = c.projectDocument(project)
		return c.addFamily(r, project, shown)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"project": shown})
}

// addFamily adds the projects above and below when the query asks for them, as lists or as trees of ids.
func (c *call) addFamily(r state.Reader, p model.Project, shown document) error {
	query := c.r.URL.Query()
	above, err := model.Ancestors(r, p)
	if err != nil {
		return err
	}
	below, err := model.Subtree(r, p.ID)
	if err != nil {
		return err
	}
	if asked(query, "parents_as_list") {
		shown["parents"] = c.wrapped(above)
	}
	if asked(query, "subtree_as_list") {
		shown["subtree"] = c.wrapped(below)
	}
	if asked(query, "parents_as_ids") {
		shown["parents"] = chain(append(idsOf(above), p.DomainID))
	}
	if asked(query, "subtree_as_ids") {
		shown["subtree"] = treeOf(p.ID, below)
	}
	return nil
}

func (c *call) wrapped(list []model.Project) []document {
	docs := []document{}
	for _, p := range list {
		if c.seesProject(p) {
			docs = append(docs, document{"project": c.projectDocument(p)})
		}
	}
	return docs
}

func idsOf(list []model.Project) []string {
	ids := make([]string, 0, len(list)+1)
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	return ids
}

// chain is {a: {b: {c: null}}}.
func chain(ids []string) any {
	if len(ids) == 0 {
		return nil
	}
	return document{ids[0]: chain(ids[1:])}
}

// treeOf nests ids of projects below one; null for a leaf.
func treeOf(id string, below []model.Project) any {
	tree := document{}
	for _, p := range below {
		if p.ParentID == id {
			tree[p.ID] = treeOf(p.ID, below)
		}
	}
	if len(tree) == 0 {
		return nil
	}
	return tree
}

func fillProject(f *openstack.Fields, p *model.Project) {
	f.Text("name", &p.Name, openstack.Text{MinLength: 1, MaxLength: 64})
	f.Text("domain_id", &p.DomainID, openstack.Text{MaxLength: 64, Nullable: true})
	f.Text("parent_id", &p.ParentID, openstack.Text{MaxLength: 64, Nullable: true})
	f.Text("description", &p.Description, openstack.Text{MaxLength: 65535, Nullable: true})
	f.Bool("enabled", &p.Enabled)
	f.Texts("tags", &p.Tags, tagRule(), tagsMax)
	isDomain := false
	f.Bool("is_domain", &isDomain)
	if isDomain {
		f.Fail("is_domain", "a project does not become a domain")
	}
	checkTags(f, p.Tags)
	fillOptions(f, &p.Options, []string{immutable})
	f.Drop("id", "links", "parents", "subtree")
	f.Extra(&p.Extra)
}

func createProject(c *call) error {
	f, err := c.body("project")
	if err != nil {
		return err
	}
	f.Require("name")
	if f.True("is_domain") {
		return createDomainProject(c, f)
	}
	project := model.Project{ID: model.NewID(), Enabled: true}
	fillProject(f, &project)
	if err := f.Err(); err != nil {
		return err
	}
	asked := project
	err = c.update(func(w state.Writer) error {
		project = asked
		if err := c.place(w, &project); err != nil {
			return err
		}
		return named(model.Projects.Put(w, project.ID, project), "project", project.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"project": c.projectDocument(project)})
}

// place settles the domain and the parent of a new project.
func (c *call) place(w state.Writer, p *model.Project) error {
	if p.ParentID == "" {
		if p.DomainID == "" {
			p.DomainID = c.domainOfCaller()
		}
		p.ParentID = p.DomainID
	}
	if _, isDomain, err := model.Optional(model.Domains.Get(w, p.ParentID)); err != nil {
		return err
	} else if isDomain {
		if p.DomainID == "" {
			p.DomainID = p.ParentID
		}
		if err := c.require(c.manages(p.DomainID)); err != nil {
			return err
		}
		if p.DomainID != p.ParentID {
			return errs.New(errs.Invalid, "Invalid input for field 'parent_id': it is another domain than domain_id")
		}
		return inDomainOf(w, p.DomainID)
	}
	parent, err := fetch(c, w, model.Projects, "project", p.ParentID, c.managesProject)
	if err != nil {
		return err
	}
	above, err := model.Ancestors(w, parent)
	switch {
	case err != nil:
		return err
	case p.DomainID != "" && p.DomainID != parent.DomainID:
		return errs.New(errs.Invalid, "Invalid input for field 'domain_id': the parent is in another domain")
	case len(above)+2 > model.ProjectDepthMax:
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: projects nest at most %d deep.", model.ProjectDepthMax)
	case !parent.Enabled || slices.ContainsFunc(above, func(p model.Project) bool { return !p.Enabled }):
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: cannot create a project below a disabled one.")
	}
	p.DomainID = parent.DomainID
	return nil
}

func updateProject(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	if isDomain, err := c.namesDomain(); err != nil {
		return err
	} else if isDomain {
		domain, err := c.changeDomain(c.path("project"), "project", raw)
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, document{"project": c.domainAsProject(domain)})
	}
	var project model.Project
	err = c.update(func(w state.Writer) error {
		old, err := fetch(c, w, model.Projects, "project", c.path("project"), c.managesProject)
		if err != nil {
			return err
		}
		f, err := openstack.NewFields(raw, "project")
		if err != nil {
			return err
		}
		project = old
		fillProject(f, &project)
		if err := f.Err(); err != nil {
			return err
		}
		if err := c.checkProjectUpdate(w, old, project); err != nil {
			return err
		}
		if old.Enabled && !project.Enabled {
			project.Epoch++
		}
		return named(model.Projects.Put(w, project.ID, project), "project", project.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"project": c.projectDocument(project)})
}

func (c *call) checkProjectUpdate(r state.Reader, old, now model.Project) error {
	switch {
	case now.DomainID != old.DomainID:
		return errs.New(errs.Invalid, "Invalid input for field 'domain_id': a project stays in its domain")
	case now.ParentID != old.ParentID:
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: update of `parent_id` is not allowed.")
	}
	if err := mutable("project", old.ID, old.Options, orEmpty(now.Options)); err != nil {
		return err
	}
	if old.Enabled && !now.Enabled {
		below, err := model.Subtree(r, old.ID)
		if err == nil && slices.ContainsFunc(below, func(p model.Project) bool { return p.Enabled }) {
			err = errs.New(errs.Denied, "You are not authorized to perform the requested action: cannot disable project %s since its subtree contains enabled projects.", old.ID)
		}
		return err
	}
	if !old.Enabled && now.Enabled {
		above, err := model.Ancestors(r, old)
		if err == nil && slices.ContainsFunc(above, func(p model.Project) bool { return !p.Enabled }) {
			err = errs.New(errs.Denied, "You are not authorized to perform the requested action: cannot enable project %s since it has disabled parents.", old.ID)
		}
		return err
	}
	return nil
}

// createDomainProject makes a domain in the words of projects, as clients may with is_domain.
func createDomainProject(c *call, f *openstack.Fields) error {
	if err := c.require(c.admin()); err != nil {
		return err
	}
	for _, name := range []string{"parent_id", "domain_id"} {
		if f.Has(name) && !f.Null(name) {
			f.Fail(name, "a domain lies in no other")
		}
	}
	domain, err := c.makeDomain(f)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"project": c.domainAsProject(domain)})
}

// namesDomain tells whether the project of the path is a domain.
func (c *call) namesDomain() (is bool, err error) {
	err = c.view(func(r state.Reader) (err error) {
		_, is, err = model.Optional(model.Domains.Get(r, c.path("project")))
		return err
	})
	return is, err
}

func deleteProject(c *call) error {
	if isDomain, err := c.namesDomain(); err != nil {
		return err
	} else if isDomain {
		return c.dropDomain(c.path("project"))
	}
	err := c.update(func(w state.Writer) error {
		project, err := fetch(c, w, model.Projects, "project", c.path("project"), c.managesProject)
		if err != nil {
			return err
		}
		if err := mutable("project", project.ID, project.Options, nil); err != nil {
			return err
		}
		below, err := model.Subtree(w, project.ID)
		if err != nil {
			return err
		}
		if len(below) > 0 {
			return errs.New(errs.Denied, "You are not authorized to perform the requested action: cannot delete the project %s since it is not a leaf in the hierarchy.", project.ID)
		}
		return model.DeleteProject(w, project.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}
