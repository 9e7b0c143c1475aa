package swift_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"henge/internal/clock"
	"henge/internal/httpapi"
	"henge/proxy/core"
	"henge/proxy/swift"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/server/servertest"
)

// places is core.Rings and core.Ring over a test cluster.
type places struct {
	cluster *servertest.Cluster
}

func (p places) Account() core.Ring     { return p }
func (p places) Container() core.Ring   { return p }
func (p places) Object(uint8) core.Ring { return p }
func (p places) Policies() []core.Policy {
	return []core.Policy{{Name: "three", Default: true, Replicas: 3}}
}
func (p places) Secret() ring.Secret { return ring.Secret{7} }

func (p places) Partition(h ring.Hash) ring.Partition {
	return ring.Partition(h[0])<<8 | ring.Partition(h[1])
}

func (p places) of(n ring.Partition) (primaries, handoffs []peerapi.Target) {
	return p.cluster.Replicas(ring.Hash{byte(n >> 8), byte(n)})
}

func (p places) Primaries(n ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, _ := p.of(n)
	return append(dst, primaries...)
}

func (p places) Handoffs(n ring.Partition) iter.Seq[peerapi.Target] {
	_, handoffs := p.of(n)
	return slices.Values(handoffs)
}

// newCluster is a Swift server over the real core and four storage peers.
func newCluster(t *testing.T) (*world, *servertest.Cluster) {
	t.Helper()
	cluster := servertest.NewCluster(t, 4, 1)
	c, err := core.New(core.Config{Rings: places{cluster}, Devices: cluster, Clock: clock.NewHybrid(clock.System{}, 5)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	logger := slog.New(slog.DiscardHandler)
	w := &world{t: t}
	w.server = httpapi.NewServer(httpapi.Config{Name: "object", Logger: logger,
		Handler: swift.New(swift.Config{Core: c, Tokens: people, Clock: clock.System{}, Logger: logger, Version: "test"})})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(ln)
	w.url = "http://" + ln.Addr().String()
	return w, cluster
}

// Objects of all sorts are written over real storage peers, read back and listed, with one peer dead from the midst on.
func TestStory_OnePeerDies(t *testing.T) {
	w, cluster := newCluster(t)
	w.ok("PUT", account+"/c", "", 201, "X-Container-Meta-A", "1")
	w.ok("PUT", account+"/segs", "", 201)
	big := make([]byte, 3<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w.ok("PUT", fmt.Sprintf("%s/segs/big/%d", account, i), string(big[i<<20:(i+1)<<20]), 201)
	}
	w.ok("PUT", account+"/c/whole", string(big), 201, "Etag", md5Hex(string(big)))
	w.ok("PUT", account+"/c/dlo", "", 201, "X-Object-Manifest", "segs/big/")
	cluster.Kill("p2")
	w.ok("PUT", account+"/c/slo?multipart-manifest=put", manifest(t, segment{"path": "/segs/big/0"}, segment{"path": "/segs/big/1"},
		segment{"path": "/segs/big/2", "etag": md5Hex(string(big[2<<20:]))}), 201)
	for _, name := range []string{"whole", "dlo", "slo"} {
		if a := w.ok("GET", account+"/c/"+name, "", 200); a.body != string(big) {
			t.Errorf("%s: %d bytes came back changed", name, len(a.body))
		}
		if a := w.ok("GET", account+"/c/"+name, "", 206, "Range", "bytes=1048570-1048580"); a.body != string(big[1048570:1048581]) {
			t.Errorf("%s: a range came back changed", name)
		}
		w.ok("HEAD", account+"/c/"+name, "", 200).wants(t, "Content-Length", "3145728")
		w.ok("POST", account+"/c/"+name, "", 202, "X-Object-Meta-Seen", "yes", "X-Object-Manifest", map[string]string{"dlo": "segs/big/"}[name])
		w.ok("COPY", account+"/c/"+name, "", 201, "Destination", "c/copy-of-"+name).wants(t, "Etag", md5Hex(string(big)))
		w.ok("HEAD", account+"/c/"+name, "", 200).wants(t, "X-Object-Meta-Seen", "yes")
	}
	w.ok("GET", account+"/c", "", 200).wantsBody(t, "copy-of-dlo\ncopy-of-slo\ncopy-of-whole\ndlo\nslo\nwhole\n")
	w.ok("PUT", account+"/c/whole", "x", 412, "If-None-Match", "*")
	// Onto itself, which old clients do to change metadata.
	w.ok("COPY", account+"/c/whole", "", 201, "Destination", "c/whole", "X-Object-Meta-Own", "copy").wants(t, "Etag", md5Hex(string(big)))
	if a := w.ok("GET", account+"/c/whole", "", 200); a.body != string(big) || a.Header.Get("X-Object-Meta-Own") != "copy" {
		t.Errorf("copied onto itself: %d bytes, own %q", len(a.body), a.Header.Get("X-Object-Meta-Own"))
	}
	cluster.Revive("p2")
	w.ok("DELETE", account+"/c/slo?multipart-manifest=delete", "", 200, "Accept", "application/json").wantsBody(t,
		`{"Errors":[],"Number Deleted":4,"Number Not Found":0,"Response Body":"","Response Status":"200 OK"}`)
	w.ok("GET", account+"/segs", "", 204)
	w.ok("POST", account+"?bulk-delete", "c/whole\nc/dlo\nc/copy-of-dlo\nc/copy-of-slo\nc/copy-of-whole\nc\nsegs", 200).wantsBody(t,
		"Number Deleted: 7\nNumber Not Found: 0\nResponse Body: \nResponse Status: 200 OK\nErrors:\n")
	w.ok("GET", account, "", 204)
}

// A body that is cut off is not stored, in part or whole; one with the wrong MD5 neither.
func TestStory_BadBodies(t *testing.T) {
	w, _ := newCluster(t)
	w.ok("PUT", account+"/c", "", 201)
	for _, n := range []int{1, 100 << 10, 1 << 20} {
		body := strings.Repeat("x", n)
		w.ok("PUT", account+"/c/o", body, 422, "Etag", md5Hex("y"))
		got := w.raw(fmt.Sprintf("PUT %s/c/o HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nContent-Length: %d\r\n\r\n%s", account, n+1, body), true)
		if !strings.HasPrefix(got, "HTTP/1.1 499") {
			t.Errorf("%d bytes: answered %q", n, got)
		}
		w.ok("GET", account+"/c/o", "", 404)
	}
	// Chunked, with the chunks broken off.
	got := w.raw("PUT "+account+"/c/o HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true)
	if !strings.HasPrefix(got, "HTTP/1.1 499") {
		t.Errorf("chunked: answered %q", got)
	}
	w.ok("GET", account+"/c", "", 204)
	if a := w.do(http.MethodPut, account+"/c/o", "member", io.MultiReader(strings.NewReader("hel"), strings.NewReader("lo"))); a.StatusCode != 201 {
		t.Errorf("chunked: %s", a.Status)
	}
	w.ok("GET", account+"/c/o", "", 200).wantsBody(t, "hello")
}
