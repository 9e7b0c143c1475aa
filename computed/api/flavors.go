package api

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"henge/cluster/state"
	"henge/computed/listing"
	"henge/computed/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) flavorDocument(f model.Flavor) document {
	d := document{"id": f.ID, "name": f.Name, "vcpus": f.VCPUs, "ram": f.RAMMiB, "disk": f.DiskGiB, "OS-FLV-EXT-DATA:ephemeral": f.EphemeralG,
		"swap": any(f.SwapMiB), "rxtx_factor": f.RxTx, "os-flavor-access:is_public": f.Public, "OS-FLV-DISABLED:disabled": f.Disabled, "links": c.links("flavors", f.ID)}
	if f.SwapMiB == 0 && !c.at(75) {
		d["swap"] = ""
	}
	if c.at(55) {
		d["description"] = orNull(f.Description)
	}
	if c.at(61) {
		d["extra_specs"] = orEmpty(f.ExtraSpecs)
	}
	return d
}

// embeddedFlavor is a flavor inside a server, since 2.47.
func embeddedFlavor(f model.Flavor) document {
	return document{"original_name": f.Name, "vcpus": f.VCPUs, "ram": f.RAMMiB, "disk": f.DiskGiB, "ephemeral": f.EphemeralG, "swap": f.SwapMiB, "extra_specs": orEmpty(f.ExtraSpecs)}
}

// mayUse tells whether the caller's project may use a flavor.
func (c *call) mayUse(f model.Flavor) bool {
	return f.Public || c.admin() || slices.Contains(f.Projects, c.who.ProjectID)
}

// findFlavor finds one that the caller may see.
func (c *call) findFlavor(r state.Reader, id string) (model.Flavor, error) {
	f, err := model.Flavors.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && !c.mayUse(f) {
		return f, errs.New(errs.NotFound, "Flavor %s could not be found.", id)
	}
	return f, err
}

func (c *call) flavors() ([]model.Flavor, error) {
	query := c.r.URL.Query()
	least := map[string]int{}
	for _, name := range []string{"minRam", "minDisk"} {
		if text := query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return nil, errs.New(errs.Invalid, "Invalid %s filter [%s]", name, shorten(text))
			}
			least[name] = n
		}
	}
	public := query.Get("is_public")
	all := []model.Flavor{}
	err := c.view(func(r state.Reader) error {
		for f, err := range model.Flavors.All(r) {
			if err != nil {
				return err
			}
			show := c.mayUse(f)
			switch {
			case !c.admin():
			case public == "" || isTrue(public):
				show = f.Public
			case isFalse(public):
				show = !f.Public
			case public != "None" && public != "none":
				return errs.New(errs.Invalid, "Invalid is_public filter [%s]", shorten(public))
			}
			if show && f.RAMMiB >= least["minRam"] && f.DiskGiB >= least["minDisk"] {
				all = append(all, f)
			}
		}
		return nil
	})
	return all, err
}

func listFlavors(c *call) error {
	return listFlavorsAs(c, "flavors", func(f model.Flavor) document {
		d := document{"id": f.ID, "name": f.Name, "links": c.links("flavors", f.ID)}
		if c.at(55) {
			d["description"] = orNull(f.Description)
		}
		return d
	})
}

func listFlavorsDetail(c *call) error { return listFlavorsAs(c, "flavors/detail", c.flavorDocument) }

func listFlavorsAs(c *call, path string, render func(model.Flavor) document) error {
	query := c.r.URL.Query()
	p, err := parsePage(query)
	if err != nil {
		return err
	}
	order, err := parseSorting(query, []string{"created_at", "description", "disabled", "ephemeral_gb", "flavorid", "id", "is_public", "memory_mb", "name", "root_gb", "rxtx_factor", "swap",
		"updated_at", "vcpu_weight", "vcpus"}, sorting{Key: "flavorid"})
	if err != nil {
		return err
	}
	all, err := c.flavors()
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b model.Flavor) int { return compareFlavors(order, a, b) })
	rows, more, err := listing.Cut(p, all, func(f model.Flavor) string { return f.ID })
	if err != nil {
		return err
	}
	docs := []document{}
	for _, f := range rows {
		docs = append(docs, render(f))
	}
	answer := document{"flavors": docs}
	if more {
		c.addNext(answer, "flavors", rows[len(rows)-1].ID, path)
	}
	return c.json(http.StatusOK, answer)
}

