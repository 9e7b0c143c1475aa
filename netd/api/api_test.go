package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/netd/core"
	"henge/netd/model"
)

// people are who may show which token.
type people map[string]*authn.Identity

func (p people) Token(_ context.Context, token string) (*authn.Identity, error) {
	if id, ok := p[token]; ok {
		return id, nil
	}
	return nil, errs.New(errs.Unauthenticated, "no such token")
}

// service is the API over a store in memory.
type service struct {
	t     testing.TB
	store *state.Memory
	api   *Server
	log   *bytes.Buffer
}

func newService(t testing.TB) *service {
	s := &service{t: t, store: state.NewMemory(), log: &bytes.Buffer{}}
	now := clock.NewManual(time.Unix(1_700_000_000, 0))
	s.api = New(Config{Store: s.store, Clock: now, Core: core.New(core.Config{Clock: now}), Logger: slog.New(slog.NewTextHandler(s.log, nil)),
		Alive: func(string) bool { return true }, Tokens: people{
			"admin": {UserID: "root", ProjectID: "cloud", Roles: []string{"admin", "manager", "member", "reader"}},
			"ann":   {UserID: "ann", ProjectID: "red", Roles: []string{"member", "reader"}},
			"bob":   {UserID: "bob", ProjectID: "blue", Roles: []string{"member", "reader"}},
			"rita":  {UserID: "rita", ProjectID: "red", Roles: []string{"reader"}},
		}})
	return s
}

// do sends a request and gives the status and the answer.
func (s *service) do(who, method, path, body string) (int, map[string]any) {
	s.t.Helper()
	r := httptest.NewRequest(method, "/v2.0/"+path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", who)
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	var answer map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			s.t.Fatalf("%s %s answers %d %q", method, path, w.Code, w.Body)
		}
	}
	if w.Code == http.StatusInternalServerError {
		s.t.Fatalf("%s %s %s: %s\n%s", method, path, body, w.Body, s.log)
	}
	return w.Code, answer
}

// create posts a resource that must come to be, and gives its attributes.
func (s *service) create(who, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.do(who, "POST", path, body)
	if status != http.StatusCreated {
		s.t.Fatalf("POST %s %s: %d %v", path, body, status, answer)
	}
	for _, v := range answer {
		if m, ok := v.(map[string]any); ok {
			return m
		}
	}
	return nil
}

// refused expects an error of Neutron's type.
func (s *service) refused(who, method, path, body string, status int, typ string) {
	s.t.Helper()
	got, answer := s.do(who, method, path, body)
	fault, _ := answer["NeutronError"].(map[string]any)
	if got != status || fault["type"] != typ || fault["message"] == "" {
		s.t.Errorf("%s %s %s: %d %v, want %d %s", method, path, body, got, answer, status, typ)
	}
}

func (s *service) list(who, path string) []map[string]any {
	s.t.Helper()
	status, answer := s.do(who, "GET", path, "")
	if status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %v", path, status, answer)
	}
	var all []map[string]any
	for name, v := range answer {
		rows, ok := v.([]any)
		if !ok || strings.HasSuffix(name, "_links") {
			continue
		}
		for _, row := range rows {
			all = append(all, row.(map[string]any))
		}
	}
	return all
}

