package api

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

// typeSummary is a type as its update answers it.
func (c *call) typeSummary(t model.Type) document {
	d := document{"id": t.ID, "name": t.Name, "description": textOrNull(t.Description, t.TextNull), "is_public": t.Public}
	specs := map[string]string{}
	for name, value := range t.Specs {
		if c.isAdmin() || !strings.HasPrefix(name, "volume_backend_name") {
			specs[name] = value
		}
	}
	d["extra_specs"] = specs
	return d
}

// typeMade is a type as its creation answers it.
func (c *call) typeMade(t model.Type) document {
	d := c.typeSummary(t)
	d["os-volume-type-access:is_public"] = t.Public
	return d
}

// typeDocument is a type in full.
func (c *call) typeDocument(t model.Type) document {
	d := c.typeMade(t)
	if c.isAdmin() {
		d["qos_specs_id"] = orNull(t.QoSID)
	}
	return d
}

var typesListing = listing[model.Type]{
	id: func(t model.Type) string { return t.ID },
	sorts: map[string]func(a, b model.Type) int{
		"id": func(a, b model.Type) int { return cmp.Compare(a.ID, b.ID) }, "name": func(a, b model.Type) int { return cmp.Compare(a.Name, b.Name) },
		"created_at": func(a, b model.Type) int { return a.Created.Compare(b.Created) },
		"updated_at": func(a, b model.Type) int { return updated(a.Updated, a.Created).Compare(updated(b.Updated, b.Created)) },
	},
	texts: map[string]func(model.Type) string{"name": func(t model.Type) string { return t.Name }, "description": func(t model.Type) string { return t.Description },
		"id": func(t model.Type) string { return t.ID }},
	filters: map[string]func(model.Type, string) (bool, error){
		"extra_specs": func(t model.Type, value string) (bool, error) { m, err := pairs(value); return holds(t.Specs, m), err },
	},
}

func listTypes(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	wanted := strings.ToLower(c.r.URL.Query().Get("is_public"))
	var rows []model.Type
	err := c.view(func(r state.Reader) (err error) {
		rows, err = model.Collect(model.Types.All(r), func(t model.Type) bool {
			switch {
			case !c.usable(t):
				return false
			case !c.isAdmin() || wanted == "none":
				return true
			case wanted != "":
				return t.Public == isTrue(wanted)
			}
			return t.Public
		})
		return err
	})
	if err != nil {
		return err
	}
	page, more, total, err := typesListing.apply(c, rows)
	if err != nil {
		return err
	}
	var shown []document
	last := ""
	for _, t := range page {
		last = t.ID
		shown = append(shown, c.typeDocument(t))
	}
	return c.json(http.StatusOK, c.pageOf("volume_types", "volume_type_links", "types", shown, last, more, total))
}

// pageOf is page for lists whose links have a name of their own.
func (c *call) pageOf(name, links, path string, shown []document, last string, more bool, total int) document {
	d := c.page(name, path, shown, last, more, total)
	if next, ok := d[name+"_links"]; ok {
		delete(d, name+"_links")
		d[links] = next
	}
	return d
}

func showType(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	var t model.Type
	err := c.view(func(r state.Reader) (err error) {
		if c.path("type") == "default" {
			t, err = model.DefaultTypeOf(r, c.who.ProjectID)
			return err
		}
		t, err = c.typeByID(r, c.path("type"))
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"volume_type": c.typeDocument(t)})
}

func (c *call) typeByID(r state.Reader, id string) (model.Type, error) {
	t, there, err := model.Optional(model.Types.Get(r, id))
	if err == nil && (!there || !c.usable(t)) {
		return t, errs.New(errs.NotFound, "Volume type %s could not be found.", id)
	}
	return t, err
}

func readType(f *openstack.Fields, t *model.Type) error {
	if f.Has("name") && !f.Null("name") {
		f.Text("name", &t.Name, openstack.Text{MinLength: 1})
		t.Name = strings.TrimSpace(t.Name)
	}
	f.Drop("name")
	if f.Has("description") {
		t.TextNull = f.Null("description")
		f.Text("description", &t.Description, openstack.Text{Nullable: true})
	}
	boolean(f, "os-volume-type-access:is_public", &t.Public)
	boolean(f, "is_public", &t.Public)
	return f.Err()
}

