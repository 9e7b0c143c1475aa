package swift_test

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestDLO(t *testing.T) {
	w := newWorld(t)
	w.fill("segs")
	w.ok("PUT", account+"/segs/s%20/1", "one", 201)
	w.ok("PUT", account+"/segs/s%20/2", "two!", 201)
	w.ok("PUT", account+"/segs/other", "no", 201)
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/big", "", 201, "X-Object-Manifest", "segs/s%20/", "Content-Type", "text/x", "X-Object-Meta-A", "1")
	etag := `"` + md5Hex(md5Hex("one")+md5Hex("two!")) + `"`
	for _, method := range []string{"GET", "HEAD"} {
		w.ok(method, account+"/c/big", "", 200).wants(t, "Etag", etag, "Content-Length", "7", "X-Object-Manifest", "segs/s%20/", "Content-Type", "text/x",
			"X-Object-Meta-A", "1")
	}
	w.ok("GET", account+"/c/big", "", 200).wantsBody(t, "onetwo!")
	w.ok("GET", account+"/c/big", "", 206, "Range", "bytes=2-4").wantsBody(t, "etw")
	w.ok("GET", account+"/c/big", "", 304, "If-None-Match", etag)
	w.ok("GET", account+"/c/big?multipart-manifest=get", "", 200).wants(t, "Content-Length", "0")

	// Readers of the manifest need to be readers of the segments.
	w.ok("POST", account+"/c", "", 204, "X-Container-Read", ".r:*")
	w.as("", "GET", account+"/c/big", "", 401)
	w.ok("POST", account+"/segs", "", 204, "X-Container-Read", ".r:*")
	w.as("", "GET", account+"/c/big", "", 200)

	// POST without the header makes it a plain object again.
	w.ok("POST", account+"/c/big", "", 202)
	w.ok("GET", account+"/c/big", "", 200).wants(t, "Content-Length", "0", "X-Object-Manifest", "-")
	w.ok("PUT", account+"/c/lost", "", 201, "X-Object-Manifest", "gone/s")
	w.ok("GET", account+"/c/lost", "", 404)
}

// segment is an entry of a manifest as clients send it.
type segment = map[string]any

