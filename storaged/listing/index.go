package listing

import (
	"context"
	"sync"

	"github.com/google/btree"
	"go.etcd.io/bbolt"

	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
)

// index is one container or account in memory: only while it is used, or has rows that the tree does not have yet.
type index struct {
	key   peerapi.Key
	gate  gate
	users int // guarded by Store.mu

	mu     sync.Mutex // guards the fields below
	loaded bool
	info   peerapi.IndexInfo          // as a client is to see it: tree and overlay together
	fresh  bool                       // info is not in the tree as it is
	active *btree.BTreeG[peerapi.Row] // rows that are newer than the tree's; nil when there are none
	frozen *btree.BTreeG[peerapi.Row] // rows on their way to the tree
	turns  int                        // how often frozen rows have reached the tree
}

func byName(a, b peerapi.Row) bool { return a.Name < b.Name }

const btreeDegree = 32

// acquire finds an index and what is known of it. release it.
func (s *Store) acquire(key peerapi.Key) (*index, error) {
	s.mu.Lock()
	x := s.indexes[key.Hash]
	if x == nil {
		x = &index{key: key}
		s.indexes[key.Hash] = x
	}
	x.users++
	s.mu.Unlock()

	if err := x.load(s); err != nil {
		s.release(x)
		return nil, err
	}
	return x, nil
}

func (x *index) load(s *Store) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.loaded {
		return nil
	}
	have, err := s.loadInfo(x.key.Hash)
	if err != nil {
		return err
	}
	x.info, x.loaded = have.Info, true
	return nil
}

func (s *Store) loadInfo(h ring.Hash) (stored, error) {
	var have stored
	err := s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketIndexes).Bucket(h[:])
		if b == nil {
			return nil
		}
		return decode(b.Get(keyInfo), &have)
	})
	return have, treeError(err)
}

// treeError gives the tree's own errors a kind.
func treeError(err error) error {
	if err == nil || errs.KindOf(err) != errs.Internal {
		return err
	}
	return errs.New(errs.Unavailable, "listings: %w", err)
}

// release forgets an index that nobody uses and that the tree knows whole.
func (s *Store) release(x *index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.users--
	if x.users > 0 {
		return
	}
	x.mu.Lock()
	clean := x.active == nil && x.frozen == nil && !x.fresh
	x.mu.Unlock()
	if clean && s.indexes[x.key.Hash] == x {
		delete(s.indexes, x.key.Hash)
	}
}

// snapshot gives the info and the overlays as they are now; they are the caller's to read.
func (x *index) snapshot() (info peerapi.IndexInfo, active, frozen *btree.BTreeG[peerapi.Row]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.active != nil {
		active = x.active.Clone()
	}
	return x.info, active, x.frozen
}

// change applies a change of the index itself; it says how much there is to write.
func (x *index) change(c peerapi.IndexChange) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&x.info, c)
	x.fresh = true
	return 1
}

// bring makes the container that rows bring along, and the account that rows make.
func (x *index) bring(m peerapi.Merge) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.info.Exists() {
		return
	}
	if m.Created > x.info.Deleted {
		create(&x.info, m.Created, m.Policy)
		x.fresh = true
	}
	if !isAccount(x.key) {
		return
	}
	for _, r := range m.Rows {
		if !r.Deleted {
			create(&x.info, max(r.Timestamp, x.info.Deleted+1), 0)
			x.fresh = true
		}
	}
}

// bases is what the tree holds under the names of rows that are to be put, and at which turn it was read.
type bases struct {
	rows  map[string]peerapi.Row
	turns int
}

// readBases looks the rows' names up in the tree, with no lock held.
func (x *index) readBases(db *bbolt.DB, rows []peerapi.Row) (*bases, error) {
	x.mu.Lock()
	b := &bases{turns: x.turns}
	x.mu.Unlock()
	return b, b.read(db, x.key.Hash, rows)
}

