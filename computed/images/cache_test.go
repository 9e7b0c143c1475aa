package images

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"henge/computed/model"
	"henge/internal/errs"
)

func guestDir(t *testing.T, c *Cache, id string) string {
	t.Helper()
	dir := filepath.Join(c.Dir, "guests", id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newCache(t *testing.T, bytesMax int64) *Cache {
	t.Helper()
	c, err := New(Config{Dir: t.TempDir(), BytesMax: bytesMax})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// raw is an image of 1 MiB that begins with a text.
func raw(id string) (model.Image, []byte) {
	b := make([]byte, 1<<20)
	copy(b, "image "+id)
	sum := sha512.Sum512(b)
	return model.Image{ID: id, Format: "raw", Bytes: int64(len(b)), Hash: hex.EncodeToString(sum[:])}, b
}

func from(b []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func TestRoot_SharedBase(t *testing.T) {
	c := newCache(t, 0)
	image, b := raw("a")
	var fetched atomic.Int32
	fetch := func(context.Context) (io.ReadCloser, error) {
		fetched.Add(1)
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	var all sync.WaitGroup
	for _, id := range []string{"g1", "g2", "g3"} {
		dir := guestDir(t, c, id)
		all.Go(func() {
			root, err := c.Root(t.Context(), dir, image, 1, fetch)
			if err != nil || root.Format != "qcow2" {
				t.Errorf("%+v, %v", root, err)
			}
		})
	}
	all.Wait()
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	out, err := exec.Command("qemu-img", "info", "--backing-chain", filepath.Join(c.Dir, "guests", "g1", "disk")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "virtual size: 1 GiB") || !strings.Contains(string(out), "images/a-") {
		t.Errorf("%v\n%s", err, out)
	}
	// A second time nothing happens: the guest's own data stays.
	if root, err := c.Root(t.Context(), filepath.Join(c.Dir, "guests", "g1"), image, 1, nil); err != nil || root.Path == "" {
		t.Error(err)
	}
}

func TestRoot_Refuses(t *testing.T) {
	image, b := raw("a")
	big := bytes.NewBuffer(nil)
	disk := filepath.Join(t.TempDir(), "big")
	if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", disk, "3G").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	content, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	big.Write(content)
	for name, c := range map[string]struct {
		image model.Image
		fetch func(context.Context) (io.ReadCloser, error)
		want  string
	}{
		"flipped bit": {image, from(append([]byte{1}, b[1:]...)), "SHA-512"},
		"cut short":   {image, from(b[:100]), "has 100 bytes"},
		"full disk":   {image, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(broken{syscall.ENOSPC}), nil }, "no space left"},
		"gone":        {image, func(context.Context) (io.ReadCloser, error) { return nil, errs.New(errs.NotFound, "image a is gone") }, "is gone"},
		"too large":   {model.Image{ID: "b", Format: "qcow2"}, from(big.Bytes()), "Flavor's disk is too small"},
		"not qcow2":   {model.Image{ID: "c", Format: "qcow2"}, from([]byte("nonsense")), "qcow2"},
	} {
		t.Run(name, func(t *testing.T) {
			cache := newCache(t, 0)
			dir := guestDir(t, cache, "g")
			if _, err := cache.Root(t.Context(), dir, c.image, 1, c.fetch); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "disk")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a disk was made: %v", err)
			}
			left, err := filepath.Glob(filepath.Join(cache.Dir, "images", "*"+unfinished))
			if err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// TestEviction: what no guest stands on goes, the longest unused first; what one stands on stays.
func TestEviction(t *testing.T) {
	c := newCache(t, 5<<19) // two and a half
	for _, id := range []string{"a", "b", "c"} {
		image, b := raw(id)
		dir := guestDir(t, c, "g-"+id)
		if _, err := c.Root(t.Context(), dir, image, 1, from(b)); err != nil {
			t.Fatal(err)
		}
		if id != "a" {
			if err := c.Forget(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(c.Dir, "images", "*"))
	if err != nil || len(left) != 2 || !strings.Contains(left[0], "/a-") || !strings.Contains(left[1], "/c-") {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestNew_RemovesUnfinished(t *testing.T) {
	c := newCache(t, 0)
	part := filepath.Join(c.images(), "x"+unfinished)
	if err := os.WriteFile(part, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c.Config); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}
