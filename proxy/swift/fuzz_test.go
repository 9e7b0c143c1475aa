package swift

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"henge/internal/limits"
)

// mustBeFault checks that an error is an answer for the client, with a status of its own making.
func mustBeFault(t *testing.T, err error) {
	t.Helper()
	var f *fault
	if err != nil && (!errors.As(err, &f) || f.code < 400 || f.code > 499) {
		t.Fatalf("not a client's fault: %v", err)
	}
}

// Ranges lie within the object, and what is placed is what was asked for.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=1-2,3-4,-1", "bytes=", "x", "bytes=9223372036854775807-", "bytes=0-0,0-0,0-0,0-0"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		ranges, ok := parseRange(header)
		if !ok || size < 0 {
			return
		}
		if len(ranges) == 0 {
			t.Fatal("ranges without a range")
		}
		spans := place(ranges, size)
		if len(spans) > limits.RangesMax || len(spans) > len(ranges) {
			t.Fatalf("%d spans of %d ranges", len(spans), len(ranges))
		}
		for _, s := range spans {
			if s.offset < 0 || s.length <= 0 || s.offset+s.length > size {
				t.Fatalf("%+v lies not within %d bytes", s, size)
			}
		}
	})
}

// A cleaned list is clean: cleaning it again changes nothing, and nobody unknown gets in by it unless it names referrers.
func FuzzACL(f *testing.F) {
	for _, s := range []string{".r:*", ".r:-a.b,.rlistings", "p:u,*:*", ".ref: *.x ", "%", ".r:", ":", "a:b:c"} {
		f.Add(s, "http://host.example/x", false)
	}
	f.Fuzz(func(t *testing.T, s, referer string, write bool) {
		clean, err := cleanACL(write, s)
		if err != nil {
			mustBeFault(t, err)
			return
		}
		again, err := cleanACL(write, clean)
		if err != nil || again != clean {
			t.Fatalf("%q became %q, and then %q, %v", s, clean, again, err)
		}
		l := parseACL(clean)
		if l.names(nil) || l.hasRole(nil) || write && l.refers(referer) || !strings.Contains(clean, ".r:") && l.refers(referer) {
			t.Fatalf("%q lets anybody in", clean)
		}
	})
}

func FuzzSLOManifest(f *testing.F) {
	for _, s := range []string{`[{"path":"/c/o","etag":"e","size_bytes":5,"range":"1-2"}]`, `[{"data":"eHg="},{"path":"c/o"}]`, `[]`, `{}`, `[1]`, `[{"path":"/c/o","size_bytes":"-1"}]`,
		`[{"path":"/c/o","size_bytes":1e400}]`, `[{"path":"/c/\ud800"}]`, strings.Repeat("[", 1000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		entries, err := parseSLO(body, "/c/self")
		if err != nil {
			mustBeFault(t, err)
			return
		}
		objects := 0
		for _, e := range entries {
			switch {
			case e.data != nil:
				if len(e.data) == 0 || e.object != "" {
					t.Fatalf("bad inline entry %+v", e)
				}
			case e.container == "" || e.object == "" || !utf8.ValidString(e.path()) || e.path() == "/c/self" || e.size == 0 || e.size < -1:
				t.Fatalf("bad entry %+v", e)
			default:
				objects++
			}
		}
		if objects == 0 || objects > limits.SLOSegmentsMax {
			t.Fatalf("%d objects", objects)
		}
	})
}

func FuzzListing(f *testing.F) {
	for _, s := range []string{"limit=5&marker=a%20b", "limit=99999999999", "prefix=%ff", "delimiter=%zz&a;b", "reverse=on&path=", "=&&=x"} {
		f.Add(s, "application/json;q=0.5, text/*")
	}
	f.Fuzz(func(t *testing.T, query, accept string) {
		values, err := parseQuery(query)
		if err != nil {
			mustBeFault(t, err)
			return
		}
		o, err := listOptions(values)
		if err != nil {
			mustBeFault(t, err)
			return
		}
		if o.Limit < 0 || o.Limit > limits.ListingMax || !utf8.ValidString(o.Marker+o.EndMarker+o.Prefix+o.Delimiter) {
			t.Fatalf("options %+v", o)
		}
		if best := bestMatch(accept, listingTypes); best != "" && !slices.Contains(listingTypes, best) {
			t.Fatalf("%q was not offered", best)
		}
	})
}

func FuzzBulkDelete(f *testing.F) {
	f.Add([]byte("/c/o\nc%20/x\r\n\n%ff\n%zz"))
	f.Add(bytes.Repeat([]byte("c/o\n"), 20000))
	f.Add(bytes.Repeat([]byte("x"), 10000))
	f.Fuzz(func(t *testing.T, body []byte) {
		names, err := readNames(bytes.NewReader(body))
		if err != nil {
			mustBeFault(t, err)
			return
		}
		if len(names) > limits.BulkDeleteMax {
			t.Fatalf("%d names", len(names))
		}
		for _, n := range names {
			if len(n) > bulkLineBytesMax || strings.HasPrefix(n, "/") {
				t.Fatalf("name %q", n)
			}
		}
	})
}

// What is no signature does not verify, and what is one does not verify another message.
func FuzzTempURL(f *testing.F) {
	f.Add("temp_url_sig=00&temp_url_expires=1")
	f.Add("temp_url_sig=sha256:AAAA&temp_url_expires=2011-12-10T01:11:25Z")
	f.Add("temp_url_sig=" + strings.Repeat("ab", 20) + "&temp_url_expires=-1")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := parseQuery(query)
		if err != nil {
			return
		}
		s, _, ok := parseTempURL(values)
		if ok && (s.new == nil || s.matches("GET\n1\n/v1/a/c/o", []string{"a key that nobody guesses"})) {
			t.Fatalf("%q verifies", query)
		}
	})
}

func FuzzPaths(f *testing.F) {
	f.Add("/c/o", "c/prefix")
	f.Add("c/%2F%ff", "%2Fx/?")
	f.Fuzz(func(t *testing.T, source, manifest string) {
		if container, object, err := parsePath(source, "X-Copy-From"); err != nil {
			mustBeFault(t, err)
		} else if container == "" || object == "" || strings.Contains(container, "/") || !utf8.ValidString(container+object) {
			t.Fatalf("%q became %q and %q", source, container, object)
		}
		if container, err := parseObjectManifest(manifest); err != nil {
			mustBeFault(t, err)
		} else if container == "" || strings.Contains(container, "/") {
			t.Fatalf("%q became %q", manifest, container)
		}
		q := &request{r: &http.Request{Method: http.MethodGet}}
		if q.split(source) == nil && (q.account == "" || strings.Contains(q.account+q.container, "/")) {
			t.Fatalf("%q became %q, %q, %q", source, q.account, q.container, q.object)
		}
	})
}
