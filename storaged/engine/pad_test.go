package engine_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
)

// padded writes one object whose batch ends shortly before the end of a page, and gives the disk as a kill leaves it: without a hint for the log.
func padded(t *testing.T) (disk *vfs.Sim, segment string) {
	t.Helper()
	disk = vfs.NewSim()
	e := opened(t, config(disk, "/disk"))
	put(t, e, "first", 10, enginetest.Data(1, 7300))
	names, err := disk.List("/disk/log")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	crashed := disk.Crash(0)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return crashed, "/disk/log/" + names[0]
}

// entryAt tells the kind of the entry at off.
func entryAt(t *testing.T, raw []byte, off int) byte {
	t.Helper()
	if string(raw[off:off+4]) != "HngE" {
		t.Fatalf("no entry at %d: %x", off, raw[off:off+8])
	}
	return raw[off+5]
}

func TestPad_TheNextBatchBeginsAtAPage(t *testing.T) {
	disk, segment := padded(t)
	e := opened(t, config(disk, "/disk"))
	put(t, e, "small", 11, enginetest.Data(2, 100)) // a batch too small for padding
	put(t, e, "next", 12, enginetest.Data(3, 100))
	raw := contents(t, disk, segment)
	if kind := entryAt(t, raw, 64); kind != 1 {
		t.Fatalf("first comes kind %d", kind)
	}
	pad := strings.LastIndex(string(raw[:8192]), "HngE")
	if kind, n := entryAt(t, raw, pad), binary.LittleEndian.Uint32(raw[pad+12:]); kind != 7 || pad+72+int(n) != 8192 {
		t.Fatalf("at %d kind %d with %d bytes, not padding up to 8192", pad, kind, n)
	}
	if kind := entryAt(t, raw, 8192); kind != 1 {
		t.Fatalf("at the page begins kind %d", kind)
	}
	if end := len(strings.TrimRight(string(raw), "\x00")); end > 8192+1200 {
		t.Fatalf("two small batches end at %d: they were padded", end)
	}
}

// The log is read with padding and without hints, over and over: no sequence number is used twice, or what comes after would not count.
func TestPad_ReadWithoutHints(t *testing.T) {
	disk, _ := padded(t)
	all := map[string]version{"first": {at: 10, data: enginetest.Data(1, 7300)}}
	for i := range 20 {
		e, err := engine.Open(t.Context(), config(disk, "/disk"))
		if err != nil {
			t.Fatal(err)
		}
		v := version{at: clock.Timestamp(11 + i), data: enginetest.Data(i, 2900+100*i)}
		object := fmt.Sprint("o", i)
		put(t, e, object, v.at, v.data)
		all[object] = v
		for name, v := range all {
			want(t, e, name, v)
		}
		if n := e.Usage().Quarantine; n != 0 {
			t.Fatalf("round %d: %d places are counted as damaged", i, n)
		}
		disk = disk.Crash(0)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What the power took of the padding is no loss. A bit that flips is counted, as anywhere.
func TestPad_Torn(t *testing.T) {
	whole, segment := padded(t)
	raw := contents(t, whole, segment)
	pad := strings.LastIndex(string(raw[:8192]), "HngE")
	for _, c := range []struct {
		what   string
		hurt   func(b []byte)
		damage int64
		kept   bool
	}{
		{"padding gone", func(b []byte) { clear(b[(pad+511)/512*512 : 8192]) }, 0, true},
		{"padding's header gone", func(b []byte) { clear(b[pad : pad+72]) }, 0, true},
		{"bit in the padding", func(b []byte) { b[8000] ^= 1 }, 1, true},
		{"bit in the record before it", func(b []byte) { b[64+500] ^= 1 }, 1, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			disk := whole.Crash(0)
			if err := disk.Damage(segment, func(b []byte) []byte { c.hurt(b); return b }); err != nil {
				t.Fatal(err)
			}
			e := opened(t, config(disk, "/disk"))
			if n := int64(e.Usage().Quarantine); n != c.damage {
				t.Errorf("%d places are counted as damaged, want %d", n, c.damage)
			}
			if c.kept {
				want(t, e, "first", version{at: 10, data: enginetest.Data(1, 7300)})
			}
			put(t, e, "after", 20, enginetest.Data(4, 3000))
			want(t, e, "after", version{at: 20, data: enginetest.Data(4, 3000)})
		})
	}
}
