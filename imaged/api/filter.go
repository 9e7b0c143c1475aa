package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/limits"
)

// filter says which images a list has.
type filter struct {
	who          *authn.Identity
	visibility   string // "", one of the visibilities, or "all"
	memberStatus string // of images that are shared with the caller: one of the statuses, or "all"
	hidden       bool
	tests        []func(*model.Image) bool
}

func (c *call) parseFilter(query url.Values) (*filter, error) {
	f := &filter{who: c.who, memberStatus: "accepted"}
	if len(query) > limits.ImageFiltersMax {
		return nil, errs.New(errs.Invalid, "There are %d parameters; %d are allowed.", len(query), limits.ImageFiltersMax)
	}
	for name, values := range query {
		for _, value := range values {
			if err := f.add(name, value); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// add takes one parameter.
func (f *filter) add(name, value string) error {
	switch name {
	case "limit", "marker", "sort", "sort_key", "sort_dir":
	case "visibility":
		return f.setWord(&f.visibility, name, value, append([]string{"all"}, visibilities...))
	case "member_status":
		return f.setWord(&f.memberStatus, name, value, append([]string{"all"}, memberStatuses...))
	case "os_hidden":
		return parseBool(name, value, &f.hidden)
	case "protected":
		var want bool
		if err := parseBool(name, value, &want); err != nil {
			return err
		}
		f.test(func(i *model.Image) bool { return i.Protected == want })
	case "tag":
		f.test(func(i *model.Image) bool { return slices.Contains(i.Tags, value) })
	case "size", "size_min", "size_max", "min_disk", "min_ram", "virtual_size":
		return f.addNumber(name, value)
	case "created_at", "updated_at":
		return f.addTime(name, value)
	default:
		return f.addText(name, value)
	}
	return nil
}

func (f *filter) test(fn func(*model.Image) bool) { f.tests = append(f.tests, fn) }

func (f *filter) setWord(into *string, name, value string, words []string) error {
	if !slices.Contains(words, value) {
		return errs.New(errs.Invalid, "Invalid %s value: %.40s. It must be one of %s.", name, value, strings.Join(words, ", "))
	}
	*into = value
	return nil
}

func parseBool(name, value string, into *bool) error {
	switch strings.ToLower(value) {
	case "true", "1":
		*into = true
	case "false", "0":
		*into = false
	default:
		return errs.New(errs.Invalid, "Invalid value '%.40s' for '%s' filter. Valid values are case insensitive 'true' or 'false'.", value, name)
	}
	return nil
}

func (f *filter) addNumber(name, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return errs.New(errs.Invalid, "Cannot filter by %s: %.40q is not a number.", name, value)
	}
	tests := map[string]func(*model.Image) bool{
		"size":         func(i *model.Image) bool { return sizeOf(i) == n },
		"size_min":     func(i *model.Image) bool { return i.HasData() && sizeOf(i) >= n },
		"size_max":     func(i *model.Image) bool { return i.HasData() && sizeOf(i) <= n },
		"virtual_size": func(i *model.Image) bool { return virtualSizeOf(i) == n },
		"min_disk":     func(i *model.Image) bool { return i.MinDisk == n },
		"min_ram":      func(i *model.Image) bool { return i.MinRAM == n },
	}
	f.test(tests[name])
	return nil
}

// addTime reads "gt:2020-01-01T00:00:00Z" and its relatives.
func (f *filter) addTime(name, value string) error {
	op, text, given := strings.Cut(value, ":")
	if !given || !slices.Contains([]string{"gt", "gte", "lt", "lte", "eq", "neq"}, op) {
		op, text = "eq", value
	}
	at, err := parseTime(text)
	if err != nil {
		return errs.New(errs.Invalid, "Cannot filter by %s: %.60q is not a time in ISO 8601.", name, text)
	}
	f.test(func(i *model.Image) bool {
		of := i.Created
		if name == "updated_at" {
			of = i.Updated
		}
		n := of.Truncate(time.Second).Compare(at)
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
		}
		return n == 0
	})
	return nil
}

func parseTime(text string) (at time.Time, err error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err = time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return at, err
}

// listed are the attributes that "in:a,b" works for, as in Glance.
var listed = []string{"container_format", "disk_format", "id", "name", "status"}

// addText compares an attribute, or a property of the image's own.
func (f *filter) addText(name, value string) error {
	want := []string{value}
	if rest, ok := strings.CutPrefix(value, "in:"); ok && slices.Contains(listed, name) {
		var err error
		if want, err = splitList(rest); err != nil {
			return err
		}
	}
	f.test(func(i *model.Image) bool {
		is, there := textOf(i, name)
		return there && slices.Contains(want, is)
	})
	return nil
}

// splitList splits at commas outside double quotes.
func splitList(text string) ([]string, error) {
	var all []string
	item, quoted := "", false
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case ch == '"':
			quoted = !quoted
		case ch == '\\' && i+1 < len(text):
			i++
			item += text[i : i+1]
		case ch == ',' && !quoted:
			all, item = append(all, item), ""
		default:
			item += text[i : i+1]
		}
	}
	if quoted {
		return nil, errs.New(errs.Invalid, "Invalid filter value %.80q. The quote is not closed.", text)
	}
	return append(all, item), nil
}

