package api

import (
	"iter"
	"net/http"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) userDocument(u model.User) document {
	d := with(u.Extra, document{"id": u.ID, "name": u.Name, "domain_id": u.DomainID, "enabled": u.Enabled, "default_project_id": orNull(u.DefaultProjectID),
		"password_expires_at": nil, "options": orEmpty(u.Options), "links": c.self("users", u.ID)})
	if u.Description != "" {
		d["description"] = u.Description
	}
	return d
}

// domainRows reads a table's rows of one domain, or of all for "", and quickly those of one name.
func domainRows[T any](r state.Reader, t state.Table[T], domainID, name string) iter.Seq2[T, error] {
	switch {
	case domainID != "" && name != "":
		return t.Where(r, "name", domainID+model.Sep+name)
	case domainID != "":
		return t.Where(r, "domain", domainID)
	default:
		return t.All(r)
	}
}

// listedDomain is the domain whose rows a caller gets: the one asked for, or for a reader of a domain his own; errs.Denied for others.
func (c *call) listedDomain() (string, error) {
	domain := c.r.URL.Query().Get("domain_id")
	switch {
	case c.readsAll():
		return domain, nil
	case c.reads(c.who.DomainID) && (domain == "" || domain == c.who.DomainID):
		return c.who.DomainID, nil
	}
	return "", c.denied()
}

