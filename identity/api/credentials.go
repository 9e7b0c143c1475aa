package api

import (
	"encoding/json"
	"net/http"

	"henge/cluster/state"
	"henge/identity/accesskey"
	"henge/identity/model"
	"henge/identity/token"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) credentialDocument(row model.Credential) document {
	return with(row.Extra, document{"id": row.ID, "type": row.Type, "user_id": row.UserID, "project_id": orNull(row.ProjectID), "blob": row.Blob,
		"links": c.self("credentials", row.ID)})
}

// seesCredential: secrets are for their owner, and for administrators.
func (c *call) seesCredential(row model.Credential) bool { return c.admin() || c.isUser(row.UserID) }

// mayMake: a session of a restricted application credential makes no credentials, which would outlive it and could do more. Nor does one of an access
// key, which is for one project alone.
func (c *call) mayMake(r state.Reader) error {
	if c.who.Claims.Methods&token.EC2Credential != 0 {
		return c.denied()
	}
	id := c.who.Claims.ApplicationCredentialID
	if id == "" {
		return nil
	}
	row, err := model.ApplicationCredentials.Get(r, id)
	if err != nil {
		return unauthenticated(err)
	}
	return c.require(row.Unrestricted)
}

func listCredentials(c *call) error {
	query := c.r.URL.Query()
	var rows []document
	err := c.view(func(r state.Reader) (err error) {
		all := model.Credentials.All(r)
		if user := query.Get("user_id"); user != "" {
			all = model.Credentials.Where(r, "user", user)
		} else if !c.admin() {
			all = model.Credentials.Where(r, "user", c.who.UserID)
		}
		rows, err = gather(all, c.seesCredential, c.credentialDocument)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("credentials", rows, "type", "user_id")
}

func showCredential(c *call) error {
	var row model.Credential
	err := c.view(func(r state.Reader) (err error) {
		row, err = fetch(c, r, model.Credentials, "credential", c.path("credential"), c.seesCredential)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"credential": c.credentialDocument(row)})
}

func fillCredential(f *openstack.Fields, row *model.Credential) {
	f.Text("type", &row.Type, openstack.Text{MinLength: 1})
	f.Text("user_id", &row.UserID, openstack.Text{MinLength: 1, MaxLength: 64})
	f.Text("project_id", &row.ProjectID, openstack.Text{MaxLength: 64, Nullable: true})
	f.Text("blob", &row.Blob, openstack.Text{MaxLength: 65535})
	f.Drop("id", "links")
	f.Extra(&row.Extra)
}

func createCredential(c *call) error {
	f, err := c.body("credential")
	if err != nil {
		return err
	}
	f.Require("type", "blob", "user_id")
	row := model.Credential{ID: model.NewID()}
	fillCredential(f, &row)
	if err := f.Err(); err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		if err := c.mayMake(w); err != nil {
			return err
		}
		if err := c.checkCredential(w, &row); err != nil {
			return err
		}
		if _, there, err := model.Optional(model.Credentials.Get(w, row.ID)); err != nil {
			return err
		} else if there {
			return duplicateKey(errs.New(errs.Exists, "credential %s", row.ID))
		}
		return duplicateKey(model.Credentials.Put(w, row.ID, row))
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"credential": c.credentialDocument(row)})
}

// duplicateKey: an access key names one credential.
func duplicateKey(err error) error {
	if errs.Is(err, errs.Exists) {
		return errs.New(errs.Exists, "Conflict occurred attempting to store credential - Duplicate entry found with this access key.")
	}
	return err
}

// checkCredential: whose it is and for what; for an access key also that the blob is one, which settles its id.
func (c *call) checkCredential(w state.Writer, row *model.Credential) error {
	if err := c.require(c.seesCredential(*row)); err != nil {
		return err
	}
	if _, err := model.Users.Get(w, row.UserID); err != nil {
		return badReference(err, "user", row.UserID)
	}
	if row.ProjectID != "" {
		if _, err := model.Projects.Get(w, row.ProjectID); err != nil {
			return badReference(err, "project", row.ProjectID)
		}
	}
	if row.Type != accesskey.Type {
		return nil
	}
	blob, err := accesskey.ParseBlob(row.Blob)
	if err != nil {
		return err
	}
	if row.ProjectID == "" {
		return errs.New(errs.Invalid, "Invalid input for field 'project_id': an ec2 credential needs a project")
	}
	row.ID = model.CredentialID(blob.Access)
	return nil
}

