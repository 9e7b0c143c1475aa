package state

import (
	"context"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"henge/internal/errs"
)

// Machine is the state itself, without the question of who else has it: a sorted map with cheap snapshots, the check of a transaction's reads,
// and a bounded history for watchers. Memory and agreement (through Raft) both drive one. Safe for concurrent use; Apply and Restore are
// called by one goroutine at a time, in the order of the indexes.
type Machine struct {
	current atomic.Pointer[Snapshot]

	mu      sync.Mutex    // guards the fields below
	wake    chan struct{} // closed, and made anew, at every change
	history history
	closed  bool
}

// entry is one key's value and the index that last wrote it.
type entry struct {
	key   string
	value []byte
	mod   Index
}

// NewMachine makes an empty state at index 0.
func NewMachine() *Machine {
	m := &Machine{wake: make(chan struct{})}
	m.current.Store(&Snapshot{tree: iradix.New[entry]()})
	return m
}

// Snapshot is one moment of the state, and never changes. It is a Reader.
type Snapshot struct {
	tree  *iradix.Tree[entry]
	index Index
}

// Snapshot gives the present moment. It costs nothing.
func (m *Machine) Snapshot() *Snapshot { return m.current.Load() }

// Index is the number of the last update in the snapshot.
func (s *Snapshot) Index() Index { return s.index }

// Len counts the keys.
func (s *Snapshot) Len() int { return s.tree.Len() }

// Get finds a key's value.
func (s *Snapshot) Get(key string) ([]byte, bool) {
	e, ok := s.tree.Get([]byte(key))
	return e.value, ok
}

// Scan yields the keys that begin with prefix, in order.
func (s *Snapshot) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for e := range entries(s.tree, prefix) {
			if !yield(e.key, e.value) {
				return
			}
		}
	}
}

// Entries yields every key with the index that last wrote it: what a stored snapshot holds.
func (s *Snapshot) Entries() iter.Seq2[Change, Index] {
	return func(yield func(Change, Index) bool) {
		for e := range entries(s.tree, "") {
			if !yield(Change{Key: e.key, Value: e.value}, e.mod) {
				return
			}
		}
	}
}

func entries(tree *iradix.Tree[entry], prefix string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		it := tree.Root().Iterator()
		it.SeekPrefix([]byte(prefix))
		for _, e, ok := it.Next(); ok; _, e, ok = it.Next() {
			if !yield(e) {
				return
			}
		}
	}
}

// Valid tells whether everything that the transaction read is still so.
func (s *Snapshot) Valid(tx *Transaction) bool {
	for _, r := range tx.Reads {
		if e, _ := s.tree.Get([]byte(r.Key)); e.mod != r.Mod {
			return false
		}
	}
	for _, r := range tx.Ranges {
		if !s.unchanged(r, tx.Base) {
			return false
		}
	}
	return true
}

// unchanged: a key that was added or changed has a later index, and when none has, a key that went makes the count fall.
func (s *Snapshot) unchanged(r Range, base Index) bool {
	count := uint64(0)
	for e := range entries(s.tree, r.Prefix) {
		if r.Last != "" && e.key > r.Last {
			break
		}
		if e.mod > base {
			return false
		}
		count++
	}
	return count == r.Count
}

// Apply makes the transaction's writes the update numbered index, if its reads still hold; otherwise it changes nothing and answers false.
// Index must be greater than any applied before.
func (m *Machine) Apply(index Index, tx *Transaction) bool {
	old := m.Snapshot()
	if !old.Valid(tx) {
		return false
	}
	txn := old.tree.Txn()
	for _, w := range tx.Writes {
		if w.Deleted {
			txn.Delete([]byte(w.Key))
			continue
		}
		txn.Insert([]byte(w.Key), entry{key: w.Key, value: w.Value, mod: index})
	}
	next := &Snapshot{tree: txn.CommitOnly(), index: index}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current.Store(next)
	m.history.add(Event{Index: index, Changes: tx.Writes})
	m.wakeAll()
	return true
}

