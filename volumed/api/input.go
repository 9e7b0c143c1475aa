package api

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"henge/internal/errs"
	"henge/internal/openstack"
)

// Bounds of what a client may say of a thing.
const (
	metadataMax = 128 // pairs of one volume
	textMax     = 255
)

// integer takes a number, also one written as text, as OpenStack clients do.
func integer(f *openstack.Fields, name string, into *int64) (there bool) {
	v, ok := f.Value(name)
	switch n := v.(type) {
	case nil:
		return false
	case float64:
		if n != math.Trunc(n) || math.Abs(n) > 1<<52 {
			f.Fail(name, "%v is not an integer", n)
		}
		*into = int64(n)
	case string:
		i, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		if err != nil {
			f.Fail(name, "'%.40s' is not an integer", n)
		}
		*into = i
	default:
		f.Fail(name, "it is not an integer")
	}
	return ok
}

// boolean takes a boolean, also one written as text.
func boolean(f *openstack.Fields, name string, into *bool) {
	v, _ := f.Value(name)
	switch b := v.(type) {
	case nil:
	case bool:
		*into = b
	case string:
		if !isTrue(b) && !isFalse(b) {
			f.Fail(name, "'%.40s' is not a boolean", b)
		}
		*into = isTrue(b)
	case float64:
		*into = b != 0
	default:
		f.Fail(name, "it is not a boolean")
	}
}

// id takes the id of something, which may be null.
func id(f *openstack.Fields, name string, into *string) {
	f.Text(name, into, openstack.Text{Nullable: true})
	*into = strings.TrimSpace(*into)
}

// label takes a name or description, under either of the two names that it has had.
func label(f *openstack.Fields, name string, into *string, null *bool) {
	for _, field := range []string{"display_" + name, name} {
		if f.Null(field) {
			*into, *null = "", true
			f.Drop(field)
		}
		if f.Has(field) {
			f.Text(field, into, openstack.Text{MaxLength: textMax})
			*null, *into = false, strings.TrimSpace(*into)
		}
	}
}

// texts takes a dictionary of texts, nil when the field is not there or null.
func texts(f *openstack.Fields, name string) map[string]string {
	if !f.Has(name) || f.Null(name) {
		f.Drop(name)
		return nil
	}
	var raw map[string]any
	f.Map(name, &raw)
	m, err := checkTexts(raw)
	if err != nil && f.Err() == nil {
		f.Fail(name, "%s", err)
	}
	return m
}

func checkTexts(raw map[string]any) (map[string]string, error) {
	if len(raw) > metadataMax {
		return nil, errs.New(errs.Invalid, "%d pairs; at most %d are possible", len(raw), metadataMax)
	}
	m := make(map[string]string, len(raw))
	for k, v := range raw {
		text, ok := v.(string)
		switch {
		case !ok:
			return nil, errs.New(errs.Invalid, "the value of '%.60s' is not a string", k)
		case k == "" || utf8.RuneCountInString(k) > textMax || strings.ContainsRune(k, 0):
			return nil, errs.New(errs.Invalid, "a name has 1 to %d characters", textMax)
		case utf8.RuneCountInString(text) > textMax || strings.ContainsRune(text, 0):
			return nil, errs.New(errs.Invalid, "the value of '%.60s' has more than %d characters", k, textMax)
		}
		m[k] = text
	}
	return m, nil
}
