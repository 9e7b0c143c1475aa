package identity

import (
	"testing"
)

// people is a cloud with somebody of every rank, and their tokens.
func people(c *cloud) map[string]string {
	acme := c.make("domains", "domain", `{"name":"acme"}`)
	web := c.make("projects", "project", `{"name":"web","domain_id":"`+acme+`"}`)
	ids := map[string]string{"acme": acme, "web": web}
	for _, name := range []string{"manager", "member", "reader", "auditor"} {
		ids[name] = c.make("users", "user", `{"name":"`+name+`","domain_id":"`+acme+`","password":"pw"}`)
	}
	ids["boss"] = c.make("users", "user", `{"name":"boss","domain_id":"`+acme+`","password":"pw"}`)
	ids["stranger"] = c.make("users", "user", `{"name":"stranger","password":"pw"}`)
	ids["group"] = c.make("groups", "group", `{"name":"g","domain_id":"`+acme+`"}`)
	ids["admins"] = c.make("groups", "group", `{"name":"admins","domain_id":"`+acme+`"}`)
	for _, grant := range []string{
		"domains/" + acme + "/users/" + ids["manager"] + "/roles/" + c.role("manager"),
		"domains/" + acme + "/users/" + ids["reader"] + "/roles/" + c.role("reader"),
		"projects/" + web + "/users/" + ids["member"] + "/roles/" + c.role("member"),
		"projects/" + web + "/users/" + ids["boss"] + "/roles/" + c.role("admin"),
		"projects/" + web + "/groups/" + ids["admins"] + "/roles/" + c.role("admin"),
		"system/users/" + ids["auditor"] + "/roles/" + c.role("reader"),
	} {
		c.want(204, c.admin, "PUT", "/v3/"+grant, "")
	}
	token := func(user, scope string) string {
		body := `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + ids[user] + `","password":"pw"}}},"scope":` + scope + `}}`
		return c.want(201, "", "POST", "/v3/auth/tokens", body).header.Get("X-Subject-Token")
	}
	ids["as manager"] = token("manager", `{"domain":{"id":"`+acme+`"}}`)
	ids["as reader"] = token("reader", `{"domain":{"id":"`+acme+`"}}`)
	ids["as member"] = token("member", `{"project":{"id":"`+web+`"}}`)
	ids["as auditor"] = token("auditor", `{"system":{"all":true}}`)
	ids["as stranger"] = token("stranger", `"unscoped"`)
	return ids
}

