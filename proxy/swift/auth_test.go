package swift_test

import (
	"net/http"
	"testing"

	"henge/proxy/swift"
)

func TestAuthorize_Roles(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201)
	w.ok("PUT", account+"/c/o", "hello", 201)
	for _, c := range []struct {
		token, method, path string
		code                int
	}{
		{"", "GET", account + "/c/o", 401}, {"wrong", "GET", account + "/c/o", 401}, {"", "GET", account, 401},
		{"stranger", "GET", account + "/c/o", 403}, {"stranger", "GET", account, 403}, {"stranger", "PUT", account + "/d", 403},
		{"stranger", "GET", account + "/none/o", 403}, {"nobody", "GET", account + "/c/o", 403}, {"otheradmin", "GET", account + "/c/o", 403},
		{"reader", "GET", account + "/c/o", 200}, {"reader", "GET", account + "/c", 200}, {"reader", "GET", account, 200},
		{"reader", "PUT", account + "/c/o", 403}, {"reader", "POST", account + "/c", 403}, {"reader", "DELETE", account + "/c/o", 403},
		{"reseller", "GET", account + "/c/o", 200}, {"admin", "PUT", account + "/c/p", 201},
		{"reseller", "GET", "/v1/.hidden/c/o", 403}, {"reseller", "GET", "/v1/AUTH_/c/o", 403}, {"", "GET", "/v1/.hidden", 401},
		{"down", "GET", account + "/c/o", 503}, {"member", "GET", "/v1/KEY_p1/c", 403},
	} {
		a := w.as(c.token, c.method, c.path, "", c.code)
		if c.code == 401 {
			if a.Header.Get("Www-Authenticate") == "" {
				t.Errorf("%s %s: 401 without Www-Authenticate", c.method, c.path)
			}
			a.wantsBody(t, "<html><h1>Unauthorized</h1><p>This server could not verify that you are authorized to access the document you requested.</p></html>")
		}
	}
	w.as("", "GET", account+"/c", "", 401).wants(t, "Www-Authenticate", `Swift realm="AUTH_p1"`)
}

func TestAuthorize_AccessLists(t *testing.T) {
	w := newWorld(t)
	type try struct {
		token, method, path, referer string
		code                         int
	}
	get, list, put, post := func(tok string, code int) try { return try{tok, "GET", "/c/o", "", code} },
		func(tok string, code int) try { return try{tok, "GET", "/c", "", code} },
		func(tok string, code int) try { return try{tok, "PUT", "/c/p", "", code} },
		func(tok string, code int) try { return try{tok, "POST", "/c", "", code} }
	for name, c := range map[string]struct {
		read, write string
		tries       []try
	}{
		"public":        {".r:*", "", []try{get("", 200), list("", 401), put("", 401), get("stranger", 200), list("stranger", 403), get("wrong", 200)}},
		"public lists":  {".r:*,.rlistings", "", []try{get("", 200), list("", 200), put("stranger", 403), post("stranger", 403)}},
		"host":          {".r:.example.com", "", []try{get("", 401), {"", "GET", "/c/o", "http://www.example.com/x", 200}, {"", "GET", "/c/o", "http://example.org/", 401}}},
		"host negated":  {".r:*,.r:-.evil.com", "", []try{get("", 200), {"", "GET", "/c/o", "https://a.evil.com/", 401}}},
		"ids":           {"p2:bob-id", "", []try{get("stranger", 200), list("stranger", 200), put("stranger", 403), get("nobody", 403), get("", 401)}},
		"names":         {"p2-name:bob", "", []try{get("stranger", 200)}},
		"any user":      {"p2:*", "", []try{get("stranger", 200), get("nobody", 403)}},
		"any project":   {"*:bob-id", "", []try{get("stranger", 200), get("nobody", 403)}},
		"everybody":     {"*:*", "", []try{get("stranger", 200), get("nobody", 200), get("", 401)}},
		"names abroad":  {"admin:admin", "", []try{get("otheradmin", 403)}},
		"role at home":  {"auditor,member", "", []try{get("nobody", 200), get("stranger", 403)}},
		"write":         {"", "p2:bob-id", []try{put("stranger", 201), get("stranger", 403), {"stranger", "DELETE", "/c/p", "", 204}, post("stranger", 403), list("stranger", 403)}},
		"reader writes": {"", "p1:rita-id", []try{put("reader", 201), post("reader", 403)}},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.ok("PUT", account+"/c", "", map[bool]int{true: 201, false: 202}[w.do("HEAD", account+"/c", "member", nil).StatusCode == 404],
				"X-Container-Read", c.read, "X-Container-Write", c.write)
			w.ok("PUT", account+"/c/o", "hello", 201)
			for _, try := range c.tries {
				w.as(try.token, try.method, account+try.path, "", try.code, "Referer", try.referer)
			}
		})
	}
}

