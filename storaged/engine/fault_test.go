package engine_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/peerapi"
)

func TestFull_DeletesGoOn(t *testing.T) {
	disk := vfs.NewSim()
	disk.SetCapacity(12 << 20)
	cfg := config(disk, "/disk")
	cfg.Reserve = engine.Reserve{Bytes: 3 << 20}
	e := opened(t, cfg)
	n := 0
	var err error
	for ; n < 1000; n++ {
		var out peerapi.Outcome
		out, err = e.Commit(t.Context(), engine.Write{Record: enginetest.Record(fmt.Sprint("o", n), 10)}, enginetest.Data(n, 50_000))
		if err != nil {
			break
		}
		if !out.Accepted {
			t.Fatal(out)
		}
	}
	if !errs.Is(err, errs.NoSpace) || n < 100 {
		t.Fatalf("after %d writes: %v, want no space", n, err)
	}
	if _, err := e.Create(t.Context(), enginetest.Key("large"), 1<<20); !errs.Is(err, errs.NoSpace) {
		t.Fatalf("create: %v, want no space", err)
	}
	if out, _, err := e.Prepare(t.Context(), enginetest.Key("o0"), 15); err != nil || !out.Accepted {
		t.Fatalf("prepare on a full device: %+v, %v", out, err)
	}
	if _, err := e.Journal().Append(t.Context(), engine.StreamRows, []byte("row")); err != nil {
		t.Fatalf("append on a full device: %v", err)
	}
	for i := range n - 5 {
		remove(t, e, fmt.Sprint("o", i), 20)
	}
	if _, err := e.Compact(t.Context()); err != nil {
		t.Fatalf("compact: %v", err)
	}
	put(t, e, "again", 10, enginetest.Data(1, 50_000))
	e = reopened(t, e, cfg)
	want(t, e, fmt.Sprint("o", n-1), version{at: 10, data: enginetest.Data(n-1, 50_000)})
	want(t, e, "o0", version{at: 20, deleted: true})
	want(t, e, "again", version{at: 10, data: enginetest.Data(1, 50_000)})
}

func TestNoSpace_InTheMidstOfAWrite(t *testing.T) {
	disk := vfs.NewSim()
	cfg := config(disk, "/disk")
	e := opened(t, cfg)
	put(t, e, "a", 10, enginetest.Data(1, 10_000))
	for i, name := range []string{".seg", ".obj"} {
		disk.SetFault(func(op vfs.Op) vfs.Fault {
			if op.Kind == "write" && strings.HasSuffix(op.Name, name) {
				return vfs.Fault{Err: syscall.ENOSPC, Torn: true}
			}
			return vfs.Fault{}
		})
		w, err := e.Create(t.Context(), enginetest.Key("a"), -1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(enginetest.Data(2, 50_000+i*300_000))
		if err == nil {
			_, err = w.Commit(t.Context(), engine.Write{Record: enginetest.Record("a", 20)})
		}
		if !errs.Is(err, errs.NoSpace) {
			t.Fatalf("%s: %v, want no space", name, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		disk.SetFault(nil)
		want(t, e, "a", version{at: 10, data: enginetest.Data(1, 10_000)})
		put(t, e, "b", clock.Timestamp(10+i), enginetest.Data(3, 20_000))
		e = reopened(t, e, cfg)
		want(t, e, "a", version{at: 10, data: enginetest.Data(1, 10_000)})
		want(t, e, "b", version{at: clock.Timestamp(10 + i), data: enginetest.Data(3, 20_000)})
	}
	if q := e.Usage().Quarantine; q != 0 {
		t.Fatalf("%d in quarantine", q)
	}
}

// TestFailed shows that after an error of the disk, which leaves unknown what is on it, the device takes no more writes, goes on reading, and says so.
func TestFailed(t *testing.T) {
	faults := map[string]struct{ kind, name string }{
		"sync of the log":           {"sync", ".seg"},
		"write of the log":          {"write", ".seg"},
		"sync of a data file":       {"sync", ".obj"},
		"sync of the data's folder": {"syncdir", "/disk/data/02"},
	}
	for what, f := range faults {
		t.Run(what, func(t *testing.T) {
			disk := vfs.NewSim()
			cfg := config(disk, "/disk")
			e := opened(t, cfg)
			put(t, e, "a", 10, enginetest.Data(1, 100_000))
			disk.SetFault(func(op vfs.Op) vfs.Fault {
				if op.Kind == f.kind && strings.HasSuffix(op.Name, f.name) {
					return vfs.Fault{Err: syscall.EIO}
				}
				return vfs.Fault{}
			})
			w := engine.Write{Record: enginetest.Record("a", 20)}
			if _, err := e.Commit(t.Context(), w, enginetest.Data(2, 100_000)); !errs.Is(err, errs.Unavailable) {
				t.Fatalf("commit: %v, want unavailable", err)
			}
			disk.SetFault(nil)
			w.Record.Timestamp = 30
			if _, err := e.Commit(t.Context(), w, nil); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "takes no more writes") {
				t.Fatalf("next commit: %v, want unavailable", err)
			}
			if _, _, err := e.Prepare(t.Context(), enginetest.Key("a"), 50); !errs.Is(err, errs.Unavailable) {
				t.Fatalf("prepare: %v", err)
			}
			want(t, e, "a", version{at: 10, data: enginetest.Data(1, 100_000)})
			if u := e.Usage(); !strings.Contains(u.Failed, "takes no more writes") || u.Full {
				t.Fatalf("usage does not say why nothing can be written: %+v", u)
			}
			e = reopened(t, e, cfg) // an operator replaced the cable
			put(t, e, "a", 40, enginetest.Data(3, 10))
		})
	}
}

func TestReadError_IsNotCorruption(t *testing.T) {
	disk := vfs.NewSim()
	e := opened(t, config(disk, "/disk"))
	put(t, e, "a", 10, enginetest.Data(1, 100))
	disk.SetFault(func(op vfs.Op) vfs.Fault {
		if op.Kind == "read" {
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	})
	if _, err := e.Head(enginetest.Key("a")); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("head: %v, want unavailable", err)
	}
	disk.SetFault(nil)
	want(t, e, "a", version{at: 10, data: enginetest.Data(1, 100)})
}

func TestOpen_Refuses(t *testing.T) {
	disk := vfs.NewSim()
	cfg := config(disk, "/disk")
	e := opened(t, cfg)
	if _, err := engine.Open(t.Context(), cfg); !errs.Is(err, errs.Conflict) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for content, kind := range map[string]errs.Kind{"henge device\nformat 2\nsomething else\n": errs.Unsupported, "nonsense": errs.Corrupt, "henge device\nformat 1\n": errs.Corrupt} {
		hurt := disk.Crash(0)
		if err := hurt.Damage("/disk/format", func([]byte) []byte { return []byte(content) }); err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Open(t.Context(), config(hurt, "/disk")); !errs.Is(err, kind) {
			t.Errorf("format %q: %v, want %v", content, err, kind)
		}
	}
	cfg.SegmentBytes = 5
	if _, err := engine.Open(t.Context(), cfg); !errs.Is(err, errs.Invalid) {
		t.Errorf("tiny segments: %v", err)
	}
	if _, err := engine.Open(t.Context(), engine.Config{}); !errs.Is(err, errs.Invalid) {
		t.Errorf("empty config: %v", err)
	}
}
