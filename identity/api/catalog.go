package api

import (
	"net/http"
	"net/url"
	"strings"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) serviceDocument(s model.Service) document {
	return with(s.Extra, document{"id": s.ID, "type": s.Type, "name": s.Name, "description": s.Description, "enabled": s.Enabled, "links": c.self("services", s.ID)})
}

func (c *call) endpointDocument(e model.Endpoint) document {
	return with(e.Extra, document{"id": e.ID, "service_id": e.ServiceID, "region_id": orNull(e.RegionID), "region": orNull(e.RegionID), "interface": e.Interface,
		"url": e.URL, "enabled": e.Enabled, "links": c.self("endpoints", e.ID)})
}

func (c *call) regionDocument(r model.Region) document {
	return with(r.Extra, document{"id": r.ID, "description": r.Description, "parent_region_id": orNull(r.ParentRegionID), "links": c.self("regions", url.PathEscape(r.ID))})
}

// entry is one of the three tables of the catalog: they are managed in the same way, by administrators.
type entry[T any] struct {
	table            state.Table[T]
	singular, plural string
	required         []string
	filters          []string
	public           bool // anybody with a token may read
	blank            func() T
	id               func(*T) *string
	fill             func(f *openstack.Fields, row *T)
	check            func(w state.Writer, row T) error // what it refers to
	remove           func(w state.Writer, id string) error
	show             func(c *call, row T) document
}

func (e entry[T]) list(c *call) error {
	if err := c.require(e.public || c.readsAll()); err != nil {
		return err
	}
	var rows []document
	err := c.view(func(r state.Reader) (err error) {
		rows, err = gather(e.table.All(r), nil, func(row T) document { return e.show(c, row) })
		return err
	})
	if err != nil {
		return err
	}
	return c.list(e.plural, rows, e.filters...)
}

func (e entry[T]) get(c *call) error {
	var row T
	err := c.view(func(r state.Reader) (err error) {
		row, err = fetch(c, r, e.table, e.singular, c.path("id"), func(T) bool { return e.public || c.readsAll() })
		return err
	})
	if e.public && errs.Is(err, errs.Denied) {
		err = missing(e.singular, c.path("id"))
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{e.singular: e.show(c, row)})
}

func (e entry[T]) create(c *call) error {
	if err := c.require(c.admin()); err != nil {
		return err
	}
	f, err := c.body(e.singular)
	if err != nil {
		return err
	}
	return e.make(c, f, "")
}

