package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/errs"
)

type tokens struct{}

func (tokens) Token(_ context.Context, token string) (*authn.Identity, error) {
	switch token {
	case "admin":
		return &authn.Identity{UserID: "a", Roles: []string{"admin"}}, nil
	case "reader":
		return &authn.Identity{UserID: "r", ProjectID: "p1", Roles: []string{"reader"}}, nil
	}
	return nil, errs.New(errs.Unauthenticated, "unknown")
}

// client speaks to one API at a microversion.
type client struct {
	t       *testing.T
	server  *Server
	version string
	token   string
}

func newClient(t *testing.T) *client {
	return &client{t, New(Config{Store: state.NewMemory(), Tokens: tokens{}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), IdentityURL: "http://127.0.0.1:5000"}), "1.39", "admin"}
}

// do sends a request and checks the status.
func (c *client) do(method, path, body string, status int) map[string]any {
	c.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", c.token)
	if c.version != "" {
		r.Header.Set("OpenStack-API-Version", "placement "+c.version)
	}
	w := httptest.NewRecorder()
	c.server.ServeHTTP(w, r)
	if w.Code != status {
		c.t.Fatalf("%s %s (%s): %d, not %d: %s", method, path, c.version, w.Code, status, w.Body)
	}
	var answer map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			c.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return answer
}

// fails sends a request that fails with a code.
func (c *client) fails(method, path, body string, status int, code string) {
	c.t.Helper()
	answer := c.do(method, path, body, status)
	list, _ := answer["errors"].([]any)
	if len(list) != 1 {
		c.t.Fatalf("%s %s: %v", method, path, answer)
	}
	one := list[0].(map[string]any)
	if one["code"] != code || one["status"] != float64(status) || one["title"] != http.StatusText(status) || one["detail"] == "" {
		c.t.Errorf("%s %s: %v", method, path, one)
	}
}

// shows sends a request and compares the answer, as JSON.
func (c *client) shows(path, want string) {
	c.t.Helper()
	raw, err := json.Marshal(c.do("GET", path, "", 200))
	if err != nil {
		c.t.Fatal(err)
	}
	if string(raw) != want {
		c.t.Errorf("GET %s (%s):\n\t%s\nnot\t%s", path, c.version, raw, want)
	}
}

const (
	rp1 = "11111111-1111-1111-1111-111111111111"
	rp2 = "22222222-2222-2222-2222-222222222222"
	rp3 = "33333333-3333-3333-3333-333333333333"
	c1  = "aaaaaaaa-1111-1111-1111-111111111111"
	c2  = "aaaaaaaa-2222-2222-2222-222222222222"
	agg = "bbbbbbbb-1111-1111-1111-111111111111"
)

func (c *client) provider(uuid, name, inventories string) {
	c.t.Helper()
	c.do("POST", "/resource_providers", fmt.Sprintf(`{"name": %q, "uuid": %q}`, name, uuid), 200)
	c.do("PUT", "/resource_providers/"+uuid+"/inventories", `{"resource_provider_generation": 0, "inventories": `+inventories+`}`, 200)
}

func allocations(provider string, vcpus int, generation string) string {
	return fmt.Sprintf(`{"allocations": {%q: {"resources": {"VCPU": %d}}}, "project_id": "p1", "user_id": "u1", "consumer_generation": %s, "consumer_type": "INSTANCE"}`, provider, vcpus, generation)
}

