package identity

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"henge/internal/errs"
)

func TestAuthenticate_Scopes(t *testing.T) {
	c := newCloud(t)
	for _, tc := range []struct {
		name, scope, within string
		catalog             bool
	}{
		{"project by name", projectScope("demo"), "project", true},
		{"project by id", `{"project":{"id":"` + c.boot.AdminProjectID + `"}}`, "project", true},
		{"domain by id", `{"domain":{"id":"default"}}`, "domain", true},
		{"domain by name", `{"domain":{"name":"Default"}}`, "domain", true},
		{"system", `{"system":{"all":true}}`, "system", true},
		{"unscoped", `{"unscoped":{}}`, "", false},
		{"unscoped as a word", `"unscoped"`, "", false},
		{"default project", "", "project", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := c.want(http.StatusCreated, "", "POST", "/v3/auth/tokens", passwordBody("admin", adminPassword, tc.scope))
			for _, within := range []string{"project", "domain", "system"} {
				if there := a.at("token", within) != nil; there != (within == tc.within) {
					t.Errorf("scope %s there: %v", within, there)
				}
			}
			if there := a.at("token", "catalog") != nil; there != tc.catalog {
				t.Errorf("catalog there: %v", there)
			}
			shown := a.header.Get("X-Subject-Token")
			if len(shown) > 180 {
				t.Errorf("the token has %d characters", len(shown))
			}
			id, err := c.id.Tokens().Token(t.Context(), shown)
			if err != nil || id.UserName != "admin" || id.HasRole("reader") != (tc.within != "") {
				t.Errorf("checked: %+v, %v", id, err)
			}
		})
	}
}

func TestAuthenticate_CatalogIsFilledIn(t *testing.T) {
	c := newCloud(t)
	a := c.want(http.StatusCreated, "", "POST", "/v3/auth/tokens", passwordBody("admin", adminPassword, projectScope("demo")))
	want := "http://127.0.0.1:8080/v1/AUTH_" + c.boot.DemoProjectID
	if !strings.Contains(a.body, want) {
		t.Fatalf("no %s in %s", want, a.body)
	}
	a = c.want(http.StatusCreated, "", "POST", "/v3/auth/tokens?nocatalog", passwordBody("admin", adminPassword, projectScope("demo")))
	if a.at("token", "catalog") != nil {
		t.Fatal("a catalog, though none was wanted")
	}
}

