package listing

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// memoryJournal is a journal that a test can open again as after a crash.
type memoryJournal struct {
	mu      sync.Mutex // guards the fields below
	last    engine.Position
	entries map[engine.Stream][]memoryEntry
	fail    error
	during  func() // called by the next Append, without the lock
}

type memoryEntry struct {
	at engine.Position
	b  []byte
}

func newJournal() *memoryJournal {
	return &memoryJournal{entries: map[engine.Stream][]memoryEntry{}}
}

func (j *memoryJournal) Append(_ context.Context, s engine.Stream, b []byte) (engine.Position, error) {
	j.mu.Lock()
	during := j.during
	j.during = nil
	j.mu.Unlock()
	if during != nil {
		during()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return 0, j.fail
	}
	j.last++
	j.entries[s] = append(j.entries[s], memoryEntry{j.last, append([]byte(nil), b...)})
	return j.last, nil
}

func (j *memoryJournal) Replay(s engine.Stream, fn func(engine.Position, []byte) error) error {
	j.mu.Lock()
	all := append([]memoryEntry(nil), j.entries[s]...)
	j.mu.Unlock()
	for _, e := range all {
		if err := fn(e.at, e.b); err != nil {
			return err
		}
	}
	return nil
}

func (j *memoryJournal) Release(s engine.Stream, upto engine.Position) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.entries[s]) > 0 && j.entries[s][0].at <= upto {
		j.entries[s] = j.entries[s][1:]
	}
	return nil
}

func (j *memoryJournal) held(s engine.Stream) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries[s])
}

// bed is a store under test.
type bed struct {
	t       testing.TB
	cfg     Config
	journal *memoryJournal
	clock   *clock.Manual
	broken  atomic.Pointer[error]
	*Store
}

// failTree makes every flush fail with err; nil ends that.
func (b *bed) failTree(err error) { b.broken.Store(&err) }

var testTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func newBed(t testing.TB, change func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t, journal: newJournal(), clock: clock.NewManual(testTime)}
	b.cfg = Config{Path: filepath.Join(t.TempDir(), "listing.db"), Journal: b.journal, Clock: b.clock, FlushAfter: time.Hour, NoTreeSync: true,
		ReclaimAge: 100 * 365 * 24 * time.Hour} // the tests count from 1
	b.cfg.BeforeTree = func() error {
		if err := b.broken.Load(); err != nil {
			return *err
		}
		return nil
	}
	if change != nil {
		change(&b.cfg)
	}
	b.open()
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func (b *bed) open() {
	b.t.Helper()
	s, err := Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Store = s
}

