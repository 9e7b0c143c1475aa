package api

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/internal/errs"
)

// pageMax is how many rows one answer has at most.
const pageMax = 1000

// listing says how a kind of row is listed.
type listing[T any] struct {
	id func(T) string
	// sorts are the keys to sort by.
	sorts map[string]func(a, b T) int
	// filters are what can be filtered by; a value comes as the client sent it.
	filters map[string]func(row T, value string) (bool, error)
	// texts are filters that may be asked for likeness too, as name~.
	texts map[string]func(T) string
}

// ignored are parameters that are no filters.
var ignored = []string{"limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count", "fields", "is_public", "changes-since"}

// apply filters and sorts the rows, and cuts the page out that is asked for. total is how many there are without the page.
func (l listing[T]) apply(c *call, rows []T) (page []T, more bool, total int, err error) {
	query := c.r.URL.Query()
	for name, values := range query {
		if rows, err = l.filter(c, rows, name, values); err != nil {
			return nil, false, 0, err
		}
	}
	if err := l.sort(rows, query); err != nil {
		return nil, false, 0, err
	}
	total = len(rows)
	page, more, err = l.cut(rows, query)
	return page, more, total, err
}

func (l listing[T]) filter(c *call, rows []T, name string, values []string) ([]T, error) {
	if slices.Contains(ignored, name) || len(values) == 0 {
		return rows, nil
	}
	if field, like := strings.CutSuffix(name, "~"); like && l.texts[field] != nil && c.version >= sinceLikeFilter {
		return keep(rows, func(row T) (bool, error) { return strings.Contains(l.texts[field](row), values[0]), nil })
	}
	if text := l.texts[name]; text != nil {
		return keep(rows, func(row T) (bool, error) { return text(row) == values[0], nil })
	}
	if f := l.filters[name]; f != nil {
		return keep(rows, func(row T) (bool, error) { return f(row, values[0]) })
	}
	if c.version >= sinceStrictFilters {
		return nil, errs.New(errs.Invalid, "Invalid filters %s are found in query options.", name)
	}
	return rows, nil
}

func keep[T any](rows []T, take func(T) (bool, error)) ([]T, error) {
	var kept []T
	for _, row := range rows {
		ok, err := take(row)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, row)
		}
	}
	return kept, nil
}

// sort reads sort=key[:dir],... or the older sort_key and sort_dir. The newest come first when nothing is said.
func (l listing[T]) sort(rows []T, query url.Values) error {
	spec := query.Get("sort")
	if spec == "" && (query.Has("sort_key") || query.Has("sort_dir")) {
		spec = cmp.Or(query.Get("sort_key"), "created_at") + ":" + cmp.Or(query.Get("sort_dir"), "desc")
	}
	type order struct {
		by   func(a, b T) int
		down bool
	}
	var orders []order
	for part := range strings.SplitSeq(cmp.Or(spec, "created_at:desc"), ",") {
		name, dir, _ := strings.Cut(strings.TrimSpace(part), ":")
		by := l.sorts[name]
		if by == nil || dir != "" && dir != "asc" && dir != "desc" {
			return errs.New(errs.Invalid, "Invalid input received: Sort key or direction is invalid: %s. Sort keys are: %s.", part, strings.Join(l.sortKeys(), ", "))
		}
		orders = append(orders, order{by, dir != "asc"})
	}
	slices.SortStableFunc(rows, func(a, b T) int {
		for _, o := range orders {
			if n := o.by(a, b); n != 0 && o.down {
				return -n
			} else if n != 0 {
				return n
			}
		}
		return -strings.Compare(l.id(a), l.id(b))
	})
	return nil
}

func (l listing[T]) sortKeys() []string {
	var keys []string
	for name := range l.sorts {
		keys = append(keys, name)
	}
	slices.Sort(keys)
	return keys
}