// textOf is an attribute as text.
func textOf(i *model.Image, name string) (string, bool) {
	switch name {
	case "id":
		return i.ID, true
	case "name":
		return i.NameOf(), i.Name != nil
	case "owner":
		return i.Owner, true
	case "status":
		return string(i.Status), true
	case "disk_format":
		return i.DiskFormat, true
	case "container_format":
		return i.ContainerFormat, true
	case "checksum":
		return checksumOf(i), i.HasData()
	case "os_hash_algo":
		return "sha512", i.HasData()
	case "os_hash_value":
		if !i.HasData() {
			return "", false
		}
		return i.Data.SHA512, true
	}
	value, there := i.Properties[name]
	if !there || value == nil {
		return "", false
	}
	return *value, true
}

// images are all that pass.
func (f *filter) images(r state.Reader) ([]model.Image, error) {
	shared, err := f.sharedWith(r)
	if err != nil {
		return nil, err
	}
	var all []model.Image
	for i, err := range model.Images.All(r) {
		if err != nil {
			return nil, err
		}
		if i.Hidden == f.hidden && f.sees(&i, shared) && f.passes(&i) {
			all = append(all, i)
		}
	}
	return all, nil
}

func (f *filter) passes(i *model.Image) bool {
	for _, test := range f.tests {
		if !test(i) {
			return false
		}
	}
	return true
}

// sharedWith are the images that are shared with the caller, in the wanted status.
func (f *filter) sharedWith(r state.Reader) (map[string]bool, error) {
	ids := map[string]bool{}
	if f.who.ProjectID == "" {
		return ids, nil
	}
	for m, err := range model.Members.Where(r, "project", f.who.ProjectID) {
		if err != nil {
			return nil, err
		}
		if f.memberStatus == "all" || m.Status == f.memberStatus {
			ids[m.ImageID] = true
		}
	}
	return ids, nil
}

// sees tells whether an image belongs into the caller's list. A community image of somebody else's does only when it is asked for.
func (f *filter) sees(i *model.Image, shared map[string]bool) bool {
	if f.visibility != "" && f.visibility != "all" && string(i.Visibility) != f.visibility {
		return false
	}
	own := i.Owns(f.who)
	switch i.Visibility {
	case model.Public:
		return true
	case model.Community:
		return own || f.visibility == string(model.Community) || f.visibility == "all"
	case model.Shared:
		return own || model.Admin(f.who) || shared[i.ID]
	}
	return own || model.Admin(f.who)
}
