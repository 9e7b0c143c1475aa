package api

import (
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/quota"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) groupDocument(g model.Group) document {
	d := document{"id": g.ID, "name": g.Name, "members": orNone(g.Members)}
	if c.at(13) {
		d["project_id"], d["user_id"] = g.ProjectID, g.UserID
	}
	if c.at(64) {
		rules := document{}
		if g.MaxPer > 0 {
			rules["max_server_per_host"] = g.MaxPer
		}
		d["policy"], d["rules"] = g.Policy, rules
	} else {
		d["policies"], d["metadata"] = []string{g.Policy}, document{}
	}
	return d
}

func (c *call) findGroup(r state.Reader, id string) (model.Group, error) {
	g, err := model.Groups.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && g.ProjectID != c.who.ProjectID && !c.admin() {
		return g, errs.New(errs.NotFound, "Instance group %s could not be found.", id)
	}
	return g, err
}

func listGroups(c *call) error {
	if err := c.reader(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	p, err := parsePage(query)
	if err != nil {
		return err
	}
	docs := []document{}
	err = c.view(func(r state.Reader) error {
		rows := model.Groups.Where(r, "project", c.who.ProjectID)
		if query.Has("all_projects") && c.admin() {
			rows = model.Groups.All(r)
		}
		for g, err := range rows {
			if err != nil {
				return err
			}
			docs = append(docs, c.groupDocument(g))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if query.Has("offset") {
		offset := 0
		f, _ := openstack.NewFields([]byte(`{"offset":`+jsonText(query.Get("offset"))+`}`), "")
		takeInt(f, "offset", &offset, 0, intMax)
		if err := f.Err(); err != nil {
			return err
		}
		docs = docs[min(offset, len(docs)):]
	}
	return c.json(http.StatusOK, document{"server_groups": docs[:min(p.Limit, len(docs))]})
}

func createGroup(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	f, err := c.body("server_group")
	if err != nil {
		return err
	}
	g := model.Group{ID: model.NewUUID(), ProjectID: c.who.ProjectID, UserID: c.who.UserID}
	f.Require("name")
	f.Text("name", &g.Name, openstack.Text{MinLength: 1})
	known := []string{"affinity", "anti-affinity"}
	if c.at(15) {
		known = append(known, "soft-affinity", "soft-anti-affinity")
	}
	if c.at(64) {
		f.Require("policy")
		f.Text("policy", &g.Policy, openstack.Text{OneOf: known})
		if f.Has("rules") {
			rules := f.Object("rules")
			takeInt(rules, "max_server_per_host", &g.MaxPer, 1, intMax)
			rules.None()
			if g.MaxPer > 0 && g.Policy != "anti-affinity" {
				f.Fail("rules", "Only anti-affinity policy supports rules.")
			}
		}
	} else {
		f.Require("policies")
		var policies []string
		f.Texts("policies", &policies, openstack.Text{OneOf: known}, 1)
		if f.Err() == nil && len(policies) != 1 {
			f.Fail("policies", "it needs one policy")
		}
		g.Policy = slices.Concat(policies, []string{""})[0]
		f.Drop("metadata")
	}
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		n := 0
		for _, err := range model.Groups.Where(w, "project", g.ProjectID) {
			if err != nil {
				return err
			}
			n++
		}
		limits, err := quota.Of(w, g.ProjectID)
		if err != nil {
			return err
		}
		if quota.Over(limits["server_groups"], n+1) {
			return errs.New(errs.Quota, "Quota exceeded, too many server groups.")
		}
		return model.Groups.Put(w, g.ID, g)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"server_group": c.groupDocument(g)})
}

func showGroup(c *call) error {
	if err := c.reader(); err != nil {
		return err
	}
	var g model.Group
	if err := c.view(func(r state.Reader) (err error) { g, err = c.findGroup(r, c.path("id")); return err }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"server_group": c.groupDocument(g)})
}

func deleteGroup(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		if _, err := c.findGroup(w, c.path("id")); err != nil {
			return err
		}
		return model.Groups.Delete(w, c.path("id"))
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}