func TestProviders_InventoriesAndGenerations(t *testing.T) {
	c := newClient(t)
	c.provider(rp1, "one", `{"VCPU": {"total": 4, "allocation_ratio": 2.0}, "MEMORY_MB": {"total": 1024, "reserved": 24}}`)
	c.shows("/resource_providers/"+rp1+"/inventories/VCPU",
		`{"allocation_ratio":2,"max_unit":2147483647,"min_unit":1,"reserved":0,"resource_provider_generation":1,"step_size":1,"total":4}`)
	c.fails("PUT", "/resource_providers/"+rp1+"/inventories", `{"resource_provider_generation": 0, "inventories": {}}`, 409, "placement.concurrent_update")
	c.fails("PUT", "/resource_providers/"+rp1+"/traits", `{"resource_provider_generation": 0, "traits": []}`, 409, "placement.concurrent_update")
	c.fails("POST", "/resource_providers", `{"name": "one"}`, 409, "placement.duplicate_name")
	c.fails("POST", "/resource_providers", `{"name": "new", "uuid": "`+rp1+`"}`, 409, "placement.duplicate_name")
	c.fails("PUT", "/resource_providers/"+rp1+"/inventories", `{"resource_provider_generation": 1, "inventories": {"NO_SUCH": {"total": 1}}}`, 400, "placement.undefined_code")
	c.fails("PUT", "/resource_providers/"+rp1+"/inventories", `{"resource_provider_generation": 1, "inventories": {"VCPU": {"total": 1, "reserved": 2}}}`, 400, "placement.undefined_code")
	c.fails("PUT", "/resource_providers/"+rp1+"/inventories/VCPU", `{"resource_provider_generation": 1, "total": 0}`, 400, "placement.undefined_code")
	c.fails("GET", "/resource_providers/"+rp2, "", 404, "placement.undefined_code")
	c.fails("GET", "/nothing", "", 404, "placement.undefined_code")
	c.do("POST", "/resource_providers/"+rp1+"/inventories", `{"resource_class": "DISK_GB", "total": 10}`, 201)
	c.fails("POST", "/resource_providers/"+rp1+"/inventories", `{"resource_class": "DISK_GB", "total": 10}`, 409, "placement.undefined_code")
	c.do("PUT", "/allocations/"+c1, allocations(rp1, 1, "null"), 204)
	c.fails("DELETE", "/resource_providers/"+rp1+"/inventories/VCPU", "", 409, "placement.inventory.inuse")
	c.fails("DELETE", "/resource_providers/"+rp1+"/inventories", "", 409, "placement.inventory.inuse")
	c.fails("DELETE", "/resource_providers/"+rp1, "", 409, "placement.resource_provider.inuse")
	c.do("DELETE", "/resource_providers/"+rp1+"/inventories/DISK_GB", "", 204)
	c.do("DELETE", "/allocations/"+c1, "", 204)
	c.fails("DELETE", "/allocations/"+c1, "", 404, "placement.undefined_code")
	c.do("DELETE", "/resource_providers/"+rp1, "", 204)
}

func TestProviders_Trees(t *testing.T) {
	c := newClient(t)
	c.do("POST", "/resource_providers", `{"name": "root", "uuid": "`+rp1+`"}`, 200)
	c.do("POST", "/resource_providers", `{"name": "child", "uuid": "`+rp2+`", "parent_provider_uuid": "`+rp1+`"}`, 200)
	c.do("POST", "/resource_providers", `{"name": "other", "uuid": "`+rp3+`"}`, 200)
	c.fails("DELETE", "/resource_providers/"+rp1, "", 409, "placement.resource_provider.cannot_delete_parent")
	c.fails("POST", "/resource_providers", `{"name": "x", "parent_provider_uuid": "`+c1+`"}`, 400, "placement.undefined_code")
	c.fails("PUT", "/resource_providers/"+rp1, `{"name": "root", "parent_provider_uuid": "`+rp2+`"}`, 400, "placement.undefined_code")
	c.do("PUT", "/resource_providers/"+rp1, `{"name": "root", "parent_provider_uuid": "`+rp3+`"}`, 200)
	if got := c.do("GET", "/resource_providers/"+rp2, "", 200); got["root_provider_uuid"] != rp3 {
		t.Errorf("the child's root is %v", got["root_provider_uuid"])
	}
	for path, n := range map[string]int{"/resource_providers?in_tree=" + rp2: 3, "/resource_providers?in_tree=" + c1: 0, "/resource_providers?name=child": 1, "/resource_providers?uuid=" + rp3: 1} {
		if got := c.do("GET", path, "", 200)["resource_providers"].([]any); len(got) != n {
			t.Errorf("%s gives %d", path, len(got))
		}
	}
}