func manifest(t *testing.T, entries ...segment) string {
	t.Helper()
	b, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSLO(t *testing.T) {
	w := newWorld(t)
	w.fill("segs")
	w.ok("PUT", account+"/segs/1", "0123456789", 201)
	w.ok("PUT", account+"/segs/2", "abc", 201)
	w.ok("PUT", account+"/c", "", 201)
	one, two := md5Hex("0123456789"), md5Hex("abc")
	body := manifest(t, segment{"path": "/segs/1", "etag": one, "size_bytes": 10, "range": "2-4"},
		segment{"data": base64.StdEncoding.EncodeToString([]byte("--"))}, segment{"path": "segs/2", "etag": nil, "size_bytes": nil},
		segment{"path": "/segs/1", "size_bytes": "10", "range": "0-"})
	etag := md5Hex(one + ":2-4;" + md5Hex("--") + two + one)
	put := w.ok("PUT", account+"/c/big?multipart-manifest=put", body, 201, "X-Object-Meta-A", "1", "Content-Type", "text/x", "Etag", etag)
	put.wants(t, "Etag", `"`+etag+`"`)
	get := w.ok("GET", account+"/c/big", "", 200)
	get.wantsBody(t, "234--abc0123456789")
	get.wants(t, "Etag", `"`+etag+`"`, "X-Static-Large-Object", "True", "Content-Length", "18", "Content-Type", "text/x", "X-Object-Meta-A", "1")
	w.ok("HEAD", account+"/c/big", "", 200).wants(t, "Content-Length", "18", "X-Manifest-Etag", get.Header.Get("X-Manifest-Etag"))
	w.ok("GET", account+"/c/big", "", 206, "Range", "bytes=1-6").wantsBody(t, "34--ab")
	list := w.ok("GET", account+"/c?format=json", "", 200)
	if want := `"slo_etag": "\"` + etag + `\""`; !strings.Contains(list.body, want) || !strings.Contains(list.body, `"bytes": 18`) {
		t.Errorf("listing %s has no %s", list.body, want)
	}

	shown := w.ok("GET", account+"/c/big?multipart-manifest=get", "", 200)
	shown.wants(t, "Etag", get.Header.Get("X-Manifest-Etag"), "Content-Type", "application/json; charset=utf-8")
	if md5Hex(shown.body) != get.Header.Get("X-Manifest-Etag") {
		t.Error("X-Manifest-Etag is not the manifest's MD5")
	}
	var entries []segment
	if err := json.Unmarshal([]byte(shown.body), &entries); err != nil {
		t.Fatal(err)
	}
	if e := entries[0]; e["name"] != "/segs/1" || e["hash"] != one || e["bytes"] != 10.0 || e["range"] != "2-4" || e["content_type"] != "application/octet-stream" {
		t.Errorf("shown as %v", e)
	}
	// What format=raw gives can be put again.
	raw := w.ok("GET", account+"/c/big?multipart-manifest=get&format=raw", "", 200)
	w.ok("PUT", account+"/c/again?multipart-manifest=put", raw.body, 201).wants(t, "Etag", `"`+etag+`"`)

	// Nested.
	nested := manifest(t, segment{"path": "/c/big", "etag": `"` + etag + `"`, "size_bytes": 18}, segment{"path": "/segs/2"})
	w.ok("PUT", account+"/c/nested?multipart-manifest=put", nested, 201)
	w.ok("GET", account+"/c/nested", "", 200).wantsBody(t, "234--abc0123456789abc")
	w.ok("GET", account+"/c/nested?multipart-manifest=get", "", 200)

	// POST keeps it large; a changed segment breaks it before a byte is sent.
	w.ok("POST", account+"/c/big", "", 202, "X-Object-Meta-B", "2")
	w.ok("GET", account+"/c/big", "", 200).wantsBody(t, "234--abc0123456789")
	w.ok("PUT", account+"/segs/1", "changed", 201)
	w.ok("GET", account+"/c/big", "", 409)
	w.ok("DELETE", account+"/segs/1", "", 204)
	w.ok("GET", account+"/c/big", "", 409)
	w.ok("HEAD", account+"/c/big", "", 200)
}

// When a later segment turns out to be another one, what was begun is cut off: the client must not take it for the whole.
func TestSLO_BreaksInTheMidst(t *testing.T) {
	w := newWorld(t)
	w.fill("segs")
	w.ok("PUT", account+"/segs/1", strings.Repeat("a", 300<<10), 201)
	w.ok("PUT", account+"/segs/2", "bbb", 201)
	w.ok("PUT", account+"/segs/slo?multipart-manifest=put", manifest(t, segment{"path": "/segs/1"}, segment{"path": "/segs/2"}), 201)
	w.ok("PUT", account+"/segs/2", "changed", 201)
	req, err := http.NewRequest("GET", w.url+account+"/segs/slo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", "member")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || err == nil || len(b) > 300<<10 {
		t.Errorf("answered %s, %d bytes, %v; want it cut off", resp.Status, len(b), err)
	}
	w.ok("GET", account+"/segs/slo", "", 206, "Range", "bytes=0-5").wantsBody(t, "aaaaaa")
	w.ok("GET", account+"/segs/slo", "", 409, "Range", "bytes=-2")
	if !strings.Contains(w.logs.String(), "segment segs/2 changed") {
		t.Errorf("not logged: %s", w.logs)
	}
}

func TestSLO_Access(t *testing.T) {
	w := newWorld(t)
	w.fill("private", "1")
	w.fill("public")
	w.ok("POST", account+"/public", "", 204, "X-Container-Read", ".r:*")
	w.ok("PUT", account+"/public/inner?multipart-manifest=put", manifest(t, segment{"path": "/private/1"}), 201)
	w.ok("PUT", account+"/public/outer?multipart-manifest=put", manifest(t, segment{"path": "/public/inner"}), 201)
	for _, name := range []string{"inner", "outer"} {
		w.as("", "GET", account+"/public/"+name, "", 401)
		w.as("stranger", "GET", account+"/public/"+name, "", 403)
	}
	w.ok("POST", account+"/private", "", 204, "X-Container-Read", ".r:*")
	w.as("", "GET", account+"/public/outer", "", 200).wantsBody(t, "x")
	// A writer cannot make readable what he may not read.
	w.ok("POST", account+"/private", "", 204, "X-Remove-Container-Read", "x")
	w.ok("POST", account+"/public", "", 204, "X-Container-Write", "p2:bob-id")
	a := w.as("stranger", "PUT", account+"/public/steal?multipart-manifest=put", manifest(t, segment{"path": "/private/1"}), 400)
	a.wantsBody(t, "Errors:\n/private/1, 403 Forbidden\n")
}

func TestSLO_Refusals(t *testing.T) {
	w := newWorld(t)
	w.fill("segs", "1", "empty")
	w.ok("PUT", account+"/segs/empty", "", 201)
	w.ok("PUT", account+"/c", "", 201)
	url := account + "/c/big?multipart-manifest=put"
	many := make([]segment, 1001)
	for i := range many {
		many[i] = segment{"path": "/segs/1"}
	}
	for name, c := range map[string]struct {
		body string
		code int
		text string
	}{
		"not JSON":     {"[{", 400, "Manifest must be valid JSON.\n"},
		"two":          {"[] []", 400, "Manifest must be valid JSON.\n"},
		"not a list":   {`{"path": 1}`, 400, "Manifest must be a list.\n"},
		"empty":        {"[]", 400, "Manifest must have at least one segment.\n"},
		"not an entry": {"[1, null]", 400, "Index 0: not a JSON object\nIndex 1: not a JSON object\n"},
		"no keys":      {"[{}]", 400, "Index 0: expected keys to include one of \"data\" or \"path\"\n"},
		"extra keys":   {`[{"path": "/a/b", "x": 1, "b": 2}]`, 400, "Index 0: extraneous keys \"b\", \"x\"\n"},
		"both":         {`[{"path": "/a/b", "data": ""}]`, 400, "Index 0: extraneous keys \"data\"\n"},
		"path type":    {`[{"path": 5}]`, 400, "Index 0: \"path\" must be a string\n"},
		"etag type":    {`[{"path": "/a/b", "etag": 5}]`, 400, "Index 0: \"etag\" must be a string or null (if provided)\n"},
		"container":    {`[{"path": "/a/"}]`, 400, "Index 0: path does not refer to an object. Path must be of the form /container/object.\n"},
		"size":         {`[{"path": "/a/b", "size_bytes": "x"}]`, 400, "Index 0: invalid size_bytes\n"},
		"size 1.5":     {`[{"path": "/a/b", "size_bytes": 1.5}]`, 400, "Index 0: invalid size_bytes\n"},
		"small":        {`[{"path": "/a/b", "size_bytes": 0}]`, 400, "Index 0: too small; each segment must be at least 1 byte.\n"},
		"self":         {`[{"path": "/c/big"}]`, 400, "Index 0: manifest must not include itself as a segment\n"},
		"range":        {`[{"path": "/a/b", "range": "x"}]`, 400, "Index 0: invalid range\n"},
		"ranges":       {`[{"path": "/a/b", "range": "1-2,3-4"}]`, 400, "Index 0: multiple ranges (only one allowed)\n"},
		"no range":     {`[{"path": "/a/b", "size_bytes": 5, "range": "5-"}]`, 400, "Index 0: unsatisfiable range\n"},
		"base64":       {`[{"data": "%"}]`, 400, "Index 0: data must be valid base64\n"},
		"no data":      {`[{"data": ""}]`, 400, "Index 0: too small; each segment must be at least 1 byte.\n"},
		"only data":    {`[{"data": "eHg="}]`, 400, "Inline data segments require at least one object-backed segment.\n"},
		"too many":     {manifest(t, many...), 413, "Number of object-backed segments must be <= 1000"},
		"problems": {`[{"path":"/segs/1","size_bytes":2},{"path":"/segs/1","etag":"x"},{"path":"/segs/1"},{"path":"/segs/empty"},{"path":"/no/%ne"},` +
			`{"path":"/segs/1","range":"9-"}]`, 400, "Errors:\n/segs/1, Size Mismatch\n/segs/1, Etag Mismatch\n" +
			"/segs/empty, Too small; each segment must be at least 1 byte.\n/no/%25ne, 404 Not Found\n/segs/1, Unsatisfiable Range\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.ok("PUT", url, c.body, c.code).wantsBody(t, c.text)
		})
	}
	if got := w.raw("PUT "+url+" HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nContent-Length: 8388609\r\nExpect: 100-continue\r\n\r\n", false); !strings.HasPrefix(
		got, "HTTP/1.1 413") {
		t.Errorf("too big: answered %q", got)
	}
	w.ok("PUT", url, `[{"path":"/segs/1"}]`, 422, "Etag", md5Hex("x"))
	w.ok("PUT", url, `[{"path":"/segs/1"}]`, 405, "X-Copy-From", "/c/o")
	w.ok("PUT", url, `[{"path":"/no/ne"}]`, 400, "Accept", "application/json").wantsBody(t, `{"Errors":[["/no/ne","404 Not Found"]]}`)
	w.ok("GET", account+"/c/big", "", 404)
}

