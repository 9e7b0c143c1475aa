// Package backendtest is the contract of backend.Backend as a test: every implementation passes Run.
package backendtest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"henge/internal/errs"
	"henge/volumed/backend"
)

const mib = 1 << 20

// Run tests the backends that open makes; each is empty.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	for name, test := range map[string]func(*testing.T, backend.Backend){
		"reads what was written": testReadWrite, "snapshots and clones keep apart": testApart, "repeats and refusals": testRepeats,
		"extends while open": testExtend, "deletes in any order": testDelete, "reverts": testRevert, "extents": testExtents,
		"snapshot under load": testSnapshotUnderLoad, "a model": testModel,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBe(t *testing.T, err error, kind errs.Kind) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Fatalf("%v, want an error of the kind %s", err, kind)
	}
}

// with opens a volume for one use.
func with(t *testing.T, b backend.Backend, id string, use func(d backend.Device)) {
	t.Helper()
	d, err := b.Open(t.Context(), id)
	must(t, err)
	use(d)
	must(t, d.Close())
}

func fill(t *testing.T, b backend.Backend, id string, off int64, p []byte) {
	t.Helper()
	with(t, b, id, func(d backend.Device) { must(t, d.WriteAt(t.Context(), p, off)) })
}

func expect(t *testing.T, b backend.Backend, id string, off int64, want []byte) {
	t.Helper()
	with(t, b, id, func(d backend.Device) {
		got := make([]byte, len(want))
		must(t, d.ReadAt(t.Context(), got, off))
		if !bytes.Equal(got, want) {
			t.Fatalf("volume %s at %d: %.8x..., want %.8x...", id, off, got, want)
		}
	})
}

func pattern(seed byte, n int) []byte { return bytes.Repeat([]byte{seed, seed ^ 0x55, 7}, n/3+1)[:n] }

func testReadWrite(t *testing.T, b backend.Backend) {
	must(t, b.Create(t.Context(), "v", 4*mib))
	expect(t, b, "v", 4*mib-100, make([]byte, 100))
	with(t, b, "v", func(d backend.Device) {
		p := pattern(1, 10000)
		must(t, d.WriteAt(t.Context(), p, 1234))
		must(t, d.Unmap(t.Context(), 2000, 5000))
		clear(p[2000-1234 : 7000-1234])
		got := make([]byte, len(p))
		must(t, d.ReadAt(t.Context(), got, 1234))
		if !bytes.Equal(p, got) {
			t.Fatal("an unmapped range in what was written reads wrong")
		}
		mustBe(t, d.WriteAt(t.Context(), p, 4*mib-1), errs.Invalid)
		mustBe(t, d.ReadAt(t.Context(), p, -1), errs.Invalid)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if d.WriteAt(ended, p, 0) == nil {
			t.Fatal("a write whose context had ended was done")
		}
	})
}

func testApart(t *testing.T, b backend.Backend) {
	must(t, b.Create(t.Context(), "v", mib))
	fill(t, b, "v", 100, pattern(1, 9000))
	must(t, b.Snapshot(t.Context(), "s", "v"))
	must(t, b.Clone(t.Context(), "c", 2*mib, backend.Source{Volume: "v"}))
	must(t, b.Clone(t.Context(), "d", mib, backend.Source{Snapshot: "s"}))
	fill(t, b, "v", 5000, pattern(2, 100))
	fill(t, b, "c", 6000, pattern(3, 100))
	with(t, b, "d", func(d backend.Device) { must(t, d.Unmap(t.Context(), 0, mib)) })
	expect(t, b, "v", 100, pattern(1, 4900))
	expect(t, b, "v", 5000, pattern(2, 100))
	expect(t, b, "c", 100, pattern(1, 5900))
	expect(t, b, "c", 6000, pattern(3, 100))
	expect(t, b, "c", mib, make([]byte, mib))
	expect(t, b, "d", 0, make([]byte, mib))
	must(t, b.Clone(t.Context(), "e", mib, backend.Source{Snapshot: "s"}))
	expect(t, b, "e", 100, pattern(1, 9000))
}

func testRepeats(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	for range 2 {
		must(t, b.Create(ctx, "v", mib))
		must(t, b.Snapshot(ctx, "s", "v"))
		must(t, b.Clone(ctx, "c", mib, backend.Source{Snapshot: "s"}))
		must(t, b.Extend(ctx, "c", 2*mib))
		must(t, b.Delete(ctx, "none"))
		must(t, b.DeleteSnapshot(ctx, "none"))
		if must(t, b.Delete(ctx, "c")); t.Failed() {
			return
		}
	}
	mustBe(t, b.Create(ctx, "v", 2*mib), errs.Exists)
	mustBe(t, b.Create(ctx, "w", 0), errs.Invalid)
	mustBe(t, b.Create(ctx, "../w", mib), errs.Invalid)
	mustBe(t, b.Snapshot(ctx, "s2", "none"), errs.NotFound)
	mustBe(t, b.Clone(ctx, "c", mib, backend.Source{Snapshot: "none"}), errs.NotFound)
	mustBe(t, b.Clone(ctx, "c", mib, backend.Source{Volume: "none"}), errs.NotFound)
	must(t, b.Extend(ctx, "v", 2*mib))
	mustBe(t, b.Clone(ctx, "c", mib, backend.Source{Volume: "v"}), errs.Invalid)
	mustBe(t, b.Extend(ctx, "v", mib), errs.Invalid)
	mustBe(t, b.Extend(ctx, "none", mib), errs.NotFound)
	if _, err := b.Open(ctx, "none"); !errs.Is(err, errs.NotFound) {
		t.Fatal(err)
	}
	volumes, snapshots, err := b.Contents(ctx)
	if must(t, err); !slices.Equal(volumes, []string{"v"}) || !slices.Equal(snapshots, []string{"s"}) {
		t.Fatalf("%v, %v", volumes, snapshots)
	}
	stats, err := b.Stats(ctx)
	if must(t, err); stats.Provisioned != 2*mib || stats.Free > stats.Total {
		t.Fatalf("%+v", stats)
	}
}

