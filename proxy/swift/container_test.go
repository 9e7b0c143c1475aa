package swift_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestContainer_Metadata(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201, "X-Container-Meta-A", "1", "X-Container-Meta-B", "2", "X-Container-Sysmeta-X", "evil", "Sys-X", "evil")
	w.ok("HEAD", account+"/c", "", 204).wants(t, "X-Container-Meta-A", "1", "X-Container-Meta-B", "2", "X-Container-Object-Count", "0",
		"X-Container-Bytes-Used", "0", "X-Storage-Policy", "standard", "Accept-Ranges", "bytes", "X-Container-Sysmeta-X", "-", "Sys-X", "-",
		"Content-Type", "text/plain; charset=utf-8")
	w.ok("POST", account+"/c", "", 204, "X-Remove-Container-Meta-A", "x", "X-Container-Meta-B", "", "X-Container-Meta-C", "3")
	w.ok("HEAD", account+"/c", "", 204).wants(t, "X-Container-Meta-A", "-", "X-Container-Meta-B", "-", "X-Container-Meta-C", "3")
	w.ok("POST", account+"/none", "", 404)

	// What is there counts against the limits.
	for i := range 89 {
		w.ok("POST", account+"/c", "", 204, fmt.Sprintf("X-Container-Meta-K%d", i), "v")
	}
	w.ok("POST", account+"/c", "", 400, "X-Container-Meta-One-More", "v").wantsBody(t, "Too many metadata items; max 90")
	w.ok("POST", account+"/c", "", 204, "X-Container-Meta-One-More", "v", "X-Remove-Container-Meta-C", "x")
	w.ok("PUT", account+"/under", "", 201, "X-Container-Meta-Under_score", "1")
	w.ok("HEAD", account+"/under", "", 204).wants(t, "X-Container-Meta-Under-Score", "1")
	w.ok("PUT", account+"/d", "", 412, "X-Versions-Location", "v")
	w.ok("PUT", account+"/d", "", 501, "X-Container-Sync-To", "//x")
	w.ok("PUT", account+"/d", "", 400, "X-Container-Meta-Bad", "\xff")
}

func TestContainer_Policies(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 400, "X-Storage-Policy", "gold").wantsBody(t, "Invalid X-Storage-Policy 'gold'")
	w.ok("PUT", account+"/c", "", 400, "X-Storage-Policy", "old").wantsBody(t, "Storage Policy 'old' is deprecated")
	w.ok("PUT", account+"/c", "", 201, "X-Storage-Policy", "Second")
	w.ok("HEAD", account+"/c", "", 204).wants(t, "X-Storage-Policy", "second")
	w.ok("PUT", account+"/c", "", 409, "X-Storage-Policy", "standard")
	w.ok("PUT", account+"/alias", "", 201, "X-Storage-Policy", "PLAN-b")
	w.ok("HEAD", account+"/alias", "", 204).wants(t, "X-Storage-Policy", "second")
	w.ok("PUT", account+"/c", "", 202)
}