func TestSLO_Heartbeat(t *testing.T) {
	w := newWorld(t)
	w.fill("segs", "1")
	w.ok("PUT", account+"/c", "", 201)
	url := account + "/c/big?multipart-manifest=put&heartbeat=on"
	a := w.ok("PUT", url, `[{"path":"/segs/1"}]`, 202, "Accept", "application/json")
	var got segment
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	if got["Response Status"] != "201 Created" || got["Etag"] != `"`+md5Hex(md5Hex("x"))+`"` || fmt.Sprint(got["Errors"]) != "[]" {
		t.Errorf("reported %v", got)
	}
	a = w.ok("PUT", url, `[{"path":"/segs/1","size_bytes":9}]`, 202)
	a.wantsBody(t, "Response Body: \nResponse Status: 400 Bad Request\nErrors:\n/segs/1, Size Mismatch\n")
}

func TestSLO_Delete(t *testing.T) {
	w := newWorld(t)
	w.fill("segs", "1", "2", "3")
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/inner?multipart-manifest=put", manifest(t, segment{"path": "/segs/1"}, segment{"path": "/segs/2"}), 201)
	w.ok("PUT", account+"/c/outer?multipart-manifest=put", manifest(t, segment{"path": "/c/inner"}, segment{"path": "/segs/3"}, segment{"path": "/segs/1"}), 201)
	w.ok("DELETE", account+"/c/none?multipart-manifest=delete", "", 200, "Accept", "application/json").wantsBody(t,
		`{"Errors":[],"Number Deleted":0,"Number Not Found":0,"Response Body":"SLO manifest not found","Response Status":"404 Not Found"}`)
	w.ok("DELETE", account+"/segs/3?multipart-manifest=delete", "", 200).wantsBody(t,
		"Number Deleted: 0\nNumber Not Found: 0\nResponse Body: Not an SLO manifest\nResponse Status: 400 Bad Request\nErrors:\n")
	w.ok("DELETE", account+"/segs/2", "", 204)
	w.ok("DELETE", account+"/c/outer?multipart-manifest=delete", "", 200).wantsBody(t,
		"Number Deleted: 4\nNumber Not Found: 1\nResponse Body: \nResponse Status: 200 OK\nErrors:\n")
	w.ok("GET", account+"/segs", "", 204)
	w.ok("GET", account+"/c", "", 204)
}

