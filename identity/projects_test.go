package identity

import (
	"slices"
	"testing"
)

func TestProjects_Life(t *testing.T) {
	c := newCloud(t)
	web := c.make("projects", "project", `{"name":"web","description":"d","tags":["red","blue"],"color":"green"}`)
	a := c.want(200, c.admin, "GET", "/v3/projects/"+web, "")
	if a.text("project", "parent_id") != "default" || a.at("project", "is_domain") != false || a.text("project", "color") != "green" {
		t.Errorf("made: %s", a.body)
	}
	child := c.make("projects", "project", `{"name":"child","parent_id":"`+web+`"}`)
	c.want(403, c.admin, "DELETE", "/v3/projects/"+web, "")
	c.want(403, c.admin, "PATCH", "/v3/projects/"+web, `{"project":{"enabled":false}}`)
	c.want(403, c.admin, "PATCH", "/v3/projects/"+child, `{"project":{"parent_id":"default"}}`)
	c.want(400, c.admin, "PATCH", "/v3/projects/"+child, `{"project":{"domain_id":"other"}}`)
	c.want(409, c.admin, "POST", "/v3/projects", `{"project":{"name":"web"}}`)
	c.want(404, c.admin, "POST", "/v3/projects", `{"project":{"name":"x","parent_id":"nowhere"}}`)
	c.want(404, c.admin, "POST", "/v3/projects", `{"project":{"name":"x","domain_id":"nowhere"}}`)
	c.want(400, c.admin, "POST", "/v3/projects", `{"project":{"name":"x","is_domain":true,"parent_id":"default"}}`)
	c.want(400, c.admin, "POST", "/v3/projects", `{"project":{"name":"x","tags":["a","a"]}}`)
	c.want(400, c.admin, "POST", "/v3/projects", `{"project":{"name":"x","tags":["a,b"]}}`)
	c.want(200, c.admin, "PATCH", "/v3/projects/"+child, `{"project":{"enabled":false}}`)
	c.want(200, c.admin, "PATCH", "/v3/projects/"+web, `{"project":{"enabled":false}}`)
	c.want(403, c.admin, "PATCH", "/v3/projects/"+child, `{"project":{"enabled":true}}`)
	c.want(403, c.admin, "POST", "/v3/projects", `{"project":{"name":"x","parent_id":"`+web+`"}}`)
	a = c.want(200, c.admin, "GET", "/v3/projects/"+child+"?parents_as_ids&subtree_as_list", "")
	if a.at("project", "parents", web) == nil {
		t.Errorf("parents: %s", a.body)
	}
	a = c.want(200, c.admin, "GET", "/v3/projects/"+web+"?subtree_as_ids&parents_as_list", "")
	if _, there := a.at("project", "subtree").(map[string]any)[child]; !there {
		t.Errorf("subtree: %s", a.body)
	}
	c.want(204, c.admin, "DELETE", "/v3/projects/"+child, "")
	c.want(204, c.admin, "DELETE", "/v3/projects/"+web, "")
	c.want(404, c.admin, "GET", "/v3/projects/"+web, "")
}

func TestProjects_IsDomain(t *testing.T) {
	c := newCloud(t)
	a := c.want(201, c.admin, "POST", "/v3/projects", `{"project":{"name":"acme","is_domain":true,"domain_id":null,"description":"d"}}`)
	at := "/v3/projects/" + a.text("project", "id")
	if a.at("project", "is_domain") != true || a.at("project", "domain_id") != nil {
		t.Errorf("made: %s", a.body)
	}
	c.want(200, c.admin, "GET", "/v3/domains/"+a.text("project", "id"), "")
	c.want(200, c.admin, "GET", at, "")
	if got := c.want(200, c.admin, "GET", "/v3/projects?is_domain=true", "").names("projects", "name"); !slices.Contains(got, "acme") {
		t.Errorf("domains among the projects: %v", got)
	}
	c.want(403, c.admin, "DELETE", at, "")
	c.want(200, c.admin, "PATCH", at, `{"project":{"enabled":false}}`)
	c.want(204, c.admin, "DELETE", at, "")
	c.want(404, c.admin, "GET", at, "")
}

