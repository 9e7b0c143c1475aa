package state

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Attempt is one run of an Update's function: a Writer on a snapshot that notes what was read and written. For one goroutine.
type Attempt struct {
	base   *Snapshot
	tree   *iradix.Tree[entry] // base, and the writes so far
	reads  map[string]Index
	ranges []Range
	writes map[string]Change
}

// Begin starts an attempt on the snapshot.
func (s *Snapshot) Begin() *Attempt {
	return &Attempt{base: s, tree: s.tree, reads: map[string]Index{}, writes: map[string]Change{}}
}

// Index is that of the snapshot.
func (a *Attempt) Index() Index { return a.base.index }

// Get finds a key's value, own writes included.
func (a *Attempt) Get(key string) ([]byte, bool) {
	if w, own := a.writes[key]; own {
		return w.Value, !w.Deleted
	}
	e, ok := a.base.tree.Get([]byte(key))
	a.reads[key] = e.mod // 0: that it was absent
	return e.value, ok
}

// Scan yields the keys that begin with prefix, as they were when the loop began, own writes included.
func (a *Attempt) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		read := Range{Prefix: prefix}
		defer func() { a.note(read) }() // a loop left early has read only up to its last key
		for e := range entries(a.tree, prefix) {
			if !yield(e.key, e.value) {
				read.Last = e.key
				return
			}
		}
	}
}

func (a *Attempt) note(r Range) {
	for e := range entries(a.base.tree, r.Prefix) {
		if r.Last != "" && e.key > r.Last {
			break
		}
		r.Count++
	}
	if !slices.Contains(a.ranges, r) {
		a.ranges = append(a.ranges, r)
	}
}

// Put writes a copy of value.
func (a *Attempt) Put(key string, value []byte) {
	value = append([]byte{}, value...)
	a.writes[key] = Change{Key: key, Value: value}
	a.tree, _, _ = a.tree.Insert([]byte(key), entry{key: key, value: value})
}

// Delete removes the key, if it is there.
func (a *Attempt) Delete(key string) {
	a.writes[key] = Change{Key: key, Deleted: true}
	a.tree, _, _ = a.tree.Delete([]byte(key))
}

// Transaction is what the attempt read and wrote.
func (a *Attempt) Transaction() *Transaction {
	tx := &Transaction{Base: a.base.index, Ranges: a.ranges}
	for key, mod := range a.reads {
		tx.Reads = append(tx.Reads, Read{key, mod})
	}
	slices.SortFunc(tx.Reads, func(x, y Read) int { return cmp.Compare(x.Key, y.Key) })
	tx.Writes = slices.SortedFunc(maps.Values(a.writes), func(x, y Change) int { return cmp.Compare(x.Key, y.Key) })
	return tx
}