func TestCopy(t *testing.T) {
	w := newWorld(t)
	w.fill("c")
	w.ok("PUT", account+"/d", "", 201)
	w.ok("PUT", account+"/c/a%20%3F", "0123456789", 201, "X-Object-Meta-A", "1", "X-Object-Meta-B", "2", "Content-Type", "text/x", "Content-Encoding", "gz",
		"X-Delete-After", "60")
	a := w.ok("PUT", account+"/d/o", "", 201, "X-Copy-From", "/c/a%20%3F", "X-Object-Meta-B", "3")
	a.wants(t, "X-Copied-From", "c/a%20%3F", "X-Copied-From-Account", "AUTH_p1", "Etag", md5Hex("0123456789"), "X-Copied-From-Last-Modified",
		"Wed, 04 Mar 2026 05:06:08 GMT")
	w.ok("GET", account+"/d/o", "", 200).wants(t, "X-Object-Meta-A", "1", "X-Object-Meta-B", "3", "Content-Type", "text/x", "Content-Encoding", "gz",
		"X-Delete-At", "1772600827", "Content-Length", "10")
	w.ok("COPY", account+"/c/a%20%3F", "", 201, "Destination", "d/fresh", "X-Fresh-Metadata", "true", "X-Object-Meta-C", "4", "Content-Type", "text/y")
	w.ok("HEAD", account+"/d/fresh", "", 200).wants(t, "X-Object-Meta-A", "-", "X-Object-Meta-C", "4", "Content-Type", "text/y", "Content-Encoding", "-")
	w.ok("COPY", account+"/c/a%20%3F", "", 201, "Destination", "/d/part", "Range", "bytes=3-5")
	w.ok("GET", account+"/d/part", "", 200).wantsBody(t, "345")

	w.ok("COPY", account+"/c/a%20%3F", "", 412).wantsBody(t, "Destination header required")
	w.ok("COPY", account+"/c/a%20%3F", "", 412, "Destination", "only").wantsBody(t,
		"Destination header must be of the form <container name>/<object name>")
	w.ok("PUT", account+"/d/x", "", 412, "X-Copy-From", "/c")
	w.ok("PUT", account+"/d/x", "", 404, "X-Copy-From", "/c/none")
	w.ok("PUT", account+"/none/x", "", 404, "X-Copy-From", "/c/a%20%3F")
	w.ok("PUT", account+"/d/x", "", 412, "X-Copy-From", "/c/a%20%3F", "If-Match", "zzz")
	w.ok("PUT", account+"/d/x", "", 412, "X-Copy-From", "/c/a%20%3F", "If-None-Match", "*")

	// Between accounts: write here, read there.
	w.as("stranger", "PUT", "/v1/AUTH_p2/in", "", 201)
	w.ok("COPY", account+"/c/a%20%3F", "", 403, "Destination", "/in/o", "Destination-Account", "AUTH_p2")
	w.as("stranger", "PUT", "/v1/AUTH_p2/in/o", "", 403, "X-Copy-From", "/c/a%20%3F", "X-Copy-From-Account", "AUTH_p1")
	w.as("stranger", "POST", "/v1/AUTH_p2/in", "", 204, "X-Container-Write", "p1:*")
	w.ok("COPY", account+"/c/a%20%3F", "", 201, "Destination", "/in/o", "Destination-Account", "AUTH_p2").wants(t, "X-Copied-From-Account", "AUTH_p1")
	w.as("stranger", "GET", "/v1/AUTH_p2/in/o", "", 200).wantsBody(t, "0123456789")
	w.as("reader", "PUT", "/v1/AUTH_p2/in/r", "", 201, "X-Copy-From", "/c/a%20%3F", "X-Copy-From-Account", "AUTH_p1")
	w.as("reader", "PUT", account+"/d/r", "", 403, "X-Copy-From", "/c/a%20%3F")
}