func TestAllocations_ConsumersAndCapacity(t *testing.T) {
	c := newClient(t)
	c.provider(rp1, "one", `{"VCPU": {"total": 4, "max_unit": 3}}`)
	c.provider(rp2, "two", `{"VCPU": {"total": 4}}`)
	c.do("PUT", "/allocations/"+c1, allocations(rp1, 3, "null"), 204)
	c.fails("PUT", "/allocations/"+c1, allocations(rp1, 1, "null"), 409, "placement.concurrent_update")
	c.fails("PUT", "/allocations/"+c1, allocations(rp1, 1, "7"), 409, "placement.concurrent_update")
	c.fails("PUT", "/allocations/"+c2, allocations(rp1, 1, "1"), 409, "placement.concurrent_update")
	c.fails("PUT", "/allocations/"+c2, allocations(rp1, 2, "null"), 409, "placement.undefined_code")
	c.fails("PUT", "/allocations/"+c2, allocations(rp1, 0, "null"), 400, "placement.undefined_code")
	c.fails("PUT", "/allocations/"+c2, allocations(rp3, 1, "null"), 400, "placement.undefined_code")
	c.fails("PUT", "/allocations/not-a-uuid", allocations(rp1, 1, "null"), 400, "placement.undefined_code")
	c.fails("PUT", "/allocations/"+c2, `{"allocations": [`, 400, "placement.undefined_code")
	c.fails("PUT", "/allocations/"+c2, `[]`, 400, "placement.undefined_code")
	c.shows("/allocations/"+c1, `{"allocations":{"`+rp1+`":{"generation":2,"resources":{"VCPU":3}}},"consumer_generation":1,"consumer_type":"INSTANCE","project_id":"p1","user_id":"u1"}`)
	c.shows("/allocations/"+c2, `{"allocations":{}}`)
	c.shows("/resource_providers/"+rp1+"/usages", `{"resource_provider_generation":2,"usages":{"VCPU":3}}`)
	c.shows("/resource_providers/"+rp1+"/allocations", `{"allocations":{"`+c1+`":{"consumer_generation":1,"resources":{"VCPU":3}}},"resource_provider_generation":2}`)
	// Several at once: one moves away, the other takes its place; all or nothing.
	c.do("POST", "/allocations", `{"`+c1+`": `+allocations(rp2, 3, "1")+`, "`+c2+`": `+allocations(rp1, 1, "null")+`}`, 204)
	c.fails("POST", "/allocations", `{"`+c1+`": `+allocations(rp1, 1, "2")+`, "`+c2+`": `+allocations(rp2, 4, "9")+`}`, 409, "placement.concurrent_update")
	c.shows("/usages?project_id=p1", `{"usages":{"INSTANCE":{"VCPU":4,"consumer_count":2}}}`)
	c.version = "1.9"
	c.shows("/usages?project_id=p1&user_id=u1", `{"usages":{"VCPU":4}}`)
	c.shows("/usages?project_id=p2", `{"usages":{}}`)
	c.version, c.token = "1.28", "reader"
	c.shows("/usages?project_id=p1", `{"usages":{"VCPU":4}}`)
	c.fails("GET", "/usages?project_id=p2", "", 403, "placement.undefined_code")
	c.fails("GET", "/resource_providers", "", 403, "placement.undefined_code")
	c.token = "nobody"
	c.fails("GET", "/resource_providers", "", 401, "placement.undefined_code")
	c.version, c.token = "1.28", "admin"
	c.do("PUT", "/allocations/"+c2, `{"allocations": {}, "project_id": "p1", "user_id": "u1", "consumer_generation": 1}`, 204)
	c.version = "1.0"
	c.do("PUT", "/allocations/"+c2, `{"allocations": [{"resource_provider": {"uuid": "`+rp1+`"}, "resources": {"VCPU": 1}}]}`, 204)
	c.shows("/allocations/"+c2, `{"allocations":{"`+rp1+`":{"generation":6,"resources":{"VCPU":1}}}}`)
}

