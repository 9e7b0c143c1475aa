package listing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.etcd.io/bbolt"

	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// Update is rows that other devices are to be told of. It is also what the journal's StreamPending holds.
type Update struct {
	Targets []peerapi.Target `cbor:"1,keyasint"`
	Merge   peerapi.Merge    `cbor:"2,keyasint"`
	// Object is set while it is not known whether the object that the row speaks of was ever written: after a crash, the entry may be there without it.
	Object *peerapi.Key `cbor:"3,keyasint,omitempty"`
}

// Item is one row that one device is to be told of.
type Item struct {
	Target   peerapi.Target
	Merge    peerapi.Merge // of one row
	Object   *peerapi.Key  // see Update
	key      itemKey
	fromTree bool // it was read from the tree
}

type itemKey struct {
	container ring.Hash
	name      string
}

// queueItem is an item in the tree.
type queueItem struct {
	Merge  peerapi.Merge `cbor:"1,keyasint"`
	Object *peerapi.Key  `cbor:"2,keyasint,omitempty"`
}

type backlog map[peerapi.Target]map[itemKey]Item

// pending is the queue: new items in memory (and in the journal), older ones in the tree. One item a target and name: the newest row.
type pending struct {
	mu     sync.Mutex // guards the fields below
	active backlog
	frozen backlog
	inTree map[peerapi.Target]int
	wake   func(peerapi.Target)
}

func (p *pending) add(u Update, unsure bool) {
	p.mu.Lock()
	wake := p.wake
	if p.active == nil {
		p.active = backlog{}
	}
	for _, t := range u.Targets {
		for _, r := range u.Merge.Rows {
			it := Item{Target: t, Merge: u.Merge, key: itemKey{u.Merge.Key.Hash, r.Name}}
			it.Merge.Rows = []peerapi.Row{r}
			if unsure {
				it.Object = u.Object
			}
			p.active.put(it)
		}
	}
	p.mu.Unlock()
	if wake != nil {
		for _, t := range u.Targets {
			wake(t)
		}
	}
}

func (b backlog) put(it Item) {
	of := b[it.Target]
	if of == nil {
		of = map[itemKey]Item{}
		b[it.Target] = of
	}
	// The same row, now known to be true, takes the place of the unsure one.
	if old, had := of[it.key]; !had || !old.Merge.Rows[0].Supersedes(it.Merge.Rows[0]) {
		of[it.key] = it
	}
}

// frozenPending is what a flush takes to the tree.
type frozenPending struct {
	items backlog
	grown map[peerapi.Target]int
}

func (f *frozenPending) empty() bool { return len(f.items) == 0 }

func (p *pending) freeze() *frozenPending {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen, p.active = p.active, nil
	} else {
		both := backlog{}
		for _, b := range []backlog{p.frozen, p.active} {
			for _, of := range b {
				for _, it := range of {
					both.put(it)
				}
			}
		}
		p.frozen, p.active = both, nil
	}
	// A copy: items that are delivered meanwhile leave the one in p.
	f := &frozenPending{items: backlog{}, grown: map[peerapi.Target]int{}}
	for _, of := range p.frozen {
		for _, it := range of {
			f.items.put(it)
		}
	}
	return f
}

// thaw ends a flush. Items that were delivered while it wrote them are in the tree now, and nobody may be looking any more: so the devices are named again.
func (p *pending) thaw(f *frozenPending, err error) {
	if err != nil {
		return
	}
	p.mu.Lock()
	p.frozen = nil
	for t, n := range f.grown {
		p.grow(t, n)
	}
	wake := p.wake
	p.mu.Unlock()
	if wake == nil {
		return
	}
	for t := range f.items {
		wake(t)
	}
}

func (p *pending) grow(t peerapi.Target, n int) {
	if p.inTree == nil {
		p.inTree = map[peerapi.Target]int{}
	}
	if p.inTree[t] += n; p.inTree[t] <= 0 {
		delete(p.inTree, t)
	}
}

func targetKey(t peerapi.Target) []byte { return []byte(t.Peer + "\x00" + t.Device) }

