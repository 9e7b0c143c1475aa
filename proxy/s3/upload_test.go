package s3

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"henge/proxy/s3/checksum"
)

// begin starts an upload of b/k.
func (w *world) begin(headers ...string) string {
	w.t.Helper()
	a := w.call("POST", "/b/k?uploads", "", headers...)
	w.want(a, 200, "")
	return url.QueryEscape(a.element("UploadId"))
}

func (w *world) part(id string, n int, body string, headers ...string) answer {
	w.t.Helper()
	return w.call("PUT", fmt.Sprintf("/b/k?partNumber=%d&uploadId=%s", n, id), body, headers...)
}

func tag(body string) string {
	s := md5.Sum([]byte(body))
	return hex.EncodeToString(s[:])
}

// complete completes an upload; each part is "number etag [element value]".
func (w *world) complete(id string, parts []string, headers ...string) answer {
	w.t.Helper()
	var b strings.Builder
	b.WriteString("<CompleteMultipartUpload>")
	for _, p := range parts {
		f := strings.Fields(p)
		fmt.Fprintf(&b, "<Part><PartNumber>%s</PartNumber><ETag>&quot;%s&quot;</ETag>", f[0], f[1])
		if len(f) > 2 {
			fmt.Fprintf(&b, "<%s>%s</%s>", f[2], f[3], f[2])
		}
		b.WriteString("</Part>")
	}
	b.WriteString("</CompleteMultipartUpload>")
	return w.call("POST", "/b/k?uploadId="+id, b.String(), headers...)
}

var large = strings.Repeat("0123456789abcdef", 5<<20/16)

// Every pair of algorithm and type: which are refused, and what the object's checksum is made of.
func TestUpload_ChecksumTypes(t *testing.T) {
	for _, c := range []struct {
		algorithm checksum.Algorithm
		asked     string
		want      string // "" is refused
	}{
		{checksum.None, "", checksum.FullObject},
		{checksum.None, checksum.FullObject, ""},
		{checksum.CRC32, "", checksum.Composite},
		{checksum.CRC32, checksum.Composite, checksum.Composite},
		{checksum.CRC32, checksum.FullObject, checksum.FullObject},
		{checksum.CRC32C, "", checksum.Composite},
		{checksum.CRC32C, checksum.FullObject, checksum.FullObject},
		{checksum.CRC64NVME, "", checksum.FullObject},
		{checksum.CRC64NVME, checksum.FullObject, checksum.FullObject},
		{checksum.CRC64NVME, checksum.Composite, ""},
		{checksum.SHA1, "", checksum.Composite},
		{checksum.SHA1, checksum.FullObject, ""},
		{checksum.SHA256, "", checksum.Composite},
		{checksum.SHA256, checksum.FullObject, ""},
		{checksum.SHA256, "NONSENSE", ""},
	} {
		t.Run(c.algorithm.String()+" "+c.asked, func(t *testing.T) {
			w := newWorld(t, false)
			w.makeBucket("b")
			var headers []string
			if c.algorithm != checksum.None {
				headers = append(headers, "x-amz-checksum-algorithm", c.algorithm.String())
			}
			if c.asked != "" {
				headers = append(headers, "x-amz-checksum-type", c.asked)
			}
			if c.want == "" {
				w.want(w.call("POST", "/b/k?uploads", "", headers...), 400, "InvalidRequest")
				return
			}
			a := c.algorithm
			if a == checksum.None {
				a = checksum.CRC64NVME
			}
			first := "" // one part, which may be small; two of them where they are put together in different ways
			if c.asked == checksum.FullObject || c.asked == "" && (a == checksum.SHA256 || a == checksum.CRC32) {
				first = large
			}
			w.checkUpload(t, w.begin(headers...), a, c.want, first)
		})
	}
}

