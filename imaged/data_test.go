package imaged_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/imaged/library"
	"henge/imaged/model"
	"henge/imaged/vault"
	"henge/internal/errs"
)

func TestUploadAndDownload(t *testing.T) {
	c := newCloud(t)
	for _, size := range []int{0, 1, segment - 1, segment, segment + 1, 5*segment + 17} {
		data := pattern(size)
		id := c.create("ann", "name", "one")
		c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(204) // no data yet
		c.upload("ann", id, data).want(204)
		shown := c.do("ann", "GET", "/v2/images/"+id, nil).want(200).json()
		strong := sha512.Sum512(data)
		for name, want := range map[string]any{"status": "active", "size": float64(size), "virtual_size": float64(size), "checksum": sum(data), "os_hash_algo": "sha512",
			"os_hash_value": hex.EncodeToString(strong[:])} {
			if shown[name] != want {
				t.Errorf("%d bytes: %s is %v, want %v", size, name, shown[name], want)
			}
		}
		got := c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(200)
		if !bytes.Equal(got.raw, data) || got.header.Get("Content-MD5") != sum(data) || got.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%d bytes came back as %d, %v", size, len(got.raw), got.header)
		}
		if n, want := len(c.segments()), (size+segment-1)/segment; n != want {
			t.Errorf("%d bytes lie in %d segments, want %d", size, n, want)
		}
		c.upload("ann", id, data).want(409)
		c.do("ann", "DELETE", "/v2/images/"+id, nil).want(204)
		c.do("ann", "GET", "/v2/images/"+id, nil).want(404)
		c.library.Sweep(t.Context())
		c.clean(size)
	}
}

// clean fails the test unless nothing of any upload is left.
func (c *cloud) clean(what any) {
	c.t.Helper()
	if left := c.segments(); len(left) > 0 {
		c.t.Errorf("%v: segments are left: %q", what, left)
	}
	if left := c.uploads(); len(left) > 0 {
		c.t.Errorf("%v: uploads are left: %+v", what, left)
	}
}