func (k itemKey) bytes() []byte {
	return append(append(make([]byte, 0, 16+len(k.name)), k.container[:]...), k.name...)
}

// write puts the items into the tree, over older rows of the same names.
func (f *frozenPending) write(tx *bbolt.Tx) error {
	clear(f.grown)
	for t, of := range f.items {
		b, err := tx.Bucket(bucketPending).CreateBucketIfNotExists(targetKey(t))
		if err != nil {
			return fmt.Errorf("make queue of %s/%s: %w", t.Peer, t.Device, err)
		}
		for k, it := range of {
			key := k.bytes()
			if raw := b.Get(key); raw != nil {
				var old queueItem
				if err := decode(raw, &old); err != nil {
					return err
				}
				if len(old.Merge.Rows) == 1 && old.Merge.Rows[0].Supersedes(it.Merge.Rows[0]) {
					continue
				}
			} else {
				f.grown[t]++
			}
			raw, err := encode(queueItem{Merge: it.Merge, Object: it.Object})
			if err != nil {
				return err
			}
			if err := b.Put(key, raw); err != nil {
				return fmt.Errorf("queue row %q: %w", k.name, err)
			}
		}
	}
	return nil
}

// load counts what the tree holds.
func (p *pending) load(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		top := tx.Bucket(bucketPending)
		return top.ForEachBucket(func(k []byte) error {
			peer, device, ok := strings.Cut(string(k), "\x00")
			if !ok {
				return errs.New(errs.Corrupt, "queue %q has no device", k)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.grow(peerapi.Target{Peer: peer, Device: device}, top.Bucket(k).Stats().KeyN)
			return nil
		})
	})
}

// OnPending sets what is called, without blocking, when there is something to tell a device.
func (s *Store) OnPending(wake func(peerapi.Target)) {
	s.pending.mu.Lock()
	defer s.pending.mu.Unlock()
	s.pending.wake = wake
}

// Intended is an update whose delivery is under way. End it with Done, once.
type Intended struct {
	store  *Store
	update Update
	ticket *ticket
	// Intent goes with the object's record, so that the update is not forgotten if the process dies before the devices are told.
	Intent *engine.Intent
}

// Intend begins an update that is to be told after an object (u.Object) has been written.
func (s *Store) Intend(ctx context.Context, u Update) (*Intended, error) {
	if err := s.room(ctx); err != nil {
		return nil, err
	}
	b, err := encode(u)
	if err != nil {
		return nil, err
	}
	return &Intended{store: s, update: u, ticket: s.intents.begin(), Intent: &engine.Intent{Entry: b}}, nil
}

// Done ends the update: all targets were told (or nothing was written), but for those left, which are queued. When it returns nil, that is durable.
func (i *Intended) Done(ctx context.Context, left []peerapi.Target) error {
	s, at := i.store, i.Intent.Position
	if len(left) == 0 {
		s.intents.end(i.ticket, at)
		if at != 0 {
			s.touch(0)
		}
		return nil
	}
	u := i.update
	u.Targets, u.Object = left, nil
	if at == 0 {
		var err error
		if at, err = s.appendUpdate(ctx, u); err != nil {
			s.intents.end(i.ticket, 0)
			return err
		}
	}
	s.pending.add(u, false)
	s.intents.end(i.ticket, at)
	s.touch(len(left) * len(u.Merge.Rows))
	return nil
}

// Doubt ends an update whose object was perhaps written, perhaps not: it is queued, marked as unsure, for the updater to look the object up.
func (i *Intended) Doubt() {
	i.store.pending.add(i.update, true)
	i.store.intents.end(i.ticket, i.Intent.Position)
	i.store.touch(len(i.update.Targets))
}

func (s *Store) appendUpdate(ctx context.Context, u Update) (engine.Position, error) {
	b, err := encode(u)
	if err != nil {
		return 0, err
	}
	at, err := s.cfg.Journal.Append(ctx, engine.StreamPending, b)
	if err != nil {
		return 0, fmt.Errorf("queue listing update: %w", err)
	}
	return at, nil
}

