package openstack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"henge/internal/errs"
	"henge/internal/limits"
)

const (
	// depthMax is how deep the objects and lists of a body may nest.
	depthMax = 32
	// extraBytesMax bounds the attributes of a client's own that a record keeps.
	extraBytesMax = 64 << 10
)

// ReadBody reads a JSON body: errs.TooLarge over limits.RequestBodyBytesMax, errs.Invalid when it is not JSON, not UTF-8, or nested too deep.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limits.RequestBodyBytesMax))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, errs.New(errs.TooLarge, "The request body is larger than %d bytes.", limits.RequestBodyBytesMax)
	case err != nil:
		return nil, errs.New(errs.Incomplete, "The request body ended early: %w", err)
	}
	return raw, CheckJSON(raw)
}

// CheckJSON tells whether raw is one JSON value that we are ready to look into.
func CheckJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return errs.New(errs.Invalid, "Malformed JSON in request body: it is not UTF-8.")
	}
	if depth(raw) > depthMax {
		return errs.New(errs.Invalid, "Malformed JSON in request body: it is nested deeper than %d.", depthMax)
	}
	var anything json.RawMessage
	if err := json.Unmarshal(raw, &anything); err != nil {
		return errs.New(errs.Invalid, "Malformed JSON in request body: %w", err)
	}
	return nil
}