// checkUpload sends one or two parts, and finds the checksum of algorithm a and type kind wherever it should be, and nowhere else.
func (w *world) checkUpload(t *testing.T, id string, a checksum.Algorithm, kind, first string) {
	const last = "the end"
	var parts []string
	composite := a.New()
	for i, body := range []string{first, last} {
		if body == "" {
			continue
		}
		n := 1 + 6*i
		w.want(w.part(id, n, body), 200, "")
		parts = append(parts, fmt.Sprint(n)+" "+tag(body)+" "+a.Element()+" "+sumText(a, body))
		h := a.New()
		h.Write([]byte(body))
		composite.Write(h.Sum(nil))
	}
	done := w.complete(id, parts)
	w.want(done, 200, "")
	if got := done.element("ChecksumType"); got != kind {
		t.Errorf("type %s, want %s", got, kind)
	}
	want := sumText(a, first+last)
	if kind == checksum.Composite {
		want = checksum.Value{Algorithm: a, Sum: string(composite.Sum(nil)), Parts: len(parts)}.Text()
	}
	got := w.call("HEAD", "/b/k", "", "x-amz-checksum-mode", "ENABLED")
	if got.header.Get(a.Header()) != want || got.header.Get("x-amz-checksum-type") != kind {
		t.Errorf("HEAD says %s %s, want %s", got.header.Get("x-amz-checksum-type"), got.header.Get(a.Header()), want)
	}
	if part := w.call("GET", fmt.Sprintf("/b/k?partNumber=%d", len(parts)), "", "x-amz-checksum-mode", "ENABLED"); part.body != last || part.header.Get(a.Header()) != sumText(a, last) ||
		part.header.Get("x-amz-mp-parts-count") != fmt.Sprint(len(parts)) || part.status != 206 {
		t.Errorf("the last part: %d %q %v", part.status, part.body, part.header)
	}
	if r := w.call("GET", "/b/k", "", "x-amz-checksum-mode", "ENABLED", "Range", "bytes=-9"); !strings.HasSuffix(first+last, r.body) || r.status != 206 || r.header.Get(a.Header()) != "" {
		t.Errorf("range over the end: %q %v", r.body, r.header)
	}
}