func TestProjects_AreApart(t *testing.T) {
	s := newService(t)
	red := s.create("ann", "networks", `{"network":{"name":"lan"}}`)
	subnet := s.create("ann", "subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/24"}}`, red["id"]))
	blue := s.create("bob", "networks", `{"network":{"name":"lan"}}`)
	s.create("bob", "subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/24"}}`, blue["id"]))
	if all := s.list("bob", "networks"); len(all) != 1 || all[0]["id"] != blue["id"] {
		t.Errorf("bob sees %v", all)
	}
	if all := s.list("admin", "networks"); len(all) != 2 {
		t.Errorf("admin sees %d networks", len(all))
	}
	id := red["id"].(string)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		s.refused("bob", method, "networks/"+id, `{"network":{"name":"x"}}`, 404, "NetworkNotFound")
	}
	s.refused("bob", "POST", "ports", fmt.Sprintf(`{"port":{"network_id":%q}}`, id), 404, "NetworkNotFound")
	s.refused("bob", "POST", "subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.1.0.0/24"}}`, id), 404, "NetworkNotFound")
	s.refused("bob", "GET", "subnets/"+subnet["id"].(string), "", 404, "SubnetNotFound")
	s.refused("rita", "POST", "networks", `{"network":{}}`, 403, "PolicyNotAuthorized")
	s.refused("rita", "DELETE", "networks/"+id, "", 403, "PolicyNotAuthorized")
	s.refused("ann", "POST", "networks", `{"network":{"shared":true}}`, 403, "PolicyNotAuthorized")
	s.refused("ann", "POST", "networks", `{"network":{"project_id":"blue"}}`, 400, "HTTPBadRequest")
	s.refused("ann", "PUT", "quotas/red", `{"quota":{"port":1}}`, 403, "PolicyNotAuthorized")
	if status, _ := s.do("nobody", "GET", "networks", ""); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	s.create("ann", "rbac-policies", fmt.Sprintf(`{"rbac_policy":{"object_type":"network","object_id":%q,"action":"access_as_shared","target_tenant":"blue"}}`, id))
	if all := s.list("bob", "networks?id="+id); len(all) != 1 || all[0]["shared"] != true {
		t.Errorf("a network that is lent: %v", all)
	}
	s.create("bob", "ports", fmt.Sprintf(`{"port":{"network_id":%q}}`, id))
}

// badBody is a body that must be refused, and how.
type badBody struct {
	path, body string
	status     int
	typ        string
}

// badBodies are about a network, which on puts into them, and a security group.
func badBodies(on func(string) string, g any) []badBody {
	return []badBody{
		{"networks", `{`, 400, "HTTPBadRequest"},
		{"networks", `[]`, 400, "HTTPBadRequest"},
		{"networks", `null`, 400, "HTTPBadRequest"},
		{"networks", `{}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":null}`, 400, "HTTPBadRequest"},
		{"networks", `{"networks":[]}`, 400, "HTTPBadRequest"},
		{"networks", `{"networks":[null]}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":{"colour":"red"}}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":{"id":"mine"}}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":{"name":7}}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":{"name":"` + strings.Repeat("x", 256) + `"}}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":{"admin_state_up":"maybe"}}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":{"mtu":99999999}}`, 400, "HTTPBadRequest"},
		{"networks", `{"network":{"mtu":9000}}`, 400, "InvalidInput"},
		{"networks", `{"network":{"availability_zone_hints":["moon"]}}`, 404, "AvailabilityZoneNotFound"},
		{"subnets", `{"subnet":{"ip_version":4,"cidr":"10.0.0.0/24"}}`, 400, "HTTPBadRequest"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":4}}`), 400, "BadRequest"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":5,"cidr":"10.1.0.0/24"}}`), 400, "HTTPBadRequest"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":6,"cidr":"10.1.0.0/24"}}`), 400, "InvalidInput"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.1.0.7/24"}}`), 400, "HTTPBadRequest"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"banana"}}`), 400, "HTTPBadRequest"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.1.0.0/24","dns_nameservers":["x"]}}`), 400, "HTTPBadRequest"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.1.0.0/24","allocation_pools":[{"start":"10.1.0.9"}]}}`), 400, "HTTPBadRequest"},
		{"subnets", on(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.1.0.0/24","host_routes":[{}]}}`), 400, "HTTPBadRequest"},
		{"subnets", `{"subnet":{"network_id":"gone","ip_version":4,"cidr":"10.1.0.0/24"}}`, 404, "NetworkNotFound"},
		{"ports", `{"port":{"network_id":"../x"}}`, 400, "HTTPBadRequest"},
		{"ports", on(`{"port":{"network_id":%q,"mac_address":"zz"}}`), 400, "HTTPBadRequest"},
		{"ports", on(`{"port":{"network_id":%q,"fixed_ips":[{"ip_address":"10.0.0.300"}]}}`), 400, "HTTPBadRequest"},
		{"ports", on(`{"port":{"network_id":%q,"fixed_ips":[{"ip_address":"10.9.0.3"}]}}`), 400, "InvalidIpForNetwork"},
		{"ports", on(`{"port":{"network_id":%q,"fixed_ips":[{"ip_address":"10.0.0.255"}]}}`), 400, "InvalidIpForSubnet"},
		{"ports", on(`{"port":{"network_id":%q,"fixed_ips":[{"ip_address":"10.0.0.9"},{"ip_address":"10.0.0.9"}]}}`), 400, "HTTPBadRequest"},
		{"ports", on(`{"port":{"network_id":%q,"fixed_ips":[{"subnet_id":"gone"}]}}`), 400, "InvalidInput"},
		{"ports", on(`{"port":{"network_id":%q,"security_groups":["gone"]}}`), 404, "SecurityGroupNotFound"},
		{"ports", on(`{"port":{"network_id":%q,"binding:host_id":"peer-1"}}`), 403, "PolicyNotAuthorized"},
		{"ports", on(`{"port":{"network_id":%q,"allowed_address_pairs":[{"mac_address":"fa:16:3e:00:00:01"}]}}`), 400, "HTTPBadRequest"},
		{"ports", on(`{"port":{"network_id":%q,"extra_dhcp_opts":[{"opt_name":"a\nb","opt_value":"x"}]}}`), 400, "HTTPBadRequest"},
		{"ports", on(`{"port":{"network_id":%q,"port_security_enabled":false,"security_groups":["` + fmt.Sprint(g) + `"]}}`), 409, "PortSecurityAndIPRequiredForSecurityGroups"},
		{"routers", `{"router":{"external_gateway_info":{"network_id":"gone"}}}`, 404, "NetworkNotFound"},
		{"routers", on(`{"router":{"external_gateway_info":{"network_id":%q}}}`), 400, "BadRequest"},
		{"routers", on(`{"router":{"external_gateway_info":{"network_id":%q,"enable_snat":false}}}`), 403, "PolicyNotAuthorized"},
		{"floatingips", on(`{"floatingip":{"floating_network_id":%q}}`), 400, "BadRequest"},
		{"security-groups", `{"security_group":{"name":"default"}}`, 409, "SecurityGroupDefaultAlreadyExists"},
		{"security-group-rules", fmt.Sprintf(`{"security_group_rule":{"security_group_id":%q,"direction":"up"}}`, g), 400, "HTTPBadRequest"},
		{"security-group-rules", fmt.Sprintf(`{"security_group_rule":{"security_group_id":%q,"direction":"ingress","ethertype":"X"}}`, g), 400, "HTTPBadRequest"},
		{"security-group-rules", fmt.Sprintf(`{"security_group_rule":{"security_group_id":%q,"direction":"ingress","remote_ip_prefix":"bad"}}`, g), 400, "HTTPBadRequest"},
		{"security-group-rules", fmt.Sprintf(`{"security_group_rule":{"security_group_id":%q,"direction":"ingress","remote_group_id":"gone"}}`, g), 404, "SecurityGroupNotFound"},
		{"subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8"],"min_prefixlen":4}}`, 201, ""},
		{"subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8","2001:db8::/32"]}}`, 400, "PrefixVersionMismatch"},
		{"subnetpools", `{"subnetpool":{"name":"p","prefixes":[]}}`, 400, "EmptySubnetPoolPrefixList"},
	}
}

