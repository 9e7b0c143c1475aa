package api

import (
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/netd/fault"
	"henge/netd/model"
)

// document is a resource as the API shows it.
type document = map[string]any

// standard is a record that carries the standard attributes.
type standard[T any] interface {
	*T
	Common() *model.Standard
}

// resource is one kind of thing that the API serves.
type resource[T any, P standard[T]] struct {
	name, plural string // in bodies
	path         string // below /v2.0
	typ, label   string // of its "not found"
	table        state.Table[T]

	sees   func(c *call, r state.Reader, row *T) bool // nil: what is the caller's project's
	owns   func(c *call, r state.Reader, row *T) bool // may change it; nil: what is the caller's project's
	show   func(c *call, r state.Reader, row *T) document
	near   func(c *call, r state.Reader, query url.Values) iter.Seq2[T, error] // rows to look at; nil: all, or the project's by the index "project"
	before func(c *call) error                                                 // what a list makes sure of first
	create func(c *call, w state.Writer, in *input) (T, error)
	update func(c *call, w state.Writer, row T, in *input) (T, error)
	remove func(c *call, w state.Writer, row T) error

	others      bool // callers may see rows of other projects, so that the index "project" does not do
	adminCreate bool
}

// bind serves a resource.
func bind[T any, P standard[T]](s *Server, x resource[T, P]) {
	at := "/v2.0/" + x.path
	s.mux.Handle("GET "+at, s.authed(x.list))
	s.mux.Handle("GET "+at+"/{id}", s.authed(x.get))
	if x.create != nil {
		s.mux.Handle("POST "+at, s.authed(x.post))
	}
	if x.update != nil {
		s.mux.Handle("PUT "+at+"/{id}", s.authed(x.put))
	}
	if x.remove != nil {
		s.mux.Handle("DELETE "+at+"/{id}", s.authed(x.drop))
	}
	bindTags(s, x)
}

func (x resource[T, P]) common(row *T) *model.Standard { return P(row).Common() }

func (x resource[T, P]) missing(id string) error {
	return fault.NotFound(x.typ, "%s %s could not be found.", x.label, id)
}

func (x resource[T, P]) visible(c *call, r state.Reader, row *T) bool {
	return c.admin() || c.mine(x.common(row).ProjectID) || x.sees != nil && x.sees(c, r, row)
}

// fetch finds a row that the caller may see; others are not there.
func (x resource[T, P]) fetch(c *call, r state.Reader, id string) (T, error) {
	row, err := x.table.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && !x.visible(c, r, &row) {
		return row, x.missing(id)
	}
	return row, err
}

// fetchOwn finds a row that the caller may change.
func (x resource[T, P]) fetchOwn(c *call, r state.Reader, id, verb string) (T, error) {
	row, err := x.fetch(c, r, id)
	if err != nil {
		return row, err
	}
	mine := c.admin() || c.mine(x.common(&row).ProjectID) || x.owns != nil && x.owns(c, r, &row)
	if !mine || !c.mayWrite() {
		return row, denied(verb + "_" + x.name)
	}
	return row, nil
}

func (x resource[T, P]) get(c *call) error {
	var shown document
	err := c.view(func(r state.Reader) error {
		row, err := x.fetch(c, r, c.r.PathValue("id"))
		if err != nil {
			return err
		}
		shown = x.show(c, r, &row)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{x.name: only(shown, c.r.URL.Query()["fields"])})
}

// rows yields what a list may have to show.
func (x resource[T, P]) rows(c *call, r state.Reader, query url.Values) iter.Seq2[T, error] {
	if x.near != nil {
		if rows := x.near(c, r, query); rows != nil {
			return rows
		}
	}
	if ids := query["id"]; len(ids) > 0 {
		return byID(r, x.table, ids)
	}
	if !c.admin() && !x.others {
		return x.table.Where(r, "project", c.who.ProjectID)
	}
	return x.table.All(r)
}

// byID yields the rows that are there.
func byID[T any](r state.Reader, t state.Table[T], ids []string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		seen := map[string]bool{}
		for _, id := range ids {
			row, err := t.Get(r, id)
			if errs.Is(err, errs.NotFound) || seen[id] {
				continue
			}
			seen[id] = true
			if !yield(row, err) {
				return
			}
		}
	}
}

