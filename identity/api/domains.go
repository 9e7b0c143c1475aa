package api

import (
	"net/http"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// immutable is the one resource option of domains, projects and roles: while it is set nothing else changes.
const immutable = "immutable"

// mutable tells whether a row may be changed from old to new options, or (with nil) deleted.
func mutable(label, id string, old, now map[string]any) error {
	was, _ := old[immutable].(bool)
	still := now == nil
	if now != nil {
		still, _ = now[immutable].(bool)
	}
	if was && still {
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: %s %s is immutable.", label, id)
	}
	return nil
}

func (c *call) domainDocument(d model.Domain) document {
	return with(d.Extra, document{"id": d.ID, "name": d.Name, "description": d.Description, "enabled": d.Enabled, "tags": []string{},
		"options": orEmpty(d.Options), "links": c.self("domains", d.ID)})
}

// listsDomain: besides readers, whoever has a token for the domain.
func (c *call) listsDomain(d model.Domain) bool { return c.reads(d.ID) || c.who.DomainID == d.ID }

// seesDomain: also whoever has a token for a project of the domain.
func (c *call) seesDomain(d model.Domain) bool {
	return c.listsDomain(d) || c.who.ProjectDomainID == d.ID
}

func listDomains(c *call) error {
	var domains []document
	err := c.view(func(r state.Reader) (err error) {
		domains, err = gather(model.Domains.All(r), c.listsDomain, c.domainDocument)
		return err
	})
	if err != nil {
		return err
	}
	if !c.readsAll() && len(domains) == 0 {
		return c.denied()
	}
	return c.list("domains", domains, "name", "enabled")
}

func showDomain(c *call) error {
	var domain model.Domain
	err := c.view(func(r state.Reader) (err error) {
		domain, err = fetch(c, r, model.Domains, "domain", c.path("domain"), c.seesDomain)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"domain": c.domainDocument(domain)})
}

func fillDomain(f *openstack.Fields, d *model.Domain) {
	f.Text("name", &d.Name, openstack.Text{MinLength: 1, MaxLength: 64})
	f.Text("description", &d.Description, openstack.Text{MaxLength: 65535, Nullable: true})
	f.Bool("enabled", &d.Enabled)
	fillOptions(f, &d.Options, []string{immutable})
	f.Drop("id", "links", "tags", "is_domain", "domain_id", "parent_id")
	f.Extra(&d.Extra)
}

func createDomain(c *call) error {
	if err := c.require(c.admin()); err != nil {
		return err
	}
	f, err := c.body("domain")
	if err != nil {
		return err
	}
	f.Require("name")
	domain, err := c.makeDomain(f)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"domain": c.domainDocument(domain)})
}

// makeDomain makes the domain that a body describes.
func (c *call) makeDomain(f *openstack.Fields) (model.Domain, error) {
	domain := model.Domain{ID: model.NewID(), Enabled: true}
	fillDomain(f, &domain)
	if err := f.Err(); err != nil {
		return domain, err
	}
	return domain, c.update(func(w state.Writer) error {
		return named(model.Domains.Put(w, domain.ID, domain), "domain", domain.Name)
	})
}

func updateDomain(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	domain, err := c.changeDomain(c.path("domain"), "domain", raw)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"domain": c.domainDocument(domain)})
}

// changeDomain applies a body, of the wrapper given, to a domain.
func (c *call) changeDomain(id, wrapper string, raw []byte) (domain model.Domain, err error) {
	err = c.update(func(w state.Writer) error {
		old, err := fetch(c, w, model.Domains, "domain", id, func(model.Domain) bool { return c.admin() })
		if err != nil {
			return err
		}
		f, err := openstack.NewFields(raw, wrapper)
		if err != nil {
			return err
		}
		domain = old
		fillDomain(f, &domain)
		if err := f.Err(); err != nil {
			return err
		}
		if err := mutable("domain", domain.ID, old.Options, orEmpty(domain.Options)); err != nil {
			return err
		}
		if old.Enabled && !domain.Enabled {
			domain.Epoch++
		}
		return named(model.Domains.Put(w, domain.ID, domain), "domain", domain.Name)
	})
	return domain, err
}

func deleteDomain(c *call) error { return c.dropDomain(c.path("domain")) }

func (c *call) dropDomain(id string) error {
	err := c.update(func(w state.Writer) error {
		domain, err := fetch(c, w, model.Domains, "domain", id, func(model.Domain) bool { return c.admin() })
		switch {
		case err != nil:
			return err
		case domain.ID == model.DefaultDomainID:
			return errs.New(errs.Denied, "You are not authorized to perform the requested action: delete the default domain.")
		case domain.Enabled:
			return errs.New(errs.Denied, "You are not authorized to perform the requested action: cannot delete a domain that is enabled, please disable it first.")
		}
		if err := mutable("domain", domain.ID, domain.Options, nil); err != nil {
			return err
		}
		return model.DeleteDomain(w, domain.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}
