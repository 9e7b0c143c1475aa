package sigv4

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/proxy/s3/fault"
)

// signed makes a request that is signed well, unless change, which comes before the signature, or after, which comes after it, spoil it.
func signed(t *testing.T, v *Verifier, secret string, s scope, change, after func(*http.Request)) (*Auth, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPut, "http://s3.example.org/b/a%20key?uploads=&x=1", nil)
	r.Header.Set("X-Amz-Date", v.clock.Now().UTC().Format(dateLayout))
	r.Header.Set("X-Amz-Content-Sha256", UnsignedPayload)
	if change != nil {
		change(r)
	}
	names := []string{"host"}
	for name := range r.Header {
		names = append(names, strings.ToLower(name))
	}
	names = parseSigned(strings.Join(names, ";"))
	ps, _ := ParseQuery(r.URL.RawQuery)
	payload := cmp.Or(r.Header.Get("X-Amz-Content-Sha256"), emptyHash)
	text := textToSign(r.Header.Get("X-Amz-Date"), s, canonicalRequest(r, canonicalPath(r), ps, names, payload))
	r.Header.Set("Authorization", algorithmHMAC+" Credential="+exampleAccess+"/"+s.String()+", SignedHeaders="+strings.Join(names, ";")+", Signature="+sign(derive(secret, s), text))
	if after != nil {
		after(r)
	}
	return verify(v, r, "")
}

