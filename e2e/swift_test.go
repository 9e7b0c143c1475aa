package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSwiftClient_UploadListDownload(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := tree(t)
	client(t, c, dir, "swift", "upload", "swift-tree", ".")
	listed := strings.Split(strings.TrimSpace(client(t, c, dir, "swift", "list", "swift-tree")), "\n")
	want := map[string]bool{}
	for _, name := range awkwardNames {
		want[name] = true
	}
	for _, name := range listed {
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	back := t.TempDir()
	client(t, c, back, "swift", "download", "swift-tree")
	sameTrees(t, dir, back)
	if out := client(t, c, dir, "swift", "stat", "swift-tree"); !strings.Contains(out, "Objects: 20") {
		t.Errorf("stat says:\n%s", out)
	}
	client(t, c, dir, "swift", "delete", "swift-tree")
	if out, err := tryClient(c, dir, "swift", "list", "swift-tree"); err == nil {
		t.Errorf("the container is still there:\n%s", out)
	}
}

func TestSwiftClient_LargeObjects(t *testing.T) {
	c := sharedCloud(t, 1)
	for name, extra := range map[string][]string{"dynamic": nil, "static": {"--use-slo"}} {
		t.Run(name, func(t *testing.T) {
			dir, back := t.TempDir(), t.TempDir()
			writeFile(t, filepath.Join(dir, "big"), pattern(10<<20+17))
			container := "swift-large-" + name
			client(t, c, dir, append([]string{"swift", "upload", "-S", "3000000", container, "big"}, extra...)...)
			client(t, c, back, "swift", "download", container, "big")
			sameTrees(t, dir, back)
			if out := client(t, c, dir, "swift", "stat", container, "big"); !strings.Contains(out, "Content Length: 10485777") {
				t.Errorf("stat says:\n%s", out)
			}
			if out := strings.Fields(client(t, c, dir, "swift", "list", container+"_segments")); len(out) != 4 {
				t.Errorf("segments: %v", out)
			}
			client(t, c, dir, "swift", "delete", container, "big")
			if out := client(t, c, dir, "swift", "list", container+"_segments"); strings.TrimSpace(out) != "" {
				t.Errorf("segments are left over:\n%s", out)
			}
		})
	}
}

func TestSwiftClient_MetadataCopyAndACL(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), []byte("hello"))
	client(t, c, dir, "swift", "post", "swift-meta", "-m", "Colour: blue", "-r", ".r:*,.rlistings")
	client(t, c, dir, "swift", "upload", "swift-meta", "a", "-H", "X-Object-Meta-Shape: round")
	if out := client(t, c, dir, "swift", "stat", "swift-meta"); !strings.Contains(out, "Meta Colour: blue") || !strings.Contains(out, "Read ACL: .r:*,.rlistings") {
		t.Errorf("stat says:\n%s", out)
	}
	client(t, c, dir, "swift", "copy", "-d", "/swift-meta/b", "swift-meta", "a")
	if out := client(t, c, dir, "swift", "stat", "swift-meta", "b"); !strings.Contains(out, "Meta Shape: round") {
		t.Errorf("the copy's metadata:\n%s", out)
	}
	client(t, c, dir, "swift", "post", "swift-meta", "b", "-m", "Shape: square")
	if out := client(t, c, dir, "swift", "stat", "swift-meta", "b"); !strings.Contains(out, "Meta Shape: square") {
		t.Errorf("after the update:\n%s", out)
	}
	account := client(t, c, dir, "sh", "-c", "/usr/bin/swift auth | sed -n 's/^export OS_STORAGE_URL=//p'")
	if out := client(t, c, dir, "curl", "-sf", strings.TrimSpace(account)+"/swift-meta/a"); out != "hello" {
		t.Errorf("a public object reads %q", out)
	}
	if out := client(t, c, dir, "swift", "capabilities"); !strings.Contains(out, "slo") {
		t.Errorf("capabilities:\n%s", out)
	}
}

func TestOpenStackClient_Objects(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "file one.txt"), pattern(100000))
	client(t, c, dir, "openstack", "container", "create", "osc")
	client(t, c, dir, "openstack", "object", "create", "osc", "file one.txt")
	if out := client(t, c, dir, "openstack", "object", "list", "osc", "-f", "value"); strings.TrimSpace(out) != "file one.txt" {
		t.Errorf("listed %q", out)
	}
	client(t, c, dir, "openstack", "object", "set", "--property", "k=v", "osc", "file one.txt")
	if out := client(t, c, dir, "openstack", "object", "show", "osc", "file one.txt"); !strings.Contains(out, "100000") {
		t.Errorf("show says:\n%s", out)
	}
	client(t, c, dir, "openstack", "object", "save", "--file", "back", "osc", "file one.txt")
	back, err := os.ReadFile(filepath.Join(dir, "back"))
	if err != nil || string(back) != string(pattern(100000)) {
		t.Errorf("saved %d bytes, %v", len(back), err)
	}
	client(t, c, dir, "openstack", "object", "delete", "osc", "file one.txt")
	client(t, c, dir, "openstack", "container", "delete", "osc")
}

func TestOpenStackClient_Identity(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	run := func(args ...string) string { return client(t, c, dir, append([]string{"openstack"}, args...)...) }
	run("project", "create", "e2e-project")
	run("user", "create", "--password", "Long and secret 1", "e2e-user")
	run("role", "add", "--user", "e2e-user", "--project", "e2e-project", "member")
	if out := run("role", "assignment", "list", "--user", "e2e-user", "--names"); !strings.Contains(out, "e2e-project@Default") {
		t.Errorf("assignments:\n%s", out)
	}
	if out := run("catalog", "list"); !strings.Contains(out, "object-store") {
		t.Errorf("catalog:\n%s", out)
	}
	as := []string{"--os-username", "e2e-user", "--os-password", "Long and secret 1", "--os-project-name", "e2e-project"}
	token := strings.TrimSpace(run(append(as, "token", "issue", "-f", "value", "-c", "id")...))
	if token == "" {
		t.Fatal("no token")
	}
	run(append(as, "container", "create", "mine")...)
	if out := run("ec2", "credentials", "create", "--user", "e2e-user", "--project", "e2e-project", "-f", "value", "-c", "access"); strings.TrimSpace(out) == "" {
		t.Error("no access key")
	}
	run("token", "revoke", token)
	if out, err := tryClient(c, dir, "curl", "-sf", "-H", "X-Auth-Token: "+token, c.Environment["OS_AUTH_URL"]+"/auth/projects"); err == nil {
		t.Errorf("a revoked token still works: %s", out)
	}
	if _, err := tryClient(c, dir, "openstack", "--os-password", "wrong", "token", "issue"); err == nil {
		t.Error("a wrong password was taken")
	}
	run("user", "delete", "e2e-user")
	for _, kind := range []string{"user", "project", "role", "service", "endpoint", "domain", "region", "group"} {
		run(kind, "list")
	}
}
