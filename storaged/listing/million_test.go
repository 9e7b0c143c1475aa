package listing

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

const (
	manyNames  = 10_000_000
	manyPuts   = 100_000 // that many at a time are measured: the tree is written several times meanwhile
	manyWriter = 64
)

func manyName(i int) string { return fmt.Sprintf("photos/%04d/%08d.jpg", i/2500, i) }

// million is a store on a real disk, with the engine's journal, whose one container holds ten million names in four thousand folders.
type million struct {
	b      *testing.B
	cfg    Config
	engine engine.Engine
	store  *Store
	key    peerapi.Key
	last   atomic.Int64
}

func (m *million) open() {
	m.b.Helper()
	var err error
	if m.store, err = Open(m.cfg); err != nil {
		m.b.Fatal(err)
	}
}

func (m *million) close() {
	m.b.Helper()
	if err := m.store.Close(); err != nil {
		m.b.Fatal(err)
	}
}

func newMillion(b *testing.B) *million {
	b.Helper()
	dir := b.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "engine"), 0o700); err != nil {
		b.Fatal(err)
	}
	e, err := engine.Open(b.Context(), engine.Config{FS: vfs.OS{}, Dir: filepath.Join(dir, "engine"), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	m := &million{b: b, engine: e, key: containerKey("c")}
	m.cfg = Config{Path: filepath.Join(dir, "listing.db"), Journal: e.Journal(), Clock: clock.System{}, NoTreeSync: true}
	m.last.Store(int64(clock.FromTime(time.Now())))
	m.open()
	if _, _, err := m.store.Change(b.Context(), peerapi.IndexChange{Key: m.key, Timestamp: m.next(), Create: true}); err != nil {
		b.Fatal(err)
	}
	if err := m.store.Flush(); err != nil {
		b.Fatal(err)
	}
	m.fill()
	m.close()
	m.cfg.NoTreeSync = false
	m.open()
	b.Cleanup(func() {
		m.close()
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return m
}

func (m *million) next() clock.Timestamp { return clock.Timestamp(m.last.Add(1)) }

// fill writes the names to the tree as flushes would, without the journal.
func (m *million) fill() {
	m.b.Helper()
	x, err := m.store.acquire(m.key)
	if err != nil {
		m.b.Fatal(err)
	}
	info, _, _ := x.snapshot()
	const batch = 50_000
	rows := make([]peerapi.Row, batch)
	for from := 0; from < manyNames; from += batch {
		for i := range rows {
			rows[i] = live(manyName(from+i), m.next(), 4096)
		}
		if err := m.store.update(func(tx *bbolt.Tx) error { return m.store.writeIndex(tx, &work{x: x, info: info}, rows) }); err != nil {
			m.b.Fatal(err)
		}
	}
	m.store.release(x)
}

// BenchmarkTenMillion is a container with ten million names: pages anywhere, PUTs, a restart.
func BenchmarkTenMillion(b *testing.B) {
	m := newMillion(b)
	if info, err := m.store.Info(m.key); err != nil || info.Count != manyNames {
		b.Fatalf("%d names, %v", info.Count, err)
	}
	b.Run("page", func(b *testing.B) {
		m.pages(b, func() peerapi.ListQuery {
			return peerapi.ListQuery{Key: m.key, Marker: manyName(rand.IntN(manyNames - 1000)), Limit: 1000}
		})
	})
	b.Run("page of folders", func(b *testing.B) {
		m.pages(b, func() peerapi.ListQuery {
			return peerapi.ListQuery{Key: m.key, Prefix: "photos/", Delimiter: "/", Marker: manyName(rand.IntN(manyNames / 2)), Limit: 1000}
		})
	})
	b.Run("put in order", func(b *testing.B) {
		first := atomic.Int64{}
		m.puts(b, func() string { return fmt.Sprintf("uploads/%012d", first.Add(1)) })
	})
	b.Run("put anywhere", func(b *testing.B) {
		m.puts(b, func() string { return manyName(rand.IntN(manyNames)) + "." + fmt.Sprint(rand.IntN(10)) })
	})
	b.Run("restart", m.restart)
}

// pages measures pages, each from a cold cursor.
func (m *million) pages(b *testing.B, query func() peerapi.ListQuery) {
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		p, err := m.store.List(query())
		if err != nil || len(p.Rows) < 900 {
			b.Fatalf("%d rows, %v", len(p.Rows), err)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

// puts measures rows that come one by one from many writers at once, each durable before its writer goes on.
func (m *million) puts(b *testing.B, name func() string) {
	for range b.N {
		var left atomic.Int64
		left.Store(manyPuts)
		var writers sync.WaitGroup
		for range manyWriter {
			writers.Go(func() {
				for left.Add(-1) >= 0 {
					if err := m.store.Merge(context.Background(), peerapi.Merge{Key: m.key, Rows: []peerapi.Row{live(name(), m.next(), 4096)}}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
	}
	b.ReportMetric(float64(b.N)*manyPuts/b.Elapsed().Seconds(), "puts/s")
}

// restart opens the store with changes in the journal that the tree has not seen.
func (m *million) restart(b *testing.B) {
	for range b.N {
		b.StopTimer()
		for range 100 {
			rows := make([]peerapi.Row, 100)
			for i := range rows {
				rows[i] = live(manyName(rand.IntN(manyNames)), m.next(), 1)
			}
			if err := m.store.Merge(context.Background(), peerapi.Merge{Key: m.key, Rows: rows}); err != nil {
				b.Fatal(err)
			}
		}
		m.crash()
		b.StartTimer()
		m.open()
	}
}

// crash closes the tree without the last flush.
func (m *million) crash() {
	m.b.Helper()
	close(m.store.stop)
	<-m.store.stopped
	m.store.closing.Do(func() {})
	if err := m.store.db.Close(); err != nil {
		m.b.Fatal(err)
	}
}