// make creates a row; its id is the path's, the body's where the client may choose one, or ours.
func (e entry[T]) make(c *call, f *openstack.Fields, id string) error {
	f.Require(e.required...)
	row := e.blank()
	e.fill(f, &row)
	if err := f.Err(); err != nil {
		return err
	}
	at := e.id(&row)
	switch {
	case id != "" && *at != "" && *at != id:
		return errs.New(errs.Invalid, "The id in the body is not that of the address.")
	case id != "":
		*at = id
	case *at == "":
		*at = model.NewID()
	}
	err := c.update(func(w state.Writer) error {
		if _, there, err := model.Optional(e.table.Get(w, *at)); err != nil || there {
			if err == nil {
				err = errs.New(errs.Exists, "Conflict occurred attempting to store %s - Duplicate ID, %s.", e.singular, *at)
			}
			return err
		}
		if err := e.check(w, row); err != nil {
			return err
		}
		return e.table.Put(w, *at, row)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{e.singular: e.show(c, row)})
}

func (e entry[T]) update(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	var row T
	err = c.update(func(w state.Writer) error {
		old, err := fetch(c, w, e.table, e.singular, c.path("id"), func(T) bool { return c.admin() })
		if err != nil {
			return err
		}
		f, err := openstack.NewFields(raw, e.singular)
		if err != nil {
			return err
		}
		row = old
		e.fill(f, &row)
		*e.id(&row) = *e.id(&old)
		if err := f.Err(); err != nil {
			return err
		}
		if err := e.check(w, row); err != nil {
			return err
		}
		return e.table.Put(w, c.path("id"), row)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{e.singular: e.show(c, row)})
}

func (e entry[T]) drop(c *call) error {
	err := c.update(func(w state.Writer) error {
		if _, err := fetch(c, w, e.table, e.singular, c.path("id"), func(T) bool { return c.admin() }); err != nil {
			return err
		}
		return e.remove(w, c.path("id"))
	})
	if err != nil {
		return err
	}
	return c.none()
}

// entryRoutes binds a table; each request gets an entry of its own, because filling one in may leave notes for its check.
func entryRoutes[T any](bind binder, make func() entry[T]) {
	plural := make().plural
	bind(http.MethodGet, "/"+plural, func(c *call) error { return make().list(c) })
	bind(http.MethodPost, "/"+plural, func(c *call) error { return make().create(c) })
	bind(http.MethodGet, "/"+plural+"/{id}", func(c *call) error { return make().get(c) })
	bind(http.MethodPatch, "/"+plural+"/{id}", func(c *call) error { return make().update(c) })
	bind(http.MethodDelete, "/"+plural+"/{id}", func(c *call) error { return make().drop(c) })
}

func services() entry[model.Service] {
	return entry[model.Service]{
		table: model.Services, singular: "service", plural: "services", required: []string{"type"}, filters: []string{"name", "type", "enabled"},
		blank: func() model.Service { return model.Service{Enabled: true} },
		id:    func(s *model.Service) *string { return &s.ID },
		fill: func(f *openstack.Fields, s *model.Service) {
			f.Text("type", &s.Type, openstack.Text{MinLength: 1})
			f.Text("name", &s.Name, openstack.Text{Nullable: true})
			f.Text("description", &s.Description, openstack.Text{MaxLength: 65535, Nullable: true})
			f.Bool("enabled", &s.Enabled)
			f.Drop("id", "links")
			f.Extra(&s.Extra)
		},
		check:  func(state.Writer, model.Service) error { return nil },
		remove: model.DeleteService,
		show:   (*call).serviceDocument,
	}
}

func endpoints() entry[model.Endpoint] {
	var legacyRegion bool // named as in v2, by "region": then it is made when it is not there
	return entry[model.Endpoint]{
		table: model.Endpoints, singular: "endpoint", plural: "endpoints", required: []string{"interface", "service_id", "url"},
		filters: []string{"interface", "service_id", "region_id", "enabled"},
		blank:   func() model.Endpoint { return model.Endpoint{Enabled: true} },
		id:      func(e *model.Endpoint) *string { return &e.ID },
		fill: func(f *openstack.Fields, e *model.Endpoint) {
			legacyRegion = f.Has("region") && !f.Has("region_id")
			fillEndpoint(f, e)
		},
		check: func(w state.Writer, e model.Endpoint) error {
			if _, err := model.Services.Get(w, e.ServiceID); err != nil {
				return badReference(err, "service", e.ServiceID)
			}
			if e.RegionID == "" {
				return nil
			}
			_, err := model.Regions.Get(w, e.RegionID)
			if errs.Is(err, errs.NotFound) && legacyRegion && !strings.Contains(e.RegionID, "/") {
				return model.Regions.Put(w, e.RegionID, model.Region{ID: e.RegionID})
			}
			return badReference(err, "region", e.RegionID)
		},
		remove: func(w state.Writer, id string) error { return model.Endpoints.Delete(w, id) },
		show:   (*call).endpointDocument,
	}
}

// badReference: what a body refers to and is not there is the body's mistake.
func badReference(err error, label, id string) error {
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.Invalid, "Could not find %s: %s.", label, id)
	}
	return err
}