func TestUpload_PartsAreChecked(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	id := w.begin("x-amz-checksum-algorithm", "SHA256")
	w.want(w.part(id, 1, large, "x-amz-checksum-sha256", sumText(checksum.SHA256, "other")), 400, "BadDigest")
	w.want(w.part(id, 1, large, "x-amz-checksum-crc32", sumText(checksum.CRC32, large)), 400, "InvalidRequest")
	w.want(w.part(id, 0, large), 400, "InvalidArgument")
	w.want(w.part(id, 10001, large), 400, "InvalidArgument")
	w.want(w.part("0123", 1, "x"), 404, "NoSuchUpload")
	w.want(w.part(id, 1, "small"), 200, "")
	w.want(w.part(id, 2, large), 200, "")
	element := func(b string) string { return " ChecksumSHA256 " + sumText(checksum.SHA256, b) }
	one, two := "1 "+tag("small")+element("small"), "2 "+tag(large)+element(large)
	for name, c := range map[string]struct {
		parts   []string
		headers []string
		code    string
	}{
		"no parts":             {nil, nil, "MalformedXML"},
		"wrong order":          {[]string{two, one}, nil, "InvalidPartOrder"},
		"the same twice":       {[]string{two, two}, nil, "InvalidPartOrder"},
		"too small":            {[]string{one, two}, nil, "EntityTooSmall"},
		"another ETag":         {[]string{"2 " + tag("x") + element(large)}, nil, "InvalidPart"},
		"a part that is not":   {[]string{two, "3 " + tag("x") + element("x")}, nil, "InvalidPart"},
		"another checksum":     {[]string{"2 " + tag(large) + element("x")}, nil, "InvalidPart"},
		"no checksum":          {[]string{"2 " + tag(large)}, nil, "InvalidRequest"},
		"wrong size":           {[]string{two}, []string{"x-amz-mp-object-size", "1"}, "InvalidRequest"},
		"wrong whole checksum": {[]string{two}, []string{"x-amz-checksum-sha256", sumText(checksum.SHA256, "x") + "-1"}, "BadDigest"},
		"another type":         {[]string{two}, []string{"x-amz-checksum-type", "FULL_OBJECT"}, "InvalidRequest"},
		"If-Match of nothing":  {[]string{two}, []string{"If-Match", `"x"`}, "NoSuchKey"},
	} {
		if a := w.complete(id, c.parts, c.headers...); a.code() != c.code {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.body, c.code)
		}
	}
	if w.info("b", "k") != nil {
		t.Fatal("a refused completion made an object")
	}
	list := w.call("GET", "/b/k?max-parts=1&uploadId="+id, "")
	if list.element("IsTruncated") != "true" || list.element("NextPartNumberMarker") != "1" || list.element("ChecksumSHA256") != sumText(checksum.SHA256, "small") {
		t.Errorf("list of parts: %s", list.body)
	}
	if l := w.call("GET", "/b?uploads", ""); l.element("Key") != "k" {
		t.Errorf("list of uploads: %s", l.body)
	}
	done := w.complete(id, []string{two}, "x-amz-mp-object-size", fmt.Sprint(len(large)), "If-None-Match", "*")
	w.want(done, 200, "")
	again := w.complete(id, []string{two})
	w.want(again, 200, "")
	if again.element("ETag") != done.element("ETag") {
		t.Errorf("completed again: %s", again.body)
	}
	w.want(w.complete(id, []string{"2 " + tag("x")}), 404, "NoSuchUpload")
	w.want(w.call("DELETE", "/b/k?uploadId="+id, ""), 404, "NoSuchUpload")
	other := w.begin()
	w.want(w.part(other, 1, "x"), 200, "")
	w.want(w.complete(other, []string{"1 " + tag("x")}, "If-None-Match", "*"), 412, "PreconditionFailed")
	w.want(w.call("DELETE", "/b/k?uploadId="+other, ""), 204, "")
	w.want(w.call("GET", "/b/k?uploadId="+other, ""), 404, "NoSuchUpload")
	// In the listing the ETag is the object's own.
	if l := w.call("GET", "/b", ""); l.element("ETag") != "&quot;"+strings.Trim(done.element("ETag"), "&quot;")+"&quot;" || l.element("ChecksumType") != "COMPOSITE" {
		t.Errorf("listed as %s", l.body)
	}
}

func TestUpload_PartsByCopy(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "source", large+"tail")
	id := w.begin()
	target := func(n int) string { return fmt.Sprintf("/b/k?partNumber=%d&uploadId=%s", n, id) }
	first := w.call("PUT", target(1), "", "x-amz-copy-source", "/b/source", "x-amz-copy-source-range", "bytes=0-5242879")
	w.want(first, 200, "")
	second := w.call("PUT", target(2), "", "x-amz-copy-source", "b/source", "x-amz-copy-source-range", "bytes=5242880-5242883")
	w.want(second, 200, "")
	for text, code := range map[string]string{"bytes=0-5242884": "InvalidRange", "bytes=5-": "InvalidArgument", "bytes=-5": "InvalidArgument", "0-5": "InvalidArgument", "bytes=5-4": "InvalidArgument",
		"bytes=0-99999999999999999999999": "InvalidRange"} {
		if a := w.call("PUT", target(3), "", "x-amz-copy-source", "b/source", "x-amz-copy-source-range", text); a.code() != code {
			t.Errorf("%s: %d %s", text, a.status, a.body)
		}
	}
	w.want(w.call("PUT", target(3), "", "x-amz-copy-source", "b/none"), 404, "NoSuchKey")
	w.want(w.complete(id, []string{"1 " + tag(large), "2 " + tag("tail")}), 200, "")
	if got := w.call("GET", "/b/k", ""); got.body != large+"tail" {
		t.Errorf("%d bytes back", len(got.body))
	}
}
