package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"henge/proxy/s3/checksum"
	"henge/proxy/s3/sigv4"
)

// chunkedBody encodes data in chunks; signature and trailer may be left out. A header that is signed gives the seed.
type chunkedBody struct {
	data    string
	size    int // of a chunk
	trailer string
	signed  bool
	spoil   func(string) string
}

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// encode makes the body for a request whose headers are signed.
func (b chunkedBody) encode(r *http.Request) string {
	date := r.Header.Get("X-Amz-Date")
	scope := date[:8] + "/" + testRegion + "/s3/aws4_request"
	key := []byte("AWS4secret-member")
	for _, s := range []string{date[:8], testRegion, "s3", "aws4_request"} {
		key = hmacSHA256(key, s)
	}
	_, previous, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	sign := func(text string) string {
		previous = hex.EncodeToString(hmacSHA256(key, text))
		return previous
	}
	var out strings.Builder
	for rest, done := b.data, false; !done; {
		n := min(b.size, len(rest))
		chunk := rest[:n]
		rest, done = rest[n:], n == 0
		fmt.Fprintf(&out, "%x", n)
		if b.signed {
			out.WriteString(";chunk-signature=" + sign("AWS4-HMAC-SHA256-PAYLOAD\n"+date+"\n"+scope+"\n"+previous+"\n"+hexSum("")+"\n"+hexSum(chunk)))
		}
		out.WriteString("\r\n" + chunk)
		if n > 0 {
			out.WriteString("\r\n")
		}
	}
	if b.trailer != "" {
		out.WriteString(b.trailer + "\r\n")
		if b.signed {
			out.WriteString("x-amz-trailer-signature:" + sign("AWS4-HMAC-SHA256-TRAILER\n"+date+"\n"+scope+"\n"+previous+"\n"+hexSum(b.trailer+"\n")) + "\r\n")
		}
	}
	out.WriteString("\r\n")
	if b.spoil != nil {
		return b.spoil(out.String())
	}
	return out.String()
}

