package api

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// Bounds of what a body may hold.
const (
	bulkMax  = 200
	itemsMax = 128 // of any list within a resource
	tagsMax  = 50
	tagMax   = 60
)

// input takes a resource's object apart attribute by attribute. The first thing wrong is kept; see done.
type input struct {
	c        *call
	name     string // of the resource
	creating bool
	raw      map[string]json.RawMessage
	taken    map[string]bool
	err      error
}

func (in *input) fail(name, format string, args ...any) {
	if in.err == nil {
		in.err = fault.BadBody("Invalid input for %s. Reason: %s.", name, fmt.Sprintf(format, args...))
	}
}

// refuse keeps an error that has its own words.
func (in *input) refuse(err error) {
	if in.err == nil {
		in.err = err
	}
}

// get takes an attribute; false when it is not there.
func (in *input) get(name string) (json.RawMessage, bool) {
	in.taken[name] = true
	raw, ok := in.raw[name]
	return raw, ok
}

func (in *input) has(name string) bool { _, ok := in.raw[name]; return ok }

// once marks attributes that only a new resource may be given: on update they are refused.
func (in *input) once(names ...string) {
	for _, name := range names {
		if _, ok := in.get(name); ok && !in.creating {
			in.refuse(fault.BadBody("Cannot update read-only attribute %s", name))
		}
	}
}

// never marks attributes that are shown and cannot be set.
func (in *input) never(names ...string) {
	for _, name := range names {
		if _, ok := in.get(name); ok {
			in.refuse(fault.BadBody("Attribute '%s' not allowed in %s", name, map[bool]string{true: "POST", false: "PUT"}[in.creating]))
		}
	}
}

// privileged marks attributes that only an administrator may set.
func (in *input) privileged(names ...string) {
	for _, name := range names {
		if in.has(name) && !in.c.admin() {
			in.refuse(denied(fmt.Sprintf("%s and rule:%s:%s", in.verb(), in.verb(), name)))
		}
	}
}

func (in *input) verb() string {
	if in.creating {
		return "create_" + in.name
	}
	return "update_" + in.name
}