func TestCandidates(t *testing.T) {
	c := newClient(t)
	c.provider(rp1, "one", `{"VCPU": {"total": 4}, "MEMORY_MB": {"total": 1024}}`)
	c.provider(rp2, "two", `{"VCPU": {"total": 8}, "MEMORY_MB": {"total": 1024}}`)
	c.do("PUT", "/resource_providers/"+rp1+"/traits", `{"resource_provider_generation": 1, "traits": ["HW_CPU_X86_AVX2"]}`, 200)
	c.do("PUT", "/resource_providers/"+rp2+"/aggregates", `{"resource_provider_generation": 1, "aggregates": ["`+agg+`"]}`, 200)
	for query, want := range map[string]string{
		"resources=VCPU:4,MEMORY_MB:512":                            "one two",
		"resources=VCPU:5":                                          "two",
		"resources=VCPU:9":                                          "",
		"resources=VCPU:1&required=HW_CPU_X86_AVX2":                 "one",
		"resources=VCPU:1&required=!HW_CPU_X86_AVX2":                "two",
		"resources=VCPU:1&required=in:HW_CPU_X86_AVX2,COMPUTE_NODE": "one",
		"resources=VCPU:1&member_of=" + agg:                         "two",
		"resources=VCPU:1&member_of=!" + agg:                        "one",
		"resources=VCPU:1&member_of=in:" + agg + "," + c1:           "two",
		"resources=VCPU:1&in_tree=" + rp1:                           "one",
		"resources=VCPU:1&limit=1":                                  "one",
		"resources1=VCPU:3&resources2=VCPU:3&group_policy=none":     "two",
		"resources1=VCPU:1&resources2=VCPU:1&group_policy=isolate":  "",
		"resources=VCPU:1&root_required=HW_CPU_X86_AVX2":            "one",
	} {
		answer := c.do("GET", "/allocation_candidates?"+query, "", 200)
		var got []string
		for uuid, name := range map[string]string{rp1: "one", rp2: "two"} {
			if _, ok := answer["provider_summaries"].(map[string]any)[uuid]; ok {
				got = append(got, name)
			}
		}
		if len(got) == 2 {
			got = []string{"one", "two"}
		}
		if strings.Join(got, " ") != want || len(answer["allocation_requests"].([]any)) != len(got) {
			t.Errorf("%s: %v", query, answer)
		}
	}
	for query, code := range map[string]string{
		"":                          "placement.query.missing_value",
		"resources=VCPU":            "placement.query.bad_value",
		"resources=VCPU:0":          "placement.query.bad_value",
		"resources=NO_SUCH:1":       "placement.query.bad_value",
		"resources=VCPU:1&limit=0":  "placement.query.bad_value",
		"resources=VCPU:1&foo=1":    "placement.query.bad_value",
		"resources=VCPU:1&required": "placement.query.bad_value",
		"resources=VCPU:1&required=CUSTOM_NOT_THERE":           "placement.query.bad_value",
		"resources=VCPU:1&resources=VCPU:2":                    "placement.query.duplicate_key",
		"resources1=VCPU:1&resources2=VCPU:1":                  "placement.query.bad_value",
		"resources=VCPU:1&member_of=x":                         "placement.query.bad_value",
		"resources=VCPU:1&group_policy=maybe":                  "placement.query.bad_value",
		"resources=VCPU:1&same_subtree=_A":                     "placement.query.bad_value",
		"resources=VCPU:1&required=COMPUTE_NODE,!COMPUTE_NODE": "placement.query.bad_value",
	} {
		c.fails("GET", "/allocation_candidates?"+query, "", 400, code)
	}
	c.version = "1.10"
	c.shows("/allocation_candidates?resources=VCPU:5", `{"allocation_requests":[{"allocations":[{"resource_provider":{"uuid":"`+rp2+`"},"resources":{"VCPU":5}}]}],"provider_summaries":{"`+rp2+`":{"resources":{"VCPU":{"capacity":8,"used":0}}}}}`)
}

func TestCandidates_NestedProviders(t *testing.T) {
	c := newClient(t)
	c.provider(rp1, "host", `{"VCPU": {"total": 8}}`)
	for i, uuid := range []string{rp2, rp3} {
		c.do("POST", "/resource_providers", fmt.Sprintf(`{"name": "numa%d", "uuid": %q, "parent_provider_uuid": %q}`, i, uuid, rp1), 200)
		c.do("PUT", "/resource_providers/"+uuid+"/inventories", `{"resource_provider_generation": 0, "inventories": {"VGPU": {"total": 1}}}`, 200)
	}
	for query, want := range map[string]int{
		"resources=VCPU:1,VGPU:1": 2, // either card
		"resources=VCPU:1&resources1=VGPU:1&resources2=VGPU:1&group_policy=isolate":     2, // both cards, either way round
		"resources_A=VGPU:1&resources_B=VCPU:1&group_policy=none&same_subtree=_A,_B":    2, // the host is above the card
		"resources_A=VGPU:1&resources_B=VGPU:1&group_policy=isolate&same_subtree=_A,_B": 0, // neither card is above the other
	} {
		if got := c.do("GET", "/allocation_candidates?"+query, "", 200)["allocation_requests"].([]any); len(got) != want {
			t.Errorf("%s: %d candidates, not %d: %v", query, len(got), want, got)
		}
	}
}

