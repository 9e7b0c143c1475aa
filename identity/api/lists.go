package api

import (
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/openstack"
)

// rowsMax is the longest page; a longer list says "truncated" and where it goes on.
const rowsMax = 10_000

// document is a resource as the API shows it.
type document = map[string]any

// with puts the fields that we know over the client's own attributes.
func with(extra map[string]any, known document) document {
	d := make(document, len(extra)+len(known))
	for k, v := range extra {
		d[k] = v
	}
	for k, v := range known {
		d[k] = v
	}
	return d
}

// orNull is null for "".
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// orEmpty is {} for a missing map.
func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// gather renders the rows that a condition lets pass.
func gather[T any](rows iter.Seq2[T, error], keep func(T) bool, render func(T) document) ([]document, error) {
	list := []document{}
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if keep == nil || keep(row) {
			list = append(list, render(row))
		}
	}
	return list, nil
}

// list answers a page of documents, sorted by id, that pass the query's filters on the named fields.
func (c *call) list(plural string, all []document, filters ...string) error {
	query := c.r.URL.Query()
	page, err := openstack.ParsePage(query)
	if err != nil {
		return err
	}
	rows := all[:0:0]
	for _, d := range all {
		if matches(d, query, filters) {
			rows = append(rows, d)
		}
	}
	rows, more := openstack.Cut(page, rows, rowsMax, func(d document) string { s, _ := d["id"].(string); return s })
	self := c.PublicURL(c.r) + c.r.URL.Path
	links := document{"self": self, "previous": nil, "next": nil}
	if c.r.URL.RawQuery != "" {
		links["self"] = self + "?" + c.r.URL.RawQuery
	}
	if rows == nil {
		rows = []document{}
	}
	answer := document{plural: rows, "links": links}
	if more {
		last, _ := rows[len(rows)-1]["id"].(string)
		links["next"] = self + "?" + page.Next(query, last)
		answer["truncated"] = true
	}
	return c.json(http.StatusOK, answer)
}

// matches applies filters: name=x, enabled=true, and name__contains=x with its relatives.
func matches(d document, query url.Values, filters []string) bool {
	for _, field := range filters {
		for key, values := range query {
			name, how, _ := strings.Cut(key, "__")
			if name != field || len(values) == 0 {
				continue
			}
			if !matchesOne(d[field], how, values[0]) {
				return false
			}
		}
	}
	return true
}

func matchesOne(value any, how, wanted string) bool {
	switch v := value.(type) {
	case bool:
		return how != "" || v == isTrue(wanted)
	case string:
		return matchesText(v, how, wanted)
	case nil:
		return wanted == ""
	}
	return false
}

func matchesText(s, how, wanted string) bool {
	if folded, ok := strings.CutPrefix(how, "i"); ok {
		how, s, wanted = folded, strings.ToLower(s), strings.ToLower(wanted)
	}
	switch how {
	case "contains":
		return strings.Contains(s, wanted)
	case "startswith":
		return strings.HasPrefix(s, wanted)
	case "endswith":
		return strings.HasSuffix(s, wanted)
	default:
		return s == wanted
	}
}

// isTrue reads a query's boolean as Keystone does: anything but "0" and "false" is true.
func isTrue(s string) bool { return s != "0" && !strings.EqualFold(s, "false") }

// asked tells whether a query has a switch on: ?effective, ?effective=1.
func asked(query url.Values, name string) bool { return query.Has(name) && isTrue(query.Get(name)) }

func sortByID(list []document) {
	slices.SortFunc(list, func(a, b document) int {
		x, _ := a["id"].(string)
		y, _ := b["id"].(string)
		return strings.Compare(x, y)
	})
}

// inDomainOf tells whether there is a domain for a new row to belong to.
func inDomainOf(r state.Reader, domainID string) error {
	_, err := model.Domains.Get(r, domainID)
	return named(err, "domain", domainID)
}