func TestBadInput(t *testing.T) {
	s := newService(t)
	n := s.create("ann", "networks", `{"network":{}}`)["id"]
	s.create("ann", "subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/24"}}`, n))
	g := s.create("ann", "security-groups", `{"security_group":{"name":"g"}}`)["id"]
	on := func(format string) string { return fmt.Sprintf(format, n) }
	for _, tc := range badBodies(on, g) {
		if tc.status == 201 {
			s.create("ann", tc.path, tc.body)
			continue
		}
		s.refused("ann", "POST", tc.path, tc.body, tc.status, tc.typ)
	}
	s.refused("ann", "GET", "networks?colour=red", "", 400, "HTTPBadRequest")
	s.refused("ann", "GET", "networks?limit=x", "", 400, "HTTPBadRequest")
	s.refused("ann", "GET", "networks?marker=gone", "", 404, "MarkerNotFound")
	s.refused("ann", "GET", "networks?sort_key=colour", "", 400, "HTTPBadRequest")
	s.refused("ann", "GET", "moons", "", 404, "HTTPNotFound")
	if status, _ := s.do("ann", "DELETE", "networks", ""); status != 405 {
		t.Errorf("DELETE of all networks: %d", status)
	}
	s.refused("ann", "PUT", "routers/gone/add_router_interface", `{}`, 400, "BadRequest")
}

func TestList_FiltersSortsAndPages(t *testing.T) {
	s := newService(t)
	var bulk []string
	for i := range 7 {
		bulk = append(bulk, fmt.Sprintf(`{"name":"n%d","admin_state_up":%v}`, i, i%2 == 0))
	}
	if status, answer := s.do("ann", "POST", "networks", `{"networks":[`+strings.Join(bulk, ",")+`]}`); status != 201 || len(answer["networks"].([]any)) != 7 {
		t.Fatalf("bulk: %d %v", status, answer)
	}
	if all := s.list("ann", "networks?admin_state_up=false&fields=name"); len(all) != 3 || len(all[0]) != 1 {
		t.Errorf("filtered: %v", all)
	}
	if all := s.list("ann", "networks?name=n1&name=n2"); len(all) != 2 {
		t.Errorf("alternatives: %v", all)
	}
	all := s.list("ann", "networks?sort_key=admin_state_up&sort_dir=asc&sort_key=name&sort_dir=desc")
	if all[0]["name"] != "n5" || all[6]["name"] != "n0" {
		t.Errorf("sorted: %v", all)
	}
	// There by the links and back again.
	path := "networks?limit=3&sort_key=name"
	var seen []string
	var last map[string]any
	for path != "" {
		status, answer := s.do("ann", "GET", path, "")
		if status != 200 {
			t.Fatalf("%s: %d %v", path, status, answer)
		}
		last = answer
		for _, row := range answer["networks"].([]any) {
			seen = append(seen, row.(map[string]any)["name"].(string))
		}
		path = linkTo(answer, "next")
	}
	if strings.Join(seen, "") != "n0n1n2n3n4n5n6" {
		t.Errorf("forwards: %v", seen)
	}
	_, back := s.do("ann", "GET", linkTo(last, "previous"), "")
	if rows := back["networks"].([]any); len(rows) != 3 || rows[0].(map[string]any)["name"] != "n3" {
		t.Errorf("backwards: %v", back)
	}
}

// linkTo is the path of a page's link.
func linkTo(answer map[string]any, rel string) string {
	links, _ := answer["networks_links"].([]any)
	for _, l := range links {
		if l := l.(map[string]any); l["rel"] == rel {
			_, path, _ := strings.Cut(l["href"].(string), "/v2.0/")
			return path
		}
	}
	return ""
}

func TestBulk_AllOrNothing(t *testing.T) {
	s := newService(t)
	n := s.create("ann", "networks", `{"network":{}}`)["id"]
	s.create("ann", "subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/24","enable_dhcp":false}}`, n))
	port := fmt.Sprintf(`{"network_id":%q,"fixed_ips":[{"ip_address":"10.0.0.5"}]}`, n)
	s.refused("ann", "POST", "ports", `{"ports":[`+port+","+port+`]}`, 409, "IpAddressAlreadyAllocated")
	if all := s.list("ann", "ports"); len(all) != 0 {
		t.Errorf("half a bulk request is there: %v", all)
	}
}

