package listing

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"henge/ring"
	"henge/storaged/peerapi"
)

// Rows with a DeleteAt stand in the tree a second time, ordered by it: whoever removes what has expired reads the front of that order, and nothing else. The
// entries are written in the transactions that write the rows, so that they are neither lost nor left over, whatever ends the process.

const dueHead = 8 + len(ring.Hash{})

// dueKey makes the entry of a row: when, in which index, which name.
func dueKey(at int64, h ring.Hash, name string) []byte {
	b := make([]byte, 0, dueHead+len(name))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(b, h[:]...)
	return append(b, name...)
}

func expires(r peerapi.Row) bool { return r.DeleteAt > 0 && !r.Deleted }

// dueIndex is one index's share of the order, in a transaction.
type dueIndex struct {
	bucket *bbolt.Bucket
	hash   ring.Hash
}

func dueOf(tx *bbolt.Tx, h ring.Hash) dueIndex { return dueIndex{tx.Bucket(bucketDue), h} }

// replace keeps the order in step with a row that comes in place of old; either may be empty.
func (d dueIndex) replace(old, now peerapi.Row) error {
	was, is := expires(old), expires(now)
	if was && is && old.DeleteAt == now.DeleteAt {
		return nil
	}
	if was {
		if err := d.bucket.Delete(dueKey(old.DeleteAt, d.hash, old.Name)); err != nil {
			return fmt.Errorf("forget when %q expires: %w", old.Name, err)
		}
	}
	if is {
		if err := d.bucket.Put(dueKey(now.DeleteAt, d.hash, now.Name), nil); err != nil {
			return fmt.Errorf("note when %q expires: %w", now.Name, err)
		}
	}
	return nil
}

// Due gives rows of containers whose DeleteAt is not after now (seconds since 1970), the earliest first, at most limit of them. next is where to go on, nil at the end.
// Rows that came within the last seconds may be missing: they are not in the tree yet.
func (s *Store) Due(now int64, after []byte, limit int) (due []peerapi.DueRow, next []byte, err error) {
	r := dueReader{keys: map[ring.Hash]peerapi.Key{}}
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketDue).Cursor()
		k, _ := c.Seek(after)
		if k != nil && bytes.Equal(k, after) {
			k, _ = c.Next()
		}
		var last []byte
		for n := 0; isDue(k, now); k, _ = c.Next() {
			if n == limit {
				next = last
				return nil
			}
			last = bytes.Clone(k)
			n++
			if err := r.read(tx, last); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(r.stray) > 0 {
		err = s.update(func(tx *bbolt.Tx) error { return dropStray(tx, r.stray) })
	}
	return r.due, next, treeError(err)
}

func isDue(entry []byte, now int64) bool {
	return len(entry) > dueHead && int64(binary.BigEndian.Uint64(entry)) <= now
}

// dueReader finds the rows that entries speak of.
type dueReader struct {
	keys  map[ring.Hash]peerapi.Key
	due   []peerapi.DueRow
	stray [][]byte // entries that speak of no row: its index was given up
}

func (r *dueReader) read(tx *bbolt.Tx, entry []byte) error {
	h, name := ring.Hash(entry[8:dueHead]), string(entry[dueHead:])
	row, info, err := rowOfEntry(tx, h, name)
	if err != nil {
		return err
	}
	if !expires(row) || row.DeleteAt != int64(binary.BigEndian.Uint64(entry)) {
		r.stray = append(r.stray, entry)
		return nil
	}
	key, known := r.keys[h]
	if !known {
		var have stored
		if err := decode(info, &have); err != nil {
			return err
		}
		key, r.keys[h] = have.Key, have.Key
	}
	r.due = append(r.due, peerapi.DueRow{Container: key, Row: row})
	return nil
}