func TestProjects_Depth(t *testing.T) {
	c := newCloud(t)
	parent := "default"
	for range 5 {
		parent = c.make("projects", "project", `{"name":"p`+parent[:4]+`","parent_id":"`+parent+`"}`)
	}
	c.want(403, c.admin, "POST", "/v3/projects", `{"project":{"name":"deeper","parent_id":"`+parent+`"}}`)
}

func TestProjects_Tags(t *testing.T) {
	c := newCloud(t)
	at := "/v3/projects/" + c.boot.DemoProjectID + "/tags"
	c.want(200, c.admin, "PUT", at, `{"tags":["red","blue"]}`)
	c.want(201, c.admin, "PUT", at+"/green", "")
	c.want(204, c.admin, "HEAD", at+"/green", "")
	c.want(204, c.admin, "DELETE", at+"/red", "")
	c.want(404, c.admin, "GET", at+"/red", "")
	c.want(404, c.admin, "DELETE", at+"/red", "")
	c.want(400, c.admin, "PUT", at, `{"tags":"red"}`)
	c.want(400, c.admin, "PUT", at, `{"tags":[1]}`)
	c.want(400, c.admin, "PUT", at, `{}`)
	for query, want := range map[string]int{"?tags=blue,green": 1, "?tags=blue,red": 0, "?tags-any=blue,red": 1, "?not-tags=blue": 2, "?not-tags-any=red,blue": 2} {
		if a := c.want(200, c.admin, "GET", "/v3/projects"+query, ""); len(a.names("projects", "id")) != want {
			t.Errorf("%s: %v", query, a.names("projects", "name"))
		}
	}
	c.want(204, c.admin, "DELETE", at, "")
	if a := c.want(200, c.admin, "GET", at, ""); len(a.json["tags"].([]any)) != 0 {
		t.Errorf("tags: %s", a.body)
	}
}

func TestDomains_Life(t *testing.T) {
	c := newCloud(t)
	id := c.make("domains", "domain", `{"name":"acme"}`)
	user := c.make("users", "user", `{"name":"bob","domain_id":"`+id+`"}`)
	project := c.make("projects", "project", `{"name":"web","domain_id":"`+id+`"}`)
	group := c.make("groups", "group", `{"name":"g","domain_id":"`+id+`"}`)
	role := c.make("roles", "role", `{"name":"r","domain_id":"`+id+`"}`)
	c.want(204, c.admin, "PUT", "/v3/domains/"+id+"/users/"+c.boot.AdminUserID+"/roles/"+role, "")
	c.want(403, c.admin, "PUT", "/v3/domains/default/users/"+user+"/roles/"+role, "")
	c.want(403, c.admin, "DELETE", "/v3/domains/"+id, "")
	c.want(403, c.admin, "DELETE", "/v3/domains/default", "")
	c.want(409, c.admin, "POST", "/v3/domains", `{"domain":{"name":"acme"}}`)
	if a := c.want(200, c.admin, "GET", "/v3/domains?name=acme", ""); !slices.Equal(a.names("domains", "id"), []string{id}) {
		t.Errorf("by name: %s", a.body)
	}
	c.want(200, c.admin, "PATCH", "/v3/domains/"+id, `{"domain":{"enabled":false,"options":{"immutable":true}}}`)
	c.want(403, c.admin, "DELETE", "/v3/domains/"+id, "")
	c.want(403, c.admin, "PATCH", "/v3/domains/"+id, `{"domain":{"description":"x"}}`)
	c.want(200, c.admin, "PATCH", "/v3/domains/"+id, `{"domain":{"options":{"immutable":null}}}`)
	c.want(204, c.admin, "DELETE", "/v3/domains/"+id, "")
	for _, gone := range []string{"/domains/" + id, "/users/" + user, "/projects/" + project, "/groups/" + group, "/roles/" + role} {
		c.want(404, c.admin, "GET", "/v3"+gone, "")
	}
	if a := c.want(200, c.admin, "GET", "/v3/role_assignments", ""); len(a.json["role_assignments"].([]any)) != 4 {
		t.Errorf("grants left behind: %s", a.body)
	}
}
