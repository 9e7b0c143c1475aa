package engine_test

import (
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/peerapi"
)

// countingFS counts the syncs and the bytes written of the real file system.
type countingFS struct {
	vfs.OS
	syncs, written atomic.Int64
}

func (c *countingFS) Create(name string) (vfs.File, error) {
	f, err := c.OS.Create(name)
	return countingFile{f, c}, err
}

type countingFile struct {
	vfs.File
	c *countingFS
}

func (f countingFile) SyncData() error { f.c.syncs.Add(1); return f.File.SyncData() }
func (f countingFile) Sync() error     { f.c.syncs.Add(1); return f.File.Sync() }
func (f countingFile) WriteAt(p []byte, off int64) (int, error) {
	f.c.written.Add(int64(len(p)))
	return f.File.WriteAt(p, off)
}

func openBench(b *testing.B, fsys vfs.FS, dir string) *engine.Store {
	cfg := config(fsys, dir)
	cfg.SegmentBytes, cfg.Clock = 64<<20, clock.System{}
	e, err := engine.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkCommit4K(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprint(writers, "writers"), func(b *testing.B) {
			fsys := &countingFS{}
			e := openBench(b, fsys, b.TempDir())
			defer e.Close()
			data := enginetest.Data(1, 4096)
			var n atomic.Int64
			b.SetParallelism(max(1, writers/2))
			b.ReportAllocs()
			fsys.syncs.Store(0)
			fsys.written.Store(0)
			began := cpu()
			b.ResetTimer()
			work := func(i int64) {
				r := enginetest.Record(fmt.Sprint("object-", i), clock.Timestamp(i))
				if out, err := e.Commit(b.Context(), engine.Write{Record: r}, data); err != nil || !out.Accepted {
					b.Error(out, err)
				}
			}
			if writers == 1 {
				for range b.N {
					work(n.Add(1))
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						work(n.Add(1))
					}
				})
			}
			b.StopTimer()
			b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(fsys.syncs.Load())/float64(b.N), "syncs/op")
			b.ReportMetric(float64(fsys.written.Load())/float64(b.N), "written-B/op")
		})
	}
}

func BenchmarkRead4K(b *testing.B) {
	e := openBench(b, vfs.OS{}, b.TempDir())
	defer e.Close()
	keys := make([]peerapi.Key, 1000)
	for i := range keys {
		r := enginetest.Record(fmt.Sprint("object-", i), 1)
		keys[i] = r.Key
		if _, err := e.Commit(b.Context(), engine.Write{Record: r}, enginetest.Data(i, 4096)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Head", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if s, err := e.Head(keys[i%len(keys)]); err != nil || s.Record == nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Open", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			_, rc, err := e.Open(keys[i%len(keys)], 0, peerapi.Whole)
			if err != nil {
				b.Fatal(err)
			}
			if n, _ := io.Copy(io.Discard, rc); n != 4096 {
				b.Fatal(n)
			}
			rc.Close()
		}
	})
}

func BenchmarkStream10M(b *testing.B) {
	e := openBench(b, vfs.OS{}, b.TempDir())
	defer e.Close()
	piece := enginetest.Data(1, 256<<10)
	key := enginetest.Key("large")
	b.Run("Write", func(b *testing.B) {
		b.SetBytes(10 << 20)
		began := cpu()
		for i := range b.N {
			w, err := e.Create(b.Context(), key, 10<<20)
			if err != nil {
				b.Fatal(err)
			}
			for range 40 {
				if _, err := w.Write(piece); err != nil {
					b.Fatal(err)
				}
			}
			if out, err := w.Commit(b.Context(), engine.Write{Record: enginetest.Record("large", clock.Timestamp(time.Now().UnixNano()+int64(i)))}); err != nil || !out.Accepted {
				b.Fatal(out, err)
			}
			w.Close()
		}
		b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N)/1000, "cpu-ms/op")
	})
	b.Run("Read", func(b *testing.B) {
		b.SetBytes(10 << 20)
		for range b.N {
			_, rc, err := e.Open(key, 0, peerapi.Whole)
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, rc); err != nil || n != 10<<20 {
				b.Fatal(n, err)
			}
			rc.Close()
		}
	})
}

// BenchmarkRestart opens a device with a million small objects: with hints, and with the hints gone.
func BenchmarkRestart(b *testing.B) {
	const objects, writers = 1_000_000, 256
	dir := b.TempDir()
	e := openBench(b, vfs.OS{}, dir)
	var n atomic.Int64
	b.Run("fill", func(b *testing.B) {
		done := make(chan struct{}, writers)
		for range writers {
			go func() {
				for i := n.Add(1); i <= objects; i = n.Add(1) {
					if _, err := e.Commit(b.Context(), engine.Write{Record: enginetest.Record(fmt.Sprint("object-", i), 1)}, nil); err != nil {
						b.Error(err)
						break
					}
				}
				done <- struct{}{}
			}()
		}
		for range writers {
			<-done
		}
	})
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
	reopen := func(b *testing.B) {
		for range b.N {
			e := openBench(b, vfs.OS{}, dir)
			if got := e.Usage().Objects; got < objects {
				b.Fatal(got)
			}
			b.StopTimer()
			e.Close()
			b.StartTimer()
		}
	}
	b.Run("hints", reopen)
	b.Run("scan", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			hints, _ := filepath.Glob(filepath.Join(dir, "log", "*.hint"))
			for _, h := range hints {
				_ = vfs.OS{}.Remove(h)
			}
			b.StartTimer()
			e := openBench(b, vfs.OS{}, dir)
			b.StopTimer()
			e.Close()
			b.StartTimer()
		}
	})
}
