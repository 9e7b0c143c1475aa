package identity

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// make creates something at a collection and gives its id.
func (c *cloud) make(collection, singular, body string) string {
	c.t.Helper()
	return c.want(http.StatusCreated, c.admin, "POST", "/v3/"+collection, `{"`+singular+`":`+body+`}`).text(singular, "id")
}

// role finds a role's id by name.
func (c *cloud) role(name string) string {
	c.t.Helper()
	a := c.want(200, c.admin, "GET", "/v3/roles?name="+name, "")
	ids := a.names("roles", "id")
	if len(ids) != 1 {
		c.t.Fatalf("roles named %s: %v", name, ids)
	}
	return ids[0]
}

func TestUsers_Life(t *testing.T) {
	c := newCloud(t)
	a := c.want(201, c.admin, "POST", "/v3/users", `{"user":{"name":"bob","password":"one","email":"b@example.com","description":"d","default_project_id":"`+c.boot.DemoProjectID+`"}}`)
	id := a.text("user", "id")
	for _, field := range []string{"password", "password_hash"} {
		if a.at("user", field) != nil {
			t.Errorf("%s is shown", field)
		}
	}
	if a.text("user", "domain_id") != "default" || a.at("user", "enabled") != true || a.text("user", "email") != "b@example.com" ||
		a.text("user", "links", "self") != "http://example.com/v3/users/"+id {
		t.Errorf("made: %s", a.body)
	}
	if a := c.want(409, c.admin, "POST", "/v3/users", `{"user":{"name":"bob"}}`); !strings.Contains(a.body, "bob") {
		t.Errorf("the conflict names nothing: %s", a.body)
	}
	a = c.want(200, c.admin, "PATCH", "/v3/users/"+id, `{"user":{"name":"rob","email":null,"description":"e"}}`)
	if a.text("user", "name") != "rob" || a.at("user", "email") != nil || a.text("user", "description") != "e" {
		t.Errorf("changed: %s", a.body)
	}
	c.want(200, c.admin, "HEAD", "/v3/users/"+id, "")
	c.want(204, "", "POST", "/v3/users/"+id+"/password", `{"user":{"original_password":"one","password":"two"}}`)
	c.want(401, "", "POST", "/v3/users/"+id+"/password", `{"user":{"original_password":"one","password":"three"}}`)
	c.want(401, "", "POST", "/v3/auth/tokens", passwordBody("rob", "one", ""))
	c.want(201, "", "POST", "/v3/auth/tokens", passwordBody("rob", "two", ""))
	c.want(204, c.admin, "DELETE", "/v3/users/"+id, "")
	c.want(404, c.admin, "GET", "/v3/users/"+id, "")
	c.want(404, c.admin, "DELETE", "/v3/users/"+id, "")
}

func TestUsers_BadBodies(t *testing.T) {
	c := newCloud(t)
	id := c.make("users", "user", `{"name":"bob","password":"one"}`)
	for name, body := range map[string]string{
		"no body":            ``,
		"not JSON":           `{"user":`,
		"a list":             `[]`,
		"no user":            `{}`,
		"user null":          `{"user":null}`,
		"user a list":        `{"user":[]}`,
		"name a number":      `{"user":{"name":1}}`,
		"name null":          `{"user":{"name":null}}`,
		"name empty":         `{"user":{"name":""}}`,
		"name blank":         `{"user":{"name":"  "}}`,
		"name long":          `{"user":{"name":"` + strings.Repeat("x", 256) + `"}}`,
		"name with NUL":      `{"user":{"name":"a\u0000b"}}`,
		"enabled a string":   `{"user":{"name":"x","enabled":"yes"}}`,
		"password a number":  `{"user":{"name":"x","password":5}}`,
		"password empty":     `{"user":{"name":"x","password":""}}`,
		"options a list":     `{"user":{"name":"x","options":[]}}`,
		"unknown option":     `{"user":{"name":"x","options":{"multi_factor_auth_enabled":true}}}`,
		"option not boolean": `{"user":{"name":"x","options":{"lock_password":"x"}}}`,
		"other domain":       `{"user":{"domain_id":"elsewhere"}}`,
		"extra too large":    `{"user":{"name":"x","blob":"` + strings.Repeat("x", 70000) + `"}}`,
	} {
		a := c.call(c.admin, "PATCH", "/v3/users/"+id, body)
		if a.status != 400 || a.text("error", "message") == "" {
			t.Errorf("%s: PATCH %d %s", name, a.status, a.body)
		}
		a = c.call(c.admin, "POST", "/v3/users", body)
		if a.status != 400 && (name != "other domain" || a.status != 404) {
			t.Errorf("%s: POST %d %s", name, a.status, a.body)
		}
	}
	c.want(413, c.admin, "POST", "/v3/users", `{"user":{"name":"`+strings.Repeat("x", 2<<20)+`"}}`)
}