func TestAccount(t *testing.T) {
	w := newWorld(t)
	w.ok("HEAD", account, "", 204).wants(t, "X-Account-Container-Count", "0", "X-Account-Object-Count", "0", "X-Account-Bytes-Used", "0")
	w.ok("GET", account, "", 204)
	w.ok("GET", account+"?format=json", "", 200).wantsBody(t, "[]")
	w.ok("POST", account, "", 204, "X-Account-Meta-A", "1", "X-Account-Meta-Temp-Url-Key", "secret")
	w.ok("PUT", account+"/c%20%C3%A9", "", 201)
	w.ok("PUT", account+"/c%20%C3%A9/o", "hello", 201)
	w.ok("HEAD", account, "", 204).wants(t, "X-Account-Container-Count", "1", "X-Account-Object-Count", "1", "X-Account-Bytes-Used", "5",
		"X-Account-Meta-A", "1", "X-Account-Meta-Temp-Url-Key", "secret", "X-Timestamp", "1772600767.12345")
	w.as("reader", "HEAD", account, "", 204).wants(t, "X-Account-Meta-A", "1", "X-Account-Meta-Temp-Url-Key", "-")
	w.ok("GET", account, "", 200).wantsBody(t, "c é\n")
	w.ok("GET", account+"?format=json", "", 200).wantsBody(t,
		`[{"name": "c é", "count": 1, "bytes": 5, "last_modified": "2026-03-04T05:06:07.123460"}]`)
	w.ok("GET", account+"?format=xml", "", 200).wantsBody(t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"AUTH_p1\">\n"+
		"<container><name>c é</name><count>1</count><bytes>5</bytes><last_modified>2026-03-04T05:06:07.123460</last_modified></container>\n</account>")
	w.as("reseller", "PUT", "/v1/AUTH_new", "", 201)
	w.as("reseller", "PUT", "/v1/AUTH_new", "", 202)
	w.ok("DELETE", account, "", 405)
	w.as("reseller", "DELETE", account, "", 204)
	w.ok("HEAD", account, "", 410)
	w.ok("GET", account+"?format=json", "", 410)
	w.ok("POST", account, "", 404, "X-Account-Meta-A", "2")
	w.as("reseller", "PUT", account, "", 403)
	w.as("reseller", "DELETE", account, "", 404)
	w.ok("GET", account+"/c%20%C3%A9", "", 404)
	w.ok("GET", account+"/c%20%C3%A9/o", "", 404)
	w.ok("PUT", account+"/c2", "", 404)
	w.ok("PUT", account+"/c%20%C3%A9/o", "x", 404)
	w.as("reseller", "DELETE", "/v1/AUTH_new", "", 204)
	w.as("reseller", "DELETE", "/v1/AUTH_never", "", 404)
}

// fill makes a container with the objects named.
func (w *world) fill(container string, names ...string) {
	w.t.Helper()
	w.ok("PUT", account+"/"+container, "", 201)
	for _, n := range names {
		w.ok("PUT", account+"/"+container+"/"+n, "x", 201)
	}
}

func TestListing_Parameters(t *testing.T) {
	w := newWorld(t)
	w.fill("c", "a", "b/1", "b/2/x", "b/2/y", "c--d", "c--e", "d", "b/", "b/3/")
	for query, want := range map[string]string{
		"":                                  "a b/ b/1 b/2/x b/2/y b/3/ c--d c--e d",
		"limit=2":                           "a b/",
		"limit=2&marker=b/":                 "b/1 b/2/x",
		"marker=b/2&end_marker=c--e":        "b/2/x b/2/y b/3/ c--d",
		"prefix=b/2":                        "b/2/x b/2/y",
		"delimiter=/":                       "a b/ c--d c--e d",
		"delimiter=--":                      "a b/ b/1 b/2/x b/2/y b/3/ c-- d",
		"delimiter=/&prefix=b/":             "b/ b/1 b/2/ b/3/",
		"reverse=true":                      "d c--e c--d b/3/ b/2/y b/2/x b/1 b/ a",
		"reverse=true&limit=2&marker=c--e":  "c--d b/3/",
		"reverse=on&delimiter=/":            "d c--e c--d b/ a",
		"path=b":                            "b/1 b/3/",
		"path=":                             "a b/ c--d c--e d",
		"path=b&limit=1":                    "b/1",
		"limit=0":                           "",
		"limit=abc&prefix=d":                "d",
		"limit=-1&prefix=d":                 "d",
		"prefix=zzz":                        "",
		"prefix=d&unknown=parameter":        "d",
		"delimiter=/&limit=2":               "a b/",
		"delimiter=/&limit=2&marker=b/":     "c--d c--e",
		"end_marker=b/1&format=nonsense":    "a b/",
		"prefix=b%2F2&marker=b%2F2%2Fx":     "b/2/y",
		"prefix=b&delimiter=%2F&limit=1000": "b/",
	} {
		a := w.do("GET", account+"/c?"+query, "member", nil)
		want, code := strings.ReplaceAll(want, " ", "\n")+"\n", 200
		if want == "\n" {
			want, code = "", 204
		}
		if a.StatusCode != code || a.body != want {
			t.Errorf("?%s: %s %q, want %d %q", query, a.Status, a.body, code, want)
		}
	}
	for query, code := range map[string]int{"limit=10001": 412, "limit=99999999999999999999": 412, "marker=%ff": 400, "prefix=%zz": 400, "prefix=a%00b": 412} {
		if a := w.do("GET", account+"/c?"+query, "member", nil); a.StatusCode != code {
			t.Errorf("?%s: %s, want %d", query, a.Status, code)
		}
	}
}

