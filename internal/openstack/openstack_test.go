package openstack

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"henge/internal/errs"
)

func TestStatus_EveryKind(t *testing.T) {
	for k := errs.Internal; k <= errs.Incomplete; k++ {
		status := Status(k)
		if http.StatusText(status) == "" || (status == 500) != (k == errs.Internal || k == errs.Corrupt) {
			t.Errorf("%s is %d", k, status)
		}
	}
	if m := Message(errs.New(errs.Internal, "secret cause"), "req-1"); strings.Contains(m, "secret") || !strings.Contains(m, "req-1") {
		t.Errorf("an internal error says %q", m)
	}
	if m := Message(errs.New(errs.Invalid, "what was wrong"), "req-1"); m != "what was wrong" {
		t.Errorf("a client's error says %q", m)
	}
}

func TestReadBody(t *testing.T) {
	for body, kind := range map[string]errs.Kind{
		`{"a":`:                    errs.Invalid,
		``:                         errs.Invalid,
		`{} {}`:                    errs.Invalid,
		"{\"a\":\"\xff\"}":         errs.Invalid,
		strings.Repeat("[", 100):   errs.Invalid,
		strings.Repeat(" ", 2<<20): errs.TooLarge,
	} {
		_, err := ReadBody(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)))
		if !errs.Is(err, kind) {
			t.Errorf("%.20q: %v", body, err)
		}
	}
	raw, err := ReadBody(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(`{"a":"[[\"[["}`)))
	if err != nil || len(raw) == 0 {
		t.Errorf("brackets in a string: %v", err)
	}
}

func TestFields(t *testing.T) {
	for _, tc := range []struct{ name, body, wrong string }{
		{"all good", `{"thing":{"name":"x","on":true,"list":["a"],"map":{"k":1},"inner":{"n":"y"},"more":1}}`, ""},
		{"no wrapper", `{}`, "'thing' is a required property"},
		{"not an object", `[]`, "must be a JSON object"},
		{"wrapper a list", `{"thing":[]}`, "field 'thing'"},
		{"missing", `{"thing":{}}`, "field 'name': 'name' is a required property"},
		{"type", `{"thing":{"name":5}}`, "field 'name': 5 is not of type 'string'"},
		{"too long", `{"thing":{"name":"xxxxxxxxxxx"}}`, "longer than 10"},
		{"blank", `{"thing":{"name":" "}}`, "blank"},
		{"boolean", `{"thing":{"name":"x","on":"yes"}}`, `field 'on': "yes" is not of type 'boolean'`},
		{"list", `{"thing":{"name":"x","list":[1]}}`, "field 'list'"},
		{"list with null", `{"thing":{"name":"x","list":[null]}}`, "field 'list'"},
		{"long list", `{"thing":{"name":"x","list":["a","b","c"]}}`, "3 items; 2 are allowed"},
		{"map", `{"thing":{"name":"x","map":[]}}`, "field 'map'"},
		{"inner", `{"thing":{"name":"x","inner":{"n":1}}}`, "field 'inner.n'"},
		{"choice", `{"thing":{"name":"x","choice":"c"}}`, "not one of a, b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := fill(tc.body)
			switch {
			case tc.wrong == "" && err != nil:
				t.Fatal(err)
			case tc.wrong != "" && (!errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), tc.wrong)):
				t.Fatalf("%v, want %q in it", err, tc.wrong)
			}
		})
	}
}

// fill takes a body apart as a handler does.
func fill(body string) error {
	f, err := NewFields([]byte(body), "thing")
	if err != nil {
		return err
	}
	var name, inner, choice string
	var on bool
	var list []string
	var m, extra map[string]any
	f.Require("name")
	f.Text("name", &name, Text{MinLength: 1, MaxLength: 10})
	f.Bool("on", &on)
	f.Texts("list", &list, Text{}, 2)
	f.Map("map", &m)
	f.Object("inner").Text("n", &inner, Text{})
	f.Text("choice", &choice, Text{OneOf: []string{"a", "b"}})
	f.Extra(&extra)
	if err := f.Err(); err != nil {
		return err
	}
	if name != "x" || !on || inner != "y" || fmt.Sprint(list, m, extra) != "[a] map[k:1] map[more:1]" {
		return fmt.Errorf("took %q %v %q %v %v %v", name, on, inner, list, m, extra)
	}
	return nil
}

func TestFields_ExtraMerges(t *testing.T) {
	f, err := NewFields([]byte(`{"a":null,"b":2}`), "")
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]any{"a": 1, "c": 3}
	extra := before
	f.Extra(&extra)
	if fmt.Sprint(extra) != "map[b:2 c:3]" || len(before) != 2 {
		t.Fatalf("%v, before %v", extra, before)
	}
}

func TestPaging_EveryRowOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rows := rapid.SliceOfDistinct(rapid.StringN(1, 5, 10), func(s string) string { return s }).Draw(r, "rows")
		slices.Sort(rows)
		limit, most := rapid.IntRange(0, 4).Draw(r, "limit"), rapid.IntRange(1, 5).Draw(r, "most")
		var seen []string
		p := Page{Limit: limit}
		for more := true; more; {
			var page []string
			page, more = Cut(p, rows, most, func(s string) string { return s })
			if len(page) > most || limit > 0 && len(page) > limit || more && len(page) == 0 {
				r.Fatalf("page %q", page)
			}
			seen = append(seen, page...)
			if more {
				next, err := url.ParseQuery(p.Next(url.Values{"limit": {fmt.Sprint(limit)}}, page[len(page)-1]))
				if err != nil {
					r.Fatal(err)
				}
				if p, err = ParsePage(next); err != nil {
					r.Fatal(err)
				}
			}
		}
		if !slices.Equal(seen, rows) {
			r.Fatalf("%q came as %q", rows, seen)
		}
	})
}

func FuzzFields(f *testing.F) {
	f.Add(`{"thing":{"name":"x"}}`)
	f.Add(`{"thing":null}`)
	f.Add(`{"":{"":[]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if CheckJSON([]byte(body)) != nil {
			return
		}
		fields, err := NewFields([]byte(body), "thing")
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatal(err)
			}
			return
		}
		var s string
		var m map[string]any
		fields.Text("name", &s, Text{MinLength: 1})
		fields.Map("map", &m)
		fields.Extra(&m)
		if err := fields.Err(); err != nil && !errs.Is(err, errs.Invalid) {
			t.Fatal(err)
		}
	})
}

func TestWriteList(t *testing.T) {
	for _, tc := range []struct {
		docs []string
		rest map[string]any
		want string
	}{
		{nil, nil, `{"rows":[]}`},
		{[]string{`{"a":1}`}, nil, `{"rows":[{"a":1}]}`},
		{[]string{`{"a":1}`, `2`}, map[string]any{"next": "x"}, `{"rows":[{"a":1},2],"next":"x"}`},
	} {
		docs := [][]byte{}
		for _, d := range tc.docs {
			docs = append(docs, []byte(d))
		}
		w := httptest.NewRecorder()
		if err := WriteList(w, "rows", docs, tc.rest); err != nil || w.Body.String() != tc.want || w.Header().Get("Content-Length") != strconv.Itoa(len(tc.want)) {
			t.Errorf("%s, length %s, %v; want %s", w.Body, w.Header().Get("Content-Length"), err, tc.want)
		}
	}
}