func listUsers(c *call) error {
	domain, err := c.listedDomain()
	if err != nil {
		return err
	}
	var users []document
	err = c.view(func(r state.Reader) (err error) {
		users, err = gather(domainRows(r, model.Users, domain, c.r.URL.Query().Get("name")), nil, c.userDocument)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("users", users, "name", "enabled", "domain_id", "default_project_id", "email", "description")
}

func (c *call) seesUser(u model.User) bool { return c.reads(u.DomainID) || c.isUser(u.ID) }

func (c *call) managesUser(u model.User) bool { return c.manages(u.DomainID) }

// managedUser is the user of the path, for somebody who may change it.
func (c *call) managedUser(r state.Reader) (model.User, error) {
	user, err := fetch(c, r, model.Users, "user", c.path("user"), c.managesUser)
	if err != nil {
		return user, err
	}
	grants, err := model.AssignmentsOf(r, user.ID)
	if err != nil {
		return user, err
	}
	return user, c.outranked(r, grants)
}

func showUser(c *call) error {
	var user model.User
	err := c.view(func(r state.Reader) (err error) {
		user, err = fetch(c, r, model.Users, "user", c.path("user"), c.seesUser)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"user": c.userDocument(user)})
}

// userOptions are those that Keystone has. Those about expiry and lockout hold here anyway; second factors are not built, so they are refused.
var userOptions = []string{"ignore_change_password_upon_first_use", "ignore_password_expiry", "ignore_lockout_failure_attempts",
	"ignore_user_inactivity", "lock_password"}

// fillUser takes the fields of a body into a user and gives the password in it, nil when there is none to set.
func fillUser(f *openstack.Fields, u *model.User) *string {
	var secret *string
	if f.Has("password") && !f.Null("password") {
		secret = new(string)
		f.Text("password", secret, openstack.Text{MinLength: 1, MaxLength: 4096})
	}
	f.Text("name", &u.Name, openstack.Text{MinLength: 1})
	f.Text("domain_id", &u.DomainID, openstack.Text{MinLength: 1, MaxLength: 64})
	f.Text("description", &u.Description, openstack.Text{MaxLength: 65535, Nullable: true})
	f.Text("default_project_id", &u.DefaultProjectID, openstack.Text{MaxLength: 64, Nullable: true})
	f.Bool("enabled", &u.Enabled)
	fillOptions(f, &u.Options, userOptions)
	f.Drop("id", "links", "password", "original_password", "password_expires_at", "password_hash")
	f.Extra(&u.Extra)
	return secret
}

// fillOptions takes the resource options: booleans, null takes one away.
func fillOptions(f *openstack.Fields, into *map[string]any, known []string) {
	if !f.Has("options") {
		return
	}
	given := map[string]any{}
	f.Map("options", &given)
	merged := map[string]any{}
	for name, v := range *into {
		merged[name] = v
	}
	for name, v := range given {
		_, isBool := v.(bool)
		found := false
		for _, k := range known {
			found = found || k == name
		}
		switch {
		case !found:
			f.Fail("options", "'%s' is not an option that can be set", name)
		case v == nil:
			delete(merged, name)
		case !isBool:
			f.Fail("options", "'%s' must be true, false or null", name)
		default:
			merged[name] = v
		}
	}
	*into = merged
}

func createUser(c *call) error {
	f, err := c.body("user")
	if err != nil {
		return err
	}
	f.Require("name")
	user := model.User{ID: model.NewID(), DomainID: c.domainOfCaller(), Enabled: true}
	secret := fillUser(f, &user)
	if err := f.Err(); err != nil {
		return err
	}
	if err := c.require(c.manages(user.DomainID)); err != nil {
		return err
	}
	if secret != nil {
		if user.PasswordHash, err = c.Hasher.Hash(c.r.Context(), *secret); err != nil {
			return err
		}
	}
	err = c.update(func(w state.Writer) error {
		if err := inDomainOf(w, user.DomainID); err != nil {
			return err
		}
		return named(model.Users.Put(w, user.ID, user), "user", user.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"user": c.userDocument(user)})
}

func updateUser(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	hash, err := c.newHash(raw)
	if err != nil {
		return err
	}
	var user model.User
	err = c.update(func(w state.Writer) error {
		old, err := c.managedUser(w)
		if err != nil {
			return err
		}
		f, err := openstack.NewFields(raw, "user")
		if err != nil {
			return err
		}
		user = old
		fillUser(f, &user)
		if user.DomainID != old.DomainID {
			f.Fail("domain_id", "a user stays in its domain")
		}
		if err := f.Err(); err != nil {
			return err
		}
		if hash != "" {
			user.PasswordHash = hash
			user.Epoch++
		}
		if old.Enabled && !user.Enabled {
			user.Epoch++
		}
		return named(model.Users.Put(w, user.ID, user), "user", user.Name)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"user": c.userDocument(user)})
}

// newHash hashes the password of an update, before the transaction and only for somebody who may make it.
func (c *call) newHash(raw []byte) (string, error) {
	f, err := openstack.NewFields(raw, "user")
	if err != nil {
		return "", err
	}
	var ignored model.User
	secret := fillUser(f, &ignored)
	if err := f.Err(); err != nil || secret == nil {
		return "", err
	}
	err = c.view(func(r state.Reader) error {
		_, err := c.managedUser(r)
		return err
	})
	if err != nil {
		return "", err
	}
	return c.Hasher.Hash(c.r.Context(), *secret)
}

func deleteUser(c *call) error {
	err := c.update(func(w state.Writer) error {
		user, err := c.managedUser(w)
		if err != nil {
			return err
		}
		return model.DeleteUser(w, user.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}

// changePassword is POST /v3/users/{id}/password: whoever knows the old one may set a new one, with a token or without.
func changePassword(c *call) error {
	f, err := c.body("user")
	if err != nil {
		return err
	}
	var before, after string
	f.Require("password", "original_password")
	f.Text("original_password", &before, openstack.Text{MaxLength: 4096})
	f.Text("password", &after, openstack.Text{MinLength: 1, MaxLength: 4096})
	if err := f.Err(); err != nil {
		return err
	}
	user, err := c.checkPassword(&reference{ID: c.path("user")}, before)
	if err != nil {
		return unauthenticated(err)
	}
	if !user.Enabled {
		return unauthenticated(errs.New(errs.Unauthenticated, "user %s is disabled", user.ID))
	}
	if locked, _ := user.Options["lock_password"].(bool); locked {
		return errs.New(errs.Denied, "The password of this user is locked.")
	}
	hash, err := c.Hasher.Hash(c.r.Context(), after)
	if err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		now, err := model.Users.Get(w, user.ID)
		if err != nil || now.PasswordHash != user.PasswordHash {
			return unauthenticated(errs.New(errs.Unauthenticated, "user %s changed during the request", user.ID))
		}
		now.PasswordHash = hash
		now.Epoch++
		return model.Users.Put(w, now.ID, now)
	})
	if err != nil {
		return err
	}
	return c.none()
}

// userGroups is GET /v3/users/{id}/groups.
func userGroups(c *call) error {
	var groups []document
	err := c.view(func(r state.Reader) error {
		user, err := fetch(c, r, model.Users, "user", c.path("user"), c.seesUser)
		if err != nil {
			return err
		}
		ids, err := model.GroupsOf(r, user.ID)
		if err != nil {
			return err
		}
		for _, id := range ids {
			group, err := model.Groups.Get(r, id)
			if err != nil {
				return err
			}
			groups = append(groups, c.groupDocument(group))
		}
		return nil
	})
	if err != nil {
		return err
	}
	sortByID(groups)
	return c.list("groups", groups, "name")
}

// userProjects is GET /v3/users/{id}/projects.
func userProjects(c *call) error {
	var projects []document
	err := c.view(func(r state.Reader) error {
		user, err := fetch(c, r, model.Users, "user", c.path("user"), c.seesUser)
		if err != nil {
			return err
		}
		projects, err = c.projectsOf(r, user.ID, false)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("projects", projects, "name", "enabled", "domain_id")
}

// authProjects is GET /v3/auth/projects: where the caller could get a token for.
func authProjects(c *call) error {
	var projects []document
	err := c.view(func(r state.Reader) (err error) {
		projects, err = c.projectsOf(r, c.who.UserID, true)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("projects", projects, "name", "domain_id")
}

func (c *call) projectsOf(r state.Reader, userID string, usable bool) ([]document, error) {
	list, err := model.ProjectsOf(r, userID)
	var projects []document
	for _, p := range list {
		if !usable || p.Enabled {
			projects = append(projects, c.projectDocument(p))
		}
	}
	return projects, err
}

// authDomains is GET /v3/auth/domains.
func authDomains(c *call) error {
	var domains []document
	err := c.view(func(r state.Reader) error {
		list, err := model.DomainsOf(r, c.who.UserID)
		for _, d := range list {
			if d.Enabled {
				domains = append(domains, c.domainDocument(d))
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.list("domains", domains, "name")
}
