package core

import (
	"context"
	"fmt"
	"io"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// view is what the primaries of an object say, as far as they were asked.
type view struct {
	r      *replicas
	order  []int // whom to ask first
	tried  [replicasMax]bool
	known  [replicasMax]bool
	states [replicasMax]peerapi.State
	errs   []error
}

func (v *view) note(i int, s peerapi.State) {
	v.tried[i], v.known[i], v.states[i] = true, true, s
}

func (v *view) count() int {
	n := 0
	for _, k := range v.known[:len(v.r.targets)] {
		if k {
			n++
		}
	}
	return n
}

// agreed gives the newest version that a majority of the primaries holds; the index is of one that does. Nothing newer can have been chosen when the first of
// them was asked, so that a read may answer it.
func (v *view) agreed() (int, bool) {
	best, found := 0, false
	n := len(v.r.targets)
	for i := range n {
		if !v.known[i] || found && v.states[i].Timestamp() <= v.states[best].Timestamp() {
			continue
		}
		same := 0
		for j := range n {
			if v.known[j] && v.states[j].Timestamp() == v.states[i].Timestamp() {
				same++
			}
		}
		if same >= v.r.majority() {
			best, found = i, true
		}
	}
	return best, found
}

// newest is the newest timestamp seen.
func (v *view) newest() clock.Timestamp {
	var t clock.Timestamp
	for i := range v.r.targets {
		if v.known[i] {
			t = max(t, v.states[i].Timestamp())
		}
	}
	return t
}

// more asks primaries that were not asked yet until need are known in all. It notes the failures.
func (c *Core) more(ctx context.Context, v *view, need int) {
	left := make([]int, 0, len(v.order))
	for _, i := range v.order {
		if !v.tried[i] {
			left = append(left, i)
		}
	}
	need -= v.count()
	if need <= 0 || len(left) == 0 {
		return
	}
	need = min(need, len(left))
	replies, err := ask(ctx, c, v.r.targets, left, need, func(ctx context.Context, d peerapi.Device) (peerapi.State, error) {
		return d.Head(ctx, v.r.key)
	})
	for _, a := range replies {
		v.note(a.index, a.value)
	}
	if err != nil {
		v.errs = append(v.errs, err)
	}
}

const (
	// pollFirst is how long a read first waits for a write that it seems to have met half-way; each further wait is twice as long.
	pollFirst = 2 * time.Millisecond
	pollsMax  = 3
	// leftoverAge is when a version that only a minority holds is no write under way any more, but what a dead one left.
	leftoverAge = 2 * limits.PeerCommitTimeout
)

// lookup finds the newest version that a majority of the primaries holds, and makes that so when it was undecided. nil: nothing was ever written.
// When newest is set, all primaries are asked.
func (c *Core) lookup(ctx context.Context, v *view, newest bool) (*peerapi.Record, error) {
	n := len(v.r.targets)
	if newest {
		c.more(ctx, v, n)
	}
	c.more(ctx, v, v.r.majority())
	for poll := 0; ; poll++ {
		if v.count() < v.r.majority() {
			return nil, errs.New(errs.Unavailable, "%d of %d replicas of %s answered: %w", v.count(), n, v.r.key.Object, joined(v.errs))
		}
		best, ok := v.agreed()
		if !ok && v.count() < n {
			c.more(ctx, v, n)
			best, ok = v.agreed()
		}
		if ok && (v.newest() == v.states[best].Timestamp() || c.time.Now().Sub(v.newest().Time()) < leftoverAge) {
			return v.states[best].Record, c.observe(v.newest())
		}
		if ok || poll == pollsMax {
			return c.heal(ctx, v)
		}
		// Most likely a write is on its way to the others. Wait a moment for it, rather than do its work.
		if !pause(ctx, pollFirst<<poll) {
			return nil, ctx.Err()
		}
		c.again(ctx, v)
	}
}

// again asks all whom the view knows once more.
func (c *Core) again(ctx context.Context, v *view) {
	fresh := view{r: v.r, order: make([]int, 0, len(v.order))}
	for _, i := range v.order {
		if v.known[i] {
			fresh.order = append(fresh.order, i)
		}
	}
	c.more(ctx, &fresh, len(fresh.order))
	fresh.order = v.order
	*v = fresh
}

// heal makes an undecided version the chosen one.
func (c *Core) heal(ctx context.Context, v *view) (*peerapi.Record, error) {
	if err := c.observe(v.newest()); err != nil {
		return nil, err
	}
	w, err := c.writeTo(ctx, *v.r)
	if err != nil {
		return nil, err
	}
	rec, err := c.affirmCurrent(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("settle an undecided write to %s: %w", v.r.key.Object, err)
	}
	return rec, nil
}

// opened is what came of opening one replica.
type opened struct {
	index int
	state peerapi.State
	body  io.ReadCloser // nil when there is none
	err   error
}

func (o *opened) discard() {
	if o.body != nil {
		_ = o.body.Close() // nothing was written
		o.body = nil
	}
}

func (c *Core) openAt(ctx context.Context, r *replicas, i int, at clock.Timestamp, part peerapi.Range) opened {
	state, body, err := c.devices.Device(r.targets[i]).Open(ctx, r.key, at, part)
	if errs.Is(err, errs.NotFound) {
		return opened{index: i, state: state}
	}
	if err != nil {
		err = fmt.Errorf("%s/%s: %w", r.targets[i].Peer, r.targets[i].Device, err)
	}
	return opened{i, state, body, err}
}

// openHedged opens a replica, and gives up when it has not begun to answer in time.
func (c *Core) openHedged(ctx context.Context, r *replicas, i int, at clock.Timestamp, part peerapi.Range, meanwhile func()) opened {
	if c.local(r.targets[i]) {
		o := c.openAt(ctx, r, i, at, part)
		meanwhile()
		return o
	}
	answer := make(chan opened, 1)
	go func() { answer <- c.openAt(ctx, r, i, at, part) }()
	meanwhile()
	late := time.NewTimer(hedgeDelay)
	defer late.Stop()
	select {
	case o := <-answer:
		return o
	case <-late.C:
	case <-ctx.Done():
	}
	c.spawn(func() {
		o := <-answer
		o.discard()
	})
	return opened{index: i, err: errs.New(errs.Timeout, "%s/%s did not begin to answer", r.targets[i].Peer, r.targets[i].Device)}
}

// Open finds the newest version that a quorum knows.
func (c *Core) Open(ctx context.Context, ref Ref, o OpenOptions) (*Object, error) {
	info, err := c.findContainer(ctx, ref.Account, ref.Container, false)
	if err != nil {
		return nil, err
	}
	return c.openObject(ctx, ref, info.Policy, o)
}

func (c *Core) openObject(ctx context.Context, ref Ref, policy uint8, o OpenOptions) (*Object, error) {
	r, err := c.placeObject(ref, policy)
	if err != nil {
		return nil, err
	}
	src := &plainSource{core: c, r: &r, order: c.nearest(r.targets)}
	rec, err := c.findVersion(ctx, src, o)
	if errs.Is(err, errs.NoSpace) {
		err = errs.With(errs.Unavailable, err) // it was in the way of settling a write; a reader asked for no space
	}
	if err != nil {
		return nil, err
	}
	if !c.alive(rec) {
		_ = src.close() // nothing was written
		return nil, noObject(ref)
	}
	manifest := rec.Kind == peerapi.KindSLO || rec.Kind == peerapi.KindMultipart
	if manifest && o.HeadOnly && !o.Raw {
		return c.openObject(ctx, ref, policy, OpenOptions{Newest: o.Newest}) // what it is made of is part of its head
	}
	src.record = rec
	out := &Object{Info: infoOf(ref, rec), source: src}
	if rec.Coded != nil {
		_ = src.close() // it has no bytes
		out.source = &codedSource{core: c, object: r, coded: rec.Coded}
		return out, nil
	}
	if o.Raw {
		out.Info.Size = rec.StoredSize
		return out, nil
	}
	if manifest {
		if err := c.resolve(ctx, out); err != nil {
			_ = src.close() // nothing was written
			return nil, err
		}
	}
	return out, nil
}

// overtakenMax is how often a read begins anew because the version that it found was replaced before it could be opened.
const overtakenMax = 8

// findVersion looks the newest version up and, unless only its head is wanted, opens it.
func (c *Core) findVersion(ctx context.Context, src *plainSource, o OpenOptions) (*peerapi.Record, error) {
	if o.HeadOnly {
		return c.lookup(ctx, &view{r: src.r, order: src.order}, o.Newest)
	}
	src.ctx, src.cancel = context.WithCancel(ctx)
	for try := 0; ; try++ {
		v := &view{r: src.r, order: src.order}
		rec, err := c.lookupOpen(ctx, v, o.Newest, src)
		if err == nil && c.alive(rec) && src.first == nil && rec.Coded == nil {
			// The nearest has another version, or none. Open it now: once open, it stays readable whatever is written over it.
			src.record = rec
			f := &failover{source: src, ctx: src.ctx, left: rec.StoredSize}
			if err = f.reopen(); err == nil {
				src.first, src.firstIndex = f.body, f.index
			} else if try < overtakenMax && c.overtaken(ctx, v, rec) {
				continue
			}
		}
		if err != nil {
			src.cancel()
			return nil, err
		}
		return rec, nil
	}
}

// overtaken tells whether a newer version than rec has come.
func (c *Core) overtaken(ctx context.Context, v *view, rec *peerapi.Record) bool {
	c.again(ctx, v)
	return v.newest() > rec.Timestamp
}

// lookupOpen is lookup with the bytes: the nearest primary is opened while others confirm that its version is the newest.
func (c *Core) lookupOpen(ctx context.Context, v *view, newest bool, src *plainSource) (*peerapi.Record, error) {
	first := v.order[0]
	v.tried[first] = true
	o := c.openHedged(src.ctx, v.r, first, 0, peerapi.Whole, func() { c.more(ctx, v, v.r.majority()-1) })
	if o.err != nil {
		v.errs = append(v.errs, o.err)
	} else {
		v.note(first, o.state)
	}
	rec, err := c.lookup(ctx, v, newest)
	if err != nil || !c.alive(rec) || o.body == nil || o.state.Timestamp() != rec.Timestamp {
		o.discard()
	}
	if err != nil {
		return nil, err
	}
	src.first, src.firstIndex = o.body, first
	return rec, nil
}
