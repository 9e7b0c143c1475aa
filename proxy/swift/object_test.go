package swift_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"henge/internal/limits"
)

const helloMD5 = "5d41402abc4b2a76b9719d911017c592" // of "hello"

func TestObject_Life(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c/o", "hello", 404)
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c", "", 202)

	put := w.ok("PUT", account+"/c/o%20%2F%C3%A9", "hello", 201, "X-Object-Meta-Color", "blue", "Content-Encoding", "x", "Content-Disposition", "inline",
		"X-Timestamp", "1.0", "X-Object-Sysmeta-Evil", "1", "X-Backend-Storage-Policy-Index", "7", "Content-Type", "text/weird; charset=x")
	put.wants(t, "Etag", helloMD5, "Content-Length", "0", "Content-Type", "text/html; charset=UTF-8", "Last-Modified", "Wed, 04 Mar 2026 05:06:08 GMT",
		"X-Trans-Id", "tx0123456789abcdef01234-0000000001", "X-Openstack-Request-Id", "tx0123456789abcdef01234-0000000001")

	get := w.ok("GET", account+"/c/o%20/%C3%A9", "", 200)
	get.wantsBody(t, "hello")
	get.wants(t, "Etag", helloMD5, "Content-Type", "text/weird; charset=x", "X-Object-Meta-Color", "blue", "Content-Encoding", "x", "Content-Disposition",
		"inline", "Accept-Ranges", "bytes", "X-Timestamp", "1772600767.12346", "Last-Modified", "Wed, 04 Mar 2026 05:06:08 GMT", "Content-Length", "5",
		"X-Object-Sysmeta-Evil", "-", "X-Backend-Storage-Policy-Index", "-", "X-Static-Large-Object", "-")
	head := w.ok("HEAD", account+"/c/o%20/%C3%A9", "", 200)
	head.wants(t, "Etag", helloMD5, "Content-Length", "5")

	post := w.ok("POST", account+"/c/o%20/%C3%A9", "", 202, "X-Object-Meta-Size", "5")
	post.wantsBody(t, "<html><h1>Accepted</h1><p>The request is accepted for processing.</p></html>")
	w.ok("HEAD", account+"/c/o%20/%C3%A9", "", 200).wants(t, "X-Object-Meta-Color", "-", "X-Object-Meta-Size", "5", "Content-Encoding", "-",
		"Content-Type", "text/weird; charset=x")

	w.ok("DELETE", account+"/c", "", 409)
	w.ok("DELETE", account+"/c/o%20/%C3%A9", "", 204)
	w.ok("DELETE", account+"/c/o%20/%C3%A9", "", 404).wantsBody(t, "<html><h1>Not Found</h1><p>The resource could not be found.</p></html>")
	w.ok("DELETE", account+"/c", "", 204)
	w.ok("GET", account+"/c", "", 404)
}