// rowOfEntry gives the row, empty when there is none, and what its index's bucket holds besides.
func rowOfEntry(tx *bbolt.Tx, h ring.Hash, name string) (row peerapi.Row, info []byte, err error) {
	b := tx.Bucket(bucketIndexes).Bucket(h[:])
	if b == nil {
		return row, nil, nil
	}
	if raw := b.Get(appendRowKey(nil, name)); raw != nil {
		row, err = decodeRow(name, raw, nil)
	}
	return row, b.Get(keyInfo), err
}

func dropStray(tx *bbolt.Tx, entries [][]byte) error {
	for _, e := range entries {
		row, _, err := rowOfEntry(tx, ring.Hash(e[8:dueHead]), string(e[dueHead:]))
		if err != nil {
			return err
		}
		if expires(row) && row.DeleteAt == int64(binary.BigEndian.Uint64(e)) {
			continue // written since
		}
		if err := tx.Bucket(bucketDue).Delete(e); err != nil {
			return fmt.Errorf("forget when a row expires that is not there: %w", err)
		}
	}
	return nil
}

// keyDue in the meta bucket says that the order has all rows: files of the time before it have none of theirs in it.
var (
	keyDue   = []byte("due")
	dueWhole = []byte("whole")
)

// prepareDue makes the bucket in a file that is older.
func (s *Store) prepareDue() error {
	if s.ordered {
		return nil
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketDue)
		return err
	})
}

// fillDue orders the rows of a file that is older. What fails is tried again when the file is next opened.
func (s *Store) fillDue() {
	if err := s.fillDueIn(); err != nil {
		s.cfg.Log.Error("rows of an older file are not all ordered by when they expire", "path", s.cfg.Path, "error", err)
	}
}

// fillDueIn brings rows into the order, some at a time; what is written meanwhile is in it anyhow. It may be cut anywhere.
func (s *Store) fillDueIn() error {
	var at duePlace
	for !s.stopping() {
		var found []peerapi.DueRow
		if err := s.db.View(func(tx *bbolt.Tx) (err error) {
			found, err = at.scan(tx)
			return err
		}); err != nil {
			return treeError(err)
		}
		done := at.index == nil
		if len(found) == 0 && !done {
			continue
		}
		if err := s.update(func(tx *bbolt.Tx) error {
			if err := addDue(tx, found); err != nil || !done {
				return err
			}
			return tx.Bucket(bucketMeta).Put(keyDue, dueWhole)
		}); err != nil || done {
			return treeError(err)
		}
	}
	return nil
}

// addDue brings rows into the order that are in the tree still.
func addDue(tx *bbolt.Tx, rows []peerapi.DueRow) error {
	for _, d := range rows {
		row, _, err := rowOfEntry(tx, d.Container.Hash, d.Row.Name)
		if err != nil {
			return err
		}
		if err := dueOf(tx, d.Container.Hash).replace(peerapi.Row{}, row); err != nil {
			return err
		}
	}
	return nil
}

// duePlace is how far fillDue has come: behind a row of an index. At the start and at the end index is nil.
type duePlace struct{ index, row []byte }

// scan looks at some rows and gives those that expire.
func (p *duePlace) scan(tx *bbolt.Tx) (found []peerapi.DueRow, err error) {
	top := tx.Bucket(bucketIndexes)
	c := top.Cursor()
	h, _ := c.Seek(p.index)
	for n := 0; h != nil; h, _ = c.Next() {
		rows := top.Bucket(h).Cursor()
		from := keyInfo
		if bytes.Equal(h, p.index) {
			from = p.row
		}
		k, v := rows.Seek(from)
		for ; k != nil; k, v = rows.Next() {
			if n++; n > sweepChunk {
				p.index, p.row = bytes.Clone(h), bytes.Clone(k)
				return found, nil
			}
			if len(k) < 2 || k[0] != 1 {
				continue
			}
			row, err := decodeRow(string(k[1:]), v, nil)
			if err != nil {
				return nil, err
			}
			if expires(row) {
				found = append(found, peerapi.DueRow{Container: peerapi.Key{Hash: ring.Hash(h)}, Row: row})
			}
		}
	}
	p.index, p.row = nil, nil
	return found, nil
}
