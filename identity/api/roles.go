package api

import (
	"net/http"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) roleDocument(r model.Role) document {
	return with(r.Extra, document{"id": r.ID, "name": r.Name, "domain_id": orNull(r.DomainID), "description": orNull(r.Description),
		"options": orEmpty(r.Options), "links": c.self("roles", r.ID)})
}

// seesRole: managers of a domain must see the roles that they may grant.
func (c *call) seesRole(r model.Role) bool {
	if r.DomainID != "" {
		return c.reads(r.DomainID)
	}
	return c.readsAll() || c.who.DomainID != "" && c.who.HasRole("manager")
}

func listRoles(c *call) error {
	domain := c.r.URL.Query().Get("domain_id")
	if err := c.require(c.seesRole(model.Role{DomainID: domain})); err != nil {
		return err
	}
	var roles []document
	err := c.view(func(r state.Reader) (err error) {
		roles, err = gather(model.Roles.All(r), func(row model.Role) bool { return row.DomainID == domain }, c.roleDocument)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("roles", roles, "name", "description")
}

func showRole(c *call) error {
	var role model.Role
	err := c.view(func(r state.Reader) (err error) {
		role, err = fetch(c, r, model.Roles, "role", c.path("role"), c.seesRole)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"role": c.roleDocument(role)})
}

func fillRole(f *openstack.Fields, r *model.Role) {
	f.Text("name", &r.Name, openstack.Text{MinLength: 1})
	f.Text("domain_id", &r.DomainID, openstack.Text{MaxLength: 64, Nullable: true})
	f.Text("description", &r.Description, openstack.Text{MaxLength: 65535, Nullable: true})
	fillOptions(f, &r.Options, []string{immutable})
	f.Drop("id", "links")
	f.Extra(&r.Extra)
}

func createRole(c *call) error {
	if err := c.require(c.admin()); err != nil {
		return err
	}
	f, err := c.body("role")
	if err != nil {
		return err
	}
	f.Require("name")
	role := model.Role{ID: model.NewID()}
	fillRole(f, &role)
	if err := f.Err(); err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		if role.DomainID != "" {
			if err := inDomainOf(w, role.DomainID); err != nil {
				return err
			}
		}
		return named(model.Roles.Put(w, role.ID, role), "role", role.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"role": c.roleDocument(role)})
}

// adminsRole lets only an administrator pass.
func (c *call) adminsRole(model.Role) bool { return c.admin() }

func updateRole(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	var role model.Role
	err = c.update(func(w state.Writer) error {
		old, err := fetch(c, w, model.Roles, "role", c.path("role"), c.adminsRole)
		if err != nil {
			return err
		}
		f, err := openstack.NewFields(raw, "role")
		if err != nil {
			return err
		}
		role = old
		fillRole(f, &role)
		if role.DomainID != old.DomainID {
			f.Fail("domain_id", "a role stays in its domain")
		}
		if err := f.Err(); err != nil {
			return err
		}
		if err := mutable("role", role.ID, old.Options, orEmpty(role.Options)); err != nil {
			return err
		}
		return named(model.Roles.Put(w, role.ID, role), "role", role.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"role": c.roleDocument(role)})
}

func deleteRole(c *call) error {
	err := c.update(func(w state.Writer) error {
		role, err := fetch(c, w, model.Roles, "role", c.path("role"), c.adminsRole)
		if err != nil {
			return err
		}
		if err := mutable("role", role.ID, role.Options, nil); err != nil {
			return err
		}
		return model.DeleteRole(w, role.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func (c *call) brief(r model.Role) document {
	d := document{"id": r.ID, "name": r.Name, "links": c.self("roles", r.ID)}
	if r.DomainID != "" {
		d["domain_id"] = r.DomainID
	}
	return d
}

// implications is what a role implies, in the API's words.
func (c *call) implications(r state.Reader, prior model.Role) (document, error) {
	implies := []document{}
	for i, err := range model.Implications.Where(r, "prior", prior.ID) {
		if err != nil {
			return nil, err
		}
		role, err := model.Roles.Get(r, i.ImpliedID)
		if err != nil {
			return nil, err
		}
		implies = append(implies, c.brief(role))
	}
	sortByID(implies)
	return document{"prior_role": c.brief(prior), "implies": implies}, nil
}

// listImplied is GET /v3/roles/{id}/implies.
func listImplied(c *call) error {
	var inference document
	err := c.view(func(r state.Reader) error {
		prior, err := fetch(c, r, model.Roles, "role", c.path("role"), func(model.Role) bool { return c.readsAll() })
		if err != nil {
			return err
		}
		inference, err = c.implications(r, prior)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"role_inference": inference, "links": c.self("roles", c.path("role"), "implies")})
}

// listInferences is GET /v3/role_inferences: every role that implies another.
func listInferences(c *call) error {
	if err := c.require(c.readsAll()); err != nil {
		return err
	}
	inferences := []document{}
	err := c.view(func(r state.Reader) error {
		for role, err := range model.Roles.All(r) {
			if err != nil {
				return err
			}
			inference, err := c.implications(r, role)
			if err != nil {
				return err
			}
			if implies, _ := inference["implies"].([]document); len(implies) > 0 {
				inferences = append(inferences, inference)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"role_inferences": inferences, "links": c.self("role_inferences")})
}

// impliedPair finds the two roles of a path.
func (c *call) impliedPair(r state.Reader, allowed bool) (model.Implication, document, error) {
	pair := model.Implication{PriorID: c.path("role"), ImpliedID: c.path("implied")}
	rule := func(model.Role) bool { return allowed }
	prior, err := fetch(c, r, model.Roles, "role", pair.PriorID, rule)
	if err != nil {
		return pair, nil, err
	}
	implied, err := fetch(c, r, model.Roles, "role", pair.ImpliedID, rule)
	if err != nil {
		return pair, nil, err
	}
	if prior.DomainID == "" && implied.DomainID != "" {
		return pair, nil, errs.New(errs.Denied, "A global role cannot imply the role %s of a domain.", implied.ID)
	}
	inference := document{"prior_role": c.brief(prior), "implies": c.brief(implied)}
	return pair, document{"role_inference": inference, "links": c.self("roles", prior.ID, "implies", implied.ID)}, nil
}

func checkImplied(c *call) error {
	var shown document
	err := c.view(func(r state.Reader) error {
		pair, doc, err := c.impliedPair(r, c.readsAll())
		shown = doc
		if err != nil {
			return err
		}
		_, err = model.Implications.Get(r, pair.RowID())
		return notImplied(err, pair)
	})
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		return c.none()
	}
	return c.json(http.StatusOK, shown)
}

func notImplied(err error, pair model.Implication) error {
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "%s does not imply %s.", pair.PriorID, pair.ImpliedID)
	}
	return err
}

// imply is PUT /v3/roles/{id}/implies/{id}. The role admin is implied by nothing: a chain would hand it out unseen.
func imply(c *call) error {
	var shown document
	err := c.update(func(w state.Writer) error {
		pair, doc, err := c.impliedPair(w, c.admin())
		shown = doc
		if err != nil {
			return err
		}
		implied, err := model.Roles.Get(w, pair.ImpliedID)
		switch {
		case err != nil:
			return err
		case implied.Name == "admin" && implied.DomainID == "", pair.PriorID == pair.ImpliedID:
			return errs.New(errs.Denied, "%s cannot be an implied role.", pair.ImpliedID)
		}
		return model.Implications.Put(w, pair.RowID(), pair)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, shown)
}

func unimply(c *call) error {
	err := c.update(func(w state.Writer) error {
		pair, _, err := c.impliedPair(w, c.admin())
		if err != nil {
			return err
		}
		return notImplied(model.Implications.Delete(w, pair.RowID()), pair)
	})
	if err != nil {
		return err
	}
	return c.none()
}
