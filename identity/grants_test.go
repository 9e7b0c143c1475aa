package identity

import (
	"slices"
	"testing"
)

func (c *cloud) grants(query string) []any {
	c.t.Helper()
	rows, _ := c.want(200, c.admin, "GET", "/v3/role_assignments?"+query, "").json["role_assignments"].([]any)
	return rows
}

func TestGrants_EveryPath(t *testing.T) {
	c := newCloud(t)
	bob := c.make("users", "user", `{"name":"bob","password":"one"}`)
	devs := c.make("groups", "group", `{"name":"devs"}`)
	role := c.make("roles", "role", `{"name":"ops"}`)
	demo := c.boot.DemoProjectID
	for _, list := range []string{
		"/v3/projects/" + demo + "/users/" + bob + "/roles", "/v3/projects/" + demo + "/groups/" + devs + "/roles",
		"/v3/domains/default/users/" + bob + "/roles", "/v3/domains/default/groups/" + devs + "/roles",
		"/v3/system/users/" + bob + "/roles", "/v3/system/groups/" + devs + "/roles",
		"/v3/OS-INHERIT/projects/" + demo + "/users/" + bob + "/roles", "/v3/OS-INHERIT/domains/default/groups/" + devs + "/roles",
	} {
		one, all := list+"/"+role, list
		if list[4] == 'O' {
			one, all = one+"/inherited_to_projects", list+"/inherited_to_projects"
		}
		c.want(404, c.admin, "HEAD", one, "")
		c.want(404, c.admin, "DELETE", one, "")
		c.want(204, c.admin, "PUT", one, "")
		c.want(204, c.admin, "PUT", one, "")
		c.want(204, c.admin, "HEAD", one, "")
		c.want(204, c.admin, "GET", one, "")
		if a := c.want(200, c.admin, "GET", all, ""); !slices.Equal(a.names("roles", "name"), []string{"ops"}) {
			t.Errorf("%s: %s", all, a.body)
		}
		c.want(204, c.admin, "DELETE", one, "")
		if a := c.want(200, c.admin, "GET", all, ""); len(a.names("roles", "name")) != 0 {
			t.Errorf("%s after: %s", all, a.body)
		}
	}
	c.want(404, c.admin, "PUT", "/v3/projects/nowhere/users/"+bob+"/roles/"+role, "")
	c.want(404, c.admin, "PUT", "/v3/projects/"+demo+"/users/nobody/roles/"+role, "")
	c.want(404, c.admin, "PUT", "/v3/projects/"+demo+"/users/"+bob+"/roles/none", "")
	c.want(404, c.admin, "POST", "/v3/system/projects", "")
}

func TestAssignments_Effective(t *testing.T) {
	c := newCloud(t)
	bob := c.make("users", "user", `{"name":"bob","password":"one"}`)
	devs := c.make("groups", "group", `{"name":"devs"}`)
	c.want(204, c.admin, "PUT", "/v3/groups/"+devs+"/users/"+bob, "")
	c.want(204, c.admin, "PUT", "/v3/projects/"+c.boot.DemoProjectID+"/groups/"+devs+"/roles/"+c.role("member"), "")
	c.want(204, c.admin, "PUT", "/v3/OS-INHERIT/domains/default/users/"+bob+"/roles/"+c.role("reader")+"/inherited_to_projects", "")
	for query, want := range map[string]int{
		"":                                       6,
		"user.id=" + bob:                         1,
		"group.id=" + devs:                       1,
		"user.id=" + bob + "&effective":          5, // member and reader on demo by the group, reader on three projects
		"effective&scope.system=all":             4,
		"scope.project.id=" + demoOf(c):          2,
		"scope.domain.id=default":                2,
		"scope.system":                           1,
		"role.id=" + c.role("member"):            1,
		"role.id=x":                              0,
		"scope.OS-INHERIT:inherited_to=projects": 1,
		"user.id=" + bob + "&effective&scope.project.id=" + demoOf(c): 3,
		"include_names": 6,
	} {
		if rows := c.grants(query); len(rows) != want {
			t.Errorf("%s: %d rows, want %d: %v", query, len(rows), want, rows)
		}
	}
	for _, query := range []string{"user.id=a&group.id=b", "scope.project.id=a&scope.domain.id=b", "effective&group.id=b", "include_subtree",
		"effective&scope.OS-INHERIT:inherited_to=projects"} {
		c.want(400, c.admin, "GET", "/v3/role_assignments?"+query, "")
	}
	token := c.login("bob", "one", "demo")
	c.want(200, token, "GET", "/v3/role_assignments?user.id="+bob, "")
	c.want(403, token, "GET", "/v3/role_assignments", "")
	a := c.want(200, token, "GET", "/v3/auth/projects", "")
	if got := a.names("projects", "name"); len(got) != 3 {
		t.Errorf("bob's projects: %v", got)
	}
	if id, err := c.id.Tokens().Token(t.Context(), token); err != nil || !slices.Equal(id.Roles, []string{"member", "reader"}) {
		t.Errorf("bob on demo: %+v, %v", id, err)
	}
}