// named turns a clash of names into Cinder's words.
func named(err error, what, name string) error {
	if errs.Is(err, errs.Exists) {
		return errs.New(errs.Exists, "%s %s already exists.", what, name)
	}
	return err
}

func createType(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("volume_type")
	if err != nil {
		return err
	}
	t := model.Type{ID: model.NewID(), Public: true, TextNull: true, Created: c.now()}
	f.Require("name")
	if f.Null("name") {
		f.Fail("name", "None is not of type 'string'")
	}
	if err := readType(f, &t); err != nil {
		return err
	}
	t.Specs = texts(f, "extra_specs")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if err := checkSpecs(t.Specs); err != nil {
		return err
	}
	if err := c.update(func(w state.Writer) error { return model.Types.Put(w, t.ID, t) }); err != nil {
		return named(err, "Volume Type", t.Name)
	}
	return c.json(http.StatusOK, document{"volume_type": c.typeMade(t)})
}

// changeType works on the type of the path.
func (c *call) changeType(edit func(w state.Writer, t *model.Type) error) (t model.Type, err error) {
	if err := c.admin(); err != nil {
		return t, err
	}
	err = c.update(func(w state.Writer) (err error) {
		if t, err = c.typeByID(w, c.path("type")); err != nil {
			return err
		}
		if err := edit(w, &t); err != nil {
			return err
		}
		now := c.now()
		t.Updated = &now
		return model.Types.Put(w, t.ID, t)
	})
	return t, named(err, "Volume Type", t.Name)
}

func updateType(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("volume_type")
	if err != nil {
		return err
	}
	if !f.Has("name") && !f.Has("description") && !f.Has("is_public") {
		return errs.New(errs.Invalid, "Specify volume type name, description, is_public or a combination thereof.")
	}
	given := model.Type{}
	hasName, hasText, hasPublic := f.Has("name") && !f.Null("name"), f.Has("description"), f.Has("is_public")
	if err := readType(f, &given); err != nil {
		return err
	}
	t, err := c.changeType(func(_ state.Writer, t *model.Type) error {
		if hasName {
			t.Name = given.Name
		}
		if hasText {
			t.Description, t.TextNull = given.Description, given.TextNull
		}
		if hasPublic {
			t.Public = given.Public
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"volume_type": c.typeSummary(t)})
}

func deleteType(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		t, err := c.typeByID(w, c.path("type"))
		if err != nil {
			return err
		}
		first, err := model.DefaultTypeOf(w, "")
		if err != nil {
			return err
		}
		if first.ID == t.ID {
			return errs.New(errs.Invalid, "Invalid volume type: %s is the default type, and cannot be deleted.", t.Name)
		}
		for v, err := range model.Volumes.Where(w, "type", t.ID) {
			if err != nil {
				return err
			}
			return errs.New(errs.Invalid, "Target volume type is still in use: by volume %s.", v.ID)
		}
		return model.Types.Delete(w, t.ID)
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func checkSpecs(specs map[string]string) error {
	for name := range specs {
		if strings.ContainsFunc(name, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-:. ", r)
		}) {
			return invalid("the name of a spec has letters, digits, underscores, periods, colons, hyphens and spaces, and '%.60s' has others.", name)
		}
	}
	return nil
}

func listSpecs(c *call) error {
	specs, err := c.specs()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"extra_specs": orEmpty(specs)})
}

func (c *call) specs() (specs map[string]string, err error) {
	if err := c.reads(); err != nil {
		return nil, err
	}
	err = c.view(func(r state.Reader) error {
		t, err := c.typeByID(r, c.path("type"))
		specs = c.typeDocumentSpecs(t)
		return err
	})
	return specs, err
}

func (c *call) typeDocumentSpecs(t model.Type) map[string]string {
	specs, _ := c.typeDocument(t)["extra_specs"].(map[string]string)
	return specs
}

