package identity

import (
	"slices"
	"strings"
	"testing"
)

func TestCatalog_Life(t *testing.T) {
	c := newCloud(t)
	service := c.make("services", "service", `{"type":"volumev3","name":"cinder","description":"d"}`)
	c.want(400, c.admin, "POST", "/v3/services", `{"service":{"name":"x"}}`)
	if a := c.want(200, c.admin, "GET", "/v3/services?type=volumev3", ""); !slices.Equal(a.names("services", "name"), []string{"cinder"}) {
		t.Errorf("services: %s", a.body)
	}
	region := c.make("regions", "region", `{"id":"R2","parent_region_id":"RegionOne"}`)
	c.want(409, c.admin, "POST", "/v3/regions", `{"region":{"id":"R2"}}`)
	c.want(201, c.admin, "PUT", "/v3/regions/R3", `{"region":{"description":"third"}}`)
	c.want(400, c.admin, "POST", "/v3/regions", `{"region":{"id":"a/b"}}`)
	c.want(404, c.admin, "POST", "/v3/regions", `{"region":{"parent_region_id":"nowhere"}}`)
	c.want(400, c.admin, "PATCH", "/v3/regions/RegionOne", `{"region":{"parent_region_id":"R2"}}`)
	c.want(403, c.admin, "DELETE", "/v3/regions/RegionOne", "")
	endpoint := c.make("endpoints", "endpoint", `{"service_id":"`+service+`","interface":"public","region_id":"`+region+`","url":"http://x/v3/$(tenant_id)s"}`)
	for _, bad := range []string{
		`{"service_id":"x","interface":"public","url":"http://x"}`,
		`{"service_id":"` + service + `","interface":"sideways","url":"http://x"}`,
		`{"service_id":"` + service + `","interface":"public","url":"gopher://x"}`,
		`{"service_id":"` + service + `","interface":"public","url":"http://x/%(unknown)s"}`,
		`{"service_id":"` + service + `","interface":"public","url":"http://x","region_id":"nowhere"}`,
		`{"service_id":"` + service + `","interface":"public","url":"http://x","enabled":"True"}`,
		`{"service_id":"` + service + `","interface":"public"}`,
	} {
		c.want(400, c.admin, "POST", "/v3/endpoints", `{"endpoint":`+bad+`}`)
	}
	c.make("endpoints", "endpoint", `{"service_id":"`+service+`","interface":"admin","region":"R4","url":"http://x"}`)
	c.want(200, c.admin, "GET", "/v3/regions/R4", "")
	catalog := c.want(200, c.admin, "GET", "/v3/auth/catalog", "").body
	if !strings.Contains(catalog, "http://x/v3/"+c.boot.AdminProjectID) {
		t.Errorf("not in the catalog: %s", catalog)
	}
	c.want(200, c.admin, "PATCH", "/v3/endpoints/"+endpoint, `{"endpoint":{"enabled":false}}`)
	if catalog := c.want(200, c.admin, "GET", "/v3/auth/catalog", "").body; strings.Contains(catalog, "http://x/v3/") {
		t.Errorf("disabled, and in the catalog: %s", catalog)
	}
	c.want(403, c.admin, "DELETE", "/v3/regions/R2", "")
	c.want(204, c.admin, "DELETE", "/v3/services/"+service, "")
	c.want(404, c.admin, "GET", "/v3/endpoints/"+endpoint, "")
	c.want(204, c.admin, "DELETE", "/v3/regions/R2", "")
	domainToken := c.want(201, "", "POST", "/v3/auth/tokens", passwordBody("admin", adminPassword, `{"domain":{"id":"default"}}`))
	if strings.Contains(domainToken.body, "AUTH_") {
		t.Errorf("an endpoint of a project, in a domain's catalog: %s", domainToken.body)
	}
}

func TestPolicies_Life(t *testing.T) {
	c := newCloud(t)
	id := c.make("policies", "policy", `{"type":"application/json","blob":"{}"}`)
	c.want(200, c.admin, "PATCH", "/v3/policies/"+id, `{"policy":{"type":"text/plain"}}`)
	if a := c.want(200, c.admin, "GET", "/v3/policies", ""); !slices.Equal(a.names("policies", "type"), []string{"text/plain"}) {
		t.Errorf("policies: %s", a.body)
	}
	c.want(204, c.admin, "DELETE", "/v3/policies/"+id, "")
}

func TestDiscovery(t *testing.T) {
	c := newCloud(t)
	a := c.want(300, "", "GET", "/", "")
	if !strings.Contains(a.body, `"href":"http://example.com/v3/"`) || !strings.Contains(a.body, `"values":[`) {
		t.Errorf("versions: %s", a.body)
	}
	for _, path := range []string{"/v3", "/v3/"} {
		if a := c.want(200, "", "GET", path, ""); a.text("version", "id") != "v3.14" || a.text("version", "status") != "stable" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	c.want(404, "", "GET", "/v2.0/tokens", "")
	c.want(404, "", "GET", "/v3/nothing", "")
	c.want(405, "", "PUT", "/v3/auth/tokens", "")
	c.want(405, c.admin, "PUT", "/v3/users", "")
	c.want(401, "", "GET", "/v3/users", "")
	c.want(401, "not-a-token", "GET", "/v3/users", "")
	if a := c.want(200, c.admin, "HEAD", "/v3/users", ""); a.header.Get("Vary") != "X-Auth-Token" {
		t.Errorf("headers: %v", a.header)
	}
}
