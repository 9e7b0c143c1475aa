package api

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/netd/fault"
)

// pageMax is the longest page.
const pageMax = 10_000

// reserved are the parameters of a list that are no filters.
var reserved = []string{"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse", "tags", "tags-any", "not-tags", "not-tags-any"}

// filter keeps the documents that a query asks for.
type filter struct {
	equal map[string][]string
	tags  url.Values
}

// newFilter reads a query; what no document of the kind has is an error, for a filter with a slip of the pen would otherwise show everything.
func newFilter(query url.Values, sample document) (filter, error) {
	f := filter{equal: map[string][]string{}, tags: query}
	var unknown []string
	for name, values := range query {
		if slices.Contains(reserved, name) {
			continue
		}
		if _, ok := sample[name]; !ok && name != "ip_address_substr" && name != "all_tenants" {
			unknown = append(unknown, name)
			continue
		}
		f.equal[name] = values
	}
	delete(f.equal, "all_tenants")
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return f, fault.BadBody("[%s] is invalid attribute for filtering", strings.Join(unknown, ", "))
	}
	return f, nil
}

func (f filter) keeps(d document) bool {
	for name, values := range f.equal {
		if !matches(name, d[name], values, d) {
			return false
		}
	}
	tags, _ := d["tags"].([]string)
	has := func(tag string) bool { return slices.Contains(tags, tag) }
	for name, keep := range map[string]func([]string) bool{
		"tags":         func(want []string) bool { return every(want, has) },
		"tags-any":     func(want []string) bool { return slices.ContainsFunc(want, has) },
		"not-tags":     func(want []string) bool { return !every(want, has) },
		"not-tags-any": func(want []string) bool { return !slices.ContainsFunc(want, has) },
	} {
		if want := commaList(f.tags[name]); len(want) > 0 && !keep(want) {
			return false
		}
	}
	return true
}

func every(list []string, ok func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !ok(s) })
}

func commaList(values []string) (all []string) {
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// matches: one of the values is the attribute's; of fixed IPs, one address meets all of the conditions.
func matches(name string, have any, values []string, d document) bool {
	switch list := have.(type) {
	case []document:
		return slices.ContainsFunc(list, func(item document) bool { return meets(item, values) })
	case []string:
		return slices.ContainsFunc(values, func(v string) bool { return slices.Contains(list, v) })
	}
	if name == "ip_address_substr" {
		fixed, _ := d["fixed_ips"].([]document)
		return slices.ContainsFunc(fixed, func(item document) bool {
			ip := fmt.Sprint(item["ip_address"])
			return slices.ContainsFunc(values, func(v string) bool { return strings.Contains(ip, v) })
		})
	}
	return slices.ContainsFunc(values, func(v string) bool { return same(have, v) })
}

// meets checks conditions like subnet_id=ID against one item; several of one kind are alternatives.
func meets(item document, conditions []string) bool {
	wanted := map[string][]string{}
	for _, condition := range conditions {
		key, value, ok := strings.Cut(condition, "=")
		if !ok {
			return false
		}
		wanted[key] = append(wanted[key], value)
	}
	for key, values := range wanted {
		if key == "ip_address_substr" {
			if !slices.ContainsFunc(values, func(v string) bool { return strings.Contains(fmt.Sprint(item["ip_address"]), v) }) {
				return false
			}
			continue
		}
		if !slices.ContainsFunc(values, func(v string) bool { return same(item[key], v) }) {
			return false
		}
	}
	return true
}

// same compares a shown value with a parameter.
func same(have any, want string) bool {
	switch v := have.(type) {
	case nil:
		return want == "" || want == "None" || want == "null"
	case bool:
		return v == (strings.EqualFold(want, "true") || want == "1")
	case netip.Addr:
		ip, err := netip.ParseAddr(want)
		return err == nil && ip == v
	case string:
		return v == want || strings.Contains(v, ":") && strings.EqualFold(v, want)
	}
	return fmt.Sprint(have) == want
}

// only keeps some fields of a document; all when none are named.
func only(d document, fields []string) document {
	if len(fields) == 0 {
		return d
	}
	kept := document{}
	for _, f := range fields {
		if v, ok := d[f]; ok {
			kept[f] = v
		}
	}
	return kept
}

// page sorts, cuts, links and answers a list.
func (c *call) page(path, plural string, all []document) error {
	query := c.r.URL.Query()
	if err := sortBy(all, query); err != nil {
		return err
	}
	limit, err := limitOf(query)
	if err != nil {
		return err
	}
	back := strings.EqualFold(query.Get("page_reverse"), "true")
	all, err = cut(all, query.Get("marker"), limit, back)
	if err != nil {
		return err
	}
	answer := document{}
	if limit > 0 {
		answer[plural+"_links"] = c.links(path, all, limit, back)
	}
	rows := make([]document, 0, len(all))
	for _, d := range all {
		rows = append(rows, only(d, query["fields"]))
	}
	answer[plural] = rows
	return c.json(http.StatusOK, answer)
}

func limitOf(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fault.BadBody("Invalid input for limit. Reason: '%s' is not a non-negative integer.", brief([]byte(text)))
	}
	return min(n, pageMax), nil
}

