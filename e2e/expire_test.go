package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"henge/e2e/henged"
)

// TestSwiftClient_ObjectsExpire uploads with X-Delete-After, by Swift's own client: the objects answer 404 when their time has come, and then leave the listing and the counts by
// themselves. One that was uploaded again meanwhile stays.
func TestSwiftClient_ObjectsExpire(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "small"), pattern(1000))
	writeFile(t, filepath.Join(dir, "large"), pattern(300_000))
	writeFile(t, filepath.Join(dir, "again"), pattern(2000))
	writeFile(t, filepath.Join(dir, "parts"), pattern(3000))
	client(t, c, dir, "swift", "upload", "-H", "X-Delete-After: 8", "expiring", "small", "large", "again")
	client(t, c, dir, "swift", "upload", "-H", "X-Delete-After: 1", "-S", "1000", "--use-slo", "expiring", "parts")
	client(t, c, dir, "swift", "upload", "expiring", "again")
	id, storage := token(t, c)
	get := func(method, path string) (int, string, http.Header) {
		return request(t, method, storage+path, nil, "X-Auth-Token", id)
	}
	eventually(t, "what has expired answers 404", func() bool {
		code, _, _ := get("HEAD", "/expiring/small")
		return code == http.StatusNotFound
	})
	eventually(t, "what has expired leaves the listing", func() bool {
		_, body, _ := get("GET", "/expiring")
		return strings.TrimSpace(body) == "again"
	})
	_, _, head := get("HEAD", "/expiring")
	if head.Get("X-Container-Object-Count") != "1" || head.Get("X-Container-Bytes-Used") != "2000" {
		t.Errorf("the container counts %s objects of %s bytes", head.Get("X-Container-Object-Count"), head.Get("X-Container-Bytes-Used"))
	}
	back := t.TempDir()
	client(t, c, back, "swift", "download", "expiring", "again")
	_, metrics, _ := request(t, "GET", fmt.Sprintf("http://127.0.0.1:%d/metrics", c.Ports.Metrics), nil)
	if !strings.Contains(metrics, "\nhenge_expirer_removed_total ") {
		t.Error("the expirer counts nothing")
	}
}

// TestProjectDelete_EmptiesItsAccount deletes a project, by the client that Debian has: what it had in the object store is gone for everybody at once, and is then removed.
func TestProjectDelete_EmptiesItsAccount(t *testing.T) {
	t.Setenv("HENGE_STORAGE_REAP_DELAY_SECONDS", "0")
	c := ownCloud(t, henged.Options{Dir: filepath.Join(t.TempDir(), "d"), Peers: 3, Devices: 1})
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "small"), pattern(1000))
	writeFile(t, filepath.Join(dir, "large"), pattern(300_000))
	project := strings.TrimSpace(client(t, c, dir, "openstack", "project", "create", "-f", "value", "-c", "id", "ending"))
	client(t, c, dir, "openstack", "role", "add", "--user", "admin", "--project", "ending", "member")
	client(t, c, dir, "swift", "--os-project-name", "ending", "upload", "of-the-project", "small", "large")
	client(t, c, dir, "swift", "upload", "of-another", "small")
	id, storage := token(t, c)
	account := storage[:strings.LastIndex(storage, "/AUTH_")] + "/AUTH_" + project
	if code, _, _ := request(t, "HEAD", account, nil, "X-Auth-Token", id); code != http.StatusNoContent {
		t.Fatalf("HEAD of the account: %d", code)
	}
	client(t, c, dir, "openstack", "project", "delete", "ending")
	eventually(t, "the account is gone", func() bool {
		code, _, _ := request(t, "HEAD", account, nil, "X-Auth-Token", id)
		return code == http.StatusGone
	})
	if code, _, _ := request(t, "GET", account+"/of-the-project/small", nil, "X-Auth-Token", id); code != http.StatusNotFound {
		t.Errorf("GET of an object: %d", code)
	}
	eventually(t, "container and objects are removed", func() bool {
		for peer := 1; peer <= 3; peer++ { // one of them does the work
			_, metrics, _ := request(t, "GET", fmt.Sprintf("http://%s:%d/metrics", c.Address(peer), c.Ports.Metrics), nil)
			if strings.Contains(metrics, "\nhenge_reaper_objects_total 2\n") && strings.Contains(metrics, "\nhenge_reaper_containers_total 1\n") {
				return true
			}
		}
		return false
	})
	if out := client(t, c, dir, "swift", "list", "of-another"); strings.TrimSpace(out) != "small" {
		t.Errorf("another project's container lists %q", out)
	}
	dispersionIsToldOf(t, c)
}

// dispersionIsToldOf: an operator populates and asks, and asks how the storage does besides.
func dispersionIsToldOf(t *testing.T, c *henged.Cloud) {
	t.Helper()
	henge := func(args ...string) string {
		return client(t, c, c.Dir, append([]string{binary(t)}, append(args, "--data-dir", c.Dir)...)...)
	}
	if out := henge("dispersion", "populate", "--coverage", "1"); !strings.Contains(out, "container ring: something lies in ") {
		t.Errorf("populate says:\n%s", out)
	}
	if out := henge("dispersion", "report"); !strings.Contains(out, "object ring") || !strings.Contains(out, "100.00% of copies found") {
		t.Errorf("report says:\n%s", out)
	}
	if out := henge("dispersion", "report", "--json"); !strings.Contains(out, `"copies_out_of_place": 0`) {
		t.Errorf("report says in JSON:\n%s", out)
	}
	if out := henge("recon", "--json"); !strings.Contains(out, `"ring_digests"`) {
		t.Errorf("recon says in JSON:\n%s", out)
	}
}
