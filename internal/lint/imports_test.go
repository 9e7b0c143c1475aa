package lint

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors are the parts from the top down. A part may import parts further down, never up or on its own line.
var floors = [][]string{
	{"cmd", "e2e", "deploy"},
	{"dashboard"},
	{"computed"},
	{"scheduler"},
	{"imaged", "volumed", "netd"},
	{"proxy"},
	{"storaged"},
	{"identity"},
	{"cluster"},
	{"ring"},
	{"internal"},
}

// doors are the packages through which a part may be imported from another part. cmd wires everything together and may import all.
var doors = map[string][]string{
	"identity": {"identity/authn"},
	"storaged": {"storaged/peerapi"},
	"cluster":  {"cluster/state", "cluster/rpc"},
	"proxy":    {"proxy/core"},
	"ring":     {"ring"},
}

// homes say which folders alone may import a third-party library. What is not listed may be imported anywhere.
var homes = map[string][]string{
	"github.com/hashicorp/raft":         {"cluster/agreement"},
	"github.com/hashicorp/memberlist":   {"cluster/gossip"},
	"github.com/hashicorp/yamux":        {"cluster/rpc"},
	"github.com/prometheus":             {"internal/metrics"},
	"github.com/BurntSushi/toml":        {"cmd/henge"},
	"github.com/spf13/cobra":            {"cmd/henge"},
	"github.com/minio/md5-simd":         {"proxy/core", "internal/checksum"},
	"github.com/minio/crc64nvme":        {"internal/checksum", "proxy/s3"},
	"golang.org/x/crypto":               {"identity", "deploy/guest", "e2e", "computed/keys"},
	"github.com/aws":                    {"e2e", "proxy/s3"},
	"github.com/minio/minio-go":         {"e2e", "proxy/s3"},
	"github.com/vishvananda":            {"netd/kernel"},
	"github.com/insomniacslk/dhcp":      {"netd/dhcp"},
	"github.com/gophercloud":            {"e2e", "identity", "proxy/swift", "volumed"},
	"github.com/gostor/gotgt":           {"volumed/iscsi/lun"},
	"github.com/klauspost/reedsolomon":  {"internal/erasure"},
	"github.com/sirupsen/logrus":        {"volumed/iscsi/lun"},
	"github.com/anishathalye/porcupine": {"cluster", "proxy/core", "e2e"},

	"github.com/digitalocean/go-libvirt": {"computed/hypervisor/libvirt"},
	"github.com/coder/websocket":         {"computed/console", "e2e"},
}

func floorOf(part string) int {
	return slices.IndexFunc(floors, func(line []string) bool { return slices.Contains(line, part) })
}

func TestImports(t *testing.T) {
	for _, s := range tree(t) {
		part, _, _ := strings.Cut(s.dir, "/")
		if floorOf(part) < 0 {
			t.Errorf("%s: the part %q is not in the table of floors", s.path, part)
			continue
		}
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if inside, ok := strings.CutPrefix(path, "henge/"); ok {
				checkInside(t, s, part, inside)
			} else {
				checkLibrary(t, s, path)
			}
		}
	}
}

func checkInside(t *testing.T, s source, part, path string) {
	t.Helper()
	other, _, _ := strings.Cut(path, "/")
	if other == part || part == "cmd" || part == "e2e" {
		return
	}
	if floorOf(other) <= floorOf(part) {
		t.Errorf("%s imports %s: arrows point down only", s.path, path)
	}
	// A test may build what it tests from real parts below.
	if allowed, ok := doors[other]; ok && !s.test && !strings.HasSuffix(s.dir, "test") && !slices.Contains(allowed, path) {
		t.Errorf("%s imports %s: the doors of %s are %v", s.path, path, other, allowed)
	}
}

func checkLibrary(t *testing.T, s source, path string) {
	t.Helper()
	for library, dirs := range homes {
		if path != library && !strings.HasPrefix(path, library+"/") {
			continue
		}
		at := slices.ContainsFunc(dirs, func(dir string) bool { return s.dir == dir || strings.HasPrefix(s.dir, dir+"/") })
		if !at {
			t.Errorf("%s imports %s: its home is %v", s.path, path, dirs)
		}
	}
}