func TestAccessLists_Cleaned(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201, "X-Container-Read", " .referrer : *.example.com , a:b,,.rlistings, .r:-x ", "X-Container-Write", "p:u")
	w.ok("HEAD", account+"/c", "", 204).wants(t, "X-Container-Read", ".r:.example.com,a:b,.rlistings,.r:-x", "X-Container-Write", "p:u")
	w.as("reader", "HEAD", account+"/c", "", 204).wants(t, "X-Container-Read", "-", "X-Container-Write", "-")
	w.ok("POST", account+"/c", "", 400, "X-Container-Write", ".r:*").wantsBody(t, "Referrers not allowed in write ACL: '.r:*'")
	w.ok("POST", account+"/c", "", 400, "X-Container-Read", ".r:").wantsBody(t, "No host/domain value after referrer designation in ACL: '.r:'")
	w.ok("POST", account+"/c", "", 400, "X-Container-Read", ".x:y").wantsBody(t, "Unknown designator '.x' in ACL: '.x:y'")
	w.ok("POST", account+"/c", "", 204, "X-Remove-Container-Read", "x")
	w.ok("HEAD", account+"/c", "", 204).wants(t, "X-Container-Read", "-", "X-Container-Write", "p:u")
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		target, auth string
		want         bool
	}{
		{"/v1/AUTH_p1/c/o", "", true}, {"/v1/AUTH_p1", "", true}, {"/v1", "", true}, {"/info", "", true}, {"/healthcheck", "", true},
		{"/auth/v1.0", "", true}, {"/v1.0/AUTH_x", "", true}, {"/", "", false}, {"/bucket/key", "", false}, {"/v1x/key", "", false},
		{"/info/key", "", false}, {"/authors/x", "", false},
		{"/v1/AUTH_p1/c/o", "AWS4-HMAC-SHA256 Credential=x", false}, {"/info", "AWS AK:sig", false}, {"/healthcheck", "AWS4-HMAC-SHA256 x", false},
		{"/v1/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=1", "", false}, {"/v1/key?AWSAccessKeyId=1&Signature=2", "", false},
		{"/v1/AUTH_p1/c/o?temp_url_sig=1&temp_url_expires=2", "", true},
	} {
		r, err := http.NewRequest("GET", "http://h"+c.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.auth != "" {
			r.Header.Set("Authorization", c.auth)
		}
		if got := swift.Matches(r); got != c.want {
			t.Errorf("Matches(%s, %q) = %v", c.target, c.auth, got)
		}
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 201, "X-Container-Meta-Access-Control-Allow-Origin", "http://a.org http://b.org", "X-Container-Meta-Access-Control-Max-Age", "5",
		"X-Container-Meta-Access-Control-Expose-Headers", "X-More", "X-Container-Read", ".r:*")
	w.ok("PUT", account+"/c/o", "hello", 201, "X-Object-Meta-Color", "blue")
	w.as("", "OPTIONS", account+"/c/o", "", 200).wants(t, "Allow", "HEAD, GET, PUT, POST, DELETE, OPTIONS, COPY")
	w.as("", "OPTIONS", account+"/c/o", "", 401, "Origin", "http://evil.org", "Access-Control-Request-Method", "GET")
	w.as("", "OPTIONS", account+"/c/o", "", 401, "Origin", "http://a.org", "Access-Control-Request-Method", "BREW")
	w.as("", "OPTIONS", account+"/none/o", "", 401, "Origin", "http://a.org", "Access-Control-Request-Method", "GET")
	w.as("", "OPTIONS", account+"/c/o", "", 200, "Origin", "http://b.org", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-foo").
		wants(t, "Access-Control-Allow-Origin", "http://b.org", "Access-Control-Max-Age", "5", "Access-Control-Allow-Headers", "x-foo",
			"Access-Control-Allow-Methods", "HEAD, GET, PUT, POST, DELETE, OPTIONS, COPY", "Vary", "Origin")
	w.as("", "GET", account+"/c/o", "", 200, "Origin", "http://a.org").wants(t, "Access-Control-Allow-Origin", "http://a.org",
		"Access-Control-Expose-Headers", "cache-control, content-language, content-type, etag, expires, last-modified, pragma, "+
			"x-more, x-object-meta-color, x-openstack-request-id, x-timestamp, x-trans-id")
	w.as("", "GET", account+"/c/o", "", 200, "Origin", "http://evil.org").wants(t, "Access-Control-Allow-Origin", "-", "Access-Control-Expose-Headers", "-")
	w.as("", "GET", account+"/c/none", "", 404, "Origin", "http://a.org").wants(t, "Access-Control-Allow-Origin", "http://a.org")
}