func fillEndpoint(f *openstack.Fields, e *model.Endpoint) {
	f.Text("interface", &e.Interface, openstack.Text{OneOf: []string{"public", "internal", "admin"}})
	f.Text("service_id", &e.ServiceID, openstack.Text{MinLength: 1})
	if f.Has("region") && !f.Has("region_id") {
		f.Text("region", &e.RegionID, openstack.Text{Nullable: true})
	}
	f.Text("region_id", &e.RegionID, openstack.Text{Nullable: true})
	before := e.URL
	f.Text("url", &e.URL, openstack.Text{MinLength: 1, MaxLength: 1024})
	if e.URL != before && !isURL(e.URL) {
		f.Fail("url", "'%s' is not an http or https address", e.URL)
	}
	f.Bool("enabled", &e.Enabled)
	f.Drop("id", "links", "region")
	f.Extra(&e.Extra)
}

// isURL looks at a template with its placeholders filled.
func isURL(template string) bool {
	filled := strings.NewReplacer("%(project_id)s", "p", "$(project_id)s", "p", "%(tenant_id)s", "p", "$(tenant_id)s", "p",
		"%(user_id)s", "u", "$(user_id)s", "u").Replace(template)
	u, err := url.Parse(filled)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && !strings.ContainsAny(filled, "%$ ")
}

func policies() entry[model.Policy] {
	return entry[model.Policy]{
		table: model.Policies, singular: "policy", plural: "policies", required: []string{"blob", "type"}, filters: []string{"type"},
		blank: func() model.Policy { return model.Policy{} },
		id:    func(p *model.Policy) *string { return &p.ID },
		fill: func(f *openstack.Fields, p *model.Policy) {
			f.Text("blob", &p.Blob, openstack.Text{MaxLength: 65535})
			f.Text("type", &p.Type, openstack.Text{MinLength: 1})
			f.Drop("id", "links")
			f.Extra(&p.Extra)
		},
		check:  func(state.Writer, model.Policy) error { return nil },
		remove: func(w state.Writer, id string) error { return model.Policies.Delete(w, id) },
		show: func(c *call, p model.Policy) document {
			return with(p.Extra, document{"id": p.ID, "blob": p.Blob, "type": p.Type, "links": c.self("policies", p.ID)})
		},
	}
}

func regions() entry[model.Region] {
	return entry[model.Region]{
		table: model.Regions, singular: "region", plural: "regions", filters: []string{"parent_region_id"}, public: true,
		blank: func() model.Region { return model.Region{} },
		id:    func(r *model.Region) *string { return &r.ID },
		fill: func(f *openstack.Fields, r *model.Region) {
			f.Text("id", &r.ID, openstack.Text{Nullable: true})
			if strings.ContainsAny(r.ID, "/\x00") {
				f.Fail("id", "it holds a slash")
			}
			f.Text("description", &r.Description, openstack.Text{MaxLength: 65535, Nullable: true})
			f.Text("parent_region_id", &r.ParentRegionID, openstack.Text{Nullable: true})
			f.Drop("links")
			f.Extra(&r.Extra)
		},
		check:  checkRegion,
		remove: removeRegion,
		show:   (*call).regionDocument,
	}
}

// checkRegion: the parent is there and is not below the region itself.
func checkRegion(w state.Writer, r model.Region) error {
	for id, steps := r.ParentRegionID, 0; id != ""; steps++ {
		if id == r.ID || steps > 16 {
			return errs.New(errs.Invalid, "Invalid input for field 'parent_region_id': a region cannot lie within itself")
		}
		parent, err := model.Regions.Get(w, id)
		if err != nil {
			return named(err, "region", id)
		}
		id = parent.ParentRegionID
	}
	return nil
}

func removeRegion(w state.Writer, id string) error {
	for range model.Endpoints.Where(w, "region", id) {
		return errs.New(errs.Denied, "Region %s cannot be deleted: it has endpoints.", id)
	}
	for range model.Regions.Where(w, "parent", id) {
		return errs.New(errs.Denied, "Region %s cannot be deleted: it has child regions.", id)
	}
	return model.Regions.Delete(w, id)
}

// putRegion is PUT /v3/regions/{id}: a region with the id of the client's choice.
func putRegion(c *call) error {
	if err := c.require(c.admin()); err != nil {
		return err
	}
	f, err := c.body("region")
	if err != nil {
		return err
	}
	return regions().make(c, f, c.path("id"))
}