func (x resource[T, P]) list(c *call) error {
	if x.before != nil {
		if err := x.before(c); err != nil {
			return err
		}
	}
	query := c.r.URL.Query()
	var all []document
	var zero T
	err := c.view(func(r state.Reader) error {
		filter, err := newFilter(query, x.show(c, r, &zero))
		if err != nil {
			return err
		}
		for row, err := range x.rows(c, r, query) {
			if err != nil {
				return err
			}
			if !x.visible(c, r, &row) {
				continue
			}
			if shown := x.show(c, r, &row); filter.keeps(shown) {
				all = append(all, shown)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.page(x.path, x.plural, all)
}

// body reads the object or objects of a request.
func (x resource[T, P]) body(c *call, creating bool) (items []map[string]json.RawMessage, bulk bool, err error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return nil, false, err
	}
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(raw, &outer); err != nil || outer == nil {
		return nil, false, fault.BadBody("The request body must be a JSON object.")
	}
	if many, ok := outer[x.plural]; ok && creating {
		if err := json.Unmarshal(many, &items); err != nil || len(items) == 0 {
			return nil, true, fault.BadBody("Resources required: '%s' is not a list of objects.", x.plural)
		}
		if len(items) > bulkMax {
			return nil, true, fault.BadBody("%d resources in one request; %d are allowed.", len(items), bulkMax)
		}
		for _, item := range items {
			if item == nil {
				return nil, true, fault.BadBody("Unable to find '%s' in request body", x.name)
			}
		}
		return items, true, nil
	}
	var one map[string]json.RawMessage
	if inner, ok := outer[x.name]; !ok || json.Unmarshal(inner, &one) != nil || one == nil {
		return nil, false, fault.BadBody("Unable to find '%s' in request body", x.name)
	}
	return []map[string]json.RawMessage{one}, false, nil
}

// unwrap lets an item of a bulk request be wrapped once more, as some clients do.
func unwrap(item map[string]json.RawMessage, name string) map[string]json.RawMessage {
	var inner map[string]json.RawMessage
	if raw, ok := item[name]; ok && len(item) == 1 && json.Unmarshal(raw, &inner) == nil && inner != nil {
		return inner
	}
	return item
}

func (x resource[T, P]) post(c *call) error {
	if !c.mayWrite() || x.adminCreate && !c.admin() {
		return denied("create_" + x.name)
	}
	items, bulk, err := x.body(c, true)
	if err != nil {
		return err
	}
	var shown []document
	err = c.change(func(w state.Writer) error {
		shown = shown[:0]
		for _, item := range items {
			in := &input{c: c, name: x.name, creating: true, raw: unwrap(item, x.name), taken: map[string]bool{}}
			row, err := x.create(c, w, in)
			if err != nil {
				return err
			}
			shown = append(shown, x.show(c, w, &row))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if bulk {
		return c.json(http.StatusCreated, document{x.plural: shown})
	}
	return c.json(http.StatusCreated, document{x.name: shown[0]})
}

func (x resource[T, P]) put(c *call) error {
	items, _, err := x.body(c, false)
	if err != nil {
		return err
	}
	return x.changeRow(c, func(w state.Writer, row T) (T, error) {
		return x.update(c, w, row, &input{c: c, name: x.name, raw: items[0], taken: map[string]bool{}})
	})
}

// changeRow runs a change of the row that the path names and shows what came of it.
func (x resource[T, P]) changeRow(c *call, fn func(w state.Writer, row T) (T, error)) error {
	var shown document
	err := c.change(func(w state.Writer) error {
		row, err := x.fetchOwn(c, w, c.r.PathValue("id"), "update")
		if err != nil {
			return err
		}
		if err := c.revision(x.common(&row)); err != nil {
			return err
		}
		if row, err = fn(w, row); err != nil {
			return err
		}
		shown = x.show(c, w, &row)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{x.name: shown})
}

func (x resource[T, P]) drop(c *call) error {
	err := c.change(func(w state.Writer) error {
		row, err := x.fetchOwn(c, w, c.r.PathValue("id"), "delete")
		if err != nil {
			return err
		}
		if err := c.revision(x.common(&row)); err != nil {
			return err
		}
		return x.remove(c, w, row)
	})
	if err != nil {
		return err
	}
	return c.none()
}

// revision holds a request to the revision that it names in If-Match.
func (c *call) revision(s *model.Standard) error {
	text := c.r.Header.Get("If-Match")
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(text, "revision_number="))
	if err != nil {
		return fault.BadBody("Invalid header 'If-Match: %s': it is revision_number=N", brief([]byte(text)))
	}
	if n != s.Revision {
		return fault.New(errs.Precondition, "RevisionNumberConstraintFailed", "Constrained to %d, but current revision is %d", n, s.Revision)
	}
	return nil
}

// base is what every resource shows, and more.
func base(s *model.Standard, more document) document {
	tags := s.Tags
	if tags == nil {
		tags = []string{}
	}
	d := document{"id": s.ID, "name": s.Name, "description": s.Description, "project_id": s.ProjectID, "tenant_id": s.ProjectID,
		"created_at": s.CreatedAt.UTC().Format("2006-01-02T15:04:05Z"), "updated_at": s.UpdatedAt.UTC().Format("2006-01-02T15:04:05Z"),
		"revision_number": s.Revision, "tags": tags}
	for k, v := range more {
		d[k] = v
	}
	return d
}

// orNull is null for the zero value.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// orEmpty is [] where there is nothing.
func orEmpty[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}
