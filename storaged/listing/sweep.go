package listing

import (
	"bytes"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"henge/internal/clock"
	"henge/ring"
)

// sweepInterval is how often old tombstones are looked for; sweepChunk is how many indexes, or rows of one, are looked at in one transaction.
const (
	sweepInterval = 6 * time.Hour
	sweepChunk    = 2000
)

// Sweep removes tombstones that are older than the reclaim age, containers deleted so long ago, and updates queued for so long. Between transactions it stops
// if the store is closed. It says how many entries it removed.
func (s *Store) Sweep() (removed int, err error) {
	var after []byte
	for {
		found, last, err := s.findOld(after)
		if err != nil {
			return removed, err
		}
		for _, h := range found {
			n, err := s.sweepIndex(h)
			removed += n
			if err != nil {
				return removed, err
			}
		}
		if after = last; after == nil || s.stopping() {
			break
		}
	}
	n, err := s.sweepPending()
	return removed + n, err
}

func (s *Store) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// findOld looks through some indexes, those after a key, for what may have something to remove. last is nil at the end.
func (s *Store) findOld(after []byte) (found []ring.Hash, last []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		top := tx.Bucket(bucketIndexes)
		c := top.Cursor()
		k, _ := c.Seek(after)
		if k != nil && bytes.Equal(k, after) {
			k, _ = c.Next()
		}
		for n := 0; k != nil; k, _ = c.Next() {
			var have stored
			if err := decode(top.Bucket(k).Get(keyInfo), &have); err != nil {
				return fmt.Errorf("index %x: %w", k, err)
			}
			if len(k) == len(ring.Hash{}) && (have.Tombstones > 0 || s.over(have)) {
				found = append(found, ring.Hash(k))
			}
			if n++; n == sweepChunk {
				last = bytes.Clone(k)
				return nil
			}
		}
		return nil
	})
	return found, last, treeError(err)
}

// over tells whether an index was deleted so long ago that nothing need be known of it.
func (s *Store) over(have stored) bool {
	i := have.Info
	return !i.Exists() && i.Count == 0 && max(i.Created, i.Deleted, i.Timestamp) <= s.reclaimed()
}

func (s *Store) reclaimed() clock.Timestamp {
	return clock.FromTime(s.cfg.Clock.Now().Add(-s.cfg.ReclaimAge))
}

// sweepIndex removes the old tombstones of one index, or the index.
func (s *Store) sweepIndex(h ring.Hash) (removed int, err error) {
	after := keyInfo
	for after != nil && !s.stopping() {
		n := 0
		n, after, err = s.sweepRows(h, after)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	gone, err := s.forget(h)
	if gone {
		removed++
	}
	return removed, err
}

// forget removes an index that is over, and not in use.
func (s *Store) forget(h ring.Hash) (gone bool, err error) {
	s.mu.Lock()
	_, used := s.indexes[h]
	s.mu.Unlock()
	if have, err := s.loadInfo(h); used || err != nil || !s.over(have) || have.Tombstones != 0 {
		return false, err // of one that is used, the next sweep thinks again
	}
	err = s.update(func(tx *bbolt.Tx) error {
		top := tx.Bucket(bucketIndexes)
		b := top.Bucket(h[:])
		var have stored
		if b == nil {
			return nil
		}
		if err := decode(b.Get(keyInfo), &have); err != nil {
			return err
		}
		if gone = s.over(have) && have.Tombstones == 0; gone {
			return top.DeleteBucket(h[:])
		}
		return nil
	})
	return gone && err == nil, treeError(err)
}

// sweepRows removes the old tombstones among some rows; next is where to go on, nil at the end. Nothing is written when there are none.
func (s *Store) sweepRows(h ring.Hash, after []byte) (removed int, next []byte, err error) {
	var old [][]byte
	var horizon clock.Timestamp
	err = s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketIndexes).Bucket(h[:])
		if b == nil {
			return nil
		}
		var have stored
		if err := decode(b.Get(keyInfo), &have); err != nil {
			return err
		}
		horizon = s.horizon(have.Info, have.Key)
		c := b.Cursor()
		k, v := c.Seek(after)
		for n := 0; k != nil; k, v = c.Next() {
			if !bytes.Equal(k, after) {
				if r, err := decodeRow(string(k[1:]), v, nil); err != nil {
					return err
				} else if r.Deleted && r.Timestamp <= horizon {
					old = append(old, bytes.Clone(k))
				}
			}
			if n++; n == sweepChunk {
				next = bytes.Clone(k)
				return nil
			}
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return 0, next, treeError(err)
	}
	removed, err = s.removeRows(h, old, horizon)
	return removed, next, err
}

// removeRows deletes rows that are still tombstones no newer than the horizon.
func (s *Store) removeRows(h ring.Hash, old [][]byte, horizon clock.Timestamp) (removed int, err error) {
	err = s.update(func(tx *bbolt.Tx) error {
		removed = 0
		b := tx.Bucket(bucketIndexes).Bucket(h[:])
		if b == nil {
			return nil
		}
		var have stored
		if err := decode(b.Get(keyInfo), &have); err != nil {
			return err
		}
		for _, k := range old {
			r, err := decodeRow(string(k[1:]), b.Get(k), nil)
			if err != nil || !r.Deleted || r.Timestamp > horizon {
				continue // it was written anew since
			}
			if err := b.Delete(k); err != nil {
				return fmt.Errorf("delete row %q: %w", r.Name, err)
			}
			have.Tombstones--
			removed++
		}
		have.Swept = clock.FromTime(s.cfg.Clock.Now())
		raw, err := encode(have)
		if err != nil {
			return err
		}
		return b.Put(keyInfo, raw)
	})
	return removed, treeError(err)
}

// sweepPending takes updates off the queue that waited longer than anybody remembers: their device is gone for good, or needs to be filled anew.
func (s *Store) sweepPending() (removed int, err error) {
	for t := range s.Waiting() {
		var old []Item
		err := s.eachQueued(t, func(it Item) bool {
			if it.Merge.Rows[0].Timestamp <= s.reclaimed() && it.Merge.Rows[0].Counted <= s.reclaimed() {
				old = append(old, it)
			}
			return len(old) < sweepChunk
		})
		if err != nil {
			return removed, err
		}
		if err := s.Told(old); err != nil {
			return removed, err
		}
		removed += len(old)
	}
	return removed, nil
}
