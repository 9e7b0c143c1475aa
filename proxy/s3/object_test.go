package s3

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"henge/proxy/core"
	"henge/storaged/peerapi"
)

func TestObject_Ranges(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "k", "0123456789")
	w.put("b", "empty", "")
	for _, c := range []struct {
		header, body, contentRange string
		status                     int
	}{
		{"bytes=0-3", "0123", "bytes 0-3/10", 206},
		{"bytes=9-", "9", "bytes 9-9/10", 206},
		{"bytes=-3", "789", "bytes 7-9/10", 206},
		{"bytes=-99", "0123456789", "bytes 0-9/10", 206},
		{"bytes=5-99999999999999999999", "56789", "bytes 5-9/10", 206},
		{"bytes=10-", "", "", 416},
		{"bytes=-0", "", "", 416},
		{"bytes=99999999999999999999-", "", "", 416},
		{"bytes=3-1", "0123456789", "", 200},
		{"bytes=a-b", "0123456789", "", 200},
		{"bytes=-", "0123456789", "", 200},
		{"items=0-3", "0123456789", "", 200},
		{"bytes=0-1,3-4", "0123456789", "", 200},
	} {
		a := w.call("GET", "/b/k", "", "Range", c.header)
		if a.status != c.status || a.header.Get("Content-Range") != c.contentRange || c.status != 416 && a.body != c.body {
			t.Errorf("%s: %d %q %q", c.header, a.status, a.body, a.header.Get("Content-Range"))
		}
		head := w.call("HEAD", "/b/k", "", "Range", c.header)
		if head.status != c.status || c.status != 416 && head.header.Get("Content-Length") != fmt.Sprint(len(c.body)) {
			t.Errorf("HEAD %s: %d %s", c.header, head.status, head.header.Get("Content-Length"))
		}
	}
	w.want(w.call("GET", "/b/k", "", "Range", "bytes=10-"), 416, "InvalidRange")
	w.want(w.call("GET", "/b/empty", "", "Range", "bytes=0-0"), 416, "InvalidRange")
	w.want(w.call("GET", "/b/k?partNumber=1", "", "Range", "bytes=0-3"), 400, "InvalidRequest")
	w.want(w.call("GET", "/b/k?partNumber=2", ""), 416, "InvalidPartNumber")
	if a := w.call("GET", "/b/k?partNumber=1", ""); a.status != 206 || a.body != "0123456789" {
		t.Errorf("part 1 of what has no parts: %d %q", a.status, a.body)
	}
	if a := w.call("GET", "/b/k", "", "Range", "bytes=0-3", "If-Range", `"other"`); a.status != 200 || a.body != "0123456789" {
		t.Errorf("a range of another version: %d %q", a.status, a.body)
	}
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-3", int64(10))
	f.Add("bytes=-3", int64(0))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		offset, length, ok, err := parseRange(header, size)
		if ok && (err != nil || offset < 0 || length < 1 || offset+length > size) {
			t.Fatalf("%q of %d bytes: %d+%d, %v", header, size, offset, length, err)
		}
		offset, length, err = parseCopyRange(header, size)
		if err == nil && header != "" && (offset < 0 || length < 1 || offset+length > size) {
			t.Fatalf("copy %q of %d bytes: %d+%d", header, size, offset, length)
		}
	})
}

func FuzzCopySource(f *testing.F) {
	f.Add("/b/a%20b?versionId=null")
	f.Add("arn:aws:s3:::x/object/y")
	f.Fuzz(func(t *testing.T, text string) {
		if b, k, err := parseCopySource(text); err == nil && (b == "" || k == "" || checkKey(k) != nil || checkBucketName(b) != nil) {
			t.Fatalf("%q is read as %q and %q", text, b, k)
		}
	})
}

func FuzzXML(f *testing.F) {
	f.Add([]byte("<Delete><Object><Key>k</Key></Object></Delete>"))
	f.Add([]byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var d deleteRequest
		var c completeRequest
		var p accessControlPolicy
		if parse(body, &d) == nil && parse(body, &c) == nil {
			t.Fatalf("%q is two things at once", body)
		}
		_ = parse(body, &p)
	})
}

// FuzzDocument: whatever a name is, what is written is well-formed in its shape: no name can break out of its element.
func FuzzDocument(f *testing.F) {
	f.Add("a<b>&\"'\x01\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if b := string(appendEscaped(nil, s)); strings.ContainsAny(b, "<>\"") || strings.ContainsAny(b, "\x00\x01\n\r\t") {
			t.Fatalf("%q is written as %q", s, b)
		}
	})
}

