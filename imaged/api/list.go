package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/limits"
)

func listImages(c *call) error {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return errs.New(errs.Invalid, "The query cannot be read: %w", err)
	}
	page, err := parsePage(query)
	if err != nil {
		return err
	}
	filter, err := c.parseFilter(query)
	if err != nil {
		return err
	}
	var images []model.Image
	err = c.view(func(r state.Reader) (err error) {
		images, err = filter.images(r)
		return err
	})
	if err != nil {
		return err
	}
	page.sort(images)
	images, more, err := page.cut(images)
	if err != nil {
		return err
	}
	list := []document{}
	for _, i := range images {
		list = append(list, imageDocument(i))
	}
	answer := document{"images": list, "first": "/v2/images" + firstQuery(query), "schema": "/v2/schemas/images"}
	if more {
		answer["next"] = "/v2/images?" + nextQuery(query, images[len(images)-1].ID)
	}
	return c.json(http.StatusOK, answer)
}

func firstQuery(query url.Values) string {
	first := url.Values{}
	for k, v := range query {
		if k != "marker" {
			first[k] = v
		}
	}
	if len(first) == 0 {
		return ""
	}
	return "?" + first.Encode()
}

func nextQuery(query url.Values, marker string) string {
	next := url.Values{}
	for k, v := range query {
		next[k] = v
	}
	next.Set("marker", marker)
	return next.Encode()
}

// page is the order and the part of a list.
type page struct {
	limit  int
	marker string
	keys   []sortKey
}

type sortKey struct {
	name string
	desc bool
}

// sortKeys are what can be sorted by, and how.
var sortKeys = map[string]func(a, b *model.Image) int{
	"name":             func(a, b *model.Image) int { return strings.Compare(a.NameOf(), b.NameOf()) },
	"status":           func(a, b *model.Image) int { return strings.Compare(string(a.Status), string(b.Status)) },
	"container_format": func(a, b *model.Image) int { return strings.Compare(a.ContainerFormat, b.ContainerFormat) },
	"disk_format":      func(a, b *model.Image) int { return strings.Compare(a.DiskFormat, b.DiskFormat) },
	"owner":            func(a, b *model.Image) int { return strings.Compare(a.Owner, b.Owner) },
	"visibility":       func(a, b *model.Image) int { return strings.Compare(string(a.Visibility), string(b.Visibility)) },
	"size":             func(a, b *model.Image) int { return compareInts(sizeOf(a), sizeOf(b)) },
	"virtual_size":     func(a, b *model.Image) int { return compareInts(virtualSizeOf(a), virtualSizeOf(b)) },
	"min_disk":         func(a, b *model.Image) int { return compareInts(a.MinDisk, b.MinDisk) },
	"min_ram":          func(a, b *model.Image) int { return compareInts(a.MinRAM, b.MinRAM) },
	"id":               func(a, b *model.Image) int { return strings.Compare(a.ID, b.ID) },
	"created_at":       func(a, b *model.Image) int { return a.Created.Compare(b.Created) },
	"updated_at":       func(a, b *model.Image) int { return a.Updated.Compare(b.Updated) },
	"checksum":         func(a, b *model.Image) int { return strings.Compare(checksumOf(a), checksumOf(b)) },
}

func compareInts(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// sizeOf is below all sizes for an image without data.
func sizeOf(i *model.Image) int64 {
	if !i.HasData() {
		return -1
	}
	return i.Data.Size
}

func virtualSizeOf(i *model.Image) int64 {
	if !i.HasData() {
		return -1
	}
	return i.Data.VirtualSize
}

func checksumOf(i *model.Image) string {
	if !i.HasData() {
		return ""
	}
	return i.Data.MD5
}

func parsePage(query url.Values) (page, error) {
	p := page{limit: limits.ImagesPage, marker: query.Get("marker")}
	if query.Has("limit") {
		n, err := strconv.Atoi(query.Get("limit"))
		if err != nil || n < 0 {
			return p, errs.New(errs.Invalid, "limit param must be a positive integer, not %.40q", query.Get("limit"))
		}
		p.limit = min(n, limits.ImagesPageMax)
	}
	var err error
	if query.Has("sort") {
		if query.Has("sort_key") || query.Has("sort_dir") {
			return p, errs.New(errs.Invalid, "Old and new sorting syntax cannot be combined")
		}
		p.keys, err = parseSort(query.Get("sort"))
	} else {
		p.keys, err = parseSortKeys(query["sort_key"], query["sort_dir"])
	}
	if err != nil {
		return p, err
	}
	for _, name := range []string{"created_at", "id"} { // so that the order is always whole
		if !slices.ContainsFunc(p.keys, func(k sortKey) bool { return k.name == name }) {
			p.keys = append(p.keys, sortKey{name, p.keys[0].desc})
		}
	}
	return p, nil
}

// parseSort reads "name:asc,size:desc".
func parseSort(text string) (keys []sortKey, err error) {
	for _, part := range strings.Split(text, ",") {
		name, dir, given := strings.Cut(strings.TrimSpace(part), ":")
		if !given {
			dir = "desc"
		}
		key, err := makeSortKey(name, dir)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, checkCount(keys)
}

// parseSortKeys reads sort_key and sort_dir: one direction for all keys, or one for each.
func parseSortKeys(names, dirs []string) (keys []sortKey, err error) {
	if len(names) == 0 {
		names = []string{"created_at"}
	}
	if len(dirs) > 1 && len(dirs) != len(names) {
		return nil, errs.New(errs.Invalid, "Number of sort dirs does not match the number of sort keys")
	}
	for i, name := range names {
		dir := "desc"
		if len(dirs) > 0 {
			dir = dirs[min(i, len(dirs)-1)]
		}
		key, err := makeSortKey(name, dir)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, checkCount(keys)
}

func checkCount(keys []sortKey) error {
	if len(keys) > len(sortKeys) {
		return errs.New(errs.Invalid, "There are more sort keys than attributes to sort by.")
	}
	return nil
}

func makeSortKey(name, dir string) (sortKey, error) {
	if sortKeys[name] == nil {
		return sortKey{}, errs.New(errs.Invalid, "Invalid sort key: %.60s. It must be one of the following: %s.", name, strings.Join(sortedNames(), ", "))
	}
	if dir != "asc" && dir != "desc" {
		return sortKey{}, errs.New(errs.Invalid, "Invalid sort direction: %.40s. It must be one of the following: asc, desc.", dir)
	}
	return sortKey{name, dir == "desc"}, nil
}

func sortedNames() []string {
	var names []string
	for name := range sortKeys {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (p page) sort(images []model.Image) {
	slices.SortFunc(images, func(a, b model.Image) int {
		for _, k := range p.keys {
			n := sortKeys[k.name](&a, &b)
			if k.desc {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
}

// cut takes the page behind the marker.
func (p page) cut(images []model.Image) (part []model.Image, more bool, err error) {
	if p.marker != "" {
		at := slices.IndexFunc(images, func(i model.Image) bool { return i.ID == p.marker })
		if at < 0 {
			return nil, false, errs.New(errs.Invalid, "Invalid marker: image %.60s is not in the list.", p.marker)
		}
		images = images[at+1:]
	}
	if len(images) > p.limit {
		return images[:p.limit], p.limit > 0, nil
	}
	return images, false, nil
}
