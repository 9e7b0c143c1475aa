package computed

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestBadInput: each is refused with a message that says what was wrong, in Nova's shape, and never with a 500.
func TestBadInput(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	c.world.AddImage("big", "qcow2", 50)
	c.world.AddImage("queued", "raw", 0)
	c.world.SetImageStatus("queued", "queued")
	c.world.AddVolume(vol, 1, false)
	for _, b := range badRequests(id) {
		a := c.call(b.who, b.method, b.path, b.body)
		if a.status != b.status || !strings.Contains(a.body, b.says) {
			t.Errorf("%s %s %s %.200s: %d %.300s; want %d and %q", b.who, b.method, b.path, b.body, a.status, a.body, b.status, b.says)
		}
		for _, fault := range a.json {
			if m, ok := fault.(map[string]any); !ok || m["code"] != float64(b.status) || m["message"] == "" {
				t.Errorf("%s %s: not Nova's shape: %s", b.method, b.path, a.body)
			}
		}
	}
	if s := c.status(id); s != "ACTIVE" {
		t.Errorf("the server is %s after all that", s)
	}
}

func TestQuota(t *testing.T) {
	c := newCloud(t)
	c.want(200, c.call("admin", "PUT", "/os-quota-sets/"+p1, `{"quota_set": {"instances": 2}}`))
	body := `{"server": {"name": "x", "flavorRef": "42", "imageRef": "img", "networks": "none", "min_count": 1, "max_count": 5, "return_reservation_id": true}}`
	c.want(202, c.call("alice 2.90", "POST", "/servers", body))
	if n := len(c.call("alice", "GET", "/servers", "").list("servers")); n != 2 {
		t.Errorf("%d servers of up to five, with a quota of two", n)
	}
	a := c.want(403, c.call("alice 2.90", "POST", "/servers", body))
	if !strings.Contains(a.body, "Quota exceeded for instances: Requested 1, but already used 2 of 2 instances") {
		t.Errorf("refused: %s", a.body)
	}
	if got := c.call("alice", "GET", "/limits", "").at("limits.absolute.totalInstancesUsed"); got != 2.0 {
		t.Errorf("limits say %v", got)
	}
}

func TestLock(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	act := "/servers/" + id + "/action"
	c.want(202, c.call("alice 2.73", "POST", act, `{"lock": {"locked_reason": "mine"}}`))
	c.want(409, c.call("alice", "POST", act, `{"os-stop": null}`))
	c.want(409, c.call("alice", "DELETE", "/servers/"+id, ""))
	if a := c.call("alice 2.73", "GET", "/servers/"+id, ""); a.at("server.locked") != true || a.text("server.locked_reason") != "mine" {
		t.Errorf("shown: %s", a.body)
	}
	c.want(202, c.call("alice", "POST", act, `{"unlock": null}`))
	c.want(202, c.call("alice", "POST", act, `{"os-stop": null}`))
}

func TestKeypairs(t *testing.T) {
	c := newCloud(t)
	made := c.want(200, c.call("alice", "POST", "/os-keypairs", `{"keypair": {"name": "k"}}`))
	if !strings.HasPrefix(made.text("keypair.private_key"), "-----BEGIN RSA PRIVATE KEY-----") || len(made.text("keypair.fingerprint")) != 47 {
		t.Errorf("made: %s", made.body)
	}
	again := c.want(201, c.call("alice 2.2", "POST", "/os-keypairs", `{"keypair": {"name": "copy", "public_key": "`+made.text("keypair.public_key")+`"}}`))
	if again.text("keypair.fingerprint") != made.text("keypair.fingerprint") {
		t.Error("the same key has two fingerprints")
	}
	c.want(201, c.call("alice 2.2", "POST", "/os-keypairs", `{"keypair": {"name": "cert", "type": "x509"}}`))
	c.want(409, c.call("alice", "POST", "/os-keypairs", `{"keypair": {"name": "k"}}`))
	c.want(404, c.call("bob", "GET", "/os-keypairs/k", ""))
	if n := len(c.call("alice", "GET", "/os-keypairs", "").list("keypairs")); n != 3 {
		t.Errorf("%d key pairs", n)
	}
	c.want(202, c.call("alice", "DELETE", "/os-keypairs/k", ""))
	c.want(404, c.call("alice", "DELETE", "/os-keypairs/k", ""))
}