func TestPort_FiltersByAddress(t *testing.T) {
	s := newService(t)
	n := s.create("ann", "networks", `{"network":{}}`)["id"]
	sub := s.create("ann", "subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/24"}}`, n))["id"]
	p := s.create("ann", "ports", fmt.Sprintf(`{"port":{"network_id":%q,"fixed_ips":[{"ip_address":"10.0.0.55"}]}}`, n))
	for query, count := range map[string]int{"fixed_ips=ip_address=10.0.0.55": 1, "fixed_ips=ip_address=10.0.0.56": 0, "device_owner=network:dhcp": 1,
		fmt.Sprintf("fixed_ips=subnet_id=%v", sub): 2, fmt.Sprintf("fixed_ips=subnet_id=%v&fixed_ips=ip_address=10.0.0.55", sub): 1, "fixed_ips=ip_address_substr=0.5": 1,
		fmt.Sprintf("mac_address=%s", strings.ToUpper(p["mac_address"].(string))): 1, "device_id=": 1} {
		if all := s.list("ann", "ports?"+query); len(all) != count {
			t.Errorf("%s finds %d ports, want %d", query, len(all), count)
		}
	}
	if p["binding:vif_type"] != nil || p["status"] != "DOWN" {
		t.Errorf("a user sees %v", p)
	}
	_, answer := s.do("admin", "GET", "ports/"+p["id"].(string), "")
	if answer["port"].(map[string]any)["binding:vif_type"] != "unbound" {
		t.Errorf("an administrator sees %v", answer)
	}
}

func TestPort_StatusIsWhatTheAgentSaw(t *testing.T) {
	s := newService(t)
	n := s.create("ann", "networks", `{"network":{}}`)["id"]
	p := s.create("admin", "ports", fmt.Sprintf(`{"port":{"network_id":%q,"binding:host_id":"peer-1"}}`, n))
	id := p["id"].(string)
	for _, tc := range []struct {
		seen        model.Observed
		vif, status string
	}{
		{model.Observed{PortID: id, Host: "peer-1", Status: model.Faulted, Fault: "no"}, "binding_failed", "DOWN"},
		{model.Observed{PortID: id, Host: "peer-1", Status: model.Wired}, "bridge", "ACTIVE"},
	} {
		if err := s.store.Update(t.Context(), func(w state.Writer) error { return model.Observe(w, tc.seen) }); err != nil {
			t.Fatal(err)
		}
		_, answer := s.do("admin", "GET", "ports/"+id, "")
		if got := answer["port"].(map[string]any); got["status"] != tc.status || got["binding:vif_type"] != tc.vif {
			t.Errorf("%s: %v, %v", tc.seen.Status, got["status"], got["binding:vif_type"])
		}
	}
}

func TestRevisionsAndTags(t *testing.T) {
	s := newService(t)
	id := s.create("ann", "networks", `{"network":{}}`)["id"].(string)
	r := httptest.NewRequest("PUT", "/v2.0/networks/"+id, strings.NewReader(`{"network":{"name":"x"}}`))
	r.Header.Set("X-Auth-Token", "ann")
	r.Header.Set("If-Match", "revision_number=7")
	w := httptest.NewRecorder()
	if s.api.ServeHTTP(w, r); w.Code != http.StatusPreconditionFailed {
		t.Errorf("a revision that is not: %d %s", w.Code, w.Body)
	}
	if status, _ := s.do("ann", "PUT", "networks/"+id+"/tags", `{"tags":["red","big"]}`); status != 200 {
		t.Errorf("put tags: %d", status)
	}
	if status, _ := s.do("ann", "PUT", "networks/"+id+"/tags/old", ""); status != 201 {
		t.Errorf("put a tag: %d", status)
	}
	for query, count := range map[string]int{"tags=red,big": 1, "tags=red,small": 0, "tags-any=red,small": 1, "not-tags=red": 0, "not-tags-any=small": 1} {
		if all := s.list("ann", "networks?"+query); len(all) != count {
			t.Errorf("%s finds %d", query, len(all))
		}
	}
	s.refused("ann", "DELETE", "networks/"+id+"/tags/small", "", 404, "TagNotFound")
	s.refused("ann", "PUT", "networks/"+id+"/tags", `{"tags":["a,b"]}`, 400, "HTTPBadRequest")
	s.refused("ann", "PUT", "networks/"+id+"/tags", `{}`, 400, "InvalidInput")
}

func TestQuotas(t *testing.T) {
	s := newService(t)
	if status, answer := s.do("admin", "PUT", "quotas/red", `{"quota":{"network":1,"security_group":2}}`); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	s.create("ann", "networks", `{"network":{}}`)
	s.refused("ann", "POST", "networks", `{"network":{}}`, 409, "OverQuota")
	_, answer := s.do("ann", "GET", "quotas/red/details", "")
	if got := fmt.Sprint(answer["quota"].(map[string]any)["network"]); got != "map[limit:1 reserved:0 used:1]" {
		t.Errorf("details: %s", got)
	}
	if status, _ := s.do("admin", "DELETE", "quotas/red", ""); status != 204 {
		t.Errorf("delete: %d", status)
	}
	s.create("ann", "networks", `{"network":{}}`)
	s.refused("admin", "PUT", "quotas/red", `{"quota":{"moon":1}}`, 400, "HTTPBadRequest")
	s.refused("admin", "PUT", "quotas/red", `{"quota":{"port":-2}}`, 400, "HTTPBadRequest")
	s.refused("admin", "DELETE", "quotas/red", "", 404, "TenantQuotaNotFound")
}

// Whatever bytes come, the answer is Neutron's and never a 500.
func FuzzBodies(f *testing.F) {
	s := newService(f)
	n := s.create("ann", "networks", `{"network":{}}`)["id"].(string)
	f.Add(0, `{"network":{"name":"x","mtu":"1400"}}`)
	f.Add(1, `{"subnet":{"network_id":"`+n+`","ip_version":4,"cidr":"10.0.0.0/24","allocation_pools":[{"start":"10.0.0.2","end":"10.0.0.9"}]}}`)
	f.Add(2, `{"port":{"network_id":"`+n+`","fixed_ips":[{"ip_address":"10.0.0.3"}],"allowed_address_pairs":[{"ip_address":"::/0"}]}}`)
	f.Add(3, `{"router":{"external_gateway_info":{"network_id":"`+n+`","external_fixed_ips":[{}]}}}`)
	f.Add(4, `{"security_group_rule":{"security_group_id":"x","direction":"ingress","port_range_min":-1}}`)
	f.Add(5, `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8"],"default_prefixlen":9}}`)
	paths := []string{"networks", "subnets", "ports", "routers", "security-group-rules", "subnetpools"}
	f.Fuzz(func(t *testing.T, which int, body string) {
		s.t = t
		s.do("admin", "POST", paths[((which%len(paths))+len(paths))%len(paths)], body)
	})
}

// BenchmarkPortCreate is what one POST /v2.0/ports costs, without the network and Raft.
func BenchmarkPortCreate(b *testing.B) {
	s := newService(b)
	n := s.create("ann", "networks", `{"network":{}}`)["id"]
	s.create("ann", "subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/16"}}`, n))
	if status, _ := s.do("admin", "PUT", "quotas/red", `{"quota":{"port":-1}}`); status != 200 {
		b.Fatal(status)
	}
	for i := range 400 {
		s.create("ann", "ports", fmt.Sprintf(`{"port":{"network_id":%q,"name":"p%d"}}`, n, i))
	}
	b.ResetTimer()
	for b.Loop() {
		p := s.create("ann", "ports", fmt.Sprintf(`{"port":{"network_id":%q}}`, n))
		b.StopTimer()
		s.do("ann", "DELETE", "ports/"+p["id"].(string), "")
		b.StartTimer()
	}
}
