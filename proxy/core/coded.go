package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"henge/internal/clock"
	"henge/internal/erasure"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// codedBytesMin is up to where the objects of an erasure-coded policy are kept whole by all primaries: that costs less than k+m records of fragments, and one
// round less.
const codedBytesMin = 4 << 10

// coding cuts one body into fragments.
type coding struct {
	coder  *erasure.Coder
	layout erasure.Layout // Size is known at the end
	set    string
	at     clock.Timestamp
	object peerapi.Key
	size   int64
	pool   *sync.Pool
}

// segmentPools are buffers for a segment with its parity, by shape.
var segmentPools sync.Map // of erasure.Shape: *sync.Pool

func (c *Core) newCoding(r *replicas) (*coding, error) {
	if len(r.targets) != r.shape.Total() {
		return nil, errs.New(errs.Unavailable, "the ring of storage policy %d has %d replicas, and %s needs %d", r.key.Policy, len(r.targets), r.shape, r.shape.Total())
	}
	coder, err := erasure.For(*r.shape)
	if err != nil {
		return nil, err
	}
	pool, ok := segmentPools.Load(*r.shape)
	if !ok {
		pool, _ = segmentPools.LoadOrStore(*r.shape, &sync.Pool{})
	}
	k := &coding{coder: coder, layout: erasure.Layout{Shape: *r.shape, Segment: erasure.SegmentBytes}, at: c.clock.Next(), object: r.key, pool: pool.(*sync.Pool)}
	k.set = peerapi.FragmentSet(r.key.Policy, k.at)
	return k, nil
}

func (k *coding) get() *[]byte {
	if buf, ok := k.pool.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, k.coder.Room(erasure.SegmentBytes))
	return &buf
}

// fragmentLen is how long the fragments of a body of that size are; -1 when that is not known.
func (k *coding) fragmentLen(size int64) int64 {
	if size < 0 {
		return -1
	}
	l := k.layout
	l.Size = size
	return l.FragmentLen()
}

// coded is what the object's record says. The size is known by then.
func (k *coding) coded() peerapi.Coded {
	return peerapi.Coded{Set: k.set, Data: uint8(k.layout.Data), Parity: uint8(k.layout.Parity), Segment: uint32(k.layout.Segment), Size: k.size, At: k.at}
}

func (k *coding) fragment(i int) *peerapi.Fragment {
	return &peerapi.Fragment{Coded: k.coded(), Index: uint8(i), Object: k.object.Object, Parent: k.object.Hash}
}

// fragmentsOf is where a set of an object's fragments lies.
func (c *Core) fragmentsOf(object *replicas, set string) replicas {
	r := *object
	r.key, r.fragments = peerapi.FragmentKey(c.rings.Secret(), object.key, set), true
	return r
}

// putCoded writes an object in fragments: first they all, then the record that names them. Nobody sees anything before the record is there, and that is written
// like any other.
func (c *Core) putCoded(ctx context.Context, ref Ref, w *write, p PutRequest, prefix []byte) (Info, error) {
	k, err := c.newCoding(&w.r)
	if err != nil {
		return Info{}, err
	}
	set := &write{r: c.fragmentsOf(&w.r, k.set)}
	set.slots = c.slots(&set.r)
	s := &streamBody{core: c, w: set, coded: k}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	defer s.close()
	d := c.hashes.stream()
	defer d.close()
	s.start(p.Size)
	if err := s.fill(p, prefix, d); err != nil {
		return Info{}, err
	}
	k.size = s.size
	digest := d.hex()
	if p.Finish != nil {
		if err := p.Finish(digest, s.size, &p.Metadata); err != nil {
			return Info{}, err
		}
	}
	if err := s.drain(); err != nil {
		return Info{}, err
	}
	if !stop() {
		return Info{}, errs.New(errs.Incomplete, "the client went away: %w", context.Cause(ctx))
	}
	if err := s.commitFragments(ctx); err != nil {
		c.spawn(func() { c.discard(set) })
		return Info{}, err
	}
	rec := recordOf(w.r.key, s.size, digest, p.Metadata)
	coded := k.coded()
	rec.StoredSize, rec.Coded = 0, &coded
	info, err := c.commitPut(ctx, ref, w, rec, wholeBody{}, p.Check)
	if surelyRefused(err) {
		c.spawn(func() { c.discard(set) })
	}
	return info, err
}

// surelyRefused tells the errors after which the record is nowhere and never will be. After all others the collector looks.
func surelyRefused(err error) bool {
	switch errs.KindOf(err) {
	case errs.Precondition, errs.Exists, errs.Conflict:
		return err != nil
	}
	return false
}