// done is the first thing that was wrong, what nobody took included.
func (in *input) done() error {
	if in.err != nil {
		return in.err
	}
	var unknown []string
	for name := range in.raw {
		if !in.taken[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fault.BadBody("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	return nil
}

func null(raw json.RawMessage) bool { return string(raw) == "null" }

// brief quotes what a client sent, but not a megabyte of it.
func brief(raw []byte) string {
	if len(raw) > 80 {
		return strings.ToValidUTF8(string(raw[:80]), "?") + "..."
	}
	return string(raw)
}

// text takes a string of at most most characters. null leaves "".
func (in *input) text(name string, into *string, most int) {
	raw, ok := in.get(name)
	if !ok {
		return
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil {
		in.fail(name, "'%s' is not a valid string", brief(raw))
		return
	}
	if s == nil {
		*into = ""
		return
	}
	if n := utf8.RuneCountInString(*s); n > most {
		in.fail(name, "'%s' exceeds maximum length of %d", brief([]byte(*s)), most)
		return
	}
	if strings.ContainsRune(*s, 0) {
		in.fail(name, "it holds a NUL character")
		return
	}
	*into = *s
}

// choice takes one of some words.
func (in *input) choice(name string, into *string, words ...string) {
	var s string
	before := *into
	in.text(name, &s, 255)
	if !in.has(name) || in.err != nil {
		return
	}
	if !slices.Contains(words, s) {
		*into = before
		in.fail(name, "'%s' is not in ['%s']", s, strings.Join(words, "', '"))
		return
	}
	*into = s
}

// boolean takes what Neutron takes for one.
func (in *input) boolean(name string, into *bool) {
	raw, ok := in.get(name)
	if !ok {
		return
	}
	switch strings.ToLower(strings.Trim(string(raw), `"`)) {
	case "true", "1":
		*into = true
	case "false", "0":
		*into = false
	default:
		in.fail(name, "'%s' cannot be converted to boolean", brief(raw))
	}
}

// integer takes a whole number, or a string that is one; null leaves nil.
func (in *input) integer(name string) *int {
	raw, ok := in.get(name)
	if !ok || null(raw) {
		return nil
	}
	n, err := strconv.Atoi(strings.Trim(string(raw), `"`))
	if err != nil {
		in.fail(name, "'%s' is not an integer", brief(raw))
		return nil
	}
	return &n
}

// number is integer into a variable, within bounds.
func (in *input) number(name string, into *int, least, most int) {
	n := in.integer(name)
	if n == nil {
		return
	}
	if *n < least || *n > most {
		in.fail(name, "'%d' is not in range %d through %d", *n, least, most)
		return
	}
	*into = *n
}

func (in *input) addr(name string, into *netip.Addr) {
	raw, ok := in.get(name)
	if !ok {
		return
	}
	if null(raw) {
		*into = netip.Addr{}
		return
	}
	if ip, ok := in.parseAddr(name, raw); ok {
		*into = ip
	}
}

func (in *input) parseAddr(name string, raw json.RawMessage) (netip.Addr, bool) {
	var s string
	err := json.Unmarshal(raw, &s)
	ip, perr := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || perr != nil || ip.Zone() != "" {
		in.fail(name, "'%s' is not a valid IP address", brief([]byte(strings.Trim(string(raw), `"`))))
		return ip, false
	}
	return ip.Unmap(), true
}

// prefix takes a CIDR; null leaves none.
func (in *input) prefix(name string, into *netip.Prefix) {
	raw, ok := in.get(name)
	if !ok {
		return
	}
	if null(raw) {
		*into = netip.Prefix{}
		return
	}
	if p, ok := in.parsePrefix(name, raw); ok {
		*into = p
	}
}

// parsePrefix reads a CIDR; a single address is one of full length.
func (in *input) parsePrefix(name string, raw json.RawMessage) (netip.Prefix, bool) {
	var s string
	err := json.Unmarshal(raw, &s)
	p, perr := netip.ParsePrefix(s)
	if perr != nil {
		var ip netip.Addr
		if ip, perr = netip.ParseAddr(s); perr == nil && ip.Zone() == "" {
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
	}
	if err != nil || perr != nil || !p.IsValid() {
		in.fail(name, "'%s' is not a valid IP subnet", brief([]byte(strings.Trim(string(raw), `"`))))
		return p, false
	}
	return p, true
}

// mac takes a MAC address in any of the usual forms.
func (in *input) mac(name string, into *string) {
	var s string
	in.text(name, &s, 64)
	if s == "" || in.err != nil {
		return
	}
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 || hw[0]&1 == 1 || hw.String() == "00:00:00:00:00:00" {
		in.fail(name, "'%s' is not a valid MAC address", brief([]byte(s)))
		return
	}
	*into = hw.String()
}

// texts takes a list of strings; null is an empty one.
func (in *input) texts(name string, into *[]string) {
	raw, ok := in.get(name)
	if !ok {
		return
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		in.fail(name, "'%s' is not a list of strings", brief(raw))
		return
	}
	if len(list) > itemsMax {
		in.fail(name, "it has %d items, %d are allowed", len(list), itemsMax)
		return
	}
	for _, s := range list {
		if len(s) > 255 {
			in.fail(name, "'%s' exceeds maximum length of 255", brief([]byte(s)))
		}
	}
	*into = list
}

// ids is texts, each once, and none of them empty.
func (in *input) ids(name string, into *[]string) {
	var list []string
	in.texts(name, &list)
	if !in.has(name) || in.err != nil {
		return
	}
	*into = nil
	for _, id := range list {
		if !validID(id) {
			in.fail(name, "'%s' is not a valid UUID", brief([]byte(id)))
			return
		}
		if !slices.Contains(*into, id) {
			*into = append(*into, id)
		}
	}
}

// id takes the id of something; null leaves "".
func (in *input) id(name string, into *string) {
	var s string
	in.text(name, &s, 255)
	if !in.has(name) || in.err != nil {
		return
	}
	if s != "" && !validID(s) {
		in.fail(name, "'%s' is not a valid UUID", brief([]byte(s)))
		return
	}
	*into = s
}

// validID is strict only about what the state's keys cannot hold.
func validID(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_')
	})
}

// objects takes a list of objects, each to be taken apart as an input of its own; null is an empty one.
func (in *input) objects(name string) (items []*input, given bool) {
	raw, ok := in.get(name)
	if !ok {
		return nil, false
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || slices.ContainsFunc(list, func(m map[string]json.RawMessage) bool { return m == nil }) {
		in.fail(name, "'%s' is not a list of objects", brief(raw))
		return nil, false
	}
	if len(list) > itemsMax {
		in.fail(name, "it has %d items, %d are allowed", len(list), itemsMax)
		return nil, false
	}
	for _, m := range list {
		items = append(items, in.inner(name, m))
	}
	return items, true
}

func (in *input) inner(name string, m map[string]json.RawMessage) *input {
	return &input{c: in.c, name: name, creating: true, raw: m, taken: map[string]bool{}}
}

// object takes one object; nil when it is null or absent.
func (in *input) object(name string) (item *input, given bool) {
	raw, ok := in.get(name)
	if !ok {
		return nil, false
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		in.fail(name, "'%s' is not a dictionary", brief(raw))
		return nil, false
	}
	if m == nil {
		return nil, true
	}
	return in.inner(name, m), true
}

// also makes an inner object's trouble this one's.
func (in *input) also(item *input) {
	if err := item.done(); err != nil {
		in.refuse(err)
	}
}

// require notes what is missing.
func (in *input) require(names ...string) {
	for _, name := range names {
		if !in.has(name) && in.creating {
			in.refuse(fault.BadBody("Failed to parse request. Required attribute '%s' not specified", name))
		}
	}
}

// standard takes what every resource has.
func (in *input) standard(s *model.Standard) {
	in.text("name", &s.Name, 255)
	in.text("description", &s.Description, 255)
	in.never("id", "created_at", "updated_at", "revision_number", "status", "tags")
	in.project(s)
}

// project says whose a new resource is: the caller's project's, or for an administrator the one that he names.
func (in *input) project(s *model.Standard) {
	in.once("project_id", "tenant_id")
	if !in.creating {
		return
	}
	s.ProjectID = in.c.who.ProjectID
	for _, name := range []string{"tenant_id", "project_id"} {
		if !in.has(name) {
			continue
		}
		var id string
		in.text(name, &id, 255)
		if id != in.c.who.ProjectID && !in.c.admin() {
			in.refuse(fault.BadBody("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges"))
			return
		}
		if id != "" && !validID(id) {
			in.fail(name, "'%s' is not a valid project id", brief([]byte(id)))
			return
		}
		s.ProjectID = id
	}
	if s.ProjectID == "" && !in.c.admin() {
		in.refuse(fault.New(errs.Denied, "PolicyNotAuthorized", "This needs a token with the scope of a project."))
	}
}