func TestCopy_LargeObjects(t *testing.T) {
	w := newWorld(t)
	w.fill("segs", "s1", "s2")
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/slo?multipart-manifest=put", manifest(t, segment{"path": "/segs/s1"}, segment{"path": "/segs/s2"}), 201)
	w.ok("PUT", account+"/c/dlo", "", 201, "X-Object-Manifest", "segs/s")
	for _, kind := range []string{"slo", "dlo"} {
		w.ok("COPY", account+"/c/"+kind, "", 201, "Destination", "/c/whole").wants(t, "Etag", md5Hex("xx"))
		w.ok("GET", account+"/c/whole", "", 200).wants(t, "Etag", md5Hex("xx"), "X-Static-Large-Object", "-", "X-Object-Manifest", "-")
		w.ok("COPY", account+"/c/"+kind+"?multipart-manifest=get", "", 201, "Destination", "/c/same-"+kind)
		w.ok("GET", account+"/c/same-"+kind, "", 200).wantsBody(t, "xx")
	}
	w.ok("HEAD", account+"/c/same-slo", "", 200).wants(t, "X-Static-Large-Object", "True", "Etag", `"`+md5Hex(md5Hex("x")+md5Hex("x"))+`"`)
	w.ok("HEAD", account+"/c/same-dlo", "", 200).wants(t, "X-Object-Manifest", "segs/s")
}