func showSpec(c *call) error {
	specs, err := c.specs()
	if err != nil {
		return err
	}
	value, ok := specs[c.path("key")]
	if !ok {
		return errs.New(errs.NotFound, "Volume Type %s has no extra specs with key %s.", c.path("type"), c.path("key"))
	}
	return c.json(http.StatusOK, document{c.path("key"): value})
}

func createSpecs(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	f.Require("extra_specs")
	given := texts(f, "extra_specs")
	if f.Err() == nil && given == nil {
		f.Fail("extra_specs", "None is not of type 'object'")
	}
	return c.putSpecs(f, given, document{"extra_specs": given})
}

func updateSpec(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	key := c.path("key")
	f.Require(key)
	var value string
	f.Text(key, &value, openstack.Text{})
	f.None()
	return c.putSpecs(f, map[string]string{key: value}, document{key: value})
}

func (c *call) putSpecs(f *openstack.Fields, given map[string]string, answer document) error {
	if err := f.Err(); err != nil {
		return err
	}
	if err := checkSpecs(given); err != nil {
		return err
	}
	_, err := c.changeType(func(_ state.Writer, t *model.Type) error {
		t.Specs = maps.Clone(orEmpty(t.Specs))
		maps.Copy(t.Specs, given)
		if len(t.Specs) > metadataMax {
			return invalid("%d extra specs; at most %d are possible.", len(t.Specs), metadataMax)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

func deleteSpec(c *call) error {
	_, err := c.changeType(func(_ state.Writer, t *model.Type) error {
		if _, ok := t.Specs[c.path("key")]; !ok {
			return errs.New(errs.NotFound, "Volume Type %s has no extra specs with key %s.", t.ID, c.path("key"))
		}
		t.Specs = maps.Clone(t.Specs)
		delete(t.Specs, c.path("key"))
		return nil
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func listAccess(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	var t model.Type
	err := c.view(func(r state.Reader) (err error) {
		t, err = c.typeByID(r, c.path("type"))
		return err
	})
	if err != nil {
		return err
	}
	if t.Public {
		return errs.New(errs.NotFound, "Access list not available for public volume types.")
	}
	shown := []document{}
	for _, p := range t.Projects {
		shown = append(shown, document{"volume_type_id": t.ID, "project_id": p})
	}
	return c.json(http.StatusOK, document{"volume_type_access": shown})
}

const accessMax = 1000

func typeAction(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	add := f.Has("addProjectAccess")
	if !add && !f.Has("removeProjectAccess") {
		return errs.New(errs.Invalid, "There is no such action on a volume type.")
	}
	inner := f.Object(map[bool]string{true: "addProjectAccess", false: "removeProjectAccess"}[add])
	var project string
	inner.Require("project")
	inner.Text("project", &project, openstack.Text{MinLength: 1})
	if err := f.Err(); err != nil {
		return err
	}
	_, err = c.changeType(func(_ state.Writer, t *model.Type) error {
		at := slices.Index(t.Projects, project)
		switch {
		case t.Public:
			return errs.New(errs.Conflict, "Type access modification is not applicable to public volume type.")
		case add && at >= 0:
			return errs.New(errs.Conflict, "Volume type access for %s / %s combination already exists.", t.ID, project)
		case add && len(t.Projects) >= accessMax:
			return invalid("a type is open to at most %d projects.", accessMax)
		case add:
			t.Projects = append(slices.Clone(t.Projects), project)
		case at < 0:
			return errs.New(errs.NotFound, "Volume type access not found for %s / %s combination.", t.ID, project)
		default:
			t.Projects = slices.Delete(slices.Clone(t.Projects), at, at+1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

// noEncryption is GET /types/{id}/encryption: no type encrypts.
func noEncryption(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	if err := c.view(func(r state.Reader) error { _, err := c.typeByID(r, c.path("type")); return err }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{})
}

// refuseEncryption is POST of one.
func refuseEncryption(c *call) error {
	if err := noEncryptionType(c); err != nil {
		return err
	}
	return errs.New(errs.Unsupported, "Encrypted volumes are not supported.")
}

func noEncryptionType(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	return c.view(func(r state.Reader) error { _, err := c.typeByID(r, c.path("type")); return err })
}