// commitFragments makes the fragments durable: enough of them, on devices that all differ. A handoff is as good as a primary: nothing is decided here.
func (s *streamBody) commitFragments(ctx context.Context) error {
	c, w := s.core, s.w
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.PeerCommitTimeout)
	n := len(w.slots)
	answers := make(chan reply[peerapi.Outcome], n)
	rec := peerapi.Record{Key: w.r.key, Timestamp: s.coded.at, Size: s.size, StoredSize: s.coded.fragmentLen(s.size)}
	for i := range w.slots {
		c.spawn(func() {
			out, err := s.commitFragment(ctx, i, peerapi.Commit{Record: rec, Handoff: w.slots[i].standsFor})
			answers <- reply[peerapi.Outcome]{i, out, err}
		})
	}
	good, full := 0, 0
	var failures []error
	open := collect(answers, n, func(r reply[peerapi.Outcome]) bool {
		switch {
		case r.err != nil:
			failures = append(failures, r.err)
			if errs.Is(r.err, errs.NoSpace) {
				full++
			}
		case r.value.Accepted:
			good++
		}
		return good >= s.need()
	})
	if open == 0 {
		cancel()
	} else {
		c.straggle(cancel, func() {
			for range open {
				<-answers
			}
		})
	}
	if good >= s.need() {
		return nil
	}
	return tooFewFragments(good, s.need(), full, failures)
}

func tooFewFragments(good, need, full int, failures []error) error {
	kind := errs.Unavailable
	if full > 0 && full >= len(failures) {
		kind = errs.NoSpace
	}
	return errs.New(kind, "%d fragments stored, %d needed: %w", good, need, joined(failures))
}

// commitFragment commits one fragment; a small one that its device does not take goes to a handoff.
func (s *streamBody) commitFragment(ctx context.Context, i int, cm peerapi.Commit) (peerapi.Outcome, error) {
	out, err := s.commit(ctx, i, nil, cm)
	if err == nil || s.w.slots[i].standsFor != nil {
		return out, err
	}
	sw := s.writers[i]
	sw.mu.Lock()
	small, ok := sw.writer.(*smallFragment)
	sw.mu.Unlock()
	spares := s.core.spares(&s.w.r)
	if !ok || i >= len(spares) {
		return out, err
	}
	cm.Handoff, cm.Record.Fragment = &s.w.r.targets[i], s.coded.fragment(i)
	out, second := s.core.devices.Device(spares[i]).Commit(ctx, cm, small.data)
	if second != nil {
		return out, fmt.Errorf("%w, nor does the handoff take it: %w", err, second)
	}
	return out, nil
}

// smallFragment collects a fragment that goes to its device in one message.
type smallFragment struct {
	device peerapi.Device
	data   []byte
}

func (f *smallFragment) Write(p []byte) (int, error) {
	f.data = append(f.data, p...)
	return len(p), nil
}

func (f *smallFragment) Commit(ctx context.Context, cm peerapi.Commit) (peerapi.Outcome, error) {
	return f.device.Commit(ctx, cm, f.data)
}

func (f *smallFragment) Close() error { return nil }

// discard gives up a set that no record names, nor ever will. What is not reached now the collector finds.
func (c *Core) discard(set *write) {
	if err := c.buryFragments(c.life, &set.r); err != nil {
		c.logger.LogAttrs(c.life, slog.LevelDebug, "fragments of a write that was refused are left", slog.Any("error", err))
	}
}

// buryFragments writes tombstones over a set. A majority is enough: repair brings them to the others.
func (c *Core) buryFragments(ctx context.Context, r *replicas) error {
	rec := tombstone(r.key)
	rec.Timestamp = c.clock.Next()
	done := func(replies []reply[peerapi.Outcome]) bool {
		n := 0
		for _, a := range replies {
			if a.err == nil && a.value.Accepted {
				n++
			}
		}
		return n >= r.majority()
	}
	replies := tell(ctx, c, r.targets, func(ctx context.Context, _ int, d peerapi.Device) (peerapi.Outcome, error) {
		return d.Commit(ctx, peerapi.Commit{Record: rec}, nil)
	}, done)
	if done(replies) {
		return nil
	}
	var failures []error
	for _, a := range replies {
		failures = append(failures, a.err)
	}
	return errs.New(errs.Unavailable, "too few devices gave up their fragments: %w", errors.Join(failures...))
}

// reapFragments gives up a set of fragments that the record written at ended named, unless it is what the object is made of. What is there now must be newer than
// that record: a copy of an older one, come late from a device that was away, changes nothing then.
func (c *Core) reapFragments(ctx context.Context, ref Ref, set, ended string) error {
	policy, _, err := peerapi.ParseFragmentSet(set)
	if err != nil {
		return err
	}
	at, err := clock.Parse(ended)
	if err != nil {
		return errs.New(errs.Corrupt, "reap entry of %s: %w", set, err)
	}
	if !slices.ContainsFunc(c.rings.Policies(), func(p Policy) bool { return p.Index == policy }) {
		return nil // the policy was removed, and its devices with it
	}
	r, err := c.placeObject(ref, policy)
	if err != nil {
		return err
	}
	current, err := c.lookup(ctx, &view{r: &r, order: c.nearest(r.targets)}, true)
	if err != nil {
		return err
	}
	switch {
	case current != nil && current.Coded != nil && current.Coded.Set == set:
		return nil
	case current != nil && current.Timestamp <= at:
		return errs.New(errs.Unavailable, "what replaced fragments %s of %s is not to be seen", set, ref.Object)
	}
	fragments := c.fragmentsOf(&r, set)
	return c.buryFragments(ctx, &fragments)
}
