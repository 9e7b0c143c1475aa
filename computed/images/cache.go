// Package images keeps base images on a host, and makes the root disks of guests as thin qcow2 overlays on them: many guests of one image share one copy.
//
// The cache is bounded: before an image is fetched, those that no guest stands on go, the one that was not used for longest first. What is fetched is written aside,
// checked against the hash that the image service knows, synced, and only then given its name: a crash or a full disk leaves nothing that could be taken for an image.
package images

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/vfs"
)

// Config is what a cache stands on.
type Config struct {
	Dir      string // images/ and guests/ lie below
	BytesMax int64  // of base images; 0: no bound but the disk
}

// Cache holds the base images of a host. Safe for concurrent use.
type Cache struct {
	Config
	mu       sync.Mutex               // guards the fields below
	fetching map[string]chan struct{} // closed when that fetch is over
}

// New opens a cache, and removes what an earlier process did not finish.
func New(cfg Config) (*Cache, error) {
	c := &Cache{Config: cfg, fetching: map[string]chan struct{}{}}
	for _, dir := range []string{c.Dir, c.images(), filepath.Join(c.Dir, "guests")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("make the directory of guests: %w", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(c.images(), "*"+unfinished))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return c, err
}

const unfinished = ".new"

func (c *Cache) images() string { return filepath.Join(c.Dir, "images") }

// base is what a guest's directory says of the image that it stands on.
type base struct {
	Key    string `json:"key"`
	Format string `json:"format"`
}

const baseFile = "base.json"

// key names an image's copy: the same name never stands for other bytes. By its end AppArmor's rules for libvirt know it for an image that may be looked at.
func key(image model.Image) string {
	hash := image.Hash
	return image.ID + "-" + hash[:min(16, len(hash))] + ".img"
}

// Root makes a guest's root disk in its directory, unless it is there.
func (c *Cache) Root(ctx context.Context, dir string, image model.Image, gib int, fetch neighbour.Fetch) (neighbour.Root, error) {
	disk := filepath.Join(dir, "disk")
	if _, err := os.Stat(disk); err == nil {
		return neighbour.Root{Path: disk, Format: "qcow2"}, nil
	}
	b := base{Key: key(image), Format: driverOf(image.Format)}
	// Before the image is looked for: from now on it is not evicted.
	if err := writeJSON(filepath.Join(dir, baseFile), b); err != nil {
		return neighbour.Root{}, fmt.Errorf("note the base image: %w", err)
	}
	path, err := c.ensure(ctx, b.Key, image, fetch)
	if err != nil {
		return neighbour.Root{}, err
	}
	if image.Format == "iso" {
		return neighbour.Root{Path: path, Format: "raw", CD: true}, nil
	}
	return neighbour.Root{Path: disk, Format: "qcow2"}, overlay(ctx, path, b.Format, disk, gib)
}

// driverOf is QEMU's name of an image format.
func driverOf(format string) string {
	switch format {
	case "vhd":
		return "vpc"
	case "ami", "iso", "":
		return "raw"
	}
	return format
}

func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, raw, 0o644)
	}
	return err
}