func TestAuthenticate_Refused(t *testing.T) {
	c := newCloud(t)
	for _, tc := range []struct {
		name, body string
		status     int
	}{
		{"wrong password", passwordBody("admin", "wrong", ""), 401},
		{"unknown user", passwordBody("nobody", "wrong", ""), 401},
		{"unknown project", passwordBody("admin", adminPassword, projectScope("nowhere")), 401},
		{"project without a role", passwordBody("admin", adminPassword, projectScope("service")), 401},
		{"unknown domain", passwordBody("admin", adminPassword, `{"domain":{"id":"x"}}`), 401},
		{"method unknown", `{"auth":{"identity":{"methods":["magic"]}}}`, 401},
		{"bad token", `{"auth":{"identity":{"methods":["token"],"token":{"id":"x"}}}}`, 401},
		{"empty", ``, 400},
		{"not an object", `[]`, 400},
		{"null", `null`, 400},
		{"no auth", `{}`, 400},
		{"auth a number", `{"auth":1}`, 400},
		{"no methods", `{"auth":{"identity":{}}}`, 400},
		{"methods a string", `{"auth":{"identity":{"methods":"password"}}}`, 400},
		{"method without its data", `{"auth":{"identity":{"methods":["password"]}}}`, 400},
		{"no password", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"a"}}}}}`, 400},
		{"name without a domain", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"a","password":"b"}}}}}`, 400},
		{"two scopes", passwordBody("admin", adminPassword, `{"domain":{"id":"default"},"system":{"all":true}}`), 400},
		{"empty scope", passwordBody("admin", adminPassword, `{}`), 400},
		{"trust", passwordBody("admin", adminPassword, `{"OS-TRUST:trust":{"id":"x"}}`), 401},
		{"deep", strings.Repeat(`{"auth":`, 1000) + "1" + strings.Repeat("}", 1000), 400},
		{"not UTF-8", "{\"auth\":\"\xff\"}", 400},
		{"huge", `{"auth":"` + strings.Repeat("x", 2<<20) + `"}`, 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.clock.Advance(10 * time.Minute) // the throttle is another test's
			a := c.want(tc.status, "", "POST", "/v3/auth/tokens", tc.body)
			if tc.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Keystone uri=") {
				t.Errorf("WWW-Authenticate: %q", a.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestAuthenticate_ByToken(t *testing.T) {
	c := newCloud(t)
	c.clock.Advance(10 * time.Minute)
	body := func(token, scope string) string {
		return `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + token + `"}},"scope":` + scope + `}}`
	}
	first := c.want(200, c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", c.admin)
	a := c.want(201, "", "POST", "/v3/auth/tokens", body(c.admin, projectScope("demo")))
	if a.text("token", "expires_at") != first.text("token", "expires_at") {
		t.Errorf("a token from a token lives until %s, its parent until %s", a.text("token", "expires_at"), first.text("token", "expires_at"))
	}
	if chain, _ := a.at("token", "audit_ids").([]any); len(chain) != 2 {
		t.Errorf("audit ids %v", chain)
	}
	if methods, _ := a.at("token", "methods").([]any); len(methods) != 2 {
		t.Errorf("methods %v", methods)
	}
	c.clock.Advance(time.Hour)
	c.want(401, "", "POST", "/v3/auth/tokens", body(c.admin, projectScope("demo")))
	if _, err := c.id.Tokens().Token(t.Context(), c.admin); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("an expired token: %v", err)
	}
}

func TestToken_ShowAndRevoke(t *testing.T) {
	c := newCloud(t)
	c.run()
	other := c.login("admin", adminPassword, "demo")
	a := c.want(200, c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", other)
	if a.header.Get("X-Subject-Token") != other || a.text("token", "project", "name") != "demo" {
		t.Fatalf("shown: %s", a.body)
	}
	c.want(200, c.admin, "HEAD", "/v3/auth/tokens", "", "X-Subject-Token", other)
	c.want(204, c.admin, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", other)
	c.want(404, c.admin, "HEAD", "/v3/auth/tokens", "", "X-Subject-Token", other)
	c.want(401, other, "GET", "/v3/auth/catalog", "")
	c.want(400, c.admin, "GET", "/v3/auth/tokens", "")
	c.want(401, "", "GET", "/v3/auth/tokens", "", "X-Subject-Token", c.admin)
	c.want(204, c.admin, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", c.admin)
	c.want(401, c.admin, "GET", "/v3/auth/catalog", "")
}

func TestV1Auth(t *testing.T) {
	c := newCloud(t)
	a := c.want(200, "", "GET", "/auth/v1.0", "", "X-Auth-User", "admin:admin", "X-Auth-Key", adminPassword)
	if a.header.Get("X-Storage-Url") != "http://127.0.0.1:8080/v1/AUTH_"+c.boot.AdminProjectID {
		t.Errorf("storage url %q", a.header.Get("X-Storage-Url"))
	}
	token := a.header.Get("X-Auth-Token")
	if token == "" || token != a.header.Get("X-Storage-Token") || a.header.Get("X-Auth-Token-Expires") == "" {
		t.Errorf("headers %v", a.header)
	}
	if id, err := c.id.Tokens().Token(t.Context(), token); err != nil || id.ProjectName != "admin" {
		t.Errorf("the token is %+v, %v", id, err)
	}
	c.want(200, "", "GET", "/auth/v1.0", "", "X-Storage-User", "demo:admin", "X-Storage-Pass", adminPassword)
	c.want(200, "", "GET", "/auth/v1.0/", "", "X-Auth-User", "admin", "X-Auth-Key", adminPassword)
	for name, headers := range map[string][]string{
		"nothing":         {},
		"wrong key":       {"X-Auth-User", "admin:admin", "X-Auth-Key", "wrong"},
		"unknown project": {"X-Auth-User", "x:admin", "X-Auth-Key", adminPassword},
		"unknown user":    {"X-Auth-User", "admin:x", "X-Auth-Key", adminPassword},
		"colons":          {"X-Auth-User", ":::", "X-Auth-Key", adminPassword},
		"not UTF-8":       {"X-Auth-User", "\xff:\xfe", "X-Auth-Key", adminPassword},
	} {
		c.clock.Advance(10 * time.Minute)
		if a := c.call("", "GET", "/auth/v1.0", "", headers...); a.status != 401 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	c.want(405, "", "POST", "/auth/v1.0", "")
}

func TestBootstrap_Repeated(t *testing.T) {
	c := newCloud(t)
	first := c.boot
	if !first.Created || first.AccessKey == "" || first.EndpointsCreated != 9 {
		t.Fatalf("first: %+v", first)
	}
	before := dump(t, c.store)
	c.bootstrap("http://example.com")
	if c.boot.Created || c.boot.EndpointsCreated != 0 || c.boot.EndpointsReplaced != 0 || c.boot.AccessKey != first.AccessKey || c.boot.AdminUserID != first.AdminUserID {
		t.Fatalf("second: %+v", c.boot)
	}
	if after := dump(t, c.store); after != before {
		t.Fatal("bootstrapping again changed something")
	}
	c.bootstrap("http://10.0.0.1:5000")
	if c.boot.EndpointsReplaced != 3 || c.boot.EndpointsCreated != 0 {
		t.Fatalf("with another address: %+v", c.boot)
	}
	secret, id, err := c.id.Keys().Key(t.Context(), first.AccessKey)
	if err != nil || secret != first.SecretKey || id.ProjectName != "admin" || !id.HasRole("admin") {
		t.Fatalf("the access key gives %+v, %v", id, err)
	}
	if _, err := Bootstrap(t.Context(), c.store, BootstrapConfig{}); err != nil {
		t.Fatalf("without a password, admin there: %v", err)
	}
}
