package fields

import (
	"encoding/json"
	"strconv"
	"strings"

	"henge/internal/openstack"
)

// Number reads a field that is a JSON number, without taking it.
func Number(f *openstack.Fields, name string) (int64, bool) {
	var n int64
	if !f.Has(name) || json.Unmarshal(f.Raw(name), &n) != nil || f.Null(name) {
		return 0, false
	}
	return n, true
}

// Int takes a whole number that Nova takes as a number or as text.
func Int(f *openstack.Fields, name string, into *int, least, most int) {
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
		f.Fail(name, "%s is not of type 'integer'", Shorten(string(raw)))
	case n < least:
		f.Fail(name, "%d is less than the minimum of %d", n, least)
	case n > most:
		f.Fail(name, "%d is greater than the maximum of %d", n, most)
	default:
		*into = n
	}
}

// Float takes a number that Nova takes as a number or as text, greater than 0.
func Float(f *openstack.Fields, name string, into *float64) {
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
		f.Fail(name, "%s is not a number greater than 0", Shorten(string(raw)))
		return
	}
	*into = n
}

// Bool takes a boolean in any of the forms that Nova takes.
func Bool(f *openstack.Fields, name string, into *bool) {
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
	case IsTrue(text):
		*into = true
	case IsFalse(text) && text != "":
		*into = false
	default:
		f.Fail(name, "%s is not of type 'boolean'", Shorten(string(raw)))
	}
}

// Bounds of metadata.
const (
	MetadataItemsMax = 128
	MetadataTextMax  = 255
)

// Metadata takes a map of short strings.
func Metadata(f *openstack.Fields, name string, into *map[string]string) {
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
			f.Fail(name, "the value of '%s' is not of type 'string'", Shorten(k))
		case k == "" || len(k) > MetadataTextMax || len(s) > MetadataTextMax:
			f.Fail(name, "keys have 1 to %d characters, values at most %d", MetadataTextMax, MetadataTextMax)
		}
		out[k] = s
	}
	*into = out
}

// Shorten makes a client's text fit for a message.
func Shorten(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// IsTrue reads a boolean as oslo's strutils does.
func IsTrue(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "t", "true", "on", "y", "yes":
		return true
	}
	return false
}

// IsFalse is the same for false; "" is.
func IsFalse(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "0", "f", "false", "off", "n", "no", "":
		return true
	}
	return false
}
