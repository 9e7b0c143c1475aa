package state

import (
	"iter"
	"sync"
	"sync/atomic"
)

// Memo remembers what was made of the state: decoded rows, resolved tokens, answers ready to be sent. What is remembered is given again only where
// making it anew would read the very same rows: each Get compares the versions of the keys and of the scanned prefixes that it was made from with those of the
// caller's snapshot. So there is nothing to clear, nobody has to watch, and a change is seen by the first View after it.
//
// Values are shared: do not modify them. A Memo belongs to one Store. Safe for concurrent use.
type Memo[V any] struct {
	entriesMax int

	mu      sync.RWMutex // guards entries
	entries map[string]*memory[V]
}

// memory is one remembered value with what it was made from.
type memory[V any] struct {
	value V
	reads
	checked atomic.Uint64 // the index of the last snapshot that it was found to hold in
}

// reads are the versions of what was read.
type reads struct {
	keys     []Read
	prefixes []prefixRead
}

type prefixRead struct {
	prefix  string
	version Version
}

// Version stands for the content under a prefix in a snapshot: while it is the same, nothing under the prefix has changed. The other way round does not
// hold: a neighbour's change may make another version of the same content.
type Version <-chan struct{}

// Version gives the version of what lies under a prefix. The tree's nodes are never changed, only replaced, from the root down to what has changed; a node's channel
// is its identity.
func (s *Snapshot) Version(prefix string) Version {
	return s.tree.Root().Iterator().SeekPrefixWatch([]byte(prefix))
}

// NewMemo makes one of at most entriesMax values.
func NewMemo[V any](entriesMax int) *Memo[V] {
	return &Memo[V]{entriesMax: entriesMax, entries: map[string]*memory[V]{}}
}

// Get gives the value of key as of r's snapshot: the remembered one if it still holds, else what build makes of the Reader that it is given. build must read the
// state by that Reader alone, and what it makes must depend on key and on what it read, on nothing else. Errors are not remembered. Inside an
// Update nothing is: the transaction has to note its own reads.
func (m *Memo[V]) Get(r Reader, key string, build func(Reader) (V, error)) (V, error) {
	snapshot, outer := snapshotOf(r)
	if snapshot == nil {
		return build(r)
	}
	if e := m.lookup(key); e != nil && e.holds(snapshot) {
		outer.add(&e.reads)
		return e.value, nil
	}
	t := &tracker{Snapshot: snapshot}
	value, err := build(t)
	outer.add(&t.reads)
	if err != nil {
		return value, err
	}
	e := &memory[V]{value: value, reads: t.reads}
	e.checked.Store(uint64(snapshot.index))
	m.put(key, e)
	return value, nil
}

// snapshotOf finds what r reads, and who notes it when r is itself the Reader of a Memo.
func snapshotOf(r Reader) (*Snapshot, *tracker) {
	switch r := r.(type) {
	case *Snapshot:
		return r, nil
	case *tracker:
		return r.Snapshot, r
	}
	return nil, nil
}

func (m *Memo[V]) lookup(key string) *memory[V] {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.entries[key]
}

// put remembers; when there are too many, some other goes: which one does not matter, it is made again.
func (m *Memo[V]) put(key string, e *memory[V]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.entries[key]; !there && len(m.entries) >= m.entriesMax {
		for other := range m.entries {
			delete(m.entries, other)
			break
		}
	}
	m.entries[key] = e
}

// Drop forgets one value, to make room for others.
func (m *Memo[V]) Drop(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
}

// Len is how many are remembered.
func (m *Memo[V]) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.entries)
}

func (e *memory[V]) holds(s *Snapshot) bool {
	if e.checked.Load() == uint64(s.index) {
		return true
	}
	if !e.unchanged(s) {
		return false
	}
	e.checked.Store(uint64(s.index))
	return true
}

func (d *reads) unchanged(s *Snapshot) bool {
	for _, k := range d.keys {
		if e, _ := s.tree.Get([]byte(k.Key)); e.mod != k.Mod {
			return false
		}
	}
	for _, p := range d.prefixes {
		if s.Version(p.prefix) != p.version {
			return false
		}
	}
	return true
}

// tracker is the Reader that notes what is read.
type tracker struct {
	*Snapshot
	reads
}

// Get is Reader.Get.
func (t *tracker) Get(key string) ([]byte, bool) {
	e, ok := t.tree.Get([]byte(key))
	t.keys = append(t.keys, Read{key, e.mod}) // 0: that it was absent
	return e.value, ok
}

// Scan is Reader.Scan.
func (t *tracker) Scan(prefix string) iter.Seq2[string, []byte] {
	t.prefixes = append(t.prefixes, prefixRead{prefix, t.Version(prefix)})
	return t.Snapshot.Scan(prefix)
}

// add notes what something inside has read; nobody notes for nil.
func (t *tracker) add(inner *reads) {
	if t != nil {
		t.keys = append(t.keys, inner.keys...)
		t.prefixes = append(t.prefixes, inner.prefixes...)
	}
}

// rowsMax bounds the rows that Rows remembers.
const rowsMax = 16384

// Rows are a table's rows that stay decoded as long as they do not change. They are shared: do not modify them, nor what they point to.
type Rows[T any] struct {
	table Table[T]
	memo  *Memo[*T]
}

// NewRows remembers rows of a table, of one Store.
func NewRows[T any](t Table[T]) *Rows[T] { return &Rows[T]{t, NewMemo[*T](rowsMax)} }

// Get is Table.Get.
func (d *Rows[T]) Get(r Reader, id string) (*T, error) {
	return d.memo.Get(r, id, func(r Reader) (*T, error) {
		row, err := d.table.Get(r, id)
		return &row, err
	})
}

// Where is Table.Where.
func (d *Rows[T]) Where(r Reader, index, key string) iter.Seq2[*T, error] {
	return d.under(r, d.table.indexPrefix(index, key))
}

// All is Table.All.
func (d *Rows[T]) All(r Reader) iter.Seq2[*T, error] { return d.under(r, d.table.Prefix()) }

func (d *Rows[T]) under(r Reader, prefix string) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for key := range r.Scan(prefix) {
			row, err := d.Get(r, key[len(prefix):])
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}
