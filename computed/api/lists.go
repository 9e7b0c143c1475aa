package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/internal/errs"
)

// rowsMax is the longest page (Nova's osapi_max_limit).
const rowsMax = 1000

// page is what a client asked of a list.
type page struct {
	limit  int
	marker string
}

func parsePage(query url.Values) (page, error) {
	p := page{limit: rowsMax, marker: query.Get("marker")}
	for _, text := range query["limit"] {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return p, errs.New(errs.Invalid, "Invalid input for query parameters limit. Value: %s. '%s' does not match '^[0-9]*$'", shorten(text), shorten(text))
		}
		p.limit = min(n, rowsMax)
	}
	return p, nil
}

// cut takes the page behind the marker; an unknown marker is errs.Invalid.
func cut[T any](p page, rows []T, id func(T) string) (part []T, more bool, err error) {
	if p.marker != "" {
		at := slices.IndexFunc(rows, func(row T) bool { return id(row) == p.marker })
		if at < 0 {
			return nil, false, errs.New(errs.Invalid, "marker [%s] not found", shorten(p.marker))
		}
		rows = rows[at+1:]
	}
	if len(rows) > p.limit {
		return rows[:p.limit], p.limit > 0, nil
	}
	return rows, false, nil
}

// addNext puts the link to the next page into a list.
func (c *call) addNext(doc document, plural, lastID string, path ...string) {
	query := url.Values{}
	for k, v := range c.r.URL.Query() {
		query[k] = v
	}
	query.Set("marker", lastID)
	doc[plural+"_links"] = []document{{"rel": "next", "href": c.link(path...) + "?" + query.Encode()}}
}

// sorting is sort_key and sort_dir, as many as there are.
type sorting struct {
	key  string
	down bool
}

func parseSorting(query url.Values, known []string, standard ...sorting) ([]sorting, error) {
	keys, dirs := query["sort_key"], query["sort_dir"]
	if len(keys) == 0 {
		for i := range standard {
			if len(dirs) > 0 {
				standard[i].down = dirs[min(i, len(dirs)-1)] == "desc"
			}
		}
		return standard, nil
	}
	var all []sorting
	for i, k := range keys {
		if !slices.Contains(known, k) {
			return nil, errs.New(errs.Invalid, "Invalid input for query parameters sort_key. Value: %s. it is not one of %s", shorten(k), strings.Join(known, ", "))
		}
		dir := "desc"
		if i < len(dirs) {
			dir = dirs[i]
		}
		if dir != "asc" && dir != "desc" {
			return nil, errs.New(errs.Invalid, "Invalid input for query parameters sort_dir. Value: %s. it is asc or desc", shorten(dir))
		}
		all = append(all, sorting{k, dir == "desc"})
	}
	return all, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// micros is the time form of the extensions: no zone, microseconds.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

func parseTime(name, text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errs.New(errs.Invalid, "Invalid input for query parameters %s. Value: %s. it is no time", name, shorten(text))
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orNone(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