func (c *cloud) uploads() (all []model.Upload) {
	c.t.Helper()
	err := c.store.View(c.t.Context(), func(r state.Reader) error {
		for u, err := range model.Uploads.All(r) {
			if err != nil {
				return err
			}
			all = append(all, u)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

func TestDownload_Ranges(t *testing.T) {
	c := newCloud(t)
	data := pattern(3*segment + 100)
	id := c.create("ann")
	c.upload("ann", id, data).want(204)
	n := len(data)
	for _, r := range []struct {
		text     string
		from, to int
	}{
		{"bytes=0-0", 0, 0}, {"bytes=10-19", 10, 19}, {"bytes=65530-65550", 65530, 65550}, {"bytes=65536-", 65536, n - 1}, {"bytes=-5", n - 5, n - 1}, {"bytes=0-999999999", 0, n - 1},
		{"bytes=-999999999", 0, n - 1}, {"bytes=0-99999999999999999999", 0, n - 1},
	} {
		got := c.do("ann", "GET", "/v2/images/"+id+"/file", nil, "Range", r.text).want(206)
		if !bytes.Equal(got.raw, data[r.from:r.to+1]) {
			t.Errorf("%s: other bytes", r.text)
		}
	}
	if got := c.do("ann", "GET", "/v2/images/"+id+"/file", nil, "Content-Range", "bytes 5-9/*").want(206); !bytes.Equal(got.raw, data[5:10]) {
		t.Errorf("the older form: %q", got.raw)
	}
	for text, status := range map[string]int{"bytes=999999999-": 416, "bytes=-0": 416, "bytes=5-3": 400, "bytes=0-1,5-6": 400, "lines=1-2": 400, "bytes=": 400, "bytes=-": 400, "bytes=x-1": 400,
		"bytes=99999999999999999999-": 416} {
		c.do("ann", "GET", "/v2/images/"+id+"/file", nil, "Range", text).want(status)
	}
}

func TestUpload_RefusedContent(t *testing.T) {
	c := newCloud(t)
	backed := make([]byte, 200_000)
	copy(backed, "QFI\xfb\x00\x00\x00\x03")
	backed[15], backed[19] = 200, 9 // a backing file's name, of nine bytes
	backed[23] = 16
	for _, r := range []struct {
		name, format, why string
		data              []byte
	}{
		{"not what it says", "qcow2", "not a QCOW2", pattern(200_000)},
		{"not what it says, and short", "qcow2", "not a QCOW2", pattern(100)},
		{"disguised", "raw", "is a QCOW2, not raw", backed},
		{"backing file", "qcow2", "backing file", backed},
		{"not an ISO", "iso", "not an ISO", pattern(10)},
	} {
		t.Run(r.name, func(t *testing.T) {
			id := c.create("ann", "disk_format", r.format)
			c.upload("ann", id, r.data).want(400, r.why)
			if got := c.status(id); got != "killed" {
				t.Errorf("it is %s", got)
			}
			c.upload("ann", id, r.data).want(409)
			c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(204)
			c.do("ann", "DELETE", "/v2/images/"+id, nil).want(204)
			c.clean(r.name)
		})
	}
}

// flaky ends in an error after its bytes.
type flaky struct{ rest io.Reader }

func (f *flaky) Read(p []byte) (int, error) {
	n, err := f.rest.Read(p)
	if err == io.EOF {
		err = errors.New("the cable was pulled")
	}
	return n, err
}

func TestUpload_BrokenOnesLeaveNothing(t *testing.T) {
	c := newCloud(t)
	ann := person("ann", "p1", "member")
	id := c.create("ann")
	if _, err := c.library.Upload(t.Context(), ann, id, &flaky{bytes.NewReader(pattern(3*segment + 5))}, -1); !errs.Is(err, errs.Incomplete) {
		t.Fatalf("a body that breaks off: %v", err)
	}
	if got := c.status(id); got != "queued" {
		t.Fatalf("it is %s", got)
	}
	c.clean("broken off")
	if _, err := c.library.Upload(t.Context(), ann, id, bytes.NewReader(pattern(10)), 20); !errs.Is(err, errs.Incomplete) {
		t.Fatalf("a short body: %v", err)
	}
	c.clean("short")
	c.objects.FailWith(func(op string) error {
		if op == "Put" {
			return errs.New(errs.Unavailable, "no quorum")
		}
		return nil
	})
	c.upload("ann", id, pattern(segment)).want(503, "no quorum")
	c.objects.FailWith(nil)
	c.clean("no quorum")
	c.upload("ann", id, pattern(segment)).want(204) // and now it works
	if got := c.status(id); got != "active" {
		t.Fatalf("it is %s", got)
	}
}

func TestUpload_ClientThatGoesAway(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann")
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "PUT", c.url+"/v2/images/"+id+"/file", in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", "ann")
	req.Header.Set("Content-Type", "application/octet-stream")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	if _, err := out.Write(pattern(3 * segment)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "saving", func() bool { return c.status(id) == "saving" && len(c.segments()) > 0 })
	cancel()
	out.CloseWithError(errors.New("gone")) // the client waits for its body
	<-done
	eventually(t, "queued again", func() bool { return c.status(id) == "queued" && len(c.segments()) == 0 && len(c.uploads()) == 0 })
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("not %s in half a minute", what)
		case <-tick.C:
		}
	}
}

// stuck begins an upload that never ends, as a peer that is killed leaves it.
func (c *cloud) stuck(l *library.Library, id string) (release func()) {
	c.t.Helper()
	in, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = l.Upload(context.Background(), person("ann", "p1", "member"), id, in, -1)
	}()
	before := len(c.segments())
	if _, err := out.Write(pattern(2*segment + 9)); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "in the store", func() bool { return len(c.segments()) >= before+1 })
	return func() {
		out.CloseWithError(errors.New("killed"))
		<-done
	}
}