// ensure gives the file of a base image, fetching it if it is not there. Whoever wants it at the same time waits.
func (c *Cache) ensure(ctx context.Context, key string, image model.Image, fetch neighbour.Fetch) (string, error) {
	path := filepath.Join(c.images(), key)
	for {
		c.mu.Lock()
		if _, err := os.Stat(path); err == nil {
			c.mu.Unlock()
			now := time.Now()
			return path, os.Chtimes(path, now, now) // used just now
		}
		other := c.fetching[key]
		if other == nil {
			other = make(chan struct{})
			c.fetching[key] = other
			c.mu.Unlock()
			err := c.fetch(ctx, path, image, fetch)
			c.mu.Lock()
			delete(c.fetching, key)
			close(other)
			c.mu.Unlock()
			return path, err
		}
		c.mu.Unlock()
		select {
		case <-other: // if that fetch failed, ours may not
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (c *Cache) fetch(ctx context.Context, path string, image model.Image, open neighbour.Fetch) (err error) {
	if err := c.makeRoom(image.Bytes); err != nil {
		return err
	}
	from, err := open(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	part := path + unfinished
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cache the image: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(part)
		}
	}()
	sum := sha512.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, sum), from, make([]byte, 1<<20))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cache the image: %w", plain(err))
	}
	got := hex.EncodeToString(sum.Sum(nil))
	switch {
	case image.Bytes > 0 && n != image.Bytes:
		return errs.New(errs.Corrupt, "cache the image: it has %d bytes, not %d", n, image.Bytes)
	case image.Hash != "" && got != image.Hash:
		return errs.New(errs.Corrupt, "cache the image: its SHA-512 is %.16s..., not %.16s...", got, image.Hash)
	}
	return durable.Rename(vfs.OS{}, part, path)
}

// plain says first what a user understands of a full disk.
func plain(err error) error {
	if errs.Is(err, errs.NoSpace) {
		return errs.With(errs.NoSpace, err)
	}
	return err
}

// makeRoom removes images that no guest stands on, the longest unused first, until the new one fits in.
func (c *Cache) makeRoom(bytes int64) error {
	if c.BytesMax == 0 {
		return nil
	}
	used, err := c.used()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(c.images())
	if err != nil {
		return fmt.Errorf("look at the cached images: %w", err)
	}
	type cached struct {
		name  string
		bytes int64
		last  time.Time
	}
	total := bytes
	var idle []cached
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at the cached images: %w", err)
		}
		total += info.Size()
		if !used[e.Name()] && !strings.HasSuffix(e.Name(), unfinished) {
			idle = append(idle, cached{e.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(idle, func(a, b cached) int { return a.last.Compare(b.last) })
	for _, old := range idle {
		if total <= c.BytesMax {
			break
		}
		if err := os.Remove(filepath.Join(c.images(), old.name)); err != nil {
			return fmt.Errorf("evict an image: %w", err)
		}
		total -= old.bytes
	}
	return nil
}

// used are the keys of the images that guests stand on.
func (c *Cache) used() (map[string]bool, error) {
	notes, err := filepath.Glob(filepath.Join(c.Dir, "guests", "*", baseFile))
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, path := range notes {
		var b base
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(raw, &b)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		used[b.Key] = true
	}
	return used, nil
}

// overlay makes a thin disk on a base, as large as the flavor says, or as the image is when it says nothing.
func overlay(ctx context.Context, basePath, format, disk string, gib int) error {
	virtual, err := virtualSize(ctx, basePath, format)
	if err != nil {
		return err
	}
	bytes := int64(gib) << 30
	if bytes == 0 {
		bytes = virtual
	}
	if virtual > bytes {
		return errs.New(errs.Invalid, "Flavor's disk is too small for requested image. Flavor disk is %d bytes, image is %d bytes.", bytes, virtual)
	}
	if _, err := qemuImg(ctx, "create", "-q", "-f", "qcow2", "-F", format, "-b", basePath, disk+unfinished, fmt.Sprint(bytes)); err != nil {
		return fmt.Errorf("make the root disk: %w", err)
	}
	return durable.Rename(vfs.OS{}, disk+unfinished, disk)
}

func virtualSize(ctx context.Context, path, format string) (int64, error) {
	out, err := qemuImg(ctx, "info", "-U", "-f", format, "--output=json", path)
	if err != nil {
		return 0, fmt.Errorf("look at the image: %w", err)
	}
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return 0, fmt.Errorf("look at the image: %w", err)
	}
	return info.Size, nil
}

func qemuImg(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil && said.Len() > 0 {
		return nil, fmt.Errorf("%s", strings.TrimSpace(said.String()))
	}
	return out, err
}

// Forget removes a guest's files.
func (c *Cache) Forget(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the guest's files: %w", err)
	}
	return nil
}
