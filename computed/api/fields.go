package api

import (
	"encoding/json"
	"strconv"

	"henge/internal/openstack"
)

// number reads a field that is a JSON number, without taking it.
func number(f *openstack.Fields, name string) (int64, bool) {
	var n int64
	if !f.Has(name) || json.Unmarshal(f.Raw(name), &n) != nil || f.Null(name) {
		return 0, false
	}
	return n, true
}

// takeInt takes a whole number that Nova takes as a number or as text.
func takeInt(f *openstack.Fields, name string, into *int, least, most int) {
	if !f.Has(name) {
		return
	}
	raw := f.Raw(name)
	f.Drop(name)
	text := string(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil && text != "null" {
		text = s
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		f.Fail(name, "%s is not of type 'integer'", shorten(string(raw)))
	case n < least:
		f.Fail(name, "%d is less than the minimum of %d", n, least)
	case n > most:
		f.Fail(name, "%d is greater than the maximum of %d", n, most)
	default:
		*into = n
	}
}

func takeFloat(f *openstack.Fields, name string, into *float64) {
	if !f.Has(name) {
		return
	}
	raw := f.Raw(name)
	f.Drop(name)
	text := string(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil && text != "null" {
		text = s
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n <= 0 || n > 3.4e38 {
		f.Fail(name, "%s is not a number greater than 0", shorten(string(raw)))
		return
	}
	*into = n
}

// takeBool takes a boolean in any of the forms that Nova takes.
func takeBool(f *openstack.Fields, name string, into *bool) {
	if !f.Has(name) {
		return
	}
	raw := f.Raw(name)
	f.Drop(name)
	var s string
	text := string(raw)
	if json.Unmarshal(raw, &s) == nil && text != "null" {
		text = s
	}
	switch {
	case isTrue(text):
		*into = true
	case isFalse(text) && text != "":
		*into = false
	default:
		f.Fail(name, "%s is not of type 'boolean'", shorten(string(raw)))
	}
}

const (
	metadataItemsMax = 128
	metadataTextMax  = 255
)

// takeMetadata takes a map of short strings.
func takeMetadata(f *openstack.Fields, name string, into *map[string]string) {
	if !f.Has(name) {
		return
	}
	var raw map[string]any
	f.Map(name, &raw)
	out := map[string]string{}
	for k, v := range raw {
		s, ok := v.(string)
		switch {
		case !ok:
			f.Fail(name, "the value of '%s' is not of type 'string'", shorten(k))
		case k == "" || len(k) > metadataTextMax || len(s) > metadataTextMax:
			f.Fail(name, "keys have 1 to %d characters, values at most %d", metadataTextMax, metadataTextMax)
		}
		out[k] = s
	}
	*into = out
}