func TestSweep_UploadsOfAPeerThatDied(t *testing.T) {
	c := newCloud(t)
	other := library.New(library.Config{Store: c.store, Objects: c.objects, Clock: c.clock, Logger: c.library.Logger, Peer: "peer-2", SegmentBytes: segment})
	id := c.create("ann")
	release := c.stuck(other, id)
	defer release()
	c.library.Sweep(t.Context())
	c.clock.Advance(30 * time.Second)
	c.library.Sweep(t.Context())
	if got := c.status(id); got != "saving" || len(c.segments()) == 0 {
		t.Fatalf("after half a minute of silence it is %s", got)
	}
	c.clock.Advance(31 * time.Second)
	c.library.Sweep(t.Context())
	if got := c.status(id); got != "queued" {
		t.Fatalf("after a minute of silence it is %s", got)
	}
	c.clean("a dead peer")
}

func TestSweep_UploadsOfThisPeerBeforeItsRestart(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann")
	release := c.stuck(c.library, id)
	defer release()
	again := library.New(c.library.Config)
	again.Sweep(t.Context())
	if got := c.status(id); got != "queued" {
		t.Fatalf("after the restart it is %s", got)
	}
	c.clean("a restart")
}

func TestSweep_LateSegmentsOfADeadUpload(t *testing.T) {
	c := newCloud(t)
	other := library.New(library.Config{Store: c.store, Objects: c.objects, Clock: c.clock, Logger: c.library.Logger, Peer: "peer-2", SegmentBytes: segment})
	id := c.create("ann")
	release := c.stuck(other, id)
	c.do("ann", "DELETE", "/v2/images/"+id, nil).want(204)
	c.library.Sweep(t.Context())
	if left := c.segments(); len(left) > 0 {
		t.Fatalf("segments are left: %q", left)
	}
	release() // it was paused, and ends only now: its rest goes too
	eventually(t, "clean", func() bool { c.library.Sweep(t.Context()); return len(c.segments()) == 0 })
	c.clock.Advance(10 * time.Minute)
	c.library.Sweep(t.Context())
	c.clean("a late segment")
}

func TestUpload_DeletedInTheMidst(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann")
	in, out := io.Pipe()
	failed := make(chan error, 1)
	go func() {
		_, err := c.library.Upload(context.Background(), person("ann", "p1", "member"), id, in, -1)
		failed <- err
	}()
	if _, err := out.Write(pattern(segment + 1)); err != nil {
		t.Fatal(err)
	}
	c.do("ann", "DELETE", "/v2/images/"+id, nil).want(204)
	out.Close()
	if err := <-failed; !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "deleted") {
		t.Fatalf("the upload ended with %v", err)
	}
	c.library.Sweep(t.Context())
	c.clean("deleted in the midst")
}

func TestQuotas(t *testing.T) {
	c := newCloud(t, func(cfg *library.Config) {
		cfg.Quotas = library.Quotas{ImageBytes: 3 * segment, ProjectImages: 3, ProjectBytes: 4 * segment}
	})
	a, b := c.create("ann"), c.create("ann")
	c.upload("ann", a, pattern(3*segment+1)).want(413)
	c.do("ann", "PUT", "/v2/images/"+a+"/file", io.MultiReader(bytes.NewReader(pattern(3*segment+1))), "Content-Type", "application/octet-stream").want(413, "larger")
	c.upload("ann", a, pattern(3*segment)).want(204)
	c.do("ann", "PUT", "/v2/images/"+b+"/file", io.MultiReader(bytes.NewReader(pattern(2*segment))), "Content-Type", "application/octet-stream").want(413, "room")
	c.upload("ann", b, pattern(segment)).want(204)
	c.create("ann")
	c.do("ann", "POST", "/v2/images", map[string]any{}).want(413, "3 images")
	c.create("bob") // another project has its own
	usage := c.do("ann", "GET", "/v2/info/usage", nil).want(200, `"image_count_total":{"limit":3,"usage":3}`)
	_ = usage
}

func TestUpload_ContainerThatWasRemoved(t *testing.T) {
	c := newCloud(t)
	first, second := c.create("ann"), c.create("ann")
	c.upload("ann", first, pattern(10)).want(204)
	c.do("ann", "DELETE", "/v2/images/"+first, nil).want(204)
	c.library.Sweep(t.Context())
	if err := c.objects.DeleteContainer(t.Context(), vault.Account, vault.Container); err != nil {
		t.Fatal(err)
	}
	c.upload("ann", second, pattern(10)).want(503)
	c.upload("ann", second, pattern(10)).want(204) // as a client does that tries again
}