func TestVerify_Refusals(t *testing.T) {
	v := exampleVerifier(t, "20130524T120000Z")
	good := scope{"20130524", "us-east-1", "s3"}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		secret        string
		scope         scope
		change, after func(*http.Request)
		want          fault.Code
	}{
		"good":                            {},
		"another secret":                  {secret: "another", want: fault.SignatureDoesNotMatch},
		"another region":                  {scope: scope{"20130524", "eu-west-1", "s3"}, want: fault.AuthorizationHeaderBad},
		"another service":                 {scope: scope{"20130524", "us-east-1", "iam"}, want: fault.AuthorizationHeaderBad},
		"another day in the scope":        {scope: scope{"20130523", "us-east-1", "s3"}, want: fault.AuthorizationHeaderBad},
		"sixteen minutes old":             {change: set("X-Amz-Date", "20130524T114400Z"), want: fault.RequestTimeTooSkewed},
		"fifteen minutes old":             {change: set("X-Amz-Date", "20130524T114500Z")},
		"sixteen minutes ahead":           {change: set("X-Amz-Date", "20130524T121600Z"), want: fault.RequestTimeTooSkewed},
		"no date":                         {after: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, want: fault.AccessDenied},
		"an unsigned x-amz header":        {after: set("X-Amz-Acl", "public-read"), want: fault.AccessDenied},
		"a changed header":                {change: set("X-Amz-Acl", "private"), after: set("X-Amz-Acl", "public-read"), want: fault.SignatureDoesNotMatch},
		"spaces inside a header":          {change: set("X-Amz-Meta-A", "  two   words ")},
		"no payload hash":                 {change: func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256"); r.ContentLength = 1 }, want: fault.InvalidRequest},
		"no payload hash, unknown length": {change: func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256"); r.ContentLength = -1 }, want: fault.InvalidRequest},
		"no payload hash and no payload":  {change: func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }},
		"a payload hash of nonsense":      {change: set("X-Amz-Content-Sha256", "nonsense"), want: fault.InvalidArgument},
		"chunks signed by ECDSA":          {change: set("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"), want: fault.NotImplemented},
		"signed by ECDSA":                 {after: set("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=x"), want: fault.NotImplemented},
		"another scheme":                  {after: set("Authorization", "Bearer x"), want: fault.InvalidArgument},
		"a session token":                 {change: set("X-Amz-Security-Token", "t"), want: fault.InvalidToken},
		"no signature at all":             {after: func(r *http.Request) { r.Header.Del("Authorization") }, want: fault.AccessDenied},
		"host not signed": {after: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "host;", "", 1))
		}, want: fault.AccessDenied},
		"two authorizations": {after: func(r *http.Request) { r.Header.Add("Authorization", "AWS a:b") }, want: fault.InvalidArgument},
		"header and query":   {after: func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=a" }, want: fault.InvalidArgument},
		"a parameter added":  {after: func(r *http.Request) { r.URL.RawQuery += "&acl" }, want: fault.SignatureDoesNotMatch},
		"another method":     {after: func(r *http.Request) { r.Method = http.MethodDelete }, want: fault.SignatureDoesNotMatch},
		"unknown key": {after: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), exampleAccess, "NOBODY", 1))
		}, want: fault.InvalidAccessKeyID},
	} {
		t.Run(name, func(t *testing.T) {
			if c.secret == "" {
				c.secret = exampleSecret
			}
			if c.scope == (scope{}) {
				c.scope = good
			}
			_, err := signed(t, v, c.secret, c.scope, c.change, c.after)
			if got := codeOf(err); got != c.want || (c.want == "" && err != nil) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestVerify_WrongRegionNamesTheRight(t *testing.T) {
	_, err := signed(t, exampleVerifier(t, "20130524T120000Z"), exampleSecret, scope{"20130524", "eu-west-1", "s3"}, nil, nil)
	f, ok := err.(*fault.Error)
	if !ok || len(f.Fields) == 0 || f.Fields[0] != (fault.Field{Name: "Region", Value: "us-east-1"}) {
		t.Errorf("got %v: clients learn the region from the field", err)
	}
}

func presign(v *Verifier, at time.Time, expires string) *http.Request {
	s := scope{at.Format(dayLayout), "us-east-1", "s3"}
	q := url.Values{"X-Amz-Algorithm": {algorithmHMAC}, "X-Amz-Credential": {exampleAccess + "/" + s.String()}, "X-Amz-Date": {at.Format(dateLayout)},
		"X-Amz-Expires": {expires}, "X-Amz-SignedHeaders": {"host"}}
	r := httptest.NewRequest(http.MethodGet, "http://s3.example.org/b/k?"+q.Encode(), nil)
	ps, _ := ParseQuery(r.URL.RawQuery)
	text := textToSign(at.Format(dateLayout), s, canonicalRequest(r, canonicalPath(r), ps, []string{"host"}, UnsignedPayload))
	r.URL.RawQuery += "&X-Amz-Signature=" + sign(derive(exampleSecret, s), text)
	return r
}

func TestVerify_PresignedExpires(t *testing.T) {
	at := time.Date(2013, 5, 24, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		expires string
		after   time.Duration
		change  func(*http.Request)
		want    fault.Code
	}{
		"at once":               {"60", 0, nil, ""},
		"in its last second":    {"60", time.Minute, nil, ""},
		"a second too late":     {"60", time.Minute + time.Second, nil, fault.AccessDenied},
		"a week":                {"604800", 24 * time.Hour, nil, ""},
		"more than a week":      {"604801", 0, nil, fault.AuthorizationQueryBad},
		"negative":              {"-1", 0, nil, fault.AuthorizationQueryBad},
		"no number":             {"x", 0, nil, fault.AuthorizationQueryBad},
		"before it was made":    {"60", -time.Hour, nil, fault.AccessDenied},
		"twice a parameter":     {"60", 0, func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Expires=1" }, fault.AuthorizationQueryBad},
		"an unsigned header":    {"60", 0, func(r *http.Request) { r.Header.Set("X-Amz-Acl", "x") }, fault.AccessDenied},
		"the harmless header":   {"60", 0, func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", UnsignedPayload) }, ""},
		"another method":        {"60", 0, func(r *http.Request) { r.Method = http.MethodPut }, fault.SignatureDoesNotMatch},
		"an added parameter":    {"60", 0, func(r *http.Request) { r.URL.RawQuery += "&acl" }, fault.SignatureDoesNotMatch},
		"without its signature": {"60", 0, func(r *http.Request) { r.URL.RawQuery, _, _ = strings.Cut(r.URL.RawQuery, "&X-Amz-Signature") }, fault.AuthorizationQueryBad},
	} {
		t.Run(name, func(t *testing.T) {
			v := New(keys{exampleAccess: exampleSecret}, clock.NewManual(at.Add(c.after)), "us-east-1")
			r := presign(v, at, c.expires)
			if c.change != nil {
				c.change(r)
			}
			if _, err := verify(v, r, ""); codeOf(err) != c.want || (c.want == "" && err != nil) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestKeyCache_ForgetsChangedSecrets(t *testing.T) {
	var c keyCache
	s := scope{"20130524", "us-east-1", "s3"}
	first := string(c.get("a", "one", s))
	if string(c.get("a", "two", s)) == first {
		t.Error("the key of the old secret is given for the new one")
	}
	for range 2 * signingKeysMax {
		s.region += "x"
		c.get("a", "one", s)
		if len(c.keys) > signingKeysMax {
			t.Fatal("the cache grows without end")
		}
		if len(s.region) > 64 {
			s.region = s.region[32:] + "y"
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("Credential=A/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range,Signature=" + strings.Repeat("0", 64))
	f.Add("Credential=,SignedHeaders=,Signature=")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseAuthorization(text)
		if err == nil && (c.access == "" || len(c.signed) == 0 || len(c.signature) != 64) {
			t.Fatalf("%q is read as %+v", text, c)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=0")
	f.Add("AWSAccessKeyId=a&Signature=b&Expires=99999999999")
	f.Add("a=%zz&&=&b")
	v := New(keys{exampleAccess: exampleSecret}, clock.NewManual(time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)), "us-east-1")
	f.Fuzz(func(t *testing.T, raw string) {
		ps, ok := ParseQuery(raw)
		if !ok {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "http://h/b/k", nil)
		r.URL.RawQuery = raw
		if a, err := v.Verify(r, ps, ""); err == nil {
			t.Fatalf("%q is accepted as %+v", raw, a)
		}
	})
}