// crash opens the store again from the journal and the tree, without the last flush.
func (b *bed) crash() {
	b.t.Helper()
	close(b.stop)
	<-b.stopped
	b.closing.Do(func() {})
	if err := b.db.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

func containerKey(name string) peerapi.Key {
	return peerapi.Key{Account: "a", Container: name, Hash: ring.HashPath(ring.Secret{}, "a", name, "")}
}

var accountKey = peerapi.Key{Account: "a", Hash: ring.HashPath(ring.Secret{}, "a", "", "")}

func (b *bed) make(key peerapi.Key, at clock.Timestamp) {
	b.t.Helper()
	if _, _, err := b.Change(b.t.Context(), peerapi.IndexChange{Key: key, Timestamp: at, Create: true}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) merge(key peerapi.Key, rows ...peerapi.Row) {
	b.t.Helper()
	if err := b.Merge(b.t.Context(), peerapi.Merge{Key: key, Rows: rows}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) info(key peerapi.Key) peerapi.IndexInfo {
	b.t.Helper()
	i, err := b.Info(key)
	if err != nil {
		b.t.Fatal(err)
	}
	return i
}

func (b *bed) names(q peerapi.ListQuery) string {
	b.t.Helper()
	page, err := b.List(q)
	if err != nil {
		b.t.Fatal(err)
	}
	s := ""
	for _, r := range page.Rows {
		if r.Deleted {
			s += "-"
		}
		s += r.Name + " "
	}
	if page.More {
		s += "... " + page.End
	}
	return s
}

func live(name string, at clock.Timestamp, size int64) peerapi.Row {
	return peerapi.Row{Name: name, Timestamp: at, Size: size, ETag: "d41d8cd98f00b204e9800998ecf8427e", ContentType: "text/plain"}
}

func dead(name string, at clock.Timestamp) peerapi.Row {
	return peerapi.Row{Name: name, Timestamp: at, Deleted: true}
}

func TestMerge_NewestWinsAndCountsAreExact(t *testing.T) {
	b := newBed(t, nil)
	k := containerKey("c")
	b.make(k, 10)
	b.merge(k, live("x", 20, 5), live("y", 21, 7))
	b.merge(k, live("x", 19, 100))
	b.merge(k, dead("y", 25))
	b.merge(k, live("y", 24, 9))
	check := func(when string) {
		t.Helper()
		if i := b.info(k); i.Count != 1 || i.Bytes != 5 || i.First != 10 {
			t.Fatalf("%s: %+v", when, i)
		}
		if got := b.names(peerapi.ListQuery{Key: k, Limit: 10}); got != "x -y " {
			t.Fatalf("%s: %s", when, got)
		}
	}
	check("in memory")
	b.crash()
	check("after a crash")
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := b.journal.held(engine.StreamRows); n != 0 {
		t.Fatalf("%d entries are held after the flush", n)
	}
	check("in the tree")
	b.merge(k, live("y", 30, 1), live("x", 31, 2))
	if i := b.info(k); i.Count != 2 || i.Bytes != 3 {
		t.Fatalf("%+v", i)
	}
	b.crash()
	if i := b.info(k); i.Count != 2 || i.Bytes != 3 {
		t.Fatalf("after a crash over the tree: %+v", i)
	}
}

func TestMerge_ContainerThatIsNotThere(t *testing.T) {
	b := newBed(t, nil)
	k := containerKey("c")
	err := b.Merge(t.Context(), peerapi.Merge{Key: k, Rows: []peerapi.Row{live("x", 20, 5)}})
	if !errs.Is(err, errs.NotFound) {
		t.Fatalf("merge: %v", err)
	}
	if err := b.Merge(t.Context(), peerapi.Merge{Key: k, Created: 11, Policy: 3, Rows: []peerapi.Row{live("x", 20, 5)}}); err != nil {
		t.Fatalf("merge that brings the container: %v", err)
	}
	if i := b.info(k); !i.Exists() || i.First != 11 || i.Policy != 3 || i.Count != 1 {
		t.Fatalf("%+v", i)
	}
	b.merge(k, dead("x", 30))
	if _, _, err := b.Change(t.Context(), peerapi.IndexChange{Key: k, Timestamp: 40, Delete: true}); err != nil {
		t.Fatal(err)
	}
	err = b.Merge(t.Context(), peerapi.Merge{Key: k, Created: 11, Rows: []peerapi.Row{live("x", 50, 5)}})
	if !errs.Is(err, errs.NotFound) {
		t.Fatalf("merge into the deleted container: %v", err)
	}
	b.make(k, 60)
	err = b.Merge(t.Context(), peerapi.Merge{Key: k, Rows: []peerapi.Row{live("old", 39, 5), live("new", 61, 5)}})
	if !errs.Is(err, errs.NotFound) {
		t.Fatalf("merge of a row of the old life: %v", err)
	}
	if got := b.names(peerapi.ListQuery{Key: k, Limit: 10}); got != "new " {
		t.Fatalf("the new life shows %q", got)
	}
}

func TestMerge_AccountComesToBe(t *testing.T) {
	b := newBed(t, nil)
	b.merge(accountKey, peerapi.Row{Name: "c", Timestamp: 5, Count: 3, Size: 30, Counted: 6})
	b.merge(accountKey, peerapi.Row{Name: "c", Timestamp: 5, Count: 2, Size: 20, Counted: 4}, peerapi.Row{Name: "d", Timestamp: 7, Count: 1, Size: 1})
	i := b.info(accountKey)
	if !i.Exists() || i.Count != 2 || i.Objects != 4 || i.Bytes != 31 {
		t.Fatalf("%+v", i)
	}
}

func TestChange_Life(t *testing.T) {
	b := newBed(t, nil)
	k := containerKey("c")
	do := func(c peerapi.IndexChange, want errs.Kind) {
		t.Helper()
		c.Key = k
		_, _, err := b.Change(t.Context(), c)
		if err == nil && want != 255 || err != nil && !errs.Is(err, want) {
			t.Fatalf("%+v: %v, want %v", c, err, want)
		}
	}
	const fine = errs.Kind(255)
	meta := func(v string, at clock.Timestamp) map[string]peerapi.MetaValue {
		return map[string]peerapi.MetaValue{"x-container-meta-m": {Value: v, Timestamp: at}}
	}
	do(peerapi.IndexChange{Timestamp: 5, Meta: meta("v", 5)}, errs.NotFound)
	do(peerapi.IndexChange{Timestamp: 6, Delete: true}, errs.NotFound)
	do(peerapi.IndexChange{Timestamp: 5, Create: true}, errs.Conflict) // the delete is remembered
	do(peerapi.IndexChange{Timestamp: 10, Create: true, Policy: 2, Meta: meta("a", 10)}, fine)
	do(peerapi.IndexChange{Timestamp: 12, Create: true, Policy: 4}, fine)
	do(peerapi.IndexChange{Timestamp: 11, Meta: meta("older", 9)}, fine)
	if i := b.info(k); i.Policy != 2 || i.First != 10 || i.Created != 12 || i.Meta["x-container-meta-m"].Value != "a" {
		t.Fatalf("%+v", i)
	}
	b.merge(k, live("x", 13, 1))
	do(peerapi.IndexChange{Timestamp: 14, Delete: true}, errs.Conflict)
	b.merge(k, dead("x", 15))
	do(peerapi.IndexChange{Timestamp: 16, Delete: true}, fine)
	if i := b.info(k); i.Exists() || i.First != 0 || len(i.Meta) != 0 {
		t.Fatalf("deleted: %+v", i)
	}
	do(peerapi.IndexChange{Timestamp: 17, Meta: meta("b", 17)}, errs.NotFound)
	do(peerapi.IndexChange{Timestamp: 17, Created: 16, Meta: meta("b", 17)}, errs.NotFound)
	do(peerapi.IndexChange{Timestamp: 20, Created: 18, CreatedPolicy: 7, Meta: meta("gr\xfcn", 20)}, fine)
	b.crash()
	if i := b.info(k); !i.Exists() || i.First != 18 || i.Policy != 7 || i.Meta["x-container-meta-m"].Value != "gr\xfcn" {
		t.Fatalf("anew: %+v", i)
	}
}

// TestChange_RefusedDeletionIsTakenBack: this replica had no rows and let the container go, others refused. Rows of before are welcome again.
func TestChange_RefusedDeletionIsTakenBack(t *testing.T) {
	b := newBed(t, nil)
	k := containerKey("c")
	b.make(k, 10)
	if _, _, err := b.Change(t.Context(), peerapi.IndexChange{Key: k, Timestamp: 30, Delete: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Change(t.Context(), peerapi.IndexChange{Key: k, Timestamp: 40, Create: true, Restores: 10}); err != nil {
		t.Fatal(err)
	}
	b.merge(k, live("x", 20, 5))
	check := func(when string) {
		t.Helper()
		if i := b.info(k); !i.Exists() || i.First != 10 || i.Deleted >= 20 || i.Count != 1 || i.Created != 40 {
			t.Fatalf("%s: %+v", when, i)
		}
	}
	check("in memory")
	b.crash()
	check("after a crash")
	entries := b.journal.entries[engine.StreamRows]
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	b.journal.entries[engine.StreamRows] = entries // the release was forgotten
	b.crash()
	check("replayed over the tree")
	if _, _, err := b.Change(t.Context(), peerapi.IndexChange{Key: k, Timestamp: 30, Delete: true}); !errs.Is(err, errs.Conflict) {
		t.Fatalf("the deletion once more: %v", err)
	}
	check("after the deletion came once more")
}

func TestPending_SurvivesAndIsToldOnce(t *testing.T) {
	b := newBed(t, nil)
	far := peerapi.Target{Peer: "p2", Device: "d1"}
	k := containerKey("c")
	for n := range 5 {
		u := Update{Targets: []peerapi.Target{far}, Merge: peerapi.Merge{Key: k, Rows: []peerapi.Row{live(fmt.Sprint("x", n), 20, 5)}}}
		if err := b.Enqueue(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	b.crash()
	if n := b.Waiting()[far]; n != 5 {
		t.Fatalf("%d wait after a crash", n)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := b.journal.held(engine.StreamPending); n != 0 {
		t.Fatalf("the journal still holds %d", n)
	}
	newer := Update{Targets: []peerapi.Target{far}, Merge: peerapi.Merge{Key: k, Rows: []peerapi.Row{live("x0", 30, 6)}}}
	if err := b.Enqueue(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	b.crash()
	seen := map[string]clock.Timestamp{}
	for range 100 {
		items, err := b.Next(far, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 0 {
			break
		}
		for _, it := range items {
			r := it.Merge.Rows[0]
			seen[r.Name] = max(seen[r.Name], r.Timestamp)
		}
		if err := b.Told(items); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 5 || seen["x0"] != 30 {
		t.Fatalf("told: %v", seen)
	}
	if w := b.Waiting(); len(w) != 0 {
		t.Fatalf("still waiting: %v", w)
	}
}
