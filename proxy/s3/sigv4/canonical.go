package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// Encode is AWS's UriEncode: everything but unreserved characters becomes %XX; a slash stays when keepSlash.
func Encode(s string, keepSlash bool) string {
	return string(appendEncoded(make([]byte, 0, len(s)+16), s, keepSlash))
}

func appendEncoded(b []byte, s string, keepSlash bool) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b = append(b, c)
		default:
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// Parameter is one parameter of a query, decoded.
type Parameter struct {
	Name, Value string
}

// ParseQuery reads a raw query: pairs divided by "&", "+" being a space. ok is false when an escape is malformed.
func ParseQuery(raw string) (ps []Parameter, ok bool) {
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			return nil, false
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil, false
		}
		ps = append(ps, Parameter{n, v})
	}
	return ps, true
}

// canonicalQuery encodes and sorts the parameters; the signature itself is left out.
func canonicalQuery(ps []Parameter) string {
	pairs := make([]string, 0, len(ps))
	for _, p := range ps {
		if p.Name != "X-Amz-Signature" {
			pairs = append(pairs, Encode(p.Name, false)+"="+Encode(p.Value, false))
		}
	}
	// By name and then by value: "=" sorts below "~" and letters but above "-", ".", "%" and digits, so that whole pairs must not be compared.
	slices.SortFunc(pairs, func(a, b string) int {
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pairs, "&")
}

// headerValue gives a header as it is signed: values joined by commas, trimmed, inner runs of spaces made one. net/http takes some headers out
// of the map; they are put back here.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return trim(r.Host)
	case "content-length":
		if v := r.Header.Get("Content-Length"); v != "" {
			return trim(v)
		}
		if r.ContentLength >= 0 {
			return strconv.FormatInt(r.ContentLength, 10)
		}
		return ""
	case "transfer-encoding":
		return strings.Join(r.TransferEncoding, ",")
	}
	values := r.Header.Values(name)
	if len(values) == 1 {
		return trim(values[0])
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = trim(v)
	}
	return strings.Join(trimmed, ",")
}

func trim(s string) string {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] != ' ' || s[i-1] != ' ' {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// canonicalPath encodes the path as Amazon does, however the client encoded it.
func canonicalPath(r *http.Request) string {
	if r.URL.Path == "" {
		return "/"
	}
	return Encode(r.URL.Path, true)
}

// canonicalRequest is the text whose hash is signed in version 4. The path is not encoded twice and not cleaned: S3's exception to the general rule.
//
// path is the path in its canonical encoding.
func canonicalRequest(r *http.Request, path string, ps []Parameter, signed []string, payload string) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = append(b, path...)
	b = append(b, '\n')
	b = append(b, canonicalQuery(ps)...)
	b = append(b, '\n')
	for _, name := range signed {
		b = append(b, name...)
		b = append(b, ':')
		b = append(b, headerValue(r, name)...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, strings.Join(signed, ";")...)
	b = append(b, '\n')
	return append(b, payload...)
}