func TestNames(t *testing.T) {
	c := newClient(t)
	c.do("PUT", "/resource_classes/CUSTOM_GOLD", "", 201)
	c.do("PUT", "/resource_classes/CUSTOM_GOLD", "", 204)
	c.do("POST", "/resource_classes", `{"name": "CUSTOM_TIN"}`, 201)
	c.fails("POST", "/resource_classes", `{"name": "CUSTOM_TIN"}`, 409, "placement.undefined_code")
	c.fails("POST", "/resource_classes", `{"name": "TIN"}`, 400, "placement.undefined_code")
	c.fails("DELETE", "/resource_classes/VCPU", "", 400, "placement.undefined_code")
	c.fails("DELETE", "/resource_classes/CUSTOM_NONE", "", 404, "placement.undefined_code")
	c.provider(rp1, "one", `{"CUSTOM_GOLD": {"total": 4}}`)
	c.fails("DELETE", "/resource_classes/CUSTOM_GOLD", "", 409, "placement.undefined_code")
	c.do("DELETE", "/resource_classes/CUSTOM_TIN", "", 204)
	c.do("PUT", "/traits/CUSTOM_FAST", "", 201)
	c.do("PUT", "/traits/CUSTOM_FAST", "", 204)
	c.fails("PUT", "/traits/FAST", "", 400, "placement.undefined_code")
	c.do("GET", "/traits/CUSTOM_FAST", "", 204)
	c.fails("GET", "/traits/CUSTOM_SLOW", "", 404, "placement.undefined_code")
	c.fails("PUT", "/resource_providers/"+rp1+"/traits", `{"resource_provider_generation": 1, "traits": ["CUSTOM_SLOW"]}`, 400, "placement.undefined_code")
	c.do("PUT", "/resource_providers/"+rp1+"/traits", `{"resource_provider_generation": 1, "traits": ["CUSTOM_FAST"]}`, 200)
	c.fails("DELETE", "/traits/CUSTOM_FAST", "", 409, "placement.undefined_code")
	c.shows("/traits?name=startswith:CUSTOM", `{"traits":["CUSTOM_FAST"]}`)
	c.shows("/traits?associated=true", `{"traits":["CUSTOM_FAST"]}`)
	c.shows("/traits?name=in:CUSTOM_FAST,CUSTOM_X", `{"traits":["CUSTOM_FAST"]}`)
	c.fails("GET", "/traits?name=like:x", "", 400, "placement.query.bad_value")
	c.do("DELETE", "/resource_providers/"+rp1+"/traits", "", 204)
	c.do("DELETE", "/traits/CUSTOM_FAST", "", 204)
}

func TestReshaper_MovesAllOrNothing(t *testing.T) {
	c := newClient(t)
	c.provider(rp1, "host", `{"VCPU": {"total": 4}}`)
	c.do("POST", "/resource_providers", `{"name": "numa", "uuid": "`+rp2+`", "parent_provider_uuid": "`+rp1+`"}`, 200)
	c.do("PUT", "/allocations/"+c1, allocations(rp1, 3, "null"), 204)
	move := func(total int, generation string) string {
		return fmt.Sprintf(`{"inventories": {%q: {"resource_provider_generation": 2, "inventories": {}}, %q: {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": %d}}}},
			"allocations": {%q: %s}}`, rp1, rp2, total, c1, allocations(rp2, 3, generation))
	}
	c.fails("POST", "/reshaper", move(2, "1"), 409, "placement.undefined_code")
	c.fails("POST", "/reshaper", move(4, "5"), 409, "placement.concurrent_update")
	c.do("POST", "/reshaper", move(4, "1"), 204)
	if got := c.do("GET", "/resource_providers/"+rp2+"/usages", "", 200)["usages"].(map[string]any)["VCPU"]; got != 3.0 {
		t.Errorf("the new provider has given %v", got)
	}
	if got := c.do("GET", "/resource_providers/"+rp1+"/inventories", "", 200)["inventories"].(map[string]any); len(got) != 0 {
		t.Errorf("the old provider has %v", got)
	}
}

func TestVersions(t *testing.T) {
	c := newClient(t)
	c.token = ""
	c.shows("/", `{"versions":[{"id":"v1.0","links":[{"href":"","rel":"self"}],"max_version":"1.39","min_version":"1.0","status":"CURRENT"}]}`)
	c.token, c.version = "admin", "1.40"
	c.fails("GET", "/resource_providers", "", 406, "placement.undefined_code")
	c.version = "one"
	c.fails("GET", "/resource_providers", "", 400, "placement.undefined_code")
	c.version = "latest"
	c.do("GET", "/resource_providers", "", 200)
	c.version = ""
	if answer := c.do("GET", "/traits", "", 404)["errors"].([]any)[0].(map[string]any); answer["code"] != nil {
		t.Error("1.0 shows a code")
	}
	c.version = "1.39"
	c.fails("POST", "/traits", "", 405, "placement.undefined_code")
}
