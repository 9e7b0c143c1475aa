package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
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