func TestObject_MetadataBothWays(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.want(w.call("PUT", "/b/k", "x", "Content-Type", "text/plain", "Content-Disposition", "attachment; filename=\"a\"", "Content-Language", "de", "Cache-Control", "no-store",
		"Expires", "Thu, 01 Dec 2050 16:00:00 GMT", "x-amz-meta-Color", "blue", "x-amz-meta-utf", "grün", "x-amz-meta-word", "=?UTF-8?B?Z3LDvG4=?="), 200, "")
	info := w.info("b", "k")
	for name, want := range map[string]string{"x-object-meta-color": "blue", "x-object-meta-utf": "grün", "x-object-meta-word": "grün", "content-language": "de", "cache-control": "no-store",
		"content-disposition": "attachment; filename=\"a\"", "expires": "Thu, 01 Dec 2050 16:00:00 GMT"} {
		if info.Meta[name] != want {
			t.Errorf("core has %s: %q, want %q", name, info.Meta[name], want)
		}
	}
	a := w.call("HEAD", "/b/k", "")
	sent := http.Header{}
	metadataHeaders(sent, *w.info("b", "k"))
	plain := map[string][]string(sent) // as it goes over the wire, no name made canonical
	if len(plain["x-amz-meta-color"]) != 1 || len(plain["X-Amz-Meta-Color"]) != 0 {
		t.Errorf("the names of metadata are not in lower case, which boto3 shows as they come: %v", sent)
	}
	if a.header.Get("x-amz-meta-color") != "blue" || a.header.Get("x-amz-meta-utf") != "=?UTF-8?b?Z3LDvG4=?=" || a.header.Get("Content-Language") != "de" {
		t.Errorf("shown as %v", a.header)
	}
	if a := w.call("HEAD", "/b/none", ""); a.status != 404 || a.body != "" {
		t.Errorf("HEAD of nothing: %d %q", a.status, a.body)
	}
	if a := w.call("GET", "/b/k?response-content-type=a%2Fb&response-expires=never&response-cache-control=c&response-content-disposition=d&response-content-language=l&response-content-encoding=e", ""); a.header.Get("Content-Type") != "a/b" ||
		a.header.Get("Expires") != "never" || a.header.Get("Cache-Control") != "c" || a.header.Get("Content-Disposition") != "d" || a.header.Get("Content-Language") != "l" || a.header.Get("Content-Encoding") != "e" {
		t.Errorf("overrides: %v", a.header)
	}
	w.want(w.call("PUT", "/b/none", "x"), 200, "")
	if w.info("b", "none").ContentType != "binary/octet-stream" {
		t.Errorf("without a type: %q", w.info("b", "none").ContentType)
	}
}

func TestObject_Copies(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.makeBucket("other")
	w.want(w.call("PUT", "/b/a b+c", "hello", "x-amz-meta-color", "blue", "Content-Type", "text/x", "x-amz-checksum-sha256", sumText(5, "hello")), 200, "")
	copied := w.call("PUT", "/other/k", "", "x-amz-copy-source", "/b/a%20b+c")
	w.want(copied, 200, "")
	if copied.element("ETag") != "&quot;5d41402abc4b2a76b9719d911017c592&quot;" || copied.element("ChecksumSHA256") != sumText(5, "hello") {
		t.Errorf("answer %s", copied.body)
	}
	if i := w.info("other", "k"); i == nil || i.Meta["x-object-meta-color"] != "blue" || i.ContentType != "text/x" {
		t.Errorf("copied as %+v", i)
	}
	w.want(w.call("PUT", "/other/k", "", "x-amz-copy-source", "b/a%20b%2Bc", "x-amz-metadata-directive", "REPLACE", "x-amz-meta-size", "5", "Content-Type", "text/y"), 200, "")
	if i := w.info("other", "k"); i.Meta["x-object-meta-color"] != "" || i.Meta["x-object-meta-size"] != "5" || i.ContentType != "text/y" {
		t.Errorf("replaced as %+v", i)
	}
	w.want(w.call("PUT", "/other/k", "", "x-amz-copy-source", "other/k"), 400, "InvalidRequest")
	w.want(w.call("PUT", "/other/k", "", "x-amz-copy-source", "other/k", "x-amz-metadata-directive", "REPLACE"), 200, "")
	if i := w.info("other", "k"); i.Meta["x-object-meta-size"] != "" || i.Size != 5 {
		t.Errorf("copied onto itself as %+v", i)
	}
	for source, code := range map[string]string{"b/none": "NoSuchKey", "none/k": "NoSuchBucket", "b": "InvalidArgument", "/b/": "InvalidArgument", "b/%zz": "InvalidArgument",
		"arn:aws:s3:us-east-1:1:accesspoint/a/object/k": "InvalidArgument", "b/a%20b+c?versionId=1": "NoSuchVersion", "b/a%20b+c?versionId=null": "", "b/a%20b+c?x=y": "InvalidArgument"} {
		if a := w.call("PUT", "/other/x", "", "x-amz-copy-source", source); a.code() != code {
			t.Errorf("from %s: %d %s", source, a.status, a.body)
		}
	}
	w.want(w.call("PUT", "/none/x", "", "x-amz-copy-source", "b/a%20b+c"), 404, "NoSuchBucket")
	w.want(w.call("PUT", "/other/x", "", "x-amz-copy-source", "b/a%20b+c", "x-amz-metadata-directive", "MIX"), 400, "InvalidArgument")
	w.want(w.call("PUT", "/other/x", "", "x-amz-copy-source", "b/a%20b+c", "x-amz-checksum-algorithm", "NONE"), 400, "InvalidRequest")
	w.want(w.call("PUT", "/other/x", "", "x-amz-copy-source", "b/a%20b+c", "x-amz-checksum-algorithm", "XXHASH64"), 501, "NotImplemented")
	crc := w.call("PUT", "/other/x", "", "x-amz-copy-source", "b/a%20b+c", "x-amz-checksum-algorithm", "crc32")
	if crc.element("ChecksumCRC32") != sumText(1, "hello") {
		t.Errorf("with another checksum: %s", crc.body)
	}
}