func demoOf(c *cloud) string { return c.boot.DemoProjectID }

func TestImpliedRoles(t *testing.T) {
	c := newCloud(t)
	ops := c.make("roles", "role", `{"name":"ops"}`)
	at := "/v3/roles/" + ops + "/implies"
	c.want(404, c.admin, "HEAD", at+"/"+c.role("reader"), "")
	a := c.want(201, c.admin, "PUT", at+"/"+c.role("reader"), "")
	if a.text("role_inference", "prior_role", "name") != "ops" || a.text("role_inference", "implies", "name") != "reader" {
		t.Errorf("made: %s", a.body)
	}
	c.want(204, c.admin, "HEAD", at+"/"+c.role("reader"), "")
	c.want(200, c.admin, "GET", at+"/"+c.role("reader"), "")
	c.want(200, c.admin, "GET", at, "")
	c.want(403, c.admin, "PUT", at+"/"+c.role("admin"), "")
	c.want(403, c.admin, "PUT", at+"/"+ops, "")
	c.want(201, c.admin, "PUT", "/v3/roles/"+c.role("reader")+"/implies/"+ops, "") // a loop does no harm
	bob := c.make("users", "user", `{"name":"bob","password":"one"}`)
	c.want(204, c.admin, "PUT", "/v3/projects/"+c.boot.DemoProjectID+"/users/"+bob+"/roles/"+ops, "")
	if id, err := c.id.Tokens().Token(t.Context(), c.login("bob", "one", "demo")); err != nil || !slices.Equal(id.Roles, []string{"ops", "reader"}) {
		t.Errorf("bob: %+v, %v", id, err)
	}
	if a := c.want(200, c.admin, "GET", "/v3/role_inferences", ""); len(a.json["role_inferences"].([]any)) != 5 {
		t.Errorf("inferences: %s", a.body)
	}
	c.want(204, c.admin, "DELETE", at+"/"+c.role("reader"), "")
	c.want(404, c.admin, "DELETE", at+"/"+c.role("reader"), "")
	c.want(204, c.admin, "DELETE", "/v3/roles/"+ops, "")
	c.want(404, c.admin, "GET", at, "")
}

func TestRoles_Life(t *testing.T) {
	c := newCloud(t)
	id := c.make("roles", "role", `{"name":"ops","description":"d"}`)
	c.want(409, c.admin, "POST", "/v3/roles", `{"role":{"name":"ops"}}`)
	c.want(400, c.admin, "POST", "/v3/roles", `{"role":{}}`)
	c.want(404, c.admin, "POST", "/v3/roles", `{"role":{"name":"x","domain_id":"nowhere"}}`)
	c.want(200, c.admin, "PATCH", "/v3/roles/"+id, `{"role":{"description":"e","options":{"immutable":true}}}`)
	c.want(403, c.admin, "DELETE", "/v3/roles/"+id, "")
	c.want(200, c.admin, "PATCH", "/v3/roles/"+id, `{"role":{"options":{"immutable":false}}}`)
	c.want(204, c.admin, "DELETE", "/v3/roles/"+id, "")
	c.want(404, c.admin, "GET", "/v3/roles/"+id, "")
}
