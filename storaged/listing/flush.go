package listing

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/google/btree"
	"go.etcd.io/bbolt"

	"henge/internal/clock"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// txRowsMax is how many rows one transaction of the tree takes: each may dirty a page of its own, which lies in memory until the commit.
const txRowsMax = 4096

// How full the tree's pages are made: names that come in order leave their pages behind full, others need room.
const (
	fillOrdered = 0.95
	fillRandom  = 0.6
)

var keyInfo = []byte{0}

// appendRowKey makes a row's key in its index's bucket; 0 is the info's, so rows begin with 1.
func appendRowKey(b []byte, name string) []byte {
	b = append(b, 1)
	return append(b, name...)
}

// work is one index's share of a flush.
type work struct {
	x     *index
	rows  *btree.BTreeG[peerapi.Row]
	info  peerapi.IndexInfo // its life and metadata are right; its counts are of tree and overlay
	fresh bool
}

// flush writes everything that waits to the tree. With release, the journal may forget it then.
func (s *Store) flush(release bool) error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	// What is applied up to here is frozen below, or was: this comes first.
	rowsAt, intentsAt := s.rows.applied(), s.intents.applied()
	todo := s.freeze()
	queue := s.pending.freeze()
	err := s.write(todo, queue)
	s.thaw(todo, err)
	s.pending.thaw(queue, err)
	s.endFlush(err)
	if err != nil {
		return treeError(err)
	}
	if !release {
		return nil
	}
	if err := s.release1(engine.StreamRows, &s.rows, rowsAt); err != nil {
		return err
	}
	return s.release1(engine.StreamPending, &s.intents, intentsAt)
}

func (s *Store) release1(stream engine.Stream, t *tracker, upto engine.Position) error {
	if !t.releasing(upto) {
		return nil
	}
	if err := s.cfg.Journal.Release(stream, upto); err != nil {
		return fmt.Errorf("release the journal: %w", err)
	}
	return nil
}

// freeze sets aside what every index has; new rows go to a new overlay.
func (s *Store) freeze() []*work {
	s.mu.Lock()
	s.waiting, s.dirty = 0, time.Time{}
	all := make([]*work, 0, len(s.indexes))
	for _, x := range s.indexes {
		x.users++
		all = append(all, &work{x: x})
	}
	s.mu.Unlock()
	todo := all[:0]
	for _, w := range all {
		if w.freeze() {
			todo = append(todo, w)
		} else {
			s.release(w.x)
		}
	}
	slices.SortFunc(todo, func(a, b *work) int { return bytes.Compare(a.x.key.Hash[:], b.x.key.Hash[:]) })
	return todo
}

func (w *work) freeze() bool {
	x := w.x
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.frozen == nil:
		x.frozen, x.active = x.active, nil
	case x.active != nil:
		// The last flush failed: its rows and the new ones go together.
		both := x.frozen.Clone()
		x.active.Ascend(func(r peerapi.Row) bool { both.ReplaceOrInsert(r); return true })
		x.frozen, x.active = both, nil
	}
	w.rows, w.info, w.fresh = x.frozen, x.info, x.fresh
	x.fresh = false
	return w.rows != nil || w.fresh
}

// thaw ends a flush: what the tree has leaves the overlay.
func (s *Store) thaw(todo []*work, err error) {
	for _, w := range todo {
		w.x.mu.Lock()
		if err == nil {
			w.x.frozen = nil
			w.x.turns++
		} else {
			w.x.fresh = w.x.fresh || w.fresh
		}
		w.x.mu.Unlock()
		s.release(w.x)
	}
}

func (s *Store) endFlush(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
	if err != nil && s.dirty.IsZero() {
		s.dirty = time.Now()
	}
	close(s.flushed)
	s.flushed = make(chan struct{})
}

// write brings all of it to the tree, in transactions of bounded size. Each leaves the tree whole: its counts are of its rows.
func (s *Store) write(todo []*work, queue *frozenPending) error {
	unreported := s.unreported()
	if len(todo) == 0 && queue.empty() {
		return nil
	}
	for len(todo) > 0 {
		n, rows := 0, 0
		for n < len(todo) && rows < txRowsMax {
			rows += todo[n].size()
			n++
		}
		batch := todo[:n]
		todo = todo[n:]
		if len(batch) == 1 && rows > 2*txRowsMax {
			if err := s.writeLarge(batch[0]); err != nil {
				return err
			}
			continue
		}
		if err := s.update(func(tx *bbolt.Tx) error { return s.writeBatch(tx, batch) }); err != nil {
			return fmt.Errorf("write listings: %w", err)
		}
	}
	if queue.empty() && !s.changedDiffers(unreported) {
		return nil
	}
	if err := s.update(func(tx *bbolt.Tx) error {
		if err := saveChanged(tx, unreported, s.noted); err != nil {
			return err
		}
		return queue.write(tx)
	}); err != nil {
		return fmt.Errorf("write pending updates: %w", err)
	}
	clear(s.noted)
	for h := range unreported {
		s.noted[h] = true
	}
	return nil
}