// putChunked puts b/k in chunks.
func (w *world) putChunked(b chunkedBody, payload string, headers ...string) answer {
	w.t.Helper()
	r := w.request("member", http.MethodPut, "/b/k", "", append([]string{"payload", payload}, headers...)...)
	body := b.encode(r)
	r.Body, r.ContentLength = http.NoBody, 0
	next, err := http.NewRequestWithContext(w.t.Context(), r.Method, r.URL.String(), strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	next.Header = r.Header
	return w.send(next)
}

func sumText(a checksum.Algorithm, data string) string {
	h := a.New()
	h.Write([]byte(data))
	return checksum.Value{Algorithm: a, Sum: string(h.Sum(nil))}.Text()
}

func TestIntegrity_Payloads(t *testing.T) {
	const data = "hello, world"
	length := fmt.Sprint(len(data))
	trailer := "x-amz-checksum-crc32c:" + sumText(checksum.CRC32C, data)
	announce := []string{"X-Amz-Trailer", "x-amz-checksum-crc32c", "X-Amz-Decoded-Content-Length", length}
	decoded := []string{"X-Amz-Decoded-Content-Length", length}
	for name, c := range map[string]struct {
		body    chunkedBody
		payload string
		headers []string
		status  int
		code    string
	}{
		"unsigned with trailer": {chunkedBody{data: data, size: 5, trailer: trailer}, sigv4.StreamingUnsignedTrailer, announce, 200, ""},
		"unsigned in one chunk": {chunkedBody{data: data, size: 99, trailer: trailer}, sigv4.StreamingUnsignedTrailer, announce, 200, ""},
		"signed":                {chunkedBody{data: data, size: 5, signed: true}, sigv4.StreamingSigned, decoded, 200, ""},
		"signed with trailer":   {chunkedBody{data: data, size: 5, signed: true, trailer: trailer}, sigv4.StreamingSignedTrailer, announce, 200, ""},
		"a flipped byte in a signed chunk": {chunkedBody{data: data, size: 5, signed: true, spoil: func(s string) string { return strings.Replace(s, "hello", "jello", 1) }},
			sigv4.StreamingSigned, decoded, 403, "SignatureDoesNotMatch"},
		"a flipped byte under a trailer": {chunkedBody{data: data, size: 5, trailer: trailer, spoil: func(s string) string { return strings.Replace(s, "hello", "jello", 1) }},
			sigv4.StreamingUnsignedTrailer, announce, 400, "BadDigest"},
		"a malformed trailer":       {chunkedBody{data: data, size: 5, trailer: "x-amz-checksum-crc32c:???"}, sigv4.StreamingUnsignedTrailer, announce, 400, "InvalidRequest"},
		"another trailer":           {chunkedBody{data: data, size: 5, trailer: "x-amz-checksum-crc32:AAAA"}, sigv4.StreamingUnsignedTrailer, announce, 400, "MalformedTrailerError"},
		"no decoded length":         {chunkedBody{data: data, size: 5, signed: true}, sigv4.StreamingSigned, nil, 411, "MissingContentLength"},
		"decoded length wrong":      {chunkedBody{data: data, size: 5, signed: true}, sigv4.StreamingSigned, []string{"X-Amz-Decoded-Content-Length", "99"}, 400, "IncompleteBody"},
		"decoded length bad":        {chunkedBody{data: data, size: 5, signed: true}, sigv4.StreamingSigned, []string{"X-Amz-Decoded-Content-Length", "-1"}, 400, "InvalidArgument"},
		"truncated":                 {chunkedBody{data: data, size: 5, signed: true, spoil: func(s string) string { return s[:len(s)-40] }}, sigv4.StreamingSigned, decoded, 400, "IncompleteBody"},
		"signed, not in chunks":     {chunkedBody{spoil: func(string) string { return data }}, sigv4.StreamingSigned, decoded, 400, "IncompleteBody"},
		"a trailer that may not be": {chunkedBody{data: data, size: 5, signed: true, trailer: trailer}, sigv4.StreamingSigned, announce, 400, "InvalidRequest"},
		"trailer of no checksum": {chunkedBody{data: data, size: 5, trailer: "x-amz-meta-a:b"}, sigv4.StreamingUnsignedTrailer,
			[]string{"X-Amz-Trailer", "x-amz-meta-a", "X-Amz-Decoded-Content-Length", length}, 400, "InvalidRequest"},
		"header and trailer": {chunkedBody{data: data, size: 5, trailer: trailer}, sigv4.StreamingUnsignedTrailer,
			append([]string{"X-Amz-Checksum-Sha1", sumText(checksum.SHA1, data)}, announce...), 400, "InvalidRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, false)
			w.makeBucket("b")
			a := w.putChunked(c.body, c.payload, append(c.headers, "Content-Encoding", "gzip, aws-chunked")...)
			w.want(a, c.status, c.code)
			info := w.info("b", "k")
			if (info != nil) != (c.status == 200) {
				t.Fatalf("status %d, and stored is %+v", a.status, info)
			}
			if info != nil && (info.Size != int64(len(data)) || info.Meta["content-encoding"] != "gzip") {
				t.Errorf("stored %d bytes with Content-Encoding %q", info.Size, info.Meta["content-encoding"])
			}
		})
	}
}

func TestIntegrity_OnlyTheTokenIsStripped(t *testing.T) {
	for encoding, want := range map[string]string{"aws-chunked": "", "gzip": "gzip", "aws-chunked,gzip": "gzip", "gzip,AWS-Chunked": "gzip", "br, aws-chunked, gzip": "br, gzip",
		"x-aws-chunked": "x-aws-chunked"} {
		if got := withoutChunked(encoding); got != want {
			t.Errorf("%q becomes %q, want %q", encoding, got, want)
		}
	}
}