func TestUsers_FiltersAndPages(t *testing.T) {
	c := newCloud(t)
	for i := range 7 {
		c.make("users", "user", fmt.Sprintf(`{"name":"User%d","enabled":%v}`, i, i%2 == 0))
	}
	for query, want := range map[string]int{
		"":                              8,
		"?name=User3":                   1,
		"?name=User3&domain_id=default": 1,
		"?name=nobody":                  0,
		"?domain_id=elsewhere":          0,
		"?enabled=false":                3,
		"?enabled=0":                    3,
		"?enabled=True":                 5,
		"?name__contains=ser":           7,
		"?name__icontains=USER":         7,
		"?name__startswith=user":        0,
		"?name__istartswith=user":       7,
		"?name__endswith=3":             1,
		"?name__iequals=user3":          1,
		"?unknown=x":                    8,
	} {
		if a := c.want(200, c.admin, "GET", "/v3/users"+query, ""); len(a.names("users", "id")) != want {
			t.Errorf("%s: %d users, want %d", query, len(a.names("users", "id")), want)
		}
	}
	var all []string
	next := "/v3/users?limit=3"
	for pages := 0; next != ""; pages++ {
		a := c.want(200, c.admin, "GET", next, "")
		if pages > 3 || len(a.names("users", "id")) > 3 {
			t.Fatalf("page %d: %s", pages, a.body)
		}
		all = append(all, a.names("users", "name")...)
		next = strings.TrimPrefix(a.text("links", "next"), "http://example.com")
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 8 {
		t.Errorf("the pages hold %v", all)
	}
	c.want(400, c.admin, "GET", "/v3/users?limit=x", "")
	c.want(400, c.admin, "GET", "/v3/users?limit=-1", "")
}

func TestUsers_LockedPassword(t *testing.T) {
	c := newCloud(t)
	id := c.make("users", "user", `{"name":"bob","password":"one","options":{"lock_password":true}}`)
	c.want(403, "", "POST", "/v3/users/"+id+"/password", `{"user":{"original_password":"one","password":"two"}}`)
	c.want(200, c.admin, "PATCH", "/v3/users/"+id, `{"user":{"options":{"lock_password":null}}}`)
	c.want(204, "", "POST", "/v3/users/"+id+"/password", `{"user":{"original_password":"one","password":"two"}}`)
}

func TestGuessing_IsSlowedDown(t *testing.T) {
	c := newCloud(t)
	var last answer
	for range 10 {
		last = c.call("", "POST", "/v3/auth/tokens", passwordBody("admin", "guess", ""))
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" || last.at("error", "code") != float64(429) {
		t.Fatalf("the tenth guess: %d %v %s", last.status, last.header, last.body)
	}
	if a := c.call("", "GET", "/auth/v1.0", "", "X-Auth-User", "admin:admin", "X-Auth-Key", "guess"); a.status != 429 && a.status != 401 {
		t.Fatalf("v1: %d", a.status)
	}
}

func TestGroups_Life(t *testing.T) {
	c := newCloud(t)
	bob := c.make("users", "user", `{"name":"bob","password":"one"}`)
	group := c.make("groups", "group", `{"name":"devs","description":"d"}`)
	member := "/v3/groups/" + group + "/users/" + bob
	c.want(404, c.admin, "HEAD", member, "")
	c.want(204, c.admin, "PUT", member, "")
	c.want(204, c.admin, "PUT", member, "")
	c.want(204, c.admin, "HEAD", member, "")
	if a := c.want(200, c.admin, "GET", "/v3/groups/"+group+"/users", ""); !slices.Equal(a.names("users", "name"), []string{"bob"}) {
		t.Errorf("members: %s", a.body)
	}
	if a := c.want(200, c.admin, "GET", "/v3/users/"+bob+"/groups", ""); !slices.Equal(a.names("groups", "name"), []string{"devs"}) {
		t.Errorf("groups: %s", a.body)
	}
	c.want(204, c.admin, "PUT", "/v3/projects/"+c.boot.DemoProjectID+"/groups/"+group+"/roles/"+c.role("member"), "")
	token := c.login("bob", "one", "demo")
	c.want(204, c.admin, "DELETE", member, "")
	c.want(404, c.admin, "DELETE", member, "")
	c.want(401, token, "GET", "/v3/auth/catalog", "")
	c.want(200, c.admin, "PATCH", "/v3/groups/"+group, `{"group":{"name":"ops"}}`)
	c.want(409, c.admin, "POST", "/v3/groups", `{"group":{"name":"ops"}}`)
	c.want(400, c.admin, "POST", "/v3/groups", `{"group":{}}`)
	c.want(404, c.admin, "PUT", "/v3/groups/"+group+"/users/nobody", "")
	c.want(204, c.admin, "DELETE", "/v3/groups/"+group, "")
	c.want(404, c.admin, "GET", "/v3/groups/"+group, "")
}
