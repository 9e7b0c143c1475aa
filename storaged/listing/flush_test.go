package listing

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// TestFlush_BetweenReadAndApply: a row reaches the tree after a merge has looked there, and before it counts. The merge must not count against what it saw.
func TestFlush_BetweenReadAndApply(t *testing.T) {
	b := newBed(t, nil)
	k := containerKey("c")
	b.make(k, 1)
	b.merge(k, live("x", 10, 5))
	b.journal.during = func() {
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
	}
	b.merge(k, live("x", 20, 7))
	if i := b.info(k); i.Count != 1 || i.Bytes != 7 {
		t.Fatalf("%+v", i)
	}
	// The merge was under way while the journal was released: it must come again.
	b.crash()
	if i := b.info(k); i.Count != 1 || i.Bytes != 7 {
		t.Fatalf("after a crash: %+v", i)
	}
}

// TestFlush_UnderLoad: writers, flushes and readers at once; in the end the counts are those of the rows, in memory, in the tree and after a crash.
func TestFlush_UnderLoad(t *testing.T) {
	b := newBed(t, func(c *Config) { c.FlushRows = 50 })
	k := containerKey("c")
	b.make(k, 1)
	var writers sync.WaitGroup
	for g := range 8 {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(g)))
			for i := range 100 {
				r := live(fmt.Sprint("n", random.IntN(60)), clock.Timestamp(1000+i*8+g), random.Int64N(100))
				if r.Deleted = random.IntN(3) == 0; r.Deleted {
					r = dead(r.Name, r.Timestamp)
				}
				if err := b.Merge(t.Context(), peerapi.Merge{Key: k, Rows: []peerapi.Row{r}}); err != nil {
					t.Errorf("merge: %v", err)
				}
				if i%10 == 0 {
					if _, err := b.List(peerapi.ListQuery{Key: k, Limit: 20}); err != nil {
						t.Errorf("list: %v", err)
					}
				}
			}
		})
	}
	writers.Wait()
	check := func(when string) {
		t.Helper()
		p, err := b.List(peerapi.ListQuery{Key: k, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		var n, bytes int64
		for _, r := range p.Rows {
			if !r.Deleted {
				n++
				bytes += r.Size
			}
		}
		if p.Info.Count != n || p.Info.Bytes != bytes || n == 0 {
			t.Fatalf("%s: %d names of %d bytes, the info says %+v", when, n, bytes, p.Info)
		}
	}
	check("in memory")
	b.crash()
	check("after a crash")
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	check("in the tree")
	if len(b.indexes) != 0 || b.journal.held(engine.StreamRows) != 0 {
		t.Fatalf("%d indexes and %d entries are kept", len(b.indexes), b.journal.held(engine.StreamRows))
	}
}

// TestFlush_Fails: rows stay readable and in the journal, writers are held back in the end, and all goes on when the disk does.
func TestFlush_Fails(t *testing.T) {
	b := newBed(t, func(c *Config) { c.FlushRows = 10; c.FlushFailed = func(error) {} })
	k := containerKey("c")
	b.make(k, 1)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is broken")
	b.failTree(broken)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	merged := 0
	var err error
	for err == nil {
		if err = b.Merge(ctx, peerapi.Merge{Key: k, Rows: []peerapi.Row{live(fmt.Sprintf("n%03d", merged), 10, 1)}}); err == nil {
			merged++
		}
		if merged > 100 {
			t.Fatal("the overlay grows without bound")
		}
	}
	if errs.Is(err, errs.NotFound) || merged < 10 {
		t.Fatalf("%d rows went in, then: %v", merged, err)
	}
	if i := b.info(k); i.Count != int64(merged) {
		t.Fatalf("%d rows, %+v", merged, i)
	}
	b.failTree(nil)
	b.merge(k, live("last", 11, 1))
	b.crash()
	if i := b.info(k); i.Count != int64(merged)+1 {
		t.Fatalf("after a crash: %d rows, %+v", merged+1, i)
	}
}

func TestReclaim_InFlush(t *testing.T) {
	b := newBed(t, func(c *Config) { c.ReclaimAge = time.Hour })
	now := clock.FromTime(b.clock.Now())
	k := containerKey("c")
	b.make(k, now-clock.Timestamp(5*time.Hour))
	b.merge(k, dead("old", now-clock.Timestamp(2*time.Hour)), dead("young", now-clock.Timestamp(time.Minute)), live("here", now, 1))
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := b.names(peerapi.ListQuery{Key: k, Limit: 10}); got != "here -young " {
		t.Fatalf("kept: %s", got)
	}
}

// TestIdle_NothingIsWritten: an idle store leaves its file and its journal alone.
func TestIdle_NothingIsWritten(t *testing.T) {
	b := newBed(t, nil)
	b.make(containerKey("c"), 1)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	before := b.db.Stats()
	for range 3 {
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	after := b.db.Stats()
	if wrote := after.TxStats.GetWrite() - before.TxStats.GetWrite(); wrote != 0 {
		t.Fatalf("%d writes while idle", wrote)
	}
}

// TestSweep removes what is old, and only that.
func TestSweep(t *testing.T) {
	b := newBed(t, func(c *Config) { c.ReclaimAge = time.Hour })
	now := clock.FromTime(b.clock.Now())
	k, gone := containerKey("c"), containerKey("gone")
	b.make(k, now-clock.Timestamp(5*time.Hour))
	b.make(gone, now-clock.Timestamp(time.Minute))
	if _, _, err := b.Change(t.Context(), peerapi.IndexChange{Key: gone, Timestamp: now, Delete: true}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * sweepChunk {
		b.merge(k, dead(fmt.Sprintf("d%06d", i), now-clock.Timestamp(time.Minute)))
	}
	b.merge(k, live("here", now-clock.Timestamp(time.Minute), 1), dead("young", now+clock.Timestamp(2*time.Hour)))
	far := peerapi.Target{Peer: "p2", Device: "d1"}
	if err := b.Enqueue(t.Context(), Update{Targets: []peerapi.Target{far}, Merge: peerapi.Merge{Key: k, Rows: []peerapi.Row{live("q", now, 5)}}}); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Sweep(); n != 0 || err != nil {
		t.Fatalf("too early: %d, %v", n, err)
	}
	b.clock.Advance(2 * time.Hour)
	if n, err := b.Sweep(); n != 3*sweepChunk+2 || err != nil {
		t.Fatalf("removed %d, %v", n, err)
	}
	if n, err := b.Sweep(); n != 0 || err != nil {
		t.Fatalf("once more: %d, %v", n, err)
	}
	if got := b.names(peerapi.ListQuery{Key: k, Limit: 10}); got != "here -young " {
		t.Fatalf("kept: %s", got)
	}
	if i := b.info(gone); i.Deleted != 0 || len(b.Waiting()) != 0 || b.info(k).Count != 1 {
		t.Fatalf("%+v, %v, %+v", i, b.Waiting(), b.info(k))
	}
}

// TestPending_ToldWhileFlushed: an update is delivered while a flush brings it to the tree. It is named again, and does not lie there for ever.
func TestPending_ToldWhileFlushed(t *testing.T) {
	far := peerapi.Target{Peer: "p2", Device: "d1"}
	var b *bed
	armed := false
	b = newBed(t, func(c *Config) {
		c.BeforeTree = func() error {
			if armed {
				armed = false
				items, err := b.Next(far, 10)
				if err != nil || len(items) != 1 {
					t.Errorf("%v, %v", items, err)
				}
				return b.Told(items)
			}
			return nil
		}
	})
	if err := b.Enqueue(t.Context(), Update{Targets: []peerapi.Target{far}, Merge: peerapi.Merge{Key: containerKey("c"), Rows: []peerapi.Row{live("q", 10, 5)}}}); err != nil {
		t.Fatal(err)
	}
	var named []peerapi.Target
	b.OnPending(func(t peerapi.Target) { named = append(named, t) })
	armed = true
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	items, err := b.Next(far, 10)
	if err != nil || len(items) == 0 {
		t.Fatalf("the flush was too late for this test: %v, %v", items, err)
	}
	if len(named) != 1 || named[0] != far {
		t.Fatalf("nobody hears of it: %v", named)
	}
	if err := b.Told(items); err != nil || len(b.Waiting()) != 0 {
		t.Fatalf("%v, waiting %v", err, b.Waiting())
	}
}
