package openstack

import (
	"net/url"
	"slices"
	"strconv"

	"henge/internal/errs"
)

// Page says which part of a list a client wants: at most Limit rows (0: as many as we give) behind the one whose id is Marker.
type Page struct {
	Limit  int
	Marker string
}

// ParsePage reads limit and marker from a query. A limit that is no number, or negative, is errs.Invalid.
func ParsePage(query url.Values) (Page, error) {
	p := Page{Marker: query.Get("marker")}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return p, errs.New(errs.Invalid, "Invalid input for field 'limit': '%s' is not a positive integer", shorten([]byte(text)))
		}
		p.Limit = n
	}
	return p, nil
}

// Cut takes the page out of rows that are sorted by id, and tells whether there are more behind it. At most rowsMax rows are given, whatever was asked.
func Cut[T any](p Page, rows []T, rowsMax int, id func(T) string) (page []T, more bool) {
	start := 0
	if p.Marker != "" {
		start, _ = slices.BinarySearchFunc(rows, p.Marker, func(row T, marker string) int {
			if id(row) <= marker {
				return -1
			}
			return 1
		})
	}
	rows = rows[start:]
	n := rowsMax
	if p.Limit > 0 {
		n = min(n, p.Limit)
	}
	if len(rows) > n {
		return rows[:n], true
	}
	return rows, false
}

// Next is the query of the page behind marker.
func (p Page) Next(query url.Values, marker string) string {
	next := url.Values{}
	for k, v := range query {
		next[k] = v
	}
	next.Set("marker", marker)
	return next.Encode()
}