func testExtend(t *testing.T, b backend.Backend) {
	must(t, b.Create(t.Context(), "v", mib))
	must(t, b.Snapshot(t.Context(), "s", "v"))
	with(t, b, "v", func(d backend.Device) {
		must(t, b.Extend(t.Context(), "v", 3*mib))
		if d.Size() != 3*mib {
			t.Fatalf("%d bytes after it was extended", d.Size())
		}
		must(t, d.WriteAt(t.Context(), pattern(4, 100), 3*mib-100))
	})
	expect(t, b, "v", 3*mib-200, append(make([]byte, 100), pattern(4, 100)...))
	must(t, b.Clone(t.Context(), "c", mib, backend.Source{Snapshot: "s"})) // the snapshot is as large as the volume was
}

func testDelete(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	must(t, b.Create(ctx, "v", mib))
	for i := range 5 {
		fill(t, b, "v", int64(i)*8192, pattern(byte(i), 8192))
		must(t, b.Snapshot(ctx, string(rune('a'+i)), "v"))
	}
	must(t, b.Clone(ctx, "c", mib, backend.Source{Snapshot: "c"}))
	with(t, b, "v", func(d backend.Device) {
		mustBe(t, b.Delete(ctx, "v"), errs.Conflict)
		for _, id := range []string{"b", "c", "a", "d"} { // while it is open
			must(t, b.DeleteSnapshot(ctx, id))
			must(t, b.Upkeep(ctx))
			must(t, d.WriteAt(ctx, []byte{id[0]}, mib-1))
			for i := range 5 {
				got := make([]byte, 8192)
				must(t, d.ReadAt(ctx, got, int64(i)*8192))
				if !bytes.Equal(got, pattern(byte(i), 8192)) {
					t.Fatalf("without the snapshot %s the volume is not what it was", id)
				}
			}
		}
	})
	must(t, b.Clone(ctx, "e", mib, backend.Source{Snapshot: "e"}))
	must(t, b.Delete(ctx, "v"))
	must(t, b.DeleteSnapshot(ctx, "e"))
	must(t, b.Upkeep(ctx))
	expect(t, b, "c", 2*8192, append(pattern(2, 8192), make([]byte, 8192)...))
	expect(t, b, "e", 4*8192, pattern(4, 8192))
}

func testRevert(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	must(t, b.Create(ctx, "v", mib))
	fill(t, b, "v", 0, pattern(1, 9000))
	must(t, b.Snapshot(ctx, "s", "v"))
	fill(t, b, "v", 0, pattern(2, 20000))
	with(t, b, "v", func(backend.Device) { mustBe(t, b.Revert(ctx, "v", "s"), errs.Conflict) })
	must(t, b.Revert(ctx, "v", "s"))
	expect(t, b, "v", 0, append(pattern(1, 9000), make([]byte, 11000)...))
	mustBe(t, b.Revert(ctx, "v", "none"), errs.NotFound)
}

func testExtents(t *testing.T, b backend.Backend) {
	must(t, b.Create(t.Context(), "v", mib))
	with(t, b, "v", func(d backend.Device) {
		must(t, d.WriteAt(t.Context(), pattern(1, 65536), 65536))
		for _, c := range []struct {
			off       int64
			allocated bool
			length    int64
		}{{0, false, 65536}, {65536, true, 65536}, {131072, false, mib - 131072}} {
			allocated, length, err := d.Extent(t.Context(), c.off, mib-c.off)
			if must(t, err); allocated != c.allocated || length != c.length {
				t.Fatalf("at %d: %v for %d bytes", c.off, allocated, length)
			}
		}
	})
}

// testSnapshotUnderLoad takes snapshots while each of several writers counts up in a place of its own: a snapshot holds, of each, a number that it wrote.
func testSnapshotUnderLoad(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	must(t, b.Create(ctx, "v", mib))
	d, err := b.Open(ctx, "v")
	must(t, err)
	var writers sync.WaitGroup
	for w := range int64(4) {
		writers.Go(func() {
			for i := range byte(200) {
				if err := d.WriteAt(ctx, bytes.Repeat([]byte{i}, 512), w*512); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 10 {
		must(t, b.Snapshot(ctx, string(rune('a'+i)), "v"))
		if i%3 == 2 {
			must(t, b.DeleteSnapshot(ctx, string(rune('a'+i-1))))
			must(t, b.Upkeep(ctx))
		}
	}
	writers.Wait()
	must(t, d.Close())
	expect(t, b, "v", 0, bytes.Repeat([]byte{199}, 2048))
	must(t, b.Clone(ctx, "c", mib, backend.Source{Snapshot: "a"}))
	with(t, b, "c", func(d backend.Device) {
		for w := range int64(4) {
			got := make([]byte, 512)
			must(t, d.ReadAt(ctx, got, w*512))
			if !bytes.Equal(got, bytes.Repeat(got[:1], 512)) {
				t.Fatalf("a write is half in the snapshot: %x", got)
			}
		}
	})
}

// testModel does at random what a Backend can, and compares with byte slices.
func testModel(t *testing.T, b backend.Backend) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := NewModel(seed, mib)
	for range 400 {
		if err := m.Step(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Compare(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}