// Restore replaces the whole state. Watchers that cannot know what changed in between get a Reset.
func (m *Machine) Restore(index Index, content iter.Seq2[Change, Index]) {
	txn := iradix.New[entry]().Txn()
	for c, mod := range content {
		txn.Insert([]byte(c.Key), entry{key: c.Key, value: c.Value, mod: mod})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current.Store(&Snapshot{tree: txn.CommitOnly(), index: index})
	m.history = history{floor: index}
	m.wakeAll()
}

// wakeAll needs m.mu.
func (m *Machine) wakeAll() {
	if m.closed {
		return
	}
	close(m.wake)
	m.wake = make(chan struct{})
}

// Close ends all watches and waits, with errs.Unavailable. Snapshots stay readable. It may be called twice.
func (m *Machine) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		close(m.wake)
	}
}

// WaitFor returns once the update numbered index is in Snapshot.
func (m *Machine) WaitFor(ctx context.Context, index Index) error {
	for m.Snapshot().index < index {
		m.mu.Lock()
		wake, closed, reached := m.wake, m.closed, m.Snapshot().index >= index
		m.mu.Unlock()
		if reached {
			return nil
		}
		if closed {
			return errClosed()
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return errs.New(errs.KindOf(ctx.Err()), "wait for state index %d: %w", index, ctx.Err())
		}
	}
	return nil
}

func errClosed() error { return errs.New(errs.Unavailable, "the state store is closed") }

// Watch is Store.Watch on this machine.
func (m *Machine) Watch(ctx context.Context, prefix string, after Index) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for ctx.Err() == nil {
			events, wake, closed := m.since(prefix, after)
			for _, e := range events {
				if ctx.Err() != nil || !yield(e, nil) {
					return
				}
				after = e.Index
			}
			if len(events) > 0 {
				continue
			}
			if closed {
				yield(Event{}, errClosed())
				return
			}
			select {
			case <-wake:
			case <-ctx.Done():
			}
		}
	}
}

// since gathers what watchers of prefix at after have not seen, and what to wait on when that is nothing.
func (m *Machine) since(prefix string, after Index) (events []Event, wake <-chan struct{}, closed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if after < m.history.floor {
		return []Event{m.Snapshot().reset(prefix)}, nil, false
	}
	return m.history.after(prefix, after), m.wake, m.closed
}

func (s *Snapshot) reset(prefix string) Event {
	e := Event{Index: s.index, Reset: true}
	for key, value := range s.Scan(prefix) {
		e.Changes = append(e.Changes, Change{Key: key, Value: value})
	}
	return e
}

// How much history is kept for watchers: whichever bound is met first.
const (
	historyEventsMax = 4096
	historyBytesMax  = 8 << 20
)

// history is the last updates, oldest first; every update with an index greater than floor is there.
type history struct {
	floor  Index
	events []Event
	bytes  int
}

func (h *history) add(e Event) {
	h.events = append(h.events, e)
	h.bytes += e.bytes()
	drop := 0
	for drop < len(h.events) && (h.bytes > historyBytesMax || len(h.events)-drop > historyEventsMax) {
		h.bytes -= h.events[drop].bytes()
		h.floor = h.events[drop].Index
		h.events[drop] = Event{} // the array may live on for a while: let the values go
		drop++
	}
	h.events = h.events[drop:]
}

func (e Event) bytes() int {
	n := 64
	for _, c := range e.Changes {
		n += len(c.Key) + len(c.Value) + 64
	}
	return n
}

func (h *history) after(prefix string, after Index) (found []Event) {
	lo, hi := 0, len(h.events)
	for lo < hi {
		if mid := (lo + hi) / 2; h.events[mid].Index > after {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for _, e := range h.events[lo:] {
		var under []Change
		for _, c := range e.Changes {
			if strings.HasPrefix(c.Key, prefix) {
				under = append(under, c)
			}
		}
		if len(under) > 0 {
			found = append(found, Event{Index: e.Index, Changes: under})
		}
	}
	return found
}