func TestPolicy(t *testing.T) {
	c := newCloud(t)
	p := people(c)
	user := func(name string) string { return "/v3/users/" + p[name] }
	member := c.role("member")
	// The statuses of: manager of the domain, reader of it, member of a project in it, reader of the system, a stranger.
	ranks := []string{"as manager", "as reader", "as member", "as auditor", "as stranger"}
	for _, tc := range []struct {
		method, path, body string
		want               [5]int
	}{
		{"GET", "/v3/users", "", [5]int{200, 200, 403, 200, 403}},
		{"GET", "/v3/users?domain_id=default", "", [5]int{403, 403, 403, 200, 403}},
		{"GET", user("member"), "", [5]int{200, 200, 200, 200, 403}},
		{"GET", user("stranger"), "", [5]int{403, 403, 403, 200, 200}},
		{"GET", "/v3/users/nobody", "", [5]int{403, 403, 403, 404, 403}},
		{"GET", user("member") + "/projects", "", [5]int{200, 200, 200, 200, 403}},
		{"GET", user("member") + "/groups", "", [5]int{200, 200, 200, 200, 403}},
		{"PATCH", user("member"), `{"user":{"description":"x"}}`, [5]int{200, 403, 403, 403, 403}},
		{"PATCH", user("boss"), `{"user":{"password":"stolen"}}`, [5]int{403, 403, 403, 403, 403}},
		{"DELETE", user("boss"), "", [5]int{403, 403, 403, 403, 403}},
		{"POST", "/v3/users", `{"user":{"name":"new","domain_id":"default"}}`, [5]int{403, 403, 403, 403, 403}},
		{"GET", "/v3/projects", "", [5]int{200, 200, 403, 200, 403}},
		{"GET", "/v3/projects/" + p["web"], "", [5]int{200, 200, 200, 200, 403}},
		{"PATCH", "/v3/projects/" + p["web"], `{"project":{"description":"x"}}`, [5]int{200, 403, 403, 403, 403}},
		{"GET", "/v3/domains", "", [5]int{200, 200, 403, 200, 403}},
		{"GET", "/v3/domains/" + p["acme"], "", [5]int{200, 200, 200, 200, 403}},
		{"PATCH", "/v3/domains/" + p["acme"], `{"domain":{"description":"x"}}`, [5]int{403, 403, 403, 403, 403}},
		{"POST", "/v3/domains", `{"domain":{"name":"x"}}`, [5]int{403, 403, 403, 403, 403}},
		{"GET", "/v3/roles", "", [5]int{200, 403, 403, 200, 403}},
		{"POST", "/v3/roles", `{"role":{"name":"x"}}`, [5]int{403, 403, 403, 403, 403}},
		{"PUT", "/v3/projects/" + p["web"] + "/users/" + p["reader"] + "/roles/" + member, "", [5]int{204, 403, 403, 403, 403}},
		{"PUT", "/v3/projects/" + p["web"] + "/users/" + p["manager"] + "/roles/" + c.role("admin"), "", [5]int{403, 403, 403, 403, 403}},
		{"PUT", "/v3/system/users/" + p["manager"] + "/roles/" + member, "", [5]int{403, 403, 403, 403, 403}},
		{"PUT", "/v3/groups/" + p["group"] + "/users/" + p["reader"], "", [5]int{204, 403, 403, 403, 403}},
		{"PUT", "/v3/groups/" + p["admins"] + "/users/" + p["manager"], "", [5]int{403, 403, 403, 403, 403}},
		{"GET", "/v3/role_assignments", "", [5]int{200, 200, 403, 200, 403}},
		{"GET", "/v3/services", "", [5]int{403, 403, 403, 200, 403}},
		{"GET", "/v3/regions", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/v3/regions/nowhere", "", [5]int{404, 404, 404, 404, 404}},
		{"POST", "/v3/services", `{"service":{"type":"x"}}`, [5]int{403, 403, 403, 403, 403}},
		{"GET", "/v3/credentials", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", user("member") + "/credentials/OS-EC2", "", [5]int{403, 403, 200, 403, 403}},
		{"POST", user("member") + "/credentials/OS-EC2", `{"tenant_id":"` + p["web"] + `"}`, [5]int{403, 403, 201, 403, 403}},
		{"POST", "/v3/ec2tokens", `{"credentials":{"access":"x","signature":"y"}}`, [5]int{403, 403, 403, 403, 403}},
		{"GET", "/v3/auth/projects", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/v3/auth/catalog", "", [5]int{200, 200, 200, 200, 403}},
	} {
		for i, rank := range ranks {
			if a := c.call(p[rank], tc.method, tc.path, tc.body); a.status != tc.want[i] {
				t.Errorf("%s %s %s %s: %d, want %d (%s)", rank, tc.method, tc.path, tc.body, a.status, tc.want[i], a.body)
			}
		}
	}
}

func TestPolicy_OnlyOnesOwn(t *testing.T) {
	c := newCloud(t)
	p := people(c)
	for _, row := range c.want(200, p["as reader"], "GET", "/v3/users", "").names("users", "domain_id") {
		if row != p["acme"] {
			t.Errorf("a user of the domain %s is listed", row)
		}
	}
	if rows := c.want(200, p["as stranger"], "GET", "/v3/credentials", "").names("credentials", "id"); len(rows) != 0 {
		t.Errorf("somebody else's credentials: %v", rows)
	}
	if a := c.call(p["as member"], "GET", "/v3/auth/tokens", "", "X-Subject-Token", p["as stranger"]); a.status != 403 {
		t.Errorf("somebody else's token: %d", a.status)
	}
	c.want(200, p["as member"], "GET", "/v3/auth/tokens", "", "X-Subject-Token", p["as member"])
	c.want(200, p["as auditor"], "GET", "/v3/auth/tokens", "", "X-Subject-Token", p["as member"])
	c.want(403, p["as auditor"], "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", p["as member"])
	c.want(204, p["as member"], "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", p["as member"])
}
