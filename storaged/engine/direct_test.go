package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/peerapi"
)

// stream writes an object in pieces, aligned in memory as the piece size has it.
func stream(t *testing.T, e engine.Engine, object string, data []byte, piece int, announced int64) {
	t.Helper()
	w, err := e.Create(t.Context(), enginetest.Key(object), announced)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b := vfs.AlignedBytes(len(data))
	copy(b, data)
	for len(b) > 0 {
		n := min(piece, len(b))
		if _, err := w.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if out, err := w.Commit(t.Context(), engine.Write{Record: enginetest.Record(object, 10)}); err != nil || !out.Accepted {
		t.Fatalf("%+v, %v", out, err)
	}
}

// TestStream_PastTheCache: what is streamed is there, however it comes, whatever size was announced, and whether or not the file system writes directly.
func TestStream_PastTheCache(t *testing.T) {
	faults := map[string]func(vfs.Op) vfs.Fault{
		"direct": nil,
		"refused": func(op vfs.Op) vfs.Fault {
			if op.Kind == "direct" {
				return vfs.Fault{Err: errs.New(errs.Unsupported, "no direct writes")}
			}
			return vfs.Fault{}
		},
		"larger blocks": firstWrites(syscall.EINVAL),
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewSim()
			cfg := config(disk, "/disk")
			e := opened(t, cfg)
			disk.SetFault(fault)
			objects := map[string][]byte{}
			for _, size := range []int{65_537, 262_144, 262_145, 327_680, 1<<20 + 4096} {
				for _, piece := range []int{512 << 10, 100_000} {
					for _, announced := range []int64{int64(size), -1, int64(size) / 2, 2 * int64(size)} {
						object := fmt.Sprint(size, "-", piece, "-", announced)
						objects[object] = enginetest.Data(size, size)
						stream(t, e, object, objects[object], piece, announced)
					}
				}
			}
			disk.SetFault(nil)
			e = reopened(t, e, cfg)
			for object, data := range objects {
				want(t, e, object, version{at: 10, data: data})
			}
		})
	}
}

// firstWrites fails the first write to every data file.
func firstWrites(err error) func(vfs.Op) vfs.Fault {
	seen := map[string]bool{}
	return func(op vfs.Op) vfs.Fault {
		if op.Kind != "write" || !strings.HasSuffix(op.Name, ".obj") || seen[op.Name] || op.Length%vfs.DirectBytes != 0 {
			return vfs.Fault{}
		}
		seen[op.Name] = true
		return vfs.Fault{Err: err}
	}
}

// TestStream_NoRoomForTheSize: the room is taken when the first bytes are written, and what cannot fit leaves nothing behind.
func TestStream_NoRoomForTheSize(t *testing.T) {
	disk := vfs.NewSim()
	e := opened(t, config(disk, "/disk"))
	disk.SetFault(func(op vfs.Op) vfs.Fault {
		if op.Kind == "allocate" {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
		return vfs.Fault{}
	})
	w, err := e.Create(t.Context(), enginetest.Key("a"), 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(vfs.AlignedBytes(1 << 20)); !errs.Is(err, errs.NoSpace) {
		t.Fatalf("write: %v, want no space", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for n := range 256 {
		if names, err := disk.List(fmt.Sprintf("/disk/data/%02x", n)); err == nil && len(names) > 0 {
			t.Fatalf("%v are left", names)
		}
	}
}

// TestOpen_PastTheCache: the first whole read of a large object goes past the cache, the next through it; ranges, ends and devices that refuse make no difference.
func TestOpen_PastTheCache(t *testing.T) {
	disk := vfs.NewSim()
	e := opened(t, config(disk, "/disk"))
	data := enginetest.Data(1, 1<<20+vfs.DirectBytes+77)
	stream(t, e, "a", data, len(data), -1)
	direct, refuse := 0, false
	disk.SetFault(func(op vfs.Op) vfs.Fault {
		if op.Kind == "direct" {
			direct++
		}
		if op.Kind == "read" && op.Length >= 64<<10 && refuse && op.Length%vfs.DirectBytes == 0 {
			refuse = false
			return vfs.Fault{Err: syscall.EINVAL}
		}
		return vfs.Fault{}
	})
	whole := version{at: 10, data: data}
	for i, refused := range []bool{true, false, false} {
		refuse = refused
		if want(t, e, "a", whole); direct != 2 { // on, and off again when it was refused; never again after that
			t.Fatalf("%d changes of mode after %d reads, want 2", direct, i+1)
		}
	}
	stream(t, e, "b", data, len(data), -1)
	before := direct
	for _, r := range []peerapi.Range{{Offset: 100, Length: 1 << 20}, {Offset: int64(len(data)) - 1<<20 - 1, Length: 1<<20 + 1}, {Offset: 5, Length: 70_000}} {
		_, rc, err := e.Open(enginetest.Key("b"), 10, r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, data[r.Offset:r.Offset+r.Length]) {
			t.Fatalf("%+v: %d bytes that are not those that were written, %v", r, len(got), err)
		}
		if err := rc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if direct != before+1 {
		t.Fatalf("%d changes of mode, want 1: the first read only", direct-before)
	}
}