func TestListing_Formats(t *testing.T) {
	w := newWorld(t)
	w.fill("c")
	w.ok("GET", account+"/c", "", 204)
	w.ok("GET", account+"/c?format=json", "", 200).wantsBody(t, "[]")
	w.ok("GET", account+"/c?format=xml", "", 200).wantsBody(t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c\"></container>")
	w.ok("PUT", account+"/c/%22%3C%26%3E", "hello", 201, "Content-Type", "a/b")
	w.ok("PUT", account+"/c/z/y", "hello", 201)
	json := `[{"bytes": 5, "content_type": "a/b", "hash": "` + helloMD5 + `", "last_modified": "2026-03-04T05:06:07.123460", "name": "\"\u003c\u0026\u003e"}, ` +
		`{"subdir": "z/"}]`
	json = strings.Replace(json, "}, {", "},{", 1)
	xml := "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c\"><object><name>&#34;&lt;&amp;&gt;</name><hash>" + helloMD5 + "</hash>" +
		"<bytes>5</bytes><content_type>a/b</content_type><last_modified>2026-03-04T05:06:07.123460</last_modified></object>" +
		`<subdir name="z/"><name>z/</name></subdir></container>`
	for accept, want := range map[string]struct{ body, ctype string }{
		"application/json":                     {json, "application/json; charset=utf-8"},
		"application/xml":                      {xml, "application/xml; charset=utf-8"},
		"text/xml":                             {xml, "text/xml; charset=utf-8"},
		"text/*;q=0.5, application/json;q=0.9": {json, "application/json; charset=utf-8"},
		"*/*":                                  {"\"<&>\nz/\n", "text/plain; charset=utf-8"},
		"application/*":                        {json, "application/json; charset=utf-8"},
	} {
		a := w.ok("GET", account+"/c?delimiter=/", "", 200, "Accept", accept)
		a.wantsBody(t, want.body)
		a.wants(t, "Content-Type", want.ctype, "X-Container-Object-Count", "2", "X-Container-Bytes-Used", "10")
	}
	w.ok("GET", account+"/c", "", 406, "Accept", "image/png")
	w.ok("HEAD", account+"/c?format=json", "", 204).wants(t, "Content-Type", "application/json; charset=utf-8")
}

func TestMatches_AndFixedPaths(t *testing.T) {
	w := newWorld(t)
	w.as("", http.MethodGet, "/healthcheck", "", 200).wantsBody(t, "OK")
	if a := w.as("", http.MethodGet, "/crossdomain.xml", "", 200); !strings.HasSuffix(a.body, "</cross-domain-policy>") {
		t.Errorf("/crossdomain.xml is %s", a.body)
	}
	info := w.as("", http.MethodGet, "/info", "", 200)
	for _, want := range []string{`"max_object_name_length":1024`, `"max_file_size":5368709120`, `"slo":`, `"tempurl":`, `"bulk_delete":`, `"aliases":"second, plan-b","name":"second"`,
		`"container_listing_limit":10000`} {
		if !strings.Contains(info.body, want) {
			t.Errorf("/info has no %s: %s", want, info.body)
		}
	}
	if strings.Contains(info.body, `"old"`) {
		t.Error("/info shows a deprecated policy")
	}
	w.as("", http.MethodGet, "/auth/v1.0", "", http.StatusTeapot)
}