func compareFlavors(order []sorting, a, b model.Flavor) int {
	for _, o := range order {
		n := 0
		switch o.Key {
		case "name":
			n = cmp.Compare(a.Name, b.Name)
		case "memory_mb":
			n = cmp.Compare(a.RAMMiB, b.RAMMiB)
		case "root_gb":
			n = cmp.Compare(a.DiskGiB, b.DiskGiB)
		case "vcpus":
			n = cmp.Compare(a.VCPUs, b.VCPUs)
		case "swap":
			n = cmp.Compare(a.SwapMiB, b.SwapMiB)
		case "ephemeral_gb":
			n = cmp.Compare(a.EphemeralG, b.EphemeralG)
		case "created_at", "updated_at":
			n = a.Created.Compare(b.Created)
		default:
			n = cmp.Compare(a.ID, b.ID)
		}
		if o.Down {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return cmp.Compare(a.ID, b.ID)
}

func showFlavor(c *call) error {
	var f model.Flavor
	err := c.view(func(r state.Reader) (err error) {
		f, err = c.findFlavor(r, c.path("id"))
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"flavor": c.flavorDocument(f)})
}

var flavorID = regexp.MustCompile(`^[a-zA-Z0-9._ -]*$`)

const intMax = 2147483647

func createFlavor(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	f, err := c.body("flavor")
	if err != nil {
		return err
	}
	f.Require("name", "ram", "vcpus", "disk")
	flavor := model.Flavor{RxTx: 1, Public: true, Created: c.Clock.Now()}
	f.Text("name", &flavor.Name, openstack.Text{MinLength: 1})
	takeID(f, &flavor.ID)
	takeInt(f, "ram", &flavor.RAMMiB, 1, intMax)
	takeInt(f, "vcpus", &flavor.VCPUs, 1, intMax)
	takeInt(f, "disk", &flavor.DiskGiB, 0, intMax)
	takeInt(f, "OS-FLV-EXT-DATA:ephemeral", &flavor.EphemeralG, 0, intMax)
	takeInt(f, "swap", &flavor.SwapMiB, 0, intMax)
	takeFloat(f, "rxtx_factor", &flavor.RxTx)
	takeBool(f, "os-flavor-access:is_public", &flavor.Public)
	if c.at(55) {
		f.Text("description", &flavor.Description, openstack.Text{MaxLength: 65535, Nullable: true})
	}
	f.None()
	if flavor.SwapMiB > 0 || flavor.EphemeralG > 0 {
		f.Fail("swap", "swap and ephemeral disks are not built; give 0")
	}
	if err := f.Err(); err != nil {
		return err
	}
	if flavor.ID == "" || flavor.ID == "auto" {
		flavor.ID = model.NewUUID()
	}
	err = c.update(func(w state.Writer) error {
		if _, there, err := model.Optional(model.Flavors.Get(w, flavor.ID)); err != nil || there {
			if err == nil {
				err = errs.New(errs.Conflict, "Flavor with ID %s already exists.", flavor.ID)
			}
			return err
		}
		err := model.Flavors.Put(w, flavor.ID, flavor)
		if errs.Is(err, errs.Exists) {
			return errs.New(errs.Conflict, "Flavor with name %s already exists.", flavor.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"flavor": c.flavorDocument(flavor)})
}

// takeID takes an id, which old clients send as a number.
func takeID(f *openstack.Fields, id *string) {
	if n, ok := number(f, "id"); ok {
		f.Drop("id")
		*id = strconv.FormatInt(n, 10)
		return
	}
	f.Text("id", id, openstack.Text{Nullable: true})
	if !flavorID.MatchString(*id) {
		f.Fail("id", "'%s' does not match '%s'", shorten(*id), flavorID)
	}
}

// changeFlavor applies a change to one flavor, for an admin.
func (c *call) changeFlavor(change func(*model.Flavor) error) (model.Flavor, error) {
	var f model.Flavor
	if err := c.adminOnly(); err != nil {
		return f, err
	}
	err := c.update(func(w state.Writer) (err error) {
		if f, err = c.findFlavor(w, c.path("id")); err != nil {
			return err
		}
		if err := change(&f); err != nil {
			return err
		}
		return model.Flavors.Put(w, f.ID, f)
	})
	return f, err
}

func updateFlavor(c *call) error {
	if err := c.cameWith(55); err != nil {
		return err
	}
	f, err := c.body("flavor")
	if err != nil {
		return err
	}
	f.Require("description")
	var text string
	f.Text("description", &text, openstack.Text{MaxLength: 65535, Nullable: true})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	flavor, err := c.changeFlavor(func(f *model.Flavor) error { f.Description = text; return nil })
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"flavor": c.flavorDocument(flavor)})
}

func deleteFlavor(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		if _, err := c.findFlavor(w, c.path("id")); err != nil {
			return err
		}
		return model.Flavors.Delete(w, c.path("id"))
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusAccepted)
}

// specsMax bounds a flavor's extra specs.
const specsMax = 128

var specKey = regexp.MustCompile(`^[a-zA-Z0-9_:. -]{1,255}$`)

func takeSpecs(f *openstack.Fields, name string) map[string]string {
	var raw map[string]any
	f.Map(name, &raw)
	specs := map[string]string{}
	for k, v := range raw {
		switch v := v.(type) {
		case string:
			specs[k] = v
		case float64:
			specs[k] = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			f.Fail(name, "the value of %s is not of type 'string', 'number'", shorten(k))
		}
		if !specKey.MatchString(k) || len(specs[k]) > 255 {
			f.Fail(name, "'%s' does not match '%s', or its value is longer than 255", shorten(k), specKey)
		}
	}
	return specs
}

func listSpecs(c *call) error {
	var f model.Flavor
	err := c.view(func(r state.Reader) (err error) {
		f, err = c.findFlavor(r, c.path("id"))
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"extra_specs": orEmpty(f.ExtraSpecs)})
}

func setSpecs(c *call, specs map[string]string) error {
	_, err := c.changeFlavor(func(f *model.Flavor) error {
		merged := map[string]string{}
		for k, v := range f.ExtraSpecs {
			merged[k] = v
		}
		for k, v := range specs {
			merged[k] = v
		}
		if len(merged) > specsMax {
			return errs.New(errs.Invalid, "a flavor has at most %d extra specs", specsMax)
		}
		f.ExtraSpecs = merged
		return nil
	})
	return err
}

func createSpecs(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	f.Require("extra_specs")
	specs := takeSpecs(f, "extra_specs")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if err := setSpecs(c, specs); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"extra_specs": specs})
}