func (l listing[T]) cut(rows []T, query url.Values) (page []T, more bool, err error) {
	limit, err := number(query, "limit", pageMax)
	if err != nil {
		return nil, false, err
	}
	offset, err := number(query, "offset", 0)
	if err != nil {
		return nil, false, err
	}
	if marker := query.Get("marker"); marker != "" {
		at := slices.IndexFunc(rows, func(row T) bool { return l.id(row) == marker })
		if at < 0 {
			return nil, false, errs.New(errs.NotFound, "The marker %s could not be found.", marker)
		}
		rows = rows[at+1:]
	}
	rows = rows[min(offset, len(rows)):]
	limit = min(limit, pageMax)
	// A full page has a link to the next, even when that will be empty: so has Cinder's, and clients' loops rely on it.
	return rows[:min(limit, len(rows))], len(rows) >= limit && limit > 0, nil
}

// offsetMax is Cinder's: what a database's integer holds.
const offsetMax = 1<<31 - 1

func number(query url.Values, name string, otherwise int) (int, error) {
	text := query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > offsetMax {
		return 0, errs.New(errs.Invalid, "Invalid input received: %s must be a number from 0 to %d, and '%.40s' is not.", name, offsetMax, text)
	}
	return n, nil
}

// page wraps a list in its document, with the link to what comes behind.
func (c *call) page(name, path string, shown []document, last string, more bool, total int) document {
	if shown == nil {
		shown = []document{}
	}
	d := document{name: shown}
	query := c.r.URL.Query()
	if more {
		query.Set("marker", last)
		query.Del("offset")
		d[name+"_links"] = []document{{"rel": "next", "href": c.link(false, path) + "?" + query.Encode()}}
	}
	if c.version >= sinceCount && isTrue(query.Get("with_count")) {
		d["count"] = total
	}
	return d
}

// isTrue reads a query's boolean.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "1", "t", "true", "y", "yes", "on":
		return true
	}
	return false
}

// isFalse is for what is clearly false.
func isFalse(s string) bool {
	switch strings.ToLower(s) {
	case "0", "f", "false", "n", "no", "off":
		return true
	}
	return false
}

// pairs reads a filter that is a dictionary: JSON, or as Python writes it, which is what clients send.
func pairs(text string) (map[string]string, error) {
	var m map[string]string
	if json.Unmarshal([]byte(text), &m) == nil {
		return m, nil
	}
	if json.Unmarshal([]byte(pythonToJSON(text)), &m) == nil {
		return m, nil
	}
	return nil, errs.New(errs.Invalid, "Invalid input received: '%.80s' is not a dictionary of texts.", text)
}

// pythonToJSON turns 'texts' and u'texts' into "texts".
func pythonToJSON(text string) string {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		ch := text[i]
		switch {
		case quote == 0 && ch == 'u' && i+1 < len(text) && (text[i+1] == '\'' || text[i+1] == '"'):
		case quote == 0 && (ch == '\'' || ch == '"'):
			quote = ch
			b.WriteByte('"')
		case quote != 0 && ch == '\\' && i+1 < len(text):
			i++
			if text[i] != '\'' {
				b.WriteByte('\\')
			}
			b.WriteByte(text[i])
		case ch == quote && quote != 0:
			quote = 0
			b.WriteByte('"')
		case ch == '"':
			b.WriteString(`\"`)
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// holds tells whether all pairs are in m.
func holds(m, wanted map[string]string) bool {
	for name, value := range wanted {
		if got, ok := m[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// atTime is a filter on a moment: "gt:2026-01-01T00:00:00,lt:...", or one moment.
func atTime(of func() *time.Time, text string) (bool, error) {
	t := of()
	for part := range strings.SplitSeq(text, ",") {
		op, when, ok := strings.Cut(part, ":")
		if !ok || !slices.Contains([]string{"gt", "gte", "eq", "neq", "lt", "lte"}, op) {
			op, when = "eq", part
		}
		at, err := parseTime(when)
		if err != nil {
			return false, errs.New(errs.Invalid, "Invalid input received: '%.60s' is no time.", when)
		}
		if t == nil || !compares(t.Truncate(time.Second).Compare(at), op) {
			return false, nil
		}
	}
	return true, nil
}

func parseTime(text string) (t time.Time, err error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err = time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return t, err
}

func compares(n int, op string) bool {
	switch op {
	case "gt":
		return n > 0
	case "gte":
		return n >= 0
	case "lt":
		return n < 0
	case "lte":
		return n <= 0
	case "neq":
		return n != 0
	default:
		return n == 0
	}
}
