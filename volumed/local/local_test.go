package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/volumed/backend"
	"henge/volumed/backend/backendtest"
)

func openAt(fsys vfs.FS, dir string) (*Backend, error) {
	return Open(Config{FS: fsys, Dir: dir, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler)})
}

func newBackend(t *testing.T, fsys vfs.FS, dir string) *Backend {
	t.Helper()
	b, err := openAt(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestContract(t *testing.T) {
	t.Run("OS", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) backend.Backend { return newBackend(t, vfs.OS{}, t.TempDir()+"/volumes") })
	})
	t.Run("Sim", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) backend.Backend { return newBackend(t, vfs.NewSim(), "/volumes") })
	})
}

// TestPowerCuts runs random histories, cuts the power at some change, and looks at what the disk holds then: what was flushed is there, a step that was cut short is done
// or not done, and snapshots are what they were.
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(80) {
		sim := vfs.NewSim()
		m := backendtest.NewModel(seed, 256<<10)
		b, err := openAt(sim, "/volumes")
		if err != nil {
			t.Fatal(err)
		}
		sim.CutAfter(int(50 + seed*7%900))
		var failed error
		for range 300 {
			if failed = m.Step(t.Context(), b); failed != nil {
				break
			}
		}
		if failed != nil && !errors.Is(failed, vfs.ErrPowerCut) {
			t.Fatalf("seed %d: %v", seed, failed)
		}
		for _, crash := range []uint64{0, seed + 1} {
			if err := checkAfter(t, m, sim.Crash(crash)); err != nil {
				t.Fatalf("seed %d, crash %d: %v", seed, crash, err)
			}
		}
	}
}

func checkAfter(t *testing.T, m *backendtest.Model, sim *vfs.Sim) error {
	b, err := openAt(sim, "/volumes")
	if err != nil {
		return err
	}
	volumes, snapshots, err := b.Contents(t.Context())
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(m.Volumes)) {
		if id == m.During {
			continue // anything between before and after may be there
		}
		if got, err := backendtest.Read(t.Context(), b, id); err != nil || !bytes.Equal(got, m.Volumes[id]) {
			return fmt.Errorf("volume %s is not what was flushed: %w", id, err)
		}
	}
	for _, id := range volumes {
		if _, err := backendtest.Read(t.Context(), b, id); err != nil {
			return fmt.Errorf("volume %s: %w", id, err)
		}
	}
	for id := range m.Snapshots {
		if !slices.Contains(snapshots, id) {
			delete(m.Snapshots, id) // the step that was cut short deleted it, perhaps
		}
	}
	if err := m.CompareSnapshots(t.Context(), b); err != nil {
		return err
	}
	if err := b.Upkeep(t.Context()); err != nil {
		return fmt.Errorf("upkeep: %w", err)
	}
	if err := m.CompareSnapshots(t.Context(), b); err != nil {
		return fmt.Errorf("after upkeep: %w", err)
	}
	return b.Close()
}

func TestFullDisk(t *testing.T) {
	sim := vfs.NewSim()
	sim.SetCapacity(1 << 20)
	b, err := Open(Config{FS: sim, Dir: "/volumes", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), ReserveBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "v", 4<<20); err != nil {
		t.Fatal(err)
	}
	d, err := b.Open(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte{1}, 64<<10)
	var off int64
	for ; err == nil; off += int64(len(chunk)) {
		err = d.WriteAt(t.Context(), chunk, off)
	}
	if !errs.Is(err, errs.NoSpace) || off < 512<<10 || off > 832<<10 {
		t.Fatalf("after %d bytes: %v", off, err)
	}
	if err := b.Create(t.Context(), "w", 4096); !errs.Is(err, errs.NoSpace) {
		t.Fatalf("a volume is made on a full disk: %v", err)
	}
	if err := d.WriteAt(t.Context(), chunk, 0); err != nil {
		t.Fatalf("what has room already cannot be written: %v", err)
	}
	if err := errors.Join(d.Close(), b.Delete(t.Context(), "v"), b.Close()); err != nil {
		t.Fatal(err)
	}
	if names, err := sim.List("/volumes/layers"); err != nil || len(names) > 0 {
		t.Fatalf("left over: %v, %v", names, err)
	}
}

func TestFailedSync_RefusesWrites(t *testing.T) {
	sim := vfs.NewSim()
	b := newBackend(t, sim, "/volumes")
	if err := b.Create(t.Context(), "v", 1<<20); err != nil {
		t.Fatal(err)
	}
	d, err := b.Open(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken disk")
	sim.SetFault(func(op vfs.Op) vfs.Fault {
		if op.Kind == "sync" {
			return vfs.Fault{Err: broken}
		}
		return vfs.Fault{}
	})
	if err := d.WriteAt(t.Context(), []byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(t.Context()); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	sim.SetFault(nil)
	if err := d.WriteAt(t.Context(), []byte{1}, 0); !errors.Is(err, broken) {
		t.Fatalf("a write after a failed flush: %v", err)
	}
	if err := d.Close(); !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

func TestOpen_RefusesWhatIsNotWhole(t *testing.T) {
	for name, spoil := range map[string]func(sim *vfs.Sim) error{
		"a layer is gone": func(sim *vfs.Sim) error { return sim.Remove("/volumes/layers/0000000000000001.json") },
		"a record is torn": func(sim *vfs.Sim) error {
			return sim.Damage("/volumes/volumes/v.json", func(b []byte) []byte { return b[:5] })
		},
		"a newer format": func(sim *vfs.Sim) error {
			return sim.Damage("/volumes/volumes/v.json", func(b []byte) []byte { return bytes.Replace(b, []byte(":1,"), []byte(":9,"), 1) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			sim := vfs.NewSim()
			b, err := openAt(sim, "/volumes")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(b.Create(t.Context(), "v", 1<<20), b.Snapshot(t.Context(), "s", "v"), b.Close(), spoil(sim)); err != nil {
				t.Fatal(err)
			}
			if _, err := openAt(sim, "/volumes"); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("opened: %v", err)
			}
		})
	}
}