func updateCredential(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	var row model.Credential
	err = c.update(func(w state.Writer) error {
		old, err := fetch(c, w, model.Credentials, "credential", c.path("credential"), c.seesCredential)
		if err != nil {
			return err
		}
		f, err := openstack.NewFields(raw, "credential")
		if err != nil {
			return err
		}
		row = old
		fillCredential(f, &row)
		if err := f.Err(); err != nil {
			return err
		}
		if err := c.mayMake(w); err != nil {
			return err
		}
		if err := c.checkCredential(w, &row); err != nil {
			return err
		}
		row.ID = old.ID
		return duplicateKey(model.Credentials.Put(w, row.ID, row))
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"credential": c.credentialDocument(row)})
}

func deleteCredential(c *call) error {
	err := c.update(func(w state.Writer) error {
		row, err := fetch(c, w, model.Credentials, "credential", c.path("credential"), c.seesCredential)
		if err != nil {
			return err
		}
		return model.Credentials.Delete(w, row.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}

// ec2Document is an access key in the words of OS-EC2.
func (c *call) ec2Document(row model.Credential) document {
	var blob accesskey.Blob
	_ = json.Unmarshal([]byte(row.Blob), &blob) // a broken blob shows as an empty key
	return document{"access": blob.Access, "secret": blob.Secret, "user_id": row.UserID, "tenant_id": row.ProjectID, "trust_id": nil,
		"links": c.self("users", row.UserID, "credentials", "OS-EC2", blob.Access)}
}

// owner finds the user of a path, for himself or for an administrator.
func (c *call) owner(r state.Reader) (model.User, error) {
	return fetch(c, r, model.Users, "user", c.path("user"), func(u model.User) bool { return c.admin() || c.isUser(u.ID) })
}

func listEC2(c *call) error {
	var rows []document
	err := c.view(func(r state.Reader) error {
		user, err := c.owner(r)
		if err != nil {
			return err
		}
		rows, err = gather(model.Credentials.Where(r, "user", user.ID), func(row model.Credential) bool { return row.Type == accesskey.Type }, c.ec2Document)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"credentials": rows, "links": document{"self": c.link("users", c.path("user"), "credentials", "OS-EC2"), "previous": nil, "next": nil}})
}

// createEC2 is POST /v3/users/{id}/credentials/OS-EC2: a new access key of a user for a project on which he has a role.
func createEC2(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	project := c.who.ProjectID
	f.Text("tenant_id", &project, openstack.Text{MaxLength: 64, Nullable: true})
	if err := f.Err(); err != nil {
		return err
	}
	var row model.Credential
	err = c.update(func(w state.Writer) error {
		user, err := c.owner(w)
		if err != nil {
			return err
		}
		if err := c.mayMake(w); err != nil {
			return err
		}
		if _, err := model.Projects.Get(w, project); err != nil {
			return badReference(err, "project", project)
		}
		roles, err := model.RolesOn(w, user.ID, model.Target{Kind: model.TargetProject, ID: project})
		if err != nil {
			return err
		}
		if len(roles) == 0 {
			return errs.New(errs.Denied, "User %s has no access to project %s.", user.ID, project)
		}
		if row, _, err = accesskey.NewCredential(user.ID, project); err != nil {
			return err
		}
		return model.Credentials.Put(w, row.ID, row)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"credential": c.ec2Document(row)})
}

// ec2Of finds the access key of a path.
func (c *call) ec2Of(r state.Reader) (model.Credential, error) {
	if _, err := c.owner(r); err != nil {
		return model.Credential{}, err
	}
	row, err := model.Credentials.First(r, "access", c.path("access"))
	if err == nil && (row.UserID != c.path("user")) {
		err = missing("credential", c.path("access"))
	}
	return row, named(err, "credential", c.path("access"))
}

func showEC2(c *call) error {
	var row model.Credential
	err := c.view(func(r state.Reader) (err error) {
		row, err = c.ec2Of(r)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"credential": c.ec2Document(row)})
}

func deleteEC2(c *call) error {
	err := c.update(func(w state.Writer) error {
		row, err := c.ec2Of(w)
		if err != nil {
			return err
		}
		return model.Credentials.Delete(w, row.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}
