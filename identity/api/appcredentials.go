package api

import (
	"crypto/rand"
	"net/http"
	"time"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) appCredentialDocument(r state.Reader, row model.ApplicationCredential) (document, error) {
	roles := []document{}
	for _, id := range row.RoleIDs {
		role, there, err := model.Optional(model.Roles.Get(r, id))
		if err != nil {
			return nil, err
		}
		if there {
			roles = append(roles, document{"id": role.ID, "name": role.Name, "domain_id": orNull(role.DomainID)})
		}
	}
	d := document{"id": row.ID, "name": row.Name, "description": orNull(row.Description), "project_id": row.ProjectID, "roles": roles, "expires_at": nil,
		"unrestricted": row.Unrestricted, "system": nil, "links": c.self("users", row.UserID, "application_credentials", row.ID)}
	if !row.Expires.IsZero() {
		d["expires_at"] = row.Expires.Format("2006-01-02T15:04:05.000000") // Keystone writes no Z here, and clients expect none
	}
	return d, nil
}

func listApplicationCredentials(c *call) error {
	var rows []document
	err := c.view(func(r state.Reader) error {
		user, err := c.owner(r)
		if err != nil {
			return err
		}
		for row, err := range model.ApplicationCredentials.Where(r, "user", user.ID) {
			if err != nil {
				return err
			}
			d, err := c.appCredentialDocument(r, row)
			if err != nil {
				return err
			}
			rows = append(rows, d)
		}
		return nil
	})
	if err != nil {
		return err
	}
	sortByID(rows)
	return c.list("application_credentials", rows, "name")
}

// appCredentialOf finds the one of a path.
func (c *call) appCredentialOf(r state.Reader) (model.ApplicationCredential, error) {
	if _, err := c.owner(r); err != nil {
		return model.ApplicationCredential{}, err
	}
	row, err := model.ApplicationCredentials.Get(r, c.path("credential"))
	if err == nil && row.UserID != c.path("user") {
		err = missing("application credential", c.path("credential"))
	}
	return row, named(err, "application credential", c.path("credential"))
}

func showApplicationCredential(c *call) error {
	var shown document
	err := c.view(func(r state.Reader) error {
		row, err := c.appCredentialOf(r)
		if err != nil {
			return err
		}
		shown, err = c.appCredentialDocument(r, row)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"application_credential": shown})
}

func deleteApplicationCredential(c *call) error {
	err := c.update(func(w state.Writer) error {
		row, err := c.appCredentialOf(w)
		if err != nil {
			return err
		}
		if err := c.mayMake(w); err != nil {
			return err
		}
		return model.ApplicationCredentials.Delete(w, row.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}

// wantedRole is a role of a request: by id, or by name among those of no domain.
type wantedRole struct{ id, name string }

// fillAppCredential reads a body; the roles are "none given" when nil.
func fillAppCredential(f *openstack.Fields, row *model.ApplicationCredential, secret *string, now time.Time) []wantedRole {
	f.Require("name")
	f.Text("name", &row.Name, openstack.Text{MinLength: 1})
	f.Text("description", &row.Description, openstack.Text{MaxLength: 65535, Nullable: true})
	f.Text("secret", secret, openstack.Text{MaxLength: 4096, Nullable: true})
	f.Bool("unrestricted", &row.Unrestricted)
	var expires string
	f.Text("expires_at", &expires, openstack.Text{Nullable: true})
	if expires != "" {
		at, err := parseTime(expires)
		if err != nil || !at.After(now) {
			f.Fail("expires_at", "'%s' is not a time to come", expires)
		}
		row.Expires = at
	}
	if f.Has("access_rules") && !f.Null("access_rules") {
		f.Fail("access_rules", "access rules are not supported")
	}
	var roles []wantedRole
	for _, role := range f.Objects("roles", 100) {
		var w wantedRole
		role.Text("id", &w.id, openstack.Text{})
		role.Text("name", &w.name, openstack.Text{})
		roles = append(roles, w)
	}
	f.Drop("id", "links", "project_id", "user_id", "system", "access_rules")
	f.None()
	return roles
}

func parseTime(s string) (time.Time, error) {
	var first error
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04:05"} {
		at, err := time.Parse(layout, s)
		if err == nil {
			return at.UTC().Truncate(time.Microsecond), nil
		}
		first = err
	}
	return time.Time{}, first
}

// createApplicationCredential: a user makes one for the project of his token, with some or all of the roles that the token has.
func createApplicationCredential(c *call) error {
	f, err := c.body("application_credential")
	if err != nil {
		return err
	}
	row := model.ApplicationCredential{ID: model.NewID(), UserID: c.who.UserID, ProjectID: c.who.ProjectID}
	secret := ""
	wanted := fillAppCredential(f, &row, &secret, c.Clock.Now())
	if err := f.Err(); err != nil {
		return err
	}
	switch {
	case !c.isUser(c.path("user")):
		return c.denied()
	case row.ProjectID == "":
		return errs.New(errs.Invalid, "An application credential needs a token that is scoped to a project.")
	}
	if secret == "" {
		secret = rand.Text() + rand.Text() // 260 bits
	}
	if row.SecretHash, err = c.Hasher.Hash(c.r.Context(), secret); err != nil {
		return err
	}
	var shown document
	err = c.update(func(w state.Writer) error {
		if err := c.mayMake(w); err != nil {
			return err
		}
		if row.RoleIDs, err = c.lentRoles(wanted); err != nil {
			return err
		}
		if err := named(model.ApplicationCredentials.Put(w, row.ID, row), "application_credential", row.Name); err != nil {
			return err
		}
		shown, err = c.appCredentialDocument(w, row)
		return err
	})
	if err != nil {
		return err
	}
	shown["secret"] = secret
	return c.json(http.StatusCreated, document{"application_credential": shown})
}

// lentRoles settles the roles: all of the caller's, or those asked for, each of which must be the caller's.
func (c *call) lentRoles(wanted []wantedRole) ([]string, error) {
	var ids []string
	for _, role := range c.who.Roles {
		if wanted == nil {
			ids = append(ids, role.ID)
		}
	}
	for _, w := range wanted {
		found := false
		for _, role := range c.who.Roles {
			if w.id != "" && role.ID == w.id || w.id == "" && role.Name == w.name {
				ids, found = append(ids, role.ID), true
			}
		}
		if !found {
			return nil, errs.New(errs.Invalid, "Invalid application credential: you do not have the role %s%s on this project.", w.id, w.name)
		}
	}
	return ids, nil
}