// depth counts brackets outside strings; of text that is not JSON it gives some number.
func depth(raw []byte) int {
	deepest, now := 0, 0
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// Fields takes a JSON object apart field by field, each checked as it is taken. The first thing wrong is kept; see Err.
type Fields struct {
	path string
	raw  map[string]json.RawMessage
	err  *error
}

// NewFields opens the object inside a body's wrapper: of {"user": {...}} the inner one, for the wrapper "user". "" opens the body itself.
func NewFields(body []byte, wrapper string) (*Fields, error) {
	var first error
	f := &Fields{err: &first}
	if err := json.Unmarshal(body, &f.raw); err != nil || f.raw == nil {
		return nil, errs.New(errs.Invalid, "The request body must be a JSON object.")
	}
	if wrapper == "" {
		return f, nil
	}
	if !f.Has(wrapper) {
		return nil, errs.New(errs.Invalid, "Invalid input for field '%s': '%s' is a required property", wrapper, wrapper)
	}
	inner := f.Object(wrapper)
	inner.path = "" // clients know their fields without it
	return inner, f.Err()
}

// Err is the first thing that was wrong, errs.Invalid, or nil.
func (f *Fields) Err() error { return *f.err }

// Fail notes that a field is wrong, unless something was wrong before.
func (f *Fields) Fail(name, format string, args ...any) {
	if *f.err == nil {
		*f.err = errs.New(errs.Invalid, "Invalid input for field '%s': %s", f.path+name, fmt.Sprintf(format, args...))
	}
}

// Has tells whether the field is there, null included.
func (f *Fields) Has(name string) bool {
	_, ok := f.raw[name]
	return ok
}

// Null tells whether the field is there and null.
func (f *Fields) Null(name string) bool { return string(f.raw[name]) == "null" }

// True tells whether the field is there and true.
func (f *Fields) True(name string) bool { return string(f.raw[name]) == "true" }

// Raw is the field as it was sent, for what the other methods cannot take; nil when it is not there.
func (f *Fields) Raw(name string) json.RawMessage { return f.raw[name] }

// Names are the fields that nobody took yet, in no order.
func (f *Fields) Names() []string {
	names := make([]string, 0, len(f.raw))
	for name := range f.raw {
		names = append(names, name)
	}
	return names
}

// take removes a field, so that Extra gives only what nobody took.
func (f *Fields) take(name string) (json.RawMessage, bool) {
	raw, ok := f.raw[name]
	delete(f.raw, name)
	return raw, ok
}

// Require notes every field that is missing.
func (f *Fields) Require(names ...string) {
	for _, name := range names {
		if !f.Has(name) {
			f.Fail(name, "'%s' is a required property", name)
		}
	}
}

// Text says what a string may be. Lengths are in characters; MaxLength 0 means 255.
type Text struct {
	MinLength, MaxLength int
	Nullable             bool     // null reads as ""
	OneOf                []string // empty: anything
}

// Text takes a string into the variable, which stays as it is when the field is absent.
func (f *Fields) Text(name string, into *string, rule Text) {
	raw, ok := f.take(name)
	if !ok {
		return
	}
	if rule.Nullable && string(raw) == "null" {
		*into = ""
		return
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		f.Fail(name, "%s is not of type 'string'", shorten(raw))
		return
	}
	if why := rule.check(*s); why != "" {
		f.Fail(name, "%s %s", shorten(raw), why)
		return
	}
	*into = *s
}

func (t Text) check(s string) string {
	longest := t.MaxLength
	if longest == 0 {
		longest = 255
	}
	n := utf8.RuneCountInString(s)
	switch {
	case n < t.MinLength:
		return "is too short"
	case t.MinLength > 0 && strings.TrimSpace(s) == "":
		return "is blank"
	case n > longest:
		return "is longer than " + strconv.Itoa(longest) + " characters"
	case strings.ContainsRune(s, 0):
		return "holds a NUL character"
	case t.OneOf != nil && !contains(t.OneOf, s):
		return "is not one of " + strings.Join(t.OneOf, ", ")
	}
	return ""
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

// Bool takes a boolean into the variable, which stays as it is when the field is absent.
func (f *Fields) Bool(name string, into *bool) {
	raw, ok := f.take(name)
	if !ok {
		return
	}
	var b *bool
	if err := json.Unmarshal(raw, &b); err != nil || b == nil {
		f.Fail(name, "%s is not of type 'boolean'", shorten(raw))
		return
	}
	*into = *b
}

// Texts takes a list of strings, each under the rule.
func (f *Fields) Texts(name string, into *[]string, rule Text, lengthMax int) {
	raw, ok := f.take(name)
	if !ok {
		return
	}
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		f.Fail(name, "%s is not a list of strings", shorten(raw))
		return
	}
	if len(list) > lengthMax {
		f.Fail(name, "it has %d items; %d are allowed", len(list), lengthMax)
		return
	}
	texts := make([]string, 0, len(list))
	for _, s := range list {
		if s == nil {
			f.Fail(name, "null is not of type 'string'")
			return
		}
		if why := rule.check(*s); why != "" {
			f.Fail(name, "'%s' %s", shorten([]byte(*s)), why)
			return
		}
		texts = append(texts, *s)
	}
	*into = texts
}

// Map takes an object as it is.
func (f *Fields) Map(name string, into *map[string]any) {
	raw, ok := f.take(name)
	if !ok {
		return
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		f.Fail(name, "%s is not of type 'object'", shorten(raw))
		return
	}
	*into = m
}

// Object takes an object to be taken apart further; its errors are this one's too. It is never nil: absent reads as empty.
func (f *Fields) Object(name string) *Fields {
	inner := &Fields{path: f.path + name + ".", err: f.err}
	raw, ok := f.take(name)
	if ok && (json.Unmarshal(raw, &inner.raw) != nil || inner.raw == nil) {
		f.Fail(name, "%s is not of type 'object'", shorten(raw))
	}
	if inner.raw == nil {
		inner.raw = map[string]json.RawMessage{}
	}
	return inner
}

// Objects takes a list of objects, each to be taken apart further.
func (f *Fields) Objects(name string, lengthMax int) []*Fields {
	raw, ok := f.take(name)
	if !ok {
		return nil
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		f.Fail(name, "%s is not a list of objects", shorten(raw))
		return nil
	}
	if len(list) > lengthMax {
		f.Fail(name, "it has %d items; %d are allowed", len(list), lengthMax)
		return nil
	}
	var all []*Fields
	for _, item := range list {
		all = append(all, &Fields{path: f.path + name + ".", raw: item, err: f.err})
	}
	return all
}

// Drop forgets fields that the client may send and that mean nothing to us: what it was shown and sends back.
func (f *Fields) Drop(names ...string) {
	for _, name := range names {
		f.take(name)
	}
}

// Extra adds what was not taken to a record's own attributes; a null takes one away.
func (f *Fields) Extra(into *map[string]any) {
	extra := map[string]any{}
	for k, v := range *into {
		extra[k] = v
	}
	for name, raw := range f.raw {
		if name == "" || len(name) > 255 || strings.ContainsRune(name, 0) {
			f.Fail(name, "the name of an attribute has 1 to 255 characters")
			return
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			f.Fail(name, "%s", err)
			return
		}
		if v == nil {
			delete(extra, name)
			continue
		}
		extra[name] = v
	}
	if len(extra) == 0 {
		*into = nil
		return
	}
	if raw, err := json.Marshal(extra); err != nil || len(raw) > extraBytesMax {
		f.Fail("", "the additional attributes are larger than %d bytes", extraBytesMax)
		return
	}
	*into = extra
}

// None notes what was not taken as wrong.
func (f *Fields) None() {
	for name := range f.raw {
		f.Fail(name, "additional properties are not allowed ('%s' was unexpected)", name)
	}
}

// shorten quotes what the client sent in a message, but not a megabyte of it.
func shorten(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) <= 80 {
		return strings.ToValidUTF8(string(raw), "?")
	}
	return strings.ToValidUTF8(string(raw[:80]), "?") + "..."
}
