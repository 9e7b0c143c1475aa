package api

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"

	"henge/cluster/state"
	"henge/computed/keys"
	"henge/computed/listing"
	"henge/computed/model"
	"henge/computed/quota"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) keypairDocument(k model.Keypair) document {
	d := document{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint}
	if c.at(2) {
		d["type"] = k.Type
	}
	return d
}

// keypairUser is whose keys are meant: since 2.10 an admin may name another user.
func (c *call) keypairUser(named string) (string, error) {
	if named == "" || named == c.who.UserID {
		return c.who.UserID, nil
	}
	if !c.at(10) {
		return c.who.UserID, nil
	}
	return named, c.adminOnly()
}

func listKeypairs(c *call) error {
	if err := c.reader(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	user, err := c.keypairUser(query.Get("user_id"))
	if err != nil {
		return err
	}
	p := page{Limit: 1 << 30}
	if c.at(35) {
		if p, err = parsePage(query); err != nil {
			return err
		}
	}
	var all []model.Keypair
	err = c.view(func(r state.Reader) error {
		for k, err := range model.Keypairs.Where(r, "user", user) {
			if err != nil {
				return err
			}
			all = append(all, k)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b model.Keypair) int { return cmp.Compare(a.Name, b.Name) })
	rows, more, err := listing.Cut(p, all, func(k model.Keypair) string { return k.Name })
	if err != nil {
		return err
	}
	docs := []document{}
	for _, k := range rows {
		docs = append(docs, document{"keypair": c.keypairDocument(k)})
	}
	answer := document{"keypairs": docs}
	if more {
		c.addNext(answer, "keypairs", rows[len(rows)-1].Name, "os-keypairs")
	}
	return c.json(http.StatusOK, answer)
}

var keypairName = regexp.MustCompile(`^[a-zA-Z0-9 _-]+$`)

func createKeypair(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	f, err := c.body("keypair")
	if err != nil {
		return err
	}
	f.Require("name")
	k := model.Keypair{Type: keys.SSH, Created: c.Clock.Now()}
	f.Text("name", &k.Name, openstack.Text{MinLength: 1})
	f.Text("public_key", &k.PublicKey, openstack.Text{MaxLength: 16 << 10, Nullable: true})
	if c.at(2) {
		f.Text("type", &k.Type, openstack.Text{OneOf: []string{keys.SSH, keys.X509}})
	}
	named := ""
	if c.at(10) {
		f.Text("user_id", &named, openstack.Text{})
	}
	f.None()
	if f.Err() == nil && !keypairName.MatchString(k.Name) {
		f.Fail("name", "Keypair name contains unsafe characters")
	}
	if err := f.Err(); err != nil {
		return err
	}
	if k.UserID, err = c.keypairUser(named); err != nil {
		return err
	}
	private := ""
	if k.PublicKey == "" {
		if k.PublicKey, private, err = keys.Generate(k.Type, c.who.UserName, c.Clock.Now()); err != nil {
			return err
		}
	}
	if k.Fingerprint, err = keys.Fingerprint(k.Type, k.PublicKey); err != nil {
		return errs.New(errs.Invalid, "Keypair data is invalid: %w", err)
	}
	if err := c.storeKeypair(k); err != nil {
		return err
	}
	doc := c.keypairDocument(k)
	doc["user_id"] = k.UserID
	if private != "" {
		doc["private_key"] = private
	}
	status := http.StatusOK
	if c.at(2) {
		status = http.StatusCreated
	}
	return c.json(status, document{"keypair": doc})
}

func (c *call) storeKeypair(k model.Keypair) error {
	return c.update(func(w state.Writer) error {
		id := model.KeypairID(k.UserID, k.Name)
		if _, there, err := model.Optional(model.Keypairs.Get(w, id)); err != nil || there {
			if err == nil {
				err = errs.New(errs.Conflict, "Key pair '%s' already exists.", k.Name)
			}
			return err
		}
		n := 0
		for _, err := range model.Keypairs.Where(w, "user", k.UserID) {
			if err != nil {
				return err
			}
			n++
		}
		limits, err := quota.Of(w, c.who.ProjectID)
		if err != nil {
			return err
		}
		if quota.Over(limits["key_pairs"], n+1) {
			return errs.New(errs.Quota, "Quota exceeded, too many key pairs.")
		}
		return model.Keypairs.Put(w, id, k)
	})
}

func (c *call) findKeypair(r state.Reader, user, name string) (model.Keypair, error) {
	k, err := model.Keypairs.Get(r, model.KeypairID(user, name))
	if errs.Is(err, errs.NotFound) {
		err = errs.New(errs.NotFound, "Keypair %s not found for user %s", shorten(name), user)
	}
	return k, err
}

func showKeypair(c *call) error {
	if err := c.reader(); err != nil {
		return err
	}
	user, err := c.keypairUser(c.r.URL.Query().Get("user_id"))
	if err != nil {
		return err
	}
	var k model.Keypair
	err = c.view(func(r state.Reader) (err error) {
		k, err = c.findKeypair(r, user, c.path("name"))
		return err
	})
	if err != nil {
		return err
	}
	d := c.keypairDocument(k)
	d["user_id"], d["created_at"], d["deleted"], d["deleted_at"], d["updated_at"], d["id"] = k.UserID, micros(k.Created), false, nil, nil, 1
	return c.json(http.StatusOK, document{"keypair": d})
}

func deleteKeypair(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	user, err := c.keypairUser(c.r.URL.Query().Get("user_id"))
	if err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		if _, err := c.findKeypair(w, user, c.path("name")); err != nil {
			return err
		}
		return model.Keypairs.Delete(w, model.KeypairID(user, c.path("name")))
	})
	if err != nil {
		return err
	}
	if c.at(2) {
		return c.empty(http.StatusNoContent)
	}
	return c.empty(http.StatusAccepted)
}
