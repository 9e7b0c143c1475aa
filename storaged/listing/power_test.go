package listing

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// plant is a listing store over the real engine on a simulated disk. The tree is on a real one: its own crash safety is bbolt's, and what matters here is
// which of its states meets which state of the journal.
type plant struct {
	t       *testing.T
	sim     *vfs.Sim
	engine  engine.Engine
	store   *Store
	dir     string
	safe    string // a copy of the tree as the last flush that ended left it
	acked   map[string]peerapi.Row
	deleted bool
	told    map[string]bool
}

// other is a stream that nobody reads.
const other engine.Stream = 200

func openPlant(t *testing.T, sim *vfs.Sim, dir string) (*plant, error) {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{FS: sim, Dir: "/disk", Clock: clock.NewManual(testTime), Logger: slog.New(slog.DiscardHandler),
		SegmentBytes: 1 << 20, Reserve: engine.Reserve{Bytes: 1}})
	if err != nil {
		return nil, err
	}
	s, err := Open(Config{Path: filepath.Join(dir, "listing.db"), Journal: e.Journal(), Clock: clock.NewManual(testTime), FlushAfter: time.Hour, NoTreeSync: true,
		ReclaimAge: 100 * 365 * 24 * time.Hour,
		// The disk is busy with others while the tree is written, so that what is released too early is forgotten; and the tree's disk dies with the log's.
		BeforeTree: func() error {
			_, err := e.Journal().Append(context.Background(), other, []byte("busy"))
			return err
		}})
	if err != nil {
		return nil, fmt.Errorf("%w (engine: %v)", err, e.Close())
	}
	return &plant{t: t, sim: sim, engine: e, store: s, dir: dir, acked: map[string]peerapi.Row{}, told: map[string]bool{}}, nil
}

func (p *plant) copyTree() string {
	p.t.Helper()
	dir := p.t.TempDir()
	b, err := os.ReadFile(filepath.Join(p.dir, "listing.db"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "listing.db"), b, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return dir
}

func (p *plant) close() {
	// After the power is cut everything fails; what is wanted is that files and goroutines are let go.
	_ = p.store.Close()
	_ = p.engine.Close()
}

// work does what a container replica does, until the power goes.
func (p *plant) work() error {
	ctx, k, gone := p.t.Context(), containerKey("c"), containerKey("gone")
	change := func(c peerapi.IndexChange) error {
		_, _, err := p.store.Change(ctx, c)
		return err
	}
	if err := change(peerapi.IndexChange{Key: k, Timestamp: 1, Create: true}); err != nil {
		return err
	}
	for i := range 12 {
		r := live(fmt.Sprint("n", i%5), clock.Timestamp(10+i), int64(i))
		if i%4 == 3 {
			r = dead(r.Name, r.Timestamp)
		}
		if err := p.store.Merge(ctx, peerapi.Merge{Key: k, Rows: []peerapi.Row{r}}); err != nil {
			return err
		}
		p.acked[r.Name] = r
		far := Update{Targets: []peerapi.Target{{Peer: "p2", Device: "d"}}, Merge: peerapi.Merge{Key: k, Rows: []peerapi.Row{r}}}
		if err := p.store.Enqueue(ctx, far); err != nil {
			return err
		}
		p.told[r.Name] = true
		switch i {
		case 4, 8:
			if err := p.store.Flush(); err != nil {
				return err
			}
			p.safe = p.copyTree()
		case 5:
			if err := change(peerapi.IndexChange{Key: gone, Timestamp: 1, Create: true}); err != nil {
				return err
			}
		case 9:
			if err := change(peerapi.IndexChange{Key: gone, Timestamp: 20, Delete: true}); err != nil {
				return err
			}
			p.deleted = true
		}
	}
	return nil
}

// check opens what is left and compares it with what was acknowledged.
func (p *plant) check(sim *vfs.Sim, dir, what string) {
	p.t.Helper()
	q, err := openPlant(p.t, sim, dir)
	if err != nil {
		p.t.Fatalf("%s: open: %v", what, err)
	}
	defer q.close()
	page, err := q.store.List(peerapi.ListQuery{Key: containerKey("c"), Limit: 100})
	if err != nil {
		p.t.Fatalf("%s: list: %v", what, err)
	}
	found := map[string]peerapi.Row{}
	var n, bytes int64
	for _, r := range page.Rows {
		found[r.Name] = r
		if !r.Deleted {
			n++
			bytes += r.Size
		}
	}
	for name, want := range p.acked {
		if got := found[name]; got != want && !got.Supersedes(want) {
			p.t.Fatalf("%s: %s was acknowledged as %+v, there is %+v", what, name, want, got)
		}
	}
	if page.Info.Count != n || page.Info.Bytes != bytes {
		p.t.Fatalf("%s: %d names of %d bytes, the info says %+v", what, n, bytes, page.Info)
	}
	if i, err := q.store.Info(containerKey("gone")); err != nil || p.deleted && (i.Exists() || i.Deleted != 20) {
		p.t.Fatalf("%s: the deleted container is %+v, %v", what, i, err)
	}
	items, err := q.store.Next(peerapi.Target{Peer: "p2", Device: "d"}, 100)
	if err != nil {
		p.t.Fatalf("%s: queue: %v", what, err)
	}
	queued := map[string]bool{}
	for _, it := range items {
		queued[it.key.name] = true
	}
	tree, err := q.queuedInTree()
	if err != nil {
		p.t.Fatalf("%s: queue: %v", what, err)
	}
	for name := range p.told {
		if !queued[name] && !tree[name] {
			p.t.Fatalf("%s: the update of %s is not queued any more", what, name)
		}
	}
}

func (p *plant) queuedInTree() (map[string]bool, error) {
	names := map[string]bool{}
	err := p.store.eachQueued(peerapi.Target{Peer: "p2", Device: "d"}, func(it Item) bool { names[it.key.name] = true; return true })
	return names, err
}

// TestPowerCut cuts the power after every step that the disk takes. What was acknowledged is there afterwards, whether the tree is as the last flush left it or a
// flush under way had got further.
func TestPowerCut(t *testing.T) {
	whole := vfs.NewSim()
	p, err := openPlant(t, whole, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.work(); err != nil {
		t.Fatal(err)
	}
	steps := whole.Steps()
	p.close()
	cuts := 0
	for n := 1; n < steps; n++ {
		sim := vfs.NewSim()
		sim.CutAfter(n)
		p, err := openPlant(t, sim, t.TempDir())
		if err != nil {
			continue // the power went before the device was made
		}
		cuts++
		if err := p.work(); err == nil {
			t.Fatalf("cut after %d steps of %d, and nobody noticed", n, steps)
		}
		latest := p.copyTree()
		p.close()
		p.check(sim.Crash(uint64(n)), latest, fmt.Sprint("cut after ", n))
		if p.safe != "" {
			p.check(sim.Crash(uint64(n+steps)), p.safe, fmt.Sprint("cut after ", n, ", tree of the last flush"))
		}
	}
	if cuts < 30 {
		t.Fatalf("only %d cuts of %d hit the work", cuts, steps)
	}
}