// What Swift wrote: large objects of both kinds.
func TestObject_SwiftsLargeObjects(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.makeBucket("segments")
	var m core.Manifest
	m.Format = 1
	for i, body := range []string{"hello ", "large ", "world"} {
		info := w.put("segments", fmt.Sprintf("s/%d", i), body)
		m.Segments = append(m.Segments, core.Segment{Account: testAccount, Container: "segments", Object: info.Ref.Object, ETag: info.ETag, Size: info.Size, Length: info.Size})
	}
	if _, err := json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	ref := core.Ref{Account: testAccount, Container: "b", Object: "slo"}
	if _, err := w.core.PutManifest(t.Context(), ref, core.PutRequest{Metadata: core.Metadata{Kind: peerapi.KindSLO, ETag: "0123456789abcdef0123456789abcdef"}}, m); err != nil {
		t.Fatal(err)
	}
	ref.Object = "dlo"
	_, err := w.core.Put(t.Context(), ref, core.PutRequest{Body: strings.NewReader(""), Metadata: core.Metadata{Kind: peerapi.KindDLO, Meta: map[string]string{"x-object-manifest": "segments/s/"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"slo", "dlo"} {
		if a := w.call("GET", "/b/"+name, ""); a.status != 200 || a.body != "hello large world" {
			t.Errorf("%s: %d %q", name, a.status, a.body)
		}
		if a := w.call("GET", "/b/"+name, "", "Range", "bytes=4-8"); a.body != "o lar" {
			t.Errorf("range of %s: %q", name, a.body)
		}
		w.want(w.call("PUT", "/b/copy-"+name, "", "x-amz-copy-source", "b/"+name), 200, "")
		if i := w.info("b", "copy-"+name); i == nil || i.Size != 17 || i.Kind != peerapi.KindPlain || i.Meta["x-object-manifest"] != "" {
			t.Errorf("copy of %s: %+v", name, i)
		}
	}
	if a := w.call("HEAD", "/b/slo", ""); a.header.Get("ETag") != `"0123456789abcdef0123456789abcdef"` {
		t.Errorf("ETag of the static one: %s", a.header.Get("ETag"))
	}
}

func TestObject_VirtualHosts(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.want(w.call("PUT", "/dir/k", "x", "host", "b.s3.example.org:8080"), 200, "")
	if w.info("b", "dir/k") == nil {
		t.Error("not in the bucket that the host names")
	}
	if a := w.call("GET", "/?list-type=2", "", "host", "B.S3.example.org"); a.element("Key") != "dir/k" {
		t.Errorf("list: %s", a.body)
	}
	if a := w.call("GET", "/b/dir/k", "", "host", "s3.example.org"); a.body != "x" {
		t.Errorf("path style beside it: %s", a.body)
	}
	w.want(w.call("PUT", "//rooted", "x", "host", "b.s3.example.org"), 200, "")
	if w.info("b", "/rooted") == nil {
		t.Error("a key that begins with a slash is another key")
	}
}

func TestObject_Versions(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "k", "x")
	if a := w.call("GET", "/b/k?versionId=null", ""); a.body != "x" {
		t.Errorf("the null version: %s", a.body)
	}
	w.want(w.call("GET", "/b/k?versionId=1", ""), 404, "NoSuchVersion")
	w.want(w.call("DELETE", "/b/k?versionId=1", ""), 404, "NoSuchVersion")
	w.want(w.call("GET", "/b/k?versionId=", ""), 400, "InvalidArgument")
	w.want(w.call("DELETE", "/b/k?versionId=null", ""), 204, "")
	w.want(w.call("DELETE", "/b/k", ""), 204, "")
	w.want(w.call("DELETE", "/none/k", ""), 404, "NoSuchBucket")
	w.want(w.call("PATCH", "/b/k", ""), 405, "MethodNotAllowed")
	if a := w.call("GET", "/none/k", ""); a.header.Get("x-amz-request-id") != testRequestID || a.element("RequestId") != testRequestID || a.element("Resource") != "/none/k" {
		t.Errorf("error without its id: %v %s", a.header, a.body)
	}
	if a := w.call("GET", "/b/k", ""); a.status != http.StatusNotFound || a.element("Key") != "k" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