func TestPut_Refusals(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	many := make([]string, 0, 200)
	for i := range limits.MetaCountMax + 1 {
		many = append(many, fmt.Sprintf("X-Object-Meta-K%d", i), "v")
	}
	var big []string
	for i := range 17 {
		big = append(big, fmt.Sprintf("X-Object-Meta-K%d", i), strings.Repeat("v", 250))
	}
	for name, c := range map[string]struct {
		path    string
		headers []string
		code    int
		text    string
	}{
		"wrong etag":           {"/c/o", []string{"Etag", "00000000000000000000000000000000"}, 422, "Unable to process the contained instructions"},
		"long name":            {"/c/" + strings.Repeat("n", 1025), nil, 400, "Object name length of 1025 longer than 1024"},
		"long container":       {"/" + strings.Repeat("n", 257), nil, 400, "Container name length of 257 longer than 256"},
		"not UTF-8":            {"/c/%ff", nil, 412, "Invalid UTF8 or contains NULL"},
		"NUL":                  {"/c/a%00b", nil, 412, "Invalid UTF8 or contains NULL"},
		"long meta name":       {"/c/o", []string{"X-Object-Meta-" + strings.Repeat("k", 129), "v"}, 400, "Metadata name too long: x-object-meta-k"},
		"long meta value":      {"/c/o", []string{"X-Object-Meta-K", strings.Repeat("v", 257)}, 400, "Metadata value longer than 256: x-object-meta-k"},
		"no meta name":         {"/c/o", []string{"X-Object-Meta-", "v"}, 400, "Metadata name cannot be empty"},
		"too many":             {"/c/o", many, 400, "Too many metadata items; max 90"},
		"too big":              {"/c/o", big, 400, "Total metadata too large; max 4096"},
		"header too long":      {"/c/o", []string{"X-Whatever", strings.Repeat("v", 8193)}, 400, "Header value too long: X-Whatever"},
		"delete-at no number":  {"/c/o", []string{"X-Delete-At", "tomorrow"}, 400, "Non-integer X-Delete-At"},
		"delete-at past":       {"/c/o", []string{"X-Delete-At", "12"}, 400, "X-Delete-At in past"},
		"delete-after no numb": {"/c/o", []string{"X-Delete-After", "x"}, 400, "Non-integer X-Delete-After"},
		"delete-after past":    {"/c/o", []string{"X-Delete-After", "-1"}, 400, "X-Delete-After in past"},
		"bad DLO":              {"/c/o", []string{"X-Object-Manifest", "noslash"}, 400, "X-Object-Manifest must be in the format container/prefix"},
		"if-none-match etag":   {"/c/o", []string{"If-None-Match", `"abc"`}, 400, "If-None-Match only supports *"},
		"symlink":              {"/c/o", []string{"X-Symlink-Target", "c/x"}, 501, ""},
		"copy with a body":     {"/c/o", []string{"X-Copy-From", "c/x"}, 400, "Copy requests require a zero byte body"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("PUT", account+c.path, "member", strings.NewReader("hello"), c.headers...)
			if a.StatusCode != c.code || !strings.Contains(a.body, c.text) {
				t.Errorf("answered %s %q, want %d %q", a.Status, a.body, c.code, c.text)
			}
		})
	}
	w.ok("GET", account+"/c", "", 204) // nothing of it is visible
}

func TestPut_Lengths(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	// Chunked: no length known before.
	a := w.do("PUT", account+"/c/chunked", "member", io.MultiReader(strings.NewReader("hel"), strings.NewReader("lo")))
	if a.StatusCode != 201 {
		t.Fatalf("chunked: %s", a.Status)
	}
	w.ok("GET", account+"/c/chunked", "", 200).wantsBody(t, "hello")
	for raw, want := range map[string]string{
		"PUT /v1/AUTH_p1/c/x HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nConnection: close\r\n\r\n": "HTTP/1.1 411",
		"PUT /v1/AUTH_p1/c/x HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nConnection: close\r\nContent-Length: 6000000000\r\n" +
			"Expect: 100-continue\r\n\r\n": "HTTP/1.1 413",
		"PUT /v1/AUTH_p1/c/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n": "HTTP/1.1 401",
		"PUT /v1/AUTH_p1/c/x HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nConnection: close\r\nContent-Length: 5\r\n" +
			"Expect: 100-continue\r\n\r\nhello": "HTTP/1.1 100",
		"PUT /v1/AUTH_p1/none/x HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nConnection: close\r\nContent-Length: 5\r\n" +
			"Expect: 100-continue\r\n\r\n": "HTTP/1.1 404",
	} {
		if got := w.raw(raw, false); !strings.HasPrefix(got, want) {
			t.Errorf("%q was answered %q, want %s", raw, got, want)
		}
	}
}

// A body that ends before its Content-Length leaves nothing behind.
func TestPut_ShortBody(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	got := w.raw("PUT /v1/AUTH_p1/c/x HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nContent-Length: 50\r\n\r\nhello", true)
	if !strings.HasPrefix(got, "HTTP/1.1 499") {
		t.Errorf("answered %q, want 499", got)
	}
	w.ok("GET", account+"/c/x", "", 404)
	w.ok("GET", account+"/c", "", 204)
}