// Every algorithm, as a header and as a trailer: right, wrong, malformed, twice.
func TestIntegrity_Algorithms(t *testing.T) {
	const data = "hello, world"
	w := newWorld(t, false)
	w.makeBucket("b")
	for _, a := range checksum.Algorithms() {
		right, wrong := sumText(a, data), sumText(a, "something else")
		w.want(w.call("PUT", "/b/"+a.String(), data, a.Header(), right), 200, "")
		w.want(w.call("PUT", "/b/x", data, a.Header(), wrong), 400, "BadDigest")
		w.want(w.call("PUT", "/b/x", data, a.Header(), right+"-1"), 400, "InvalidRequest")
		w.want(w.call("PUT", "/b/x", data, a.Header(), "AAAA"), 400, "InvalidRequest")
		w.want(w.call("PUT", "/b/x", data, a.Header(), right, a.Header(), right), 400, "InvalidRequest")
		w.want(w.call("PUT", "/b/x", data, a.Header(), right, "x-amz-sdk-checksum-algorithm", "nonsense"), 400, "InvalidRequest")
		for _, b := range checksum.Algorithms() {
			if a != b {
				w.want(w.call("PUT", "/b/x", data, a.Header(), right, b.Header(), sumText(b, data)), 400, "InvalidRequest")
				w.want(w.call("PUT", "/b/x", data, a.Header(), right, "x-amz-sdk-checksum-algorithm", b.String()), 400, "InvalidRequest")
			}
		}
		if w.info("b", "x") != nil {
			t.Fatalf("%s: a refused object is there", a)
		}
		for text, code := range map[string]string{right: "", wrong: "BadDigest", "AAAA": "InvalidRequest", right + "-2": "InvalidRequest"} {
			got := w.putChunked(chunkedBody{data: data, size: 7, trailer: a.Header() + ":" + text}, sigv4.StreamingUnsignedTrailer,
				"X-Amz-Trailer", a.Header(), "X-Amz-Decoded-Content-Length", fmt.Sprint(len(data)))
			if got.code() != code {
				t.Errorf("%s as the trailer %q: %d %s", a, text, got.status, got.body)
			}
		}
		// Shown when asked for, and not with a range, and not otherwise.
		shown := w.call("GET", "/b/"+a.String(), "", "x-amz-checksum-mode", "ENABLED")
		if shown.header.Get(a.Header()) != right || shown.header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
			t.Errorf("%s: shown %q %q", a, shown.header.Get(a.Header()), shown.header.Get("x-amz-checksum-type"))
		}
		for _, headers := range [][]string{{}, {"x-amz-checksum-mode", "ENABLED", "Range", "bytes=0-3"}} {
			if got := w.call("GET", "/b/"+a.String(), "", headers...); got.header.Get(a.Header()) != "" || got.header.Get("x-amz-checksum-type") != "" {
				t.Errorf("%s: shown for %v", a, headers)
			}
		}
	}
	w.want(w.call("PUT", "/b/x", data, "x-amz-checksum-sha512", "AAAA"), 501, "NotImplemented")
	w.want(w.call("PUT", "/b/x", data, "x-amz-sdk-checksum-algorithm", "CRC32"), 400, "InvalidRequest")
}

func TestIntegrity_OwnChecksumWhenTheClientSendsNone(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	put := w.call("PUT", "/b/k", "hello")
	want := sumText(checksum.CRC64NVME, "hello")
	if put.header.Get("x-amz-checksum-crc64nvme") != want || put.header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
		t.Errorf("answer to PUT has %q", put.header.Get("x-amz-checksum-crc64nvme"))
	}
	if got := w.call("HEAD", "/b/k", "", "x-amz-checksum-mode", "ENABLED"); got.header.Get("x-amz-checksum-crc64nvme") != want {
		t.Errorf("HEAD has %q, want %q", got.header.Get("x-amz-checksum-crc64nvme"), want)
	}
	w.put("b", "swift", "hello")
	if got := w.call("HEAD", "/b/swift", "", "x-amz-checksum-mode", "ENABLED"); got.status != 200 || got.header.Get("x-amz-checksum-crc64nvme") != "" {
		t.Errorf("what Swift wrote: %+v", got)
	}
}

func TestIntegrity_SignatureAndMD5(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.want(w.call("PUT", "/b/k", "hello", "payload", hexSum("jello")), 400, "XAmzContentSHA256Mismatch")
	w.want(w.call("PUT", "/b/k", "hello", "Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="), 400, "BadDigest")
	w.want(w.call("PUT", "/b/k", "hello", "Content-MD5", "nonsense"), 400, "InvalidDigest")
	if w.info("b", "k") != nil {
		t.Error("a refused object is there")
	}
	w.want(w.call("PUT", "/b/k", "hello", "Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="), 200, "")
	w.want(w.call("PUT", "/b/k", "hello", "payload", sigv4.UnsignedPayload), 200, "")
}

func TestIntegrity_DeleteObjectsNeedsADigest(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	const body = "<Delete><Object><Key>k</Key></Object></Delete>"
	w.want(w.call("POST", "/b?delete", body), 400, "InvalidRequest")
	w.want(w.call("POST", "/b?delete", body, "Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="), 400, "BadDigest")
	for _, a := range checksum.Algorithms() {
		w.put("b", "k", "x")
		w.want(w.call("POST", "/b?delete", body, a.Header(), sumText(a, "other")), 400, "BadDigest")
		if w.info("b", "k") == nil {
			t.Fatal("deleted under a wrong checksum")
		}
		w.want(w.call("POST", "/b?delete", body, a.Header(), sumText(a, body)), 200, "")
		if w.info("b", "k") != nil {
			t.Errorf("%s: not deleted", a)
		}
	}
}
