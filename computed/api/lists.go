package api

import (
	"net/url"

	"henge/computed/listing"
)

// How lists are asked for, by the names that the handlers know.
var (
	parsePage    = listing.ParsePage
	parseSorting = listing.ParseSorting
	parseTime    = listing.ParseTime
	stamp        = listing.Stamp
	micros       = listing.Micros
)

type (
	page    = listing.Page
	sorting = listing.Sorting
)

// addNext puts the link to the next page into a list.
func (c *call) addNext(doc document, plural, lastID string, path ...string) {
	query := url.Values{}
	for k, v := range c.r.URL.Query() {
		query[k] = v
	}
	query.Set("marker", lastID)
	doc[plural+"_links"] = []document{{"rel": "next", "href": c.link(path...) + "?" + query.Encode()}}
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
