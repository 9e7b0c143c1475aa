package core

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"henge/internal/errs"
	"henge/ring"
)

// turns lets writes of one name through this proxy go one after the other. The register would sort them out as well; this saves it the trouble, and the clients the
// rare answer that it cannot.
type turns struct {
	mu    sync.Mutex // guards the fields below
	queue map[ring.Hash]*turn
}

type turn struct {
	free    chan struct{} // holds one token
	waiting int
}

// take waits for the name's turn; release gives it on.
func (q *turns) take(ctx context.Context, h ring.Hash) (release func(), err error) {
	q.mu.Lock()
	if q.queue == nil {
		q.queue = make(map[ring.Hash]*turn)
	}
	t := q.queue[h]
	if t == nil {
		t = &turn{}
		q.queue[h] = t
	} else if t.free == nil {
		t.free = make(chan struct{}, 1)
	}
	t.waiting++
	first := t.waiting == 1
	free := t.free
	q.mu.Unlock()
	if !first {
		select {
		case <-free:
		case <-ctx.Done():
			q.leave(h, t, false)
			return nil, errs.New(errs.KindOf(ctx.Err()), "wait for earlier writes of the same name: %w", ctx.Err())
		}
	}
	return func() { q.leave(h, t, true) }, nil
}

// leave ends the part of one; held tells whether it had the turn.
func (q *turns) leave(h ring.Hash, t *turn, held bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.waiting--
	if t.waiting == 0 {
		delete(q.queue, h)
	} else if held {
		t.free <- struct{}{} // never blocks: there is one token
	}
}

// contendedFor is how long a name counts as contended after a write of it was refused somewhere.
const contendedFor = 10 * time.Second

// contended remembers, for a while and for some names, that writers got in each other's way. Before a plain write of such a name, its primaries are asked.
type contended struct {
	slots [1024]struct {
		name  atomic.Uint64
		until atomic.Int64
	}
}

func (x *contended) mark(c *Core, h ring.Hash) {
	n := binary.BigEndian.Uint64(h[8:])
	s := &x.slots[n%uint64(len(x.slots))]
	s.name.Store(n)
	s.until.Store(c.time.Now().Add(contendedFor).UnixNano())
}

func (x *contended) is(c *Core, h ring.Hash) bool {
	n := binary.BigEndian.Uint64(h[8:])
	s := &x.slots[n%uint64(len(x.slots))]
	return s.name.Load() == n && s.until.Load() > c.time.Now().UnixNano()
}
