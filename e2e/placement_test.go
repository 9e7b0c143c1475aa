package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPlacement_OpenStackClient drives the Placement API with the plug-in of the openstack client.
func TestPlacement_OpenStackClient(t *testing.T) {
	c, dir := sharedCloud(t, 1), t.TempDir()
	run := func(want bool, args ...string) string {
		t.Helper()
		out, err := tryClient(c, dir, append([]string{"openstack", "--os-placement-api-version", "1.39"}, args...)...)
		if (err == nil) != want {
			t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		if err != nil {
			out += err.Error()
		}
		return out
	}
	var provider struct{ UUID string }
	if err := json.Unmarshal([]byte(run(true, "resource", "provider", "create", "-f", "json", "rack1")), &provider); err != nil {
		t.Fatal(err)
	}
	run(true, "resource", "provider", "inventory", "set", provider.UUID, "--resource", "VCPU=4", "--resource", "VCPU:allocation_ratio=2.0", "--resource", "MEMORY_MB=1024")
	run(true, "trait", "create", "CUSTOM_QUIET")
	run(true, "resource", "provider", "trait", "set", "--trait", "CUSTOM_QUIET", provider.UUID)
	const consumer = "aaaaaaaa-1111-4111-8111-111111111111"
	run(true, "resource", "provider", "allocation", "set", consumer, "--allocation", "rp="+provider.UUID+",VCPU=6", "--project-id", "p", "--user-id", "u", "--consumer-type", "INSTANCE")
	if out := run(true, "allocation", "candidate", "list", "-f", "value", "--resource", "VCPU=2", "--required", "CUSTOM_QUIET"); !strings.Contains(out, provider.UUID) {
		t.Errorf("no candidate: %s", out)
	}
	if out := run(true, "allocation", "candidate", "list", "-f", "value", "--resource", "VCPU=3"); strings.Contains(out, provider.UUID) {
		t.Errorf("a candidate without room: %s", out)
	}
	if out := run(false, "resource", "provider", "delete", provider.UUID); !strings.Contains(out, "has allocations") {
		t.Errorf("a provider in use: %s", out)
	}
	if out := run(true, "resource", "provider", "usage", "show", "-f", "value", provider.UUID); !strings.Contains(out, "VCPU 6") {
		t.Errorf("usages: %s", out)
	}
	run(true, "resource", "provider", "allocation", "delete", consumer)
	run(true, "resource", "provider", "delete", provider.UUID)
}