func TestVersions(t *testing.T) {
	c := newCloud(t)
	a := c.want(200, c.call("", "GET", "", ""))
	if a.text("version.version") != "2.90" || a.text("version.min_version") != "2.1" || a.header.Get("OpenStack-API-Version") != "compute 2.1" {
		t.Errorf("%s %v", a.body, a.header)
	}
	if a := c.call("alice latest", "GET", "/servers", ""); a.status != http.StatusOK || a.header.Get("X-OpenStack-Nova-API-Version") != "2.90" {
		t.Errorf("latest: %d %v", a.status, a.header)
	}
}

func TestLists(t *testing.T) {
	c := newCloud(t)
	for _, name := range []string{"c", "a", "b"} {
		c.until(c.create(strings.Replace(plain, `"web"`, `"`+name+`"`, 1)), "ACTIVE")
	}
	names := func(query string) string {
		var got []string
		for _, s := range c.want(200, c.call("alice", "GET", "/servers"+query, "")).list("servers") {
			got = append(got, s.(map[string]any)["name"].(string))
		}
		return strings.Join(got, "")
	}
	for query, want := range map[string]string{"": "bac", "?sort_key=display_name&sort_dir=asc": "abc", "?name=^a": "a", "?status=ACTIVE&sort_key=display_name&sort_dir=desc": "cba", "?status=ERROR": "",
		"?flavor=42&limit=2": "ba", "?image=other": "", "?changes-since=2999-01-01T00:00:00Z": "", "/detail?ip=10.": "bac"} {
		if got := names(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	first := c.call("alice", "GET", "/servers?limit=1", "")
	link := first.list("servers_links")[0].(map[string]any)["href"].(string)
	if got := names(link[strings.Index(link, "?"):]); got != "a" {
		t.Errorf("the next page: %q", got)
	}
}

func TestConsoles(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	act := "/servers/" + id + "/action"
	if a := c.want(200, c.call("alice", "POST", act, `{"os-getConsoleOutput": {"length": 2}}`)); a.text("output") != "three\nlogin: " {
		t.Errorf("output: %q", a.text("output"))
	}
	if a := c.want(200, c.call("alice", "POST", act, `{"os-getVNCConsole": {"type": "novnc"}}`)); !strings.HasPrefix(a.text("console.url"), "http://127.0.0.1:6080/vnc_lite.html?path=%3Ftoken%3D") {
		t.Errorf("console: %s", a.body)
	}
	c.want(200, c.call("alice 2.6", "POST", "/servers/"+id+"/remote-consoles", `{"remote_console": {"protocol": "vnc", "type": "novnc"}}`))
	c.want(400, c.call("alice 2.6", "POST", "/servers/"+id+"/remote-consoles", `{"remote_console": {"protocol": "spice", "type": "spice-html5"}}`))
	c.want(403, c.call("eve 2.6", "POST", "/servers/"+id+"/remote-consoles", `{"remote_console": {"protocol": "vnc", "type": "novnc"}}`))
}

func TestHostsAndAggregates(t *testing.T) {
	c := newCloud(t)
	c.until(c.create(plain), "ACTIVE")
	if a := c.want(200, c.call("admin", "GET", "/os-hypervisors/statistics", "")); a.at("hypervisor_statistics.vcpus_used") != 1.0 {
		t.Errorf("statistics: %s", a.body)
	}
	c.want(200, c.call("admin", "POST", "/os-aggregates", `{"aggregate": {"name": "fast", "availability_zone": "z1"}}`))
	c.want(200, c.call("admin", "POST", "/os-aggregates/1/action", `{"add_host": {"host": "host-1"}}`))
	c.want(409, c.call("admin", "POST", "/os-aggregates/1/action", `{"add_host": {"host": "host-1"}}`))
	c.want(404, c.call("admin", "POST", "/os-aggregates/1/action", `{"add_host": {"host": "nobody"}}`))
	if a := c.want(200, c.call("alice", "GET", "/os-availability-zone", "")); !strings.Contains(a.body, `"zoneName":"z1"`) {
		t.Errorf("zones: %s", a.body)
	}
	c.want(409, c.call("admin", "DELETE", "/os-aggregates/1", ""))
	c.want(200, c.call("admin", "PUT", "/os-aggregates/1", `{"aggregate": {"name": "faster"}}`))
	c.want(200, c.call("admin", "PUT", "/os-services/disable", `{"host": "host-1", "binary": "nova-compute"}`))
	c.want(200, c.call("admin", "GET", "/os-migrations", ""))
	c.want(200, c.call("admin", "GET", "/os-simple-tenant-usage/"+p1, ""))
}

func TestOldSecurityGroups(t *testing.T) {
	c := newCloud(t)
	id := c.want(200, c.call("alice", "POST", "/os-security-groups", `{"security_group": {"name": "web", "description": "d"}}`)).text("security_group.id")
	rule := c.want(200, c.call("alice", "POST", "/os-security-group-rules", `{"security_group_rule": {"parent_group_id": "`+id+`", "ip_protocol": "tcp", "from_port": "22", "to_port": 22}}`))
	if rule.text("security_group_rule.ip_range.cidr") != "0.0.0.0/0" {
		t.Errorf("rule: %s", rule.body)
	}
	c.want(400, c.call("alice", "POST", "/os-security-group-rules", `{"security_group_rule": {"parent_group_id": "web", "ip_protocol": "tcp", "from_port": "22", "to_port": 22}}`))
	c.want(202, c.call("alice", "DELETE", "/os-security-group-rules/"+rule.text("security_group_rule.id"), ""))
	c.want(404, c.call("bob", "GET", "/os-security-groups/"+id, ""))
	c.want(202, c.call("alice", "DELETE", "/os-security-groups/"+id, ""))
}

// badRequest is a request that is refused: with which status, and what its message says.
type badRequest struct {
	who, method, path, body string
	status                  int
	says                    string
}

func badRequests(id string) []badRequest { return append(badCreates(), badOthers(id)...) }

func badCreates() []badRequest {
	server := func(fields string) string {
		return `{"server": {"name": "x", "flavorRef": "42", "imageRef": "img", "networks": "none"` + fields + `}}`
	}
	return []badRequest{
		{"nobody", "GET", "/servers", "", 401, "authentication"},
		{"alice 3.1", "GET", "/servers", "", 406, "Minimum is 2.1"},
		{"alice 2.999", "GET", "/servers", "", 406, "maximum"},
		{"alice x", "GET", "/servers", "", 400, "invalid format"},
		{"alice", "GET", "/nothing", "", 404, "could not be found"},
		{"alice", "PATCH", "/servers", "", 405, "not allowed"},
		{"alice", "GET", "/" + p2 + "/servers", "", 400, "Malformed request URL"},
		{"alice 2.90", "POST", "/servers", "", 400, "JSON"},
		{"alice 2.90", "POST", "/servers", "[]", 400, "JSON object"},
		{"alice 2.90", "POST", "/servers", "{", 400, "Malformed JSON"},
		{"alice 2.90", "POST", "/servers", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), 400, "nested"},
		{"alice 2.90", "POST", "/servers", `{"server": {"flavorRef": "42", "networks": "none"}}`, 400, "'name' is a required property"},
		{"alice 2.90", "POST", "/servers", `{"server": {"name": "x", "flavorRef": "42", "imageRef": "img"}}`, 400, "'networks' is a required property"},
		{"alice 2.90", "POST", "/servers", server(`, "unknown": 1`), 400, "unknown"},
		{"alice 2.90", "POST", "/servers", server(`, "personality": []`), 400, "personality"},
		{"alice 2.90", "POST", "/servers", server(`, "user_data": "!!"`), 400, "base64"},
		{"alice 2.90", "POST", "/servers", server(`, "metadata": {"a": 1}`), 400, "string"},
		{"alice 2.90", "POST", "/servers", server(`, "min_count": 3, "max_count": 2`), 400, "min_count"},
		{"alice 2.90", "POST", "/servers", server(`, "max_count": 1000`), 400, "max_count"},
		{"alice 2.90", "POST", "/servers", server(`, "key_name": "none"`), 400, "key_name"},
		{"alice 2.90", "POST", "/servers", server(`, "availability_zone": "mars"`), 400, "availability zone"},
		{"alice 2.90", "POST", "/servers", server(`, "host": "host-1"`), 403, "forced_host"},
		{"alice 2.90", "POST", "/servers", server(`, "security_groups": [{"name": "missing"}]`), 400, "missing"},
		{"alice 2.90", "POST", "/servers", server(`, "tags": ["a,b"]`), 400, "comma"},
		{"alice 2.90", "POST", "/servers", strings.Replace(server(""), `"42"`, `"999"`, 1), 400, "Flavor 999"},
		{"alice 2.90", "POST", "/servers", strings.Replace(server(""), `"img"`, `"lost"`, 1), 400, "image"},
		{"alice 2.90", "POST", "/servers", strings.Replace(server(""), `"img"`, `"queued"`, 1), 400, "not active"},
		{"alice 2.90", "POST", "/servers", strings.Replace(server(""), `"img"`, `"big"`, 1), 400, "smaller than the minimum"},
		{"alice 2.90", "POST", "/servers", strings.Replace(server(""), `"imageRef": "img", `, "", 1), 400, "Block Device"},
		{"alice 2.90", "POST", "/servers", strings.Replace(server(""), `"none"`, `[{"uuid": "lost"}]`, 1), 400, "lost"},
		{"alice 2.90", "POST", "/servers", strings.Replace(server(""), `"none"`, `[{"uuid": "n1", "fixed_ip": "x"}]`, 1), 400, "address"},
		{"alice 2.90", "POST", "/servers", server(`, "block_device_mapping_v2": [{"source_type": "volume", "uuid": "lost"}]`), 400, "lost"},
		{"alice 2.90", "POST", "/servers", server(`, "block_device_mapping_v2": [{"source_type": "moon"}]`), 400, "moon"},
		{"alice 2.90", "POST", "/servers", `{"server": {"name": "x", "flavorRef": "42", "networks": "none", "block_device_mapping_v2": [{"source_type": "volume", "uuid": "` + vol + `", "boot_index": 0}]}}`, 400, "not bootable"},
		{"eve 2.90", "POST", "/servers", server(""), 403, "Policy"},
	}
}

func badOthers(id string) []badRequest {
	act := "/servers/" + id + "/action"
	return []badRequest{
		{"bob", "GET", "/servers/" + id, "", 404, id},
		{"bob", "DELETE", "/servers/" + id, "", 404, id},
		{"bob", "POST", act, `{"os-stop": null}`, 404, id},
		{"eve", "DELETE", "/servers/" + id, "", 403, "Policy"},
		{"alice", "GET", "/servers?limit=x", "", 400, "limit"},
		{"alice", "GET", "/servers?marker=lost", "", 400, "marker"},
		{"alice", "GET", "/servers?sort_key=shoe", "", 400, "sort_key"},
		{"alice", "GET", "/servers?name=[", "", 400, "filter"},
		{"alice", "GET", "/servers?all_tenants=1", "", 403, "Policy"},
		{"alice", "GET", "/servers?changes-since=yesterday", "", 400, "changes-since"},
		{"alice 2.38", "GET", "/servers?status=happy", "", 400, "status"},
		{"alice", "POST", act, `{"fly": null}`, 400, "fly"},
		{"alice", "POST", act, `{"os-start": null}`, 409, "vm_state active"},
		{"alice", "POST", act, `{"resize": {"flavorRef": "1"}}`, 501, "not built"},
		{"alice", "POST", act, `{"reboot": {"type": "WARM"}}`, 400, "HARD, SOFT"},
		{"alice", "POST", act, `{}`, 400, "one action"},
		{"alice", "POST", "/servers/" + id + "/os-volume_attachments", `{"volumeAttachment": {"volumeId": "x"}}`, 400, "uuid"},
		{"alice", "POST", "/servers/" + id + "/os-volume_attachments", `{"volumeAttachment": {"volumeId": "55555555-5555-5555-5555-555555555555"}}`, 404, "55555555"},
		{"alice", "DELETE", "/servers/" + id + "/os-volume_attachments/" + vol, "", 404, vol},
		{"alice", "PUT", "/servers/" + id + "/metadata/a", `{"meta": {"b": "c"}}`, 400, "mismatch"},
		{"alice", "POST", "/flavors", `{"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 1}}`, 403, "Policy"},
		{"admin", "POST", "/flavors", `{"flavor": {"name": "x", "ram": 0, "vcpus": 1, "disk": 1}}`, 400, "minimum"},
		{"admin", "POST", "/flavors", `{"flavor": {"name": "m1.tiny", "ram": 1, "vcpus": 1, "disk": 1}}`, 409, "already exists"},
		{"alice", "POST", "/os-keypairs", `{"keypair": {"name": "k", "public_key": "garbage"}}`, 400, "Keypair data is invalid"},
		{"alice", "POST", "/os-keypairs", `{"keypair": {"name": "a/b"}}`, 400, "unsafe"},
		{"alice", "GET", "/os-services", "", 403, "Policy"},
		{"alice 2.36", "GET", "/os-security-groups", "", 404, ""},
	}
}

// TestDetailsFollowTheState: a server's document is remembered encoded; it must change with everything that it shows.
func TestDetailsFollowTheState(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	agg := c.want(200, c.call("admin", "POST", "/os-aggregates", `{"aggregate":{"name":"a","availability_zone":"east"}}`))
	number := int(agg.at("aggregate.id").(float64))
	show := func() string {
		t.Helper()
		one := c.want(200, c.call("admin 2.50", "GET", "/servers/"+id, ""))
		all := c.want(200, c.call("admin 2.50", "GET", "/servers/detail?all_tenants=1", ""))
		if want := `{"servers":[` + strings.TrimSuffix(strings.TrimPrefix(one.body, `{"server":`), "}") + `]}`; all.body != want {
			t.Fatalf("the list says\n%s\nand the server\n%s", all.body, want)
		}
		return one.body
	}
	if first, second := show(), show(); first != second {
		t.Fatalf("two answers about the same:\n%s\n%s", first, second)
	}
	// other forms of the same server lie beside it
	for token, there := range map[string]bool{"alice 2.50": false, "admin 2.1": false, "admin 2.90": true} {
		a := c.want(200, c.call(token, "GET", "/servers/"+id, ""))
		if (a.at("server.OS-EXT-SRV-ATTR:user_data") != nil || strings.Contains(a.body, "server_groups")) != there {
			t.Errorf("%s: %s", token, a.body)
		}
	}
	for _, change := range []struct{ what, token, method, path, body, now string }{
		{"the name", "alice", "PUT", "/servers/" + id, `{"server":{"name":"other name"}}`, "other name"},
		{"metadata", "alice", "POST", "/servers/" + id + "/metadata", `{"metadata":{"k":"value-of-k"}}`, "value-of-k"},
		{"a tag", "alice 2.50", "PUT", "/servers/" + id + "/tags/sometag", "", "sometag"},
		{"a security group", "alice", "POST", "/servers/" + id + "/action", `{"addSecurityGroup":{"name":"extra"}}`, `"extra"`},
		{"the host's zone", "admin", "POST", fmt.Sprintf("/os-aggregates/%d/action", number), `{"add_host":{"host":"host-1"}}`, "east"},
		{"the zone's name", "admin", "PUT", fmt.Sprintf("/os-aggregates/%d", number), `{"aggregate":{"availability_zone":"west"}}`, "west"},
		{"the host's status", "admin", "PUT", "/os-services/disable", `{"binary":"nova-compute","host":"host-1"}`, "MAINTENANCE"},
	} {
		before := show()
		if a := c.call(change.token, change.method, change.path, change.body); a.status >= 300 {
			t.Fatalf("%s: %d %s", change.what, a.status, a.body)
		}
		if after := show(); strings.Contains(before, change.now) || !strings.Contains(after, change.now) {
			t.Errorf("%s: before\n%s\nafter\n%s", change.what, before, after)
		}
	}
}

// TestOldNetworkCalls: what Nova did for networks before 2.36.
func TestOldNetworkCalls(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	if a := c.want(200, c.call("alice", "GET", "/os-floating-ip-pools", "")); len(a.list("floating_ip_pools")) != 1 {
		t.Fatal(a.body)
	}
	c.want(404, c.call("alice", "POST", "/os-floating-ips", `{"pool":"nowhere"}`))
	c.want(400, c.call("alice", "POST", "/os-floating-ips", `{"pool":"public","x":1}`))
	made := c.want(200, c.call("alice", "POST", "/os-floating-ips", `{"pool":"public"}`))
	f, ip := made.text("floating_ip.id"), made.text("floating_ip.ip")
	action := func(status int, name, address string) {
		t.Helper()
		c.want(status, c.call("alice", "POST", "/servers/"+id+"/action", `{"`+name+`":{"address":"`+address+`"}}`))
	}
	action(404, "addFloatingIp", "0.0.0.0")
	action(400, "addFloatingIp", "")
	action(409, "removeFloatingIp", ip)
	action(202, "addFloatingIp", ip)
	if a := c.want(200, c.call("alice", "GET", "/os-floating-ips/"+f, "")); a.text("floating_ip.instance_id") != id || a.text("floating_ip.fixed_ip") == "" {
		t.Error(a.body)
	}
	action(202, "removeFloatingIp", ip)
	c.want(404, c.call("alice 2.44", "POST", "/servers/"+id+"/action", `{"addFloatingIp":{"address":"`+ip+`"}}`))
	c.want(404, c.call("alice 2.36", "GET", "/os-floating-ips", ""))
	c.want(404, c.call("alice", "DELETE", "/os-security-groups", ""))
	c.want(404, c.call("alice", "POST", "/servers/none/action", `{"shelve":null}`))
	c.want(501, c.call("alice", "POST", "/servers/"+id+"/action", `{"shelve":null}`))
	c.want(202, c.call("alice", "DELETE", "/os-floating-ips/"+f, ""))
	c.want(404, c.call("alice", "DELETE", "/os-floating-ips/"+f, ""))

	if a := c.want(200, c.call("alice", "GET", "/os-tenant-networks", "")); len(a.list("networks")) != 1 {
		t.Error(a.body)
	}
	if a := c.want(200, c.call("alice", "GET", "/os-tenant-networks/n1", "")); a.text("network.label") != "net-n1" {
		t.Error(a.body)
	}
	c.want(404, c.call("alice", "GET", "/os-tenant-networks/none", ""))
}

// TestOldHosts: os-hosts, until 2.42.
func TestOldHosts(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	for path, n := range map[string]int{"": 1, "?zone=nova": 1, "?zone=x": 0, "?zone=": 1} {
		if a := c.want(200, c.call("admin", "GET", "/os-hosts"+path, "")); len(a.list("hosts")) != n {
			t.Errorf("%q: %s", path, a.body)
		}
	}
	a := c.want(200, c.call("admin", "GET", "/os-hosts/host-1", ""))
	if len(a.list("host")) != 4 || !strings.Contains(a.body, `"project":"(used_now)"`) {
		t.Error(a.body)
	}
	for body, status := range map[string]int{`{}`: 400, `{"status":"x"}`: 400, `{"status":"disable","y":1}`: 400, `{"maintenance_mode":"enable"}`: 501, `{"status":"disable"}`: 200, `{"status":"enable"}`: 200} {
		c.want(status, c.call("admin", "PUT", "/os-hosts/host-1", body))
	}
	c.want(404, c.call("admin", "PUT", "/os-hosts/none", `{"status":"enable"}`))
	for _, what := range []string{"startup", "shutdown", "reboot"} {
		c.want(501, c.call("admin", "GET", "/os-hosts/host-1/"+what, ""))
		c.want(404, c.call("admin", "GET", "/os-hosts/none/"+what, ""))
		c.want(403, c.call("alice", "GET", "/os-hosts/host-1/"+what, ""))
	}
	c.want(404, c.call("admin", "GET", "/os-hosts/host-1/dance", ""))
	c.want(403, c.call("alice", "GET", "/os-hosts/host-1", ""))
	c.want(404, c.call("admin 2.43", "GET", "/os-hosts", ""))
	if up := c.want(200, c.call("admin", "GET", "/os-hypervisors/1/uptime", "")).text("hypervisor.uptime"); !strings.Contains(up, " up 1 days,  2:") {
		t.Errorf("uptime %q", up)
	}
	if up := c.want(200, c.call("admin 2.88", "GET", "/os-hypervisors/detail", "")); !strings.Contains(up.body, " up 1 days") {
		t.Error(up.body)
	}
	c.want(404, c.call("admin", "GET", "/os-hypervisors/99/uptime", ""))
}

// TestQuotaDefaults: they can be changed, and hold for projects that have no limits of their own.
func TestQuotaDefaults(t *testing.T) {
	c := newCloud(t)
	c.want(403, c.call("alice", "PUT", "/os-quota-class-sets/default", `{"quota_class_set":{"instances":1}}`))
	c.want(400, c.call("admin", "PUT", "/os-quota-class-sets/default", `{"quota_class_set":{"wheels":1}}`))
	c.want(400, c.call("admin", "PUT", "/os-quota-class-sets/other", `{"quota_class_set":{"instances":1}}`))
	if a := c.want(200, c.call("admin", "PUT", "/os-quota-class-sets/default", `{"quota_class_set":{"instances":0}}`)); a.at("quota_class_set.instances") != 0.0 {
		t.Error(a.body)
	}
	for _, path := range []string{"/os-quota-sets/" + p1, "/os-quota-sets/" + p1 + "/defaults"} {
		if a := c.want(200, c.call("alice", "GET", path, "")); a.at("quota_set.instances") != 0.0 || a.at("quota_set.cores") != 20.0 {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	c.want(403, c.call("alice", "POST", "/servers", plain))
	c.want(200, c.call("admin", "PUT", "/os-quota-sets/"+p1, `{"quota_set":{"instances":3}}`))
	c.want(202, c.call("alice", "POST", "/servers", plain))
}