func showSpec(c *call) error {
	var f model.Flavor
	err := c.view(func(r state.Reader) (err error) {
		f, err = c.findFlavor(r, c.path("id"))
		return err
	})
	if err != nil {
		return err
	}
	v, ok := f.ExtraSpecs[c.path("key")]
	if !ok {
		return errs.New(errs.NotFound, "Flavor %s has no extra specs with key %s.", f.ID, c.path("key"))
	}
	return c.json(http.StatusOK, document{c.path("key"): v})
}

func updateSpec(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	f, err := openstack.NewFields([]byte(`{"body":`+string(raw)+`}`), "")
	if err != nil {
		return err
	}
	specs := takeSpecs(f, "body")
	if _, ok := specs[c.path("key")]; !ok || len(specs) != 1 {
		f.Fail("key", "Request body and URI mismatch: Expected body to contain key '%s'", shorten(c.path("key")))
	}
	if err := f.Err(); err != nil {
		return err
	}
	if err := setSpecs(c, specs); err != nil {
		return err
	}
	return c.json(http.StatusOK, specs)
}

func deleteSpec(c *call) error {
	_, err := c.changeFlavor(func(f *model.Flavor) error {
		if _, ok := f.ExtraSpecs[c.path("key")]; !ok {
			return errs.New(errs.NotFound, "Flavor %s has no extra specs with key %s.", f.ID, c.path("key"))
		}
		left := map[string]string{}
		for k, v := range f.ExtraSpecs {
			if k != c.path("key") {
				left[k] = v
			}
		}
		f.ExtraSpecs = left
		return nil
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func accessDocument(f model.Flavor) document {
	list := []document{}
	for _, p := range f.Projects {
		list = append(list, document{"flavor_id": f.ID, "tenant_id": p})
	}
	return document{"flavor_access": list}
}

func listAccess(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	var f model.Flavor
	err := c.view(func(r state.Reader) (err error) {
		f, err = c.findFlavor(r, c.path("id"))
		return err
	})
	if err == nil && f.Public {
		err = errs.New(errs.NotFound, "Access list not available for public flavors.")
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, accessDocument(f))
}

// accessMax bounds the projects that a flavor is opened to.
const accessMax = 10_000

func flavorAction(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	name := "addTenantAccess"
	if f.Has("removeTenantAccess") {
		name = "removeTenantAccess"
	}
	f.Require(name)
	inner := f.Object(name)
	f.None()
	inner.Require("tenant")
	var project string
	inner.Text("tenant", &project, openstack.Text{MinLength: 1, MaxLength: 64})
	inner.None()
	if err := f.Err(); err != nil {
		return err
	}
	flavor, err := c.changeFlavor(func(f *model.Flavor) error {
		has := slices.Contains(f.Projects, project)
		switch {
		case name == "addTenantAccess" && f.Public && c.at(7):
			return errs.New(errs.Conflict, "Can not add access to a public flavor.")
		case name == "addTenantAccess" && has:
			return errs.New(errs.Conflict, "Flavor access already exists for flavor %s and project %s combination.", f.ID, project)
		case name == "addTenantAccess" && len(f.Projects) >= accessMax:
			return errs.New(errs.Quota, "a flavor is opened to at most %d projects", accessMax)
		case name == "addTenantAccess":
			f.Projects = append(slices.Clone(f.Projects), project)
		case !has:
			return errs.New(errs.NotFound, "Flavor access not found for %s / %s combination.", f.ID, project)
		default:
			f.Projects = slices.DeleteFunc(slices.Clone(f.Projects), func(p string) bool { return p == project })
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, accessDocument(flavor))
}

// reservation is the id that servers of one request share.
func reservation() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := []byte("r-")
	for range 8 {
		b = append(b, letters[rand.IntN(len(letters))])
	}
	return string(b)
}