func TestPut_Conditions(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/o", "hello", 412, "If-Match", helloMD5)
	w.ok("PUT", account+"/c/o", "hello", 201, "If-None-Match", "*")
	w.ok("PUT", account+"/c/o", "other", 412, "If-None-Match", "*")
	w.ok("PUT", account+"/c/o", "other", 412, "If-Match", `"00000000000000000000000000000000"`)
	w.ok("GET", account+"/c/o", "", 200).wantsBody(t, "hello")
	w.ok("PUT", account+"/c/o", "other", 201, "If-Match", `"`+helloMD5+`"`)
	w.ok("DELETE", account+"/c/o", "", 412, "If-Match", helloMD5)
}

func TestGet_Conditions(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/o", "hello", 201)
	before, at := "Wed, 04 Mar 2026 05:06:07 GMT", "Wed, 04 Mar 2026 05:06:08 GMT"
	for name, c := range map[string]struct {
		header, value string
		code          int
	}{
		"match":             {"If-Match", helloMD5, 200},
		"match quoted":      {"If-Match", `"x", "` + helloMD5 + `"`, 200},
		"match any":         {"If-Match", "*", 200},
		"match other":       {"If-Match", "x", 412},
		"none match":        {"If-None-Match", `W/"` + helloMD5 + `"`, 304},
		"none match any":    {"If-None-Match", "*", 304},
		"none match other":  {"If-None-Match", "x", 200},
		"modified":          {"If-Modified-Since", before, 200},
		"not modified":      {"If-Modified-Since", at, 304},
		"unmodified":        {"If-Unmodified-Since", at, 200},
		"modified, though":  {"If-Unmodified-Since", before, 412},
		"nonsense is no if": {"If-Modified-Since", "whenever", 200},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if a := w.do(method, account+"/c/o", "member", nil, c.header, c.value); a.StatusCode != c.code {
				t.Errorf("%s: %s answered %s, want %d", name, method, a.Status, c.code)
			}
		}
	}
	w.ok("GET", account+"/c/o", "", 304, "If-None-Match", helloMD5).wants(t, "Etag", helloMD5, "Last-Modified", at)
}

func TestGet_Ranges(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/o", "0123456789", 201, "Content-Type", "text/x")
	w.ok("PUT", account+"/c/empty", "", 201)
	for header, want := range map[string]struct {
		code int
		body string
		cr   string
	}{
		"bytes=0-3":       {206, "0123", "bytes 0-3/10"},
		"bytes=7-":        {206, "789", "bytes 7-9/10"},
		"bytes=-2":        {206, "89", "bytes 8-9/10"},
		"bytes=-200":      {206, "0123456789", "bytes 0-9/10"},
		"bytes=5-100":     {206, "56789", "bytes 5-9/10"},
		"BYTES = 1 - 1":   {206, "1", "bytes 1-1/10"},
		"bytes=5-2":       {200, "0123456789", "-"},
		"bytes=a-b":       {200, "0123456789", "-"},
		"lines=1-2":       {200, "0123456789", "-"},
		"bytes=1-2,x":     {200, "0123456789", "-"},
		"bytes=--5":       {200, "0123456789", "-"},
		"bytes=+1-2":      {200, "0123456789", "-"},
		"bytes=10-":       {416, "", "bytes */10"},
		"bytes=-0":        {416, "", "bytes */10"},
		"bytes=20-1,30-2": {200, "0123456789", "-"},
		"bytes=" + strings.Repeat("0-0,", 60) + "0-0": {416, "", "bytes */10"},
		"bytes=0-9,0-9,0-9,0-9":                       {416, "", "bytes */10"},
		"bytes=99999999999999999999-":                 {416, "", "bytes */10"},
	} {
		a := w.do("GET", account+"/c/o", "member", nil, "Range", header)
		if a.StatusCode != want.code || want.body != "" && a.body != want.body {
			t.Errorf("%s: answered %s %q, want %d %q", header, a.Status, a.body, want.code, want.body)
		}
		a.wants(t, "Content-Range", want.cr)
	}
	const huge = "99999999999999999999" // more than 64 bits hold
	w.ok("GET", account+"/c/o", "", 416, "Range", "bytes="+huge+"-")
	w.ok("GET", account+"/c/o", "", 206, "Range", "bytes=-"+huge).wants(t, "Content-Range", "bytes 0-9/10")
	w.ok("GET", account+"/c/o", "", 206, "Range", "bytes=8-"+huge).wants(t, "Content-Range", "bytes 8-9/10")
	w.ok("GET", account+"/c/o", "", 200, "Range", "bytes=0-1", "If-Range", `"other"`)
	w.ok("GET", account+"/c/o", "", 206, "Range", "bytes=0-1", "If-Range", "Wed, 04 Mar 2026 05:06:08 GMT")
	w.ok("GET", account+"/c/empty", "", 200, "Range", "bytes=-5")
	w.ok("GET", account+"/c/empty", "", 416, "Range", "bytes=0-")
	w.ok("HEAD", account+"/c/o", "", 200, "Range", "bytes=0-1").wants(t, "Content-Length", "10")

	multi := w.ok("GET", account+"/c/o", "", 206, "Range", "bytes=0-1,-1")
	boundary, ok := strings.CutPrefix(multi.Header.Get("Content-Type"), "multipart/byteranges;boundary=")
	if !ok {
		t.Fatalf("type %q", multi.Header.Get("Content-Type"))
	}
	part := func(cr, body string) string {
		return "--" + boundary + "\r\nContent-Type: text/x\r\nContent-Range: bytes " + cr + "/10\r\n\r\n" + body + "\r\n"
	}
	multi.wantsBody(t, part("0-1", "01")+part("9-9", "9")+"--"+boundary+"--")
}