func (b *bases) read(db *bbolt.DB, h ring.Hash, rows []peerapi.Row) error {
	clear(b.rows)
	return treeError(db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketIndexes).Bucket(h[:])
		if bucket == nil {
			return nil
		}
		var stack [64]byte
		for _, r := range rows {
			raw := bucket.Get(appendRowKey(stack[:0], r.Name))
			if raw == nil {
				continue
			}
			old, err := decodeRow(r.Name, raw, nil)
			if err != nil {
				return err
			}
			if b.rows == nil {
				b.rows = make(map[string]peerapi.Row, len(rows))
			}
			b.rows[r.Name] = old
		}
		return nil
	}))
}

// put merges rows into the overlay and keeps the counts. base may be nil. It says how many rows the overlay has grown by.
func (x *index) put(db *bbolt.DB, rows []peerapi.Row, base *bases) (grown int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if base == nil || base.turns != x.turns {
		// The tree has moved on since it was read: read again, this once under the lock.
		base = &bases{}
		if err := base.read(db, x.key.Hash, rows); err != nil {
			return 0, err
		}
	}
	if x.active == nil {
		x.active = btree.NewG(btreeDegree, byName)
	}
	for _, r := range rows {
		if !isAccount(x.key) && r.Timestamp <= x.info.Deleted {
			continue
		}
		old, had := x.find(r.Name, base)
		if had && !r.Supersedes(old) {
			continue
		}
		if had {
			count(&x.info, old, -1)
		}
		count(&x.info, r, +1)
		if _, over := x.active.ReplaceOrInsert(r); !over {
			grown++
		}
	}
	if x.active.Len() == 0 {
		x.active = nil
	}
	return grown, nil
}

func (x *index) find(name string, base *bases) (peerapi.Row, bool) {
	if r, ok := x.active.Get(peerapi.Row{Name: name}); ok {
		return r, true
	}
	if x.frozen != nil {
		if r, ok := x.frozen.Get(peerapi.Row{Name: name}); ok {
			return r, true
		}
	}
	r, ok := base.rows[name]
	return r, ok
}

// count adds a row to the counts, or takes it away.
func count(i *peerapi.IndexInfo, r peerapi.Row, sign int64) {
	if r.Deleted {
		return
	}
	i.Count += sign
	i.Bytes += sign * r.Size
	i.Objects += sign * r.Count
}

// gate lets many merges through at once, or one change: a container must not be found empty and deleted while a row is on its way into the journal. It is
// held while the journal syncs, and gives up when its caller does.
type gate struct {
	mu      sync.Mutex // guards the fields below
	merging int
	changer bool
	wanting int           // changes that wait; merges that come later let them go first
	waiting chan struct{} // closed when something leaves
}

// enter waits for the gate; alone keeps all others out.
func (g *gate) enter(ctx context.Context, alone bool) error {
	wanted := false
	for {
		left := g.try(alone, wanted)
		if left == nil {
			return nil
		}
		wanted = alone
		select {
		case <-left:
		case <-ctx.Done():
			g.giveUp(alone)
			return errs.New(errs.KindOf(ctx.Err()), "wait for a change of the container: %w", ctx.Err())
		}
	}
}

// try enters, or gives what to wait for. wanted: it is not the first try of a change.
func (g *gate) try(alone, wanted bool) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if alone && !wanted {
		g.wanting++
	}
	switch {
	case alone && !g.changer && g.merging == 0:
		g.changer = true
		g.wanting--
		return nil
	case !alone && !g.changer && g.wanting == 0:
		g.merging++
		return nil
	}
	if g.waiting == nil {
		g.waiting = make(chan struct{})
	}
	return g.waiting
}

func (g *gate) giveUp(alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if alone {
		g.wanting--
		g.wakeAll()
	}
}

func (g *gate) wakeAll() {
	if g.waiting != nil {
		close(g.waiting)
		g.waiting = nil
	}
}

func (g *gate) leave(alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if alone {
		g.changer = false
	} else {
		g.merging--
	}
	g.wakeAll()
}
