package listing

import (
	"fmt"
	"testing"

	"go.etcd.io/bbolt"

	"henge/internal/clock"
	"henge/storaged/peerapi"
)

func expiring(name string, at clock.Timestamp, deleteAt int64) peerapi.Row {
	r := live(name, at, 1)
	r.DeleteAt = deleteAt
	return r
}

// due gives the names of what is due, asked for in pages.
func (b *bed) due(now int64, page int) string {
	b.t.Helper()
	got := ""
	var after []byte
	for {
		rows, next, err := b.Due(now, after, page)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, d := range rows {
			got += fmt.Sprintf("%s/%s@%d ", d.Container.Container, d.Row.Name, d.Row.DeleteAt)
		}
		if next == nil {
			return got
		}
		after = next
	}
}

func (b *bed) wantDue(when string, now int64, want string) {
	b.t.Helper()
	for _, page := range []int{1, 2, 100} {
		if got := b.due(now, page); got != want {
			b.t.Fatalf("%s, at %d in pages of %d: due is %q, want %q", when, now, page, got, want)
		}
	}
}

func (b *bed) flushed() {
	b.t.Helper()
	if err := b.Flush(); err != nil {
		b.t.Fatal(err)
	}
}

func TestDue_FollowsTheRows(t *testing.T) {
	b := newBed(t, nil)
	c, d := containerKey("c"), containerKey("d")
	b.make(c, 1)
	b.make(d, 1)
	b.merge(c, expiring("late", 10, 300), expiring("early", 10, 100), live("never", 10, 1), expiring("moved", 10, 150))
	b.merge(d, expiring("between", 10, 200))
	b.flushed()
	b.wantDue("written", 99, "")
	b.wantDue("written", 200, "c/early@100 c/moved@150 d/between@200 ")
	b.wantDue("written", 1000, "c/early@100 c/moved@150 d/between@200 c/late@300 ")

	b.merge(c, dead("early", 20), expiring("moved", 20, 400), live("late", 20, 1))
	b.merge(c, expiring("moved", 15, 5)) // an older version that comes late
	b.crash()
	b.flushed()
	b.wantDue("replaced", 1000, "d/between@200 c/moved@400 ")
}

func TestDue_OfAFileThatIsOlder(t *testing.T) {
	b := newBed(t, nil)
	want := ""
	for i := range 3 {
		k := containerKey(fmt.Sprint("c", i))
		b.make(k, 1)
		var rows []peerapi.Row
		for j := range sweepChunk { // so that one look at the tree does not find all
			rows = append(rows, live(fmt.Sprintf("n%05d", j), 10, 1))
		}
		rows = append(rows, expiring("x", 10, int64(100+i)))
		want += fmt.Sprintf("c%d/x@%d ", i, 100+i)
		b.merge(k, rows...)
	}
	b.flushed()
	if err := b.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(bucketDue); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Delete(keyDue)
	}); err != nil {
		t.Fatal(err)
	}
	b.crash()
	b.filling.Wait()
	b.wantDue("filled", 1000, want)
	b.crash()
	if !b.ordered {
		t.Fatal("the file is filled anew at every start")
	}
}

func TestDue_OfAnIndexThatWasGivenUp(t *testing.T) {
	b := newBed(t, nil)
	c, d := containerKey("c"), containerKey("d")
	b.make(c, 1)
	b.make(d, 1)
	b.merge(c, expiring("x", 10, 100))
	b.merge(d, expiring("y", 10, 100))
	b.flushed()
	if err := b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketIndexes).DeleteBucket(c.Hash[:]) }); err != nil {
		t.Fatal(err)
	}
	b.wantDue("given up", 1000, "d/y@100 ")
	left := 0
	if err := b.db.View(func(tx *bbolt.Tx) error { left = tx.Bucket(bucketDue).Inspect().KeyN; return nil }); err != nil || left != 1 {
		t.Fatalf("%d entries are left, want 1 (%v)", left, err)
	}
}