func TestObject_Expiry(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/o", "hello", 201, "X-Delete-After", "60")
	w.ok("HEAD", account+"/c/o", "", 200).wants(t, "X-Delete-At", "1772600827")
	w.clock.Advance(59 * time.Second)
	w.ok("GET", account+"/c/o", "", 200)
	w.clock.Advance(time.Second)
	w.ok("GET", account+"/c/o", "", 404)
	w.ok("POST", account+"/c/o", "", 404)
}

func TestObject_ContentTypes(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	for name, want := range map[string]string{
		"a.txt": "text/plain", "b.TAR.GZ": "application/x-tar", "c.gz": "application/octet-stream", "d": "application/octet-stream",
		".txt": "application/octet-stream", "e.jpeg": "image/jpeg", "dir.png/f": "application/octet-stream", "g.json": "application/json",
	} {
		w.ok("PUT", account+"/c/"+name, "x", 201)
		w.ok("HEAD", account+"/c/"+name, "", 200).wants(t, "Content-Type", want)
	}
	w.ok("PUT", account+"/c/h.txt", "x", 201, "Content-Type", "a/b", "X-Detect-Content-Type", "true")
	w.ok("HEAD", account+"/c/h.txt", "", 200).wants(t, "Content-Type", "text/plain")
}

func TestObject_RFCEtags(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201, "X-Container-Rfc-Compliant-Etags", "true")
	w.ok("PUT", account+"/c/o", "hello", 201)
	w.ok("GET", account+"/c/o", "", 200).wants(t, "Etag", `"`+helloMD5+`"`)
	w.ok("POST", account+"/c", "", 204, "X-Container-Rfc-Compliant-Etags", "")
	w.ok("GET", account+"/c/o", "", 200).wants(t, "Etag", helloMD5)
}

func TestMethods_NotAllowed(t *testing.T) {
	w := newWorld(t)
	w.ok("PATCH", account+"/c/o", "", 405).wants(t, "Allow", "HEAD, GET, PUT, POST, DELETE, OPTIONS, COPY")
	w.ok("PATCH", account+"/c", "", 405).wants(t, "Allow", "HEAD, GET, PUT, POST, DELETE, OPTIONS")
	w.ok("PUT", account, "", 405).wants(t, "Allow", "HEAD, GET, POST, OPTIONS")
	w.ok("POST", "/info", "", 405)
	w.as("", http.MethodGet, "/v2/x", "", 404)
	w.as("", http.MethodGet, "/v1/", "", 412)
}