// sortBy orders documents by the keys of the query, and by id where these leave it open.
func sortBy(all []document, query url.Values) error {
	keys, dirs := query["sort_key"], query["sort_dir"]
	if len(keys) != len(dirs) && len(dirs) > 0 {
		return fault.BadBody("The number of sort_keys and sort_dirs must be same")
	}
	for _, dir := range dirs {
		if dir != "asc" && dir != "desc" {
			return fault.BadBody("Invalid input for sort_dir. Reason: '%s' is not asc or desc.", brief([]byte(dir)))
		}
	}
	if len(all) > 0 {
		for _, key := range keys {
			if v, ok := all[0][key]; !ok || !sortable(v) {
				return fault.BadBody("%s is invalid attribute for sort_keys", brief([]byte(key)))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b document) int {
		for i, key := range keys {
			order := compare(a[key], b[key])
			if len(dirs) > 0 && dirs[i] == "desc" {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return compare(a["id"], b["id"])
	})
	return nil
}

func sortable(v any) bool {
	switch v.(type) {
	case nil, string, bool, int, netip.Addr:
		return true
	}
	return false
}

func compare(a, b any) int {
	x, okx := a.(int)
	y, oky := b.(int)
	if okx && oky {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

// cut takes what lies behind the marker, or before it when the page is asked for backwards.
func cut(all []document, marker string, limit int, back bool) ([]document, error) {
	if marker != "" {
		at := slices.IndexFunc(all, func(d document) bool { return d["id"] == marker })
		if at < 0 {
			return nil, fault.New(errs.NotFound, "MarkerNotFound", "The marker %s could not be found.", brief([]byte(marker)))
		}
		if back {
			all = all[:at]
		} else {
			all = all[at+1:]
		}
	}
	if limit == 0 {
		limit = pageMax
	}
	if len(all) > limit {
		if back {
			return all[len(all)-limit:], nil
		}
		return all[:limit], nil
	}
	return all, nil
}

// links lead to the pages before and behind.
func (c *call) links(path string, page []document, limit int, back bool) []document {
	links := []document{}
	query := c.r.URL.Query()
	link := func(rel string, marker any, reverse bool) {
		q := url.Values{}
		for k, v := range query {
			q[k] = v
		}
		q.Del("page_reverse")
		if marker != nil {
			q.Set("marker", fmt.Sprint(marker))
		} else {
			q.Del("marker")
		}
		if reverse {
			q.Set("page_reverse", "True")
		}
		links = append(links, document{"rel": rel, "href": c.root() + "/v2.0/" + path + "?" + q.Encode()})
	}
	if len(page) == 0 {
		if marker := query.Get("marker"); marker != "" {
			link(map[bool]string{true: "next", false: "previous"}[back], nil, !back)
		}
		return links
	}
	if len(page) == limit && !back || back {
		link("next", page[len(page)-1]["id"], false)
	}
	if query.Get("marker") != "" && !back || back && len(page) == limit {
		link("previous", page[0]["id"], true)
	}
	return links
}
