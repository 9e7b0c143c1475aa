package rings

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"henge/cluster/state"
	"henge/ring"
)

// Book holds a cluster's current rings and policies. All methods are safe for concurrent use; looking things up takes no lock. What it gives is never
// modified: a change makes a new one.
type Book struct {
	store state.Store
	log   *slog.Logger
	page  atomic.Pointer[page]
}

// page is one moment's content.
type page struct {
	index    state.Index
	rings    map[string]*ring.Ring
	objects  []*ring.Ring // by policy index
	policies []Policy     // by index
	replaced chan struct{}
}

// Open reads what is there now. The Book follows the changes while Run runs.
func Open(ctx context.Context, store state.Store, log *slog.Logger) (*Book, error) {
	b := &Book{store: store, log: log}
	first := &page{rings: map[string]*ring.Ring{}, replaced: make(chan struct{})}
	err := store.View(ctx, func(r state.Reader) error {
		first.index = r.Index()
		for key := range r.Scan(ringPrefix) {
			name := strings.TrimPrefix(key, ringPrefix)
			current, err := PublishedRing(r, name)
			if err != nil {
				return err
			}
			first.rings[name] = current
		}
		var err error
		first.policies, err = Policies(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the rings: %w", err)
	}
	first.sortObjects()
	b.page.Store(first)
	return b, nil
}

// sortObjects lays the object rings out by policy.
func (p *page) sortObjects() {
	p.objects = nil
	for name, r := range p.rings {
		policy, ok := PolicyOf(name)
		if !ok {
			continue
		}
		if policy >= len(p.objects) {
			p.objects = append(p.objects, make([]*ring.Ring, policy+1-len(p.objects))...)
		}
		p.objects[policy] = r
	}
}

// Run follows the changes until ctx ends (then it returns nil) or the watch breaks. A ring that cannot be read is logged, and the one before stays in use.
func (b *Book) Run(ctx context.Context) error {
	for event, err := range b.store.Watch(ctx, placementPrefix, b.page.Load().index) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch the rings: %w", err)
		}
		b.turn(event)
	}
	return nil
}

// turn makes the next page.
func (b *Book) turn(event state.Event) {
	old := b.page.Load()
	next := &page{index: event.Index, rings: maps.Clone(old.rings), policies: slices.Clone(old.policies), replaced: make(chan struct{})}
	if event.Reset {
		next.policies = nil
		clear(next.rings)
	}
	for _, c := range event.Changes {
		if name, ok := strings.CutPrefix(c.Key, ringPrefix); ok {
			b.turnRing(old, next, name, c)
		} else if strings.HasPrefix(c.Key, policyTable().Prefix()) {
			b.turnPolicy(next, c)
		}
	}
	slices.SortFunc(next.policies, func(x, y Policy) int { return cmp.Compare(x.Index, y.Index) })
	next.sortObjects()
	b.page.Store(next)
	close(old.replaced)
}

func (b *Book) turnRing(old, next *page, name string, c state.Change) {
	if c.Deleted {
		delete(next.rings, name)
		return
	}
	r, err := ring.ReadRing(bytes.NewReader(c.Value))
	if err != nil {
		b.log.Error("a published ring cannot be read, the one before stays in use", "ring", name, "error", err)
		if before := old.rings[name]; before != nil {
			next.rings[name] = before
		}
		return
	}
	next.rings[name] = r
	if before := old.rings[name]; before == nil || before.Digest() != r.Digest() {
		b.log.Info("new ring", "ring", name, "version", r.Version(), "digest", r.Digest(), "devices", len(r.Devices()))
	}
}

func (b *Book) turnPolicy(next *page, c state.Change) {
	id, p, err := policyTable().Decode(c)
	if err != nil {
		b.log.Error("a storage policy cannot be read", "policy", id, "error", err)
		return
	}
	next.policies = slices.DeleteFunc(next.policies, func(o Policy) bool { return fmt.Sprint(o.Index) == id })
	if !c.Deleted {
		next.policies = append(next.policies, p)
	}
}

// Ring is the current ring of that name; nil when none is published.
func (b *Book) Ring(name string) *ring.Ring { return b.page.Load().rings[name] }

// Object is the current ring of a storage policy; nil when none is published.
func (b *Book) Object(policy int) *ring.Ring {
	objects := b.page.Load().objects
	if policy < 0 || policy >= len(objects) {
		return nil
	}
	return objects[policy]
}

// Version is the version of the current ring of that name; 0 when none is published.
func (b *Book) Version(name string) uint64 {
	if r := b.Ring(name); r != nil {
		return r.Version()
	}
	return 0
}

// Versions are the versions of all rings by name: what a peer tells the others.
func (b *Book) Versions() map[string]uint64 {
	out := map[string]uint64{}
	for name, r := range b.page.Load().rings {
		out[name] = r.Version()
	}
	return out
}

// Policies are the storage policies by index. Do not modify them.
func (b *Book) Policies() []Policy { return b.page.Load().policies }

// Changed gives a channel that is closed when something in the Book changes after this call. Take it first, then look, then wait.
func (b *Book) Changed() <-chan struct{} { return b.page.Load().replaced }
