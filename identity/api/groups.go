package api

import (
	"net/http"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) groupDocument(g model.Group) document {
	return with(g.Extra, document{"id": g.ID, "name": g.Name, "domain_id": g.DomainID, "description": g.Description, "links": c.self("groups", g.ID)})
}

func (c *call) seesGroup(g model.Group) bool { return c.reads(g.DomainID) }

func (c *call) managesGroup(g model.Group) bool { return c.manages(g.DomainID) }

func listGroups(c *call) error {
	domain, err := c.listedDomain()
	if err != nil {
		return err
	}
	var groups []document
	err = c.view(func(r state.Reader) (err error) {
		groups, err = gather(domainRows(r, model.Groups, domain, c.r.URL.Query().Get("name")), nil, c.groupDocument)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("groups", groups, "name", "domain_id", "description")
}

func showGroup(c *call) error {
	var group model.Group
	err := c.view(func(r state.Reader) (err error) {
		group, err = fetch(c, r, model.Groups, "group", c.path("group"), c.seesGroup)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"group": c.groupDocument(group)})
}

func fillGroup(f *openstack.Fields, g *model.Group) {
	f.Text("name", &g.Name, openstack.Text{MinLength: 1, MaxLength: 64})
	f.Text("domain_id", &g.DomainID, openstack.Text{MinLength: 1, MaxLength: 64})
	f.Text("description", &g.Description, openstack.Text{MaxLength: 65535, Nullable: true})
	f.Drop("id", "links")
	f.Extra(&g.Extra)
}

func createGroup(c *call) error {
	f, err := c.body("group")
	if err != nil {
		return err
	}
	f.Require("name")
	group := model.Group{ID: model.NewID(), DomainID: c.domainOfCaller()}
	fillGroup(f, &group)
	if err := f.Err(); err != nil {
		return err
	}
	if err := c.require(c.manages(group.DomainID)); err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		if err := inDomainOf(w, group.DomainID); err != nil {
			return err
		}
		return named(model.Groups.Put(w, group.ID, group), "group", group.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"group": c.groupDocument(group)})
}

func updateGroup(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	var group model.Group
	err = c.update(func(w state.Writer) error {
		old, err := fetch(c, w, model.Groups, "group", c.path("group"), c.managesGroup)
		if err != nil {
			return err
		}
		f, err := openstack.NewFields(raw, "group")
		if err != nil {
			return err
		}
		group = old
		fillGroup(f, &group)
		if group.DomainID != old.DomainID {
			f.Fail("domain_id", "a group stays in its domain")
		}
		if err := f.Err(); err != nil {
			return err
		}
		return named(model.Groups.Put(w, group.ID, group), "group", group.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"group": c.groupDocument(group)})
}

func deleteGroup(c *call) error {
	err := c.update(func(w state.Writer) error {
		group, err := fetch(c, w, model.Groups, "group", c.path("group"), c.managesGroup)
		if err != nil {
			return err
		}
		return model.DeleteGroup(w, group.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}

// groupUsers is GET /v3/groups/{id}/users.
func groupUsers(c *call) error {
	var users []document
	err := c.view(func(r state.Reader) error {
		group, err := fetch(c, r, model.Groups, "group", c.path("group"), c.seesGroup)
		if err != nil {
			return err
		}
		for m, err := range model.Memberships.Where(r, "group", group.ID) {
			if err != nil {
				return err
			}
			user, err := model.Users.Get(r, m.UserID)
			if err != nil {
				return err
			}
			users = append(users, c.userDocument(user))
		}
		return nil
	})
	if err != nil {
		return err
	}
	sortByID(users)
	return c.list("users", users, "name", "enabled")
}

// membership finds the group and the user of a path, for somebody who may.
func (c *call) membership(r state.Reader, groupRule func(model.Group) bool, userRule func(model.User) bool) (model.Membership, error) {
	m := model.Membership{GroupID: c.path("group"), UserID: c.path("user")}
	if _, err := fetch(c, r, model.Groups, "group", m.GroupID, groupRule); err != nil {
		return m, err
	}
	_, err := fetch(c, r, model.Users, "user", m.UserID, userRule)
	return m, err
}

func (c *call) changeMembership(change func(w state.Writer, m model.Membership) error) error {
	err := c.update(func(w state.Writer) error {
		m, err := c.membership(w, c.managesGroup, c.managesUser)
		if err != nil {
			return err
		}
		grants, err := collect(model.Assignments.Where(w, "actor", model.Actor{Kind: model.ActorGroup, ID: m.GroupID}.Key()))
		if err != nil {
			return err
		}
		if err := c.outranked(w, grants); err != nil {
			return err
		}
		return change(w, m)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func addToGroup(c *call) error {
	return c.changeMembership(func(w state.Writer, m model.Membership) error { return model.Memberships.Put(w, m.RowID(), m) })
}

func removeFromGroup(c *call) error {
	return c.changeMembership(func(w state.Writer, m model.Membership) error {
		return notMember(model.Memberships.Delete(w, m.RowID()), m)
	})
}

func checkInGroup(c *call) error {
	err := c.view(func(r state.Reader) error {
		m, err := c.membership(r, func(g model.Group) bool { return c.seesGroup(g) || c.isUser(c.path("user")) }, c.seesUser)
		if err != nil {
			return err
		}
		_, err = model.Memberships.Get(r, m.RowID())
		return notMember(err, m)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func notMember(err error, m model.Membership) error {
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "User '%s' not found in group '%s'.", m.UserID, m.GroupID)
	}
	return err
}
