// Package listing reads what a client asks of a list: the page, the order, moments; and writes moments as Nova does.
package listing

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/computed/fields"
	"henge/internal/errs"
)

// RowsMax is the longest page (Nova's osapi_max_limit).
const RowsMax = 1000

// Page is what a client asked of a list.
type Page struct {
	Limit  int
	Marker string
}

// ParsePage reads limit and marker.
func ParsePage(query url.Values) (Page, error) {
	p := Page{Limit: RowsMax, Marker: query.Get("marker")}
	for _, text := range query["limit"] {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return p, errs.New(errs.Invalid, "Invalid input for query parameters limit. Value: %s. '%s' does not match '^[0-9]*$'", fields.Shorten(text), fields.Shorten(text))
		}
		p.Limit = min(n, RowsMax)
	}
	return p, nil
}

// Cut takes the page behind the marker; an unknown marker is errs.Invalid.
func Cut[T any](p Page, rows []T, id func(T) string) (part []T, more bool, err error) {
	if p.Marker != "" {
		at := slices.IndexFunc(rows, func(row T) bool { return id(row) == p.Marker })
		if at < 0 {
			return nil, false, errs.New(errs.Invalid, "marker [%s] not found", fields.Shorten(p.Marker))
		}
		rows = rows[at+1:]
	}
	if len(rows) > p.Limit {
		return rows[:p.Limit], p.Limit > 0, nil
	}
	return rows, false, nil
}

// Sorting is sort_key and sort_dir, as many as there are.
type Sorting struct {
	Key  string
	Down bool
}

// ParseSorting reads them; standard is the order where none is asked for.
func ParseSorting(query url.Values, known []string, standard ...Sorting) ([]Sorting, error) {
	keys, dirs := query["sort_key"], query["sort_dir"]
	if len(keys) == 0 {
		for i := range standard {
			if len(dirs) > 0 {
				standard[i].Down = dirs[min(i, len(dirs)-1)] == "desc"
			}
		}
		return standard, nil
	}
	var all []Sorting
	for i, k := range keys {
		if !slices.Contains(known, k) {
			return nil, errs.New(errs.Invalid, "Invalid input for query parameters sort_key. Value: %s. it is not one of %s", fields.Shorten(k), strings.Join(known, ", "))
		}
		dir := "desc"
		if i < len(dirs) {
			dir = dirs[i]
		}
		if dir != "asc" && dir != "desc" {
			return nil, errs.New(errs.Invalid, "Invalid input for query parameters sort_dir. Value: %s. it is asc or desc", fields.Shorten(dir))
		}
		all = append(all, Sorting{k, dir == "desc"})
	}
	return all, nil
}

// Stamp is a moment, to the second.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// Micros is the time form of the extensions: no zone, microseconds.
func Micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

// ParseTime reads a moment in any of the forms that clients send.
func ParseTime(name, text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errs.New(errs.Invalid, "Invalid input for query parameters %s. Value: %s. it is no time", name, fields.Shorten(text))
}