func (w *work) size() int {
	if w.rows == nil {
		return 1
	}
	return 1 + w.rows.Len()
}

func (s *Store) writeBatch(tx *bbolt.Tx, batch []*work) error {
	for _, w := range batch {
		var rows []peerapi.Row
		if w.rows != nil {
			rows = make([]peerapi.Row, 0, w.rows.Len())
			w.rows.Ascend(func(r peerapi.Row) bool { rows = append(rows, r); return true })
		}
		if err := s.writeIndex(tx, w, rows); err != nil {
			return err
		}
	}
	return nil
}

// writeLarge takes several transactions for one index.
func (s *Store) writeLarge(w *work) error {
	rows := make([]peerapi.Row, 0, w.rows.Len())
	w.rows.Ascend(func(r peerapi.Row) bool { rows = append(rows, r); return true })
	for chunk := range slices.Chunk(rows, txRowsMax) {
		if err := s.update(func(tx *bbolt.Tx) error { return s.writeIndex(tx, w, chunk) }); err != nil {
			return fmt.Errorf("write listings: %w", err)
		}
	}
	return nil
}

// writeIndex puts sorted rows and the info into an index's bucket.
func (s *Store) writeIndex(tx *bbolt.Tx, w *work, rows []peerapi.Row) error {
	h := w.x.key.Hash
	b, err := tx.Bucket(bucketIndexes).CreateBucketIfNotExists(h[:])
	if err != nil {
		return fmt.Errorf("make bucket %x: %w", h, err)
	}
	have := stored{Key: w.x.key}
	if raw := b.Get(keyInfo); raw != nil {
		if err := decode(raw, &have); err != nil {
			return err
		}
	}
	have.Key = w.x.key
	counts := have.Info
	have.Info = w.info
	have.Info.Count, have.Info.Bytes, have.Info.Objects = counts.Count, counts.Bytes, counts.Objects
	b.FillPercent = fillRandom
	if last, _ := b.Cursor().Last(); len(rows) > 0 && bytes.Compare(last, appendRowKey(nil, rows[0].Name)) < 0 {
		b.FillPercent = fillOrdered
	}
	horizon := s.horizon(have.Info, w.x.key)
	for _, r := range rows {
		if err := have.putRow(b, dueOf(tx, h), r, horizon); err != nil {
			return err
		}
	}
	raw, err := encode(have)
	if err != nil {
		return err
	}
	if err := b.Put(keyInfo, raw); err != nil {
		return fmt.Errorf("put info of %x: %w", h, err)
	}
	return nil
}

// horizon is the age at which an index's tombstones need not be kept: no row so old would be let in any more, or it is older than the reclaim age.
func (s *Store) horizon(i peerapi.IndexInfo, key peerapi.Key) clock.Timestamp {
	at := s.reclaimed()
	if !isAccount(key) {
		at = max(at, i.Deleted)
	}
	return at
}

// putRow merges one row into the tree, and into the counts kept with it.
func (have *stored) putRow(b *bbolt.Bucket, due dueIndex, r peerapi.Row, horizon clock.Timestamp) error {
	key := appendRowKey(make([]byte, 0, len(r.Name)+1), r.Name)
	var old peerapi.Row
	if raw := b.Get(key); raw != nil {
		var err error
		if old, err = decodeRow(r.Name, raw, nil); err != nil {
			return err
		}
		if !r.Supersedes(old) {
			return nil
		}
		have.tally(old, -1)
	}
	if err := due.replace(old, r); err != nil {
		return err
	}
	if r.Deleted && r.Timestamp <= horizon {
		if err := b.Delete(key); err != nil {
			return fmt.Errorf("delete row %q: %w", r.Name, err)
		}
		return nil
	}
	have.tally(r, +1)
	if err := b.Put(key, appendRow(make([]byte, 0, 96), r)); err != nil {
		return fmt.Errorf("put row %q: %w", r.Name, err)
	}
	return nil
}

func (have *stored) tally(r peerapi.Row, sign int64) {
	count(&have.Info, r, sign)
	if r.Deleted {
		have.Tombstones += sign
	}
}

// Flush writes what waits to the tree now.
func (s *Store) Flush() error { return s.flush(true) }

// releasing tells whether there is something to release up to a position, and remembers it.
func (t *tracker) releasing(upto engine.Position) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if upto <= t.released {
		return false
	}
	t.released = upto
	return true
}

// update runs one transaction of the tree.
func (s *Store) update(fn func(*bbolt.Tx) error) error {
	if err := s.cfg.BeforeTree(); err != nil {
		return err
	}
	return s.db.Update(fn)
}