// Enqueue queues an update; durable when it returns.
func (s *Store) Enqueue(ctx context.Context, u Update) error {
	i := &Intended{store: s, update: u, ticket: s.intents.begin(), Intent: &engine.Intent{}}
	return i.Done(ctx, u.Targets)
}

// Waiting gives the devices that there is something to tell, and how much.
func (s *Store) Waiting() map[peerapi.Target]int {
	p := &s.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[peerapi.Target]int{}
	for t, n := range p.inTree {
		all[t] += n
	}
	for _, b := range []backlog{p.active, p.frozen} {
		for t, of := range b {
			if len(of) > 0 {
				all[t] += len(of)
			}
		}
	}
	return all
}

var errEnough = errors.New("enough")

// Next gives up to limit items for a device; none: there is nothing left to tell it.
func (s *Store) Next(t peerapi.Target, limit int) ([]Item, error) {
	var items []Item
	s.pending.mu.Lock()
	for _, b := range []backlog{s.pending.frozen, s.pending.active} {
		for _, it := range b[t] {
			if len(items) < limit {
				items = append(items, it)
			}
		}
	}
	s.pending.mu.Unlock()
	if len(items) > 0 {
		return items, nil
	}
	err := s.eachQueued(t, func(it Item) bool {
		items = append(items, it)
		return len(items) < limit
	})
	return items, err
}

// eachQueued gives the items that the tree holds for a device, until fn has enough.
func (s *Store) eachQueued(t peerapi.Target, fn func(Item) bool) error {
	err := s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketPending).Bucket(targetKey(t))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			var q queueItem
			if err := decode(v, &q); err != nil {
				return err
			}
			if len(k) < 16 || len(q.Merge.Rows) != 1 {
				return errs.New(errs.Corrupt, "queue of %s/%s: an entry of %d rows", t.Peer, t.Device, len(q.Merge.Rows))
			}
			if !fn(Item{Target: t, Merge: q.Merge, Object: q.Object, fromTree: true, key: itemKey{ring.Hash(k[:16]), string(k[16:])}}) {
				return errEnough
			}
			return nil
		})
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return treeError(err)
}

// Told takes items off the queue, but for those that a newer row has replaced meanwhile.
func (s *Store) Told(items []Item) error {
	p := &s.pending
	inTree := items[:0:0]
	p.mu.Lock()
	for _, it := range items {
		for _, b := range []backlog{p.frozen, p.active} {
			if have, ok := b[it.Target][it.key]; ok && !have.Merge.Rows[0].Supersedes(it.Merge.Rows[0]) {
				delete(b[it.Target], it.key)
				if len(b[it.Target]) == 0 {
					delete(b, it.Target)
				}
			}
		}
		if it.fromTree {
			inTree = append(inTree, it)
		}
	}
	p.mu.Unlock()
	if len(inTree) == 0 {
		return nil
	}
	gone := map[peerapi.Target]int{}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		clear(gone)
		for _, it := range inTree {
			b := tx.Bucket(bucketPending).Bucket(targetKey(it.Target))
			if b == nil {
				continue
			}
			removed, err := it.remove(b)
			if err != nil {
				return err
			}
			gone[it.Target] += removed
		}
		return nil
	})
	if err != nil {
		return treeError(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, n := range gone {
		p.grow(t, -n)
	}
	return nil
}

func (it Item) remove(b *bbolt.Bucket) (int, error) {
	key := it.key.bytes()
	raw := b.Get(key)
	if raw == nil {
		return 0, nil
	}
	var q queueItem
	if err := decode(raw, &q); err != nil {
		return 0, err
	}
	if len(q.Merge.Rows) == 1 && q.Merge.Rows[0].Supersedes(it.Merge.Rows[0]) {
		return 0, nil
	}
	if err := b.Delete(key); err != nil {
		return 0, fmt.Errorf("take row %q off the queue: %w", it.key.name, err)
	}
	return 1, nil
}
