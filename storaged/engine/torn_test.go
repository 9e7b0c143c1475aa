package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
)

// The last thing that was acknowledged before the process was killed, and the log without a hint for it.
func lastWritten(t *testing.T) (disk *vfs.Sim, segment string, start, end int64) {
	t.Helper()
	disk = vfs.NewSim()
	e := opened(t, config(disk, "/disk"))
	put(t, e, "first", 10, enginetest.Data(1, 1000))
	put(t, e, "last", 11, enginetest.Data(2, 3000))
	names, err := disk.List("/disk/log")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	segment = "/disk/log/" + names[0]
	crashed := disk.Crash(0)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	raw := contents(t, crashed, segment)
	end = int64(len(strings.TrimRight(string(raw), "\x00")))
	start = int64(strings.LastIndex(string(raw[:end]), "HngE"))
	return crashed, segment, start, end
}

func contents(t *testing.T, disk *vfs.Sim, name string) []byte {
	t.Helper()
	var raw []byte
	if err := disk.Damage(name, func(b []byte) []byte { raw = slices.Clone(b); return b }); err != nil {
		t.Fatal(err)
	}
	return raw
}

// A bit that flips in what was written last, before a stop that left no hints, is not taken for what the power cut off: it is counted, and the bytes are kept.
func TestTorn_FlippedBitInTheLastEntryIsReported(t *testing.T) {
	disk, segment, start, end := lastWritten(t)
	for _, at := range []int64{start, start + 5, start + 40, start + 71, start + 80, start + 1000, end - 1} {
		t.Run(fmt.Sprint(at-start), func(t *testing.T) {
			hurt := disk.Crash(0)
			if err := hurt.Damage(segment, func(b []byte) []byte { b[at] ^= 0x10; return b }); err != nil {
				t.Fatal(err)
			}
			e, err := engine.Open(t.Context(), config(hurt, "/disk"))
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if n := e.Usage().Quarantine; n != 1 {
				t.Fatalf("%d places are counted as damaged", n)
			}
			kept, err := hurt.List("/disk/aside")
			if err != nil || len(kept) != 1 || !strings.HasPrefix(kept[0], "tail-") {
				t.Fatalf("set aside: %v, %v", kept, err)
			}
			if raw := contents(t, hurt, "/disk/aside/"+kept[0]); int64(len(raw)) != end-start {
				t.Fatalf("%d bytes are kept of %d", len(raw), end-start)
			}
			want(t, e, "first", version{at: 10, data: enginetest.Data(1, 1000)})
		})
	}
}

// What the power kept from the disk is void, and nothing to be alarmed about.
func TestTorn_MissingSectorsAreNoDamage(t *testing.T) {
	disk, segment, start, end := lastWritten(t)
	first := (start + 511) / 512 * 512
	for at := first; at < end; at += 512 {
		hurt := disk.Crash(0)
		if err := hurt.Damage(segment, func(b []byte) []byte { clear(b[at:min(at+512, end)]); return b }); err != nil {
			t.Fatal(err)
		}
		e, err := engine.Open(t.Context(), config(hurt, "/disk"))
		if err != nil {
			t.Fatal(err)
		}
		if n := e.Usage().Quarantine; n != 0 {
			t.Errorf("sector at %d missing: %d places are counted as damaged", at-start, n)
		}
		want(t, e, "first", version{at: 10, data: enginetest.Data(1, 1000)})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
