package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"henge/internal/erasure"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// codedSource gives the bytes of an object that is kept in fragments.
type codedSource struct {
	core   *Core
	object replicas
	coded  *peerapi.Coded
}

func (s *codedSource) close() error { return nil }

func (s *codedSource) read(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	l := s.coded.Layout()
	if err := l.Check(); err != nil {
		return nil, errs.With(errs.Corrupt, err)
	}
	if offset < 0 || length < 0 || offset+length > l.Size {
		return nil, errs.New(errs.Invalid, "read %d bytes at %d of %d", length, offset, l.Size)
	}
	coder, err := erasure.For(l.Shape)
	if err != nil {
		return nil, err
	}
	r := &codedReader{core: s.core, set: s.core.fragmentsOf(&s.object, s.coded.Set), coded: s.coded, layout: l, coder: coder, left: length, notify: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if length > 0 {
		r.next, r.end = offset/int64(l.Segment), (offset+length-1)/int64(l.Segment)+1
		r.skip = int(offset % int64(l.Segment))
		r.candidates = r.whom()
	}
	return r, nil
}

// codedReader reads a range: the shards of one segment after another, from whichever k devices give them first.
type codedReader struct {
	core   *Core
	set    replicas
	coded  *peerapi.Coded
	layout erasure.Layout
	coder  *erasure.Coder
	ctx    context.Context
	cancel context.CancelFunc

	next, end  int64 // segments to come
	skip       int   // bytes of the next one that are not wanted
	left       int64 // bytes that are wanted
	rest       [][]byte
	used       [][]byte // to be given back when rest is read
	streams    []*fragmentStream
	candidates []peerapi.Target // not asked yet, the best first
	notify     chan struct{}    // something came
	failures   []error
	failure    error

	mu   sync.Mutex // guards free
	free [][]byte
}

// shard is a piece of a fragment.
type shard struct {
	index   int // of the fragment
	segment int64
	data    []byte
	err     error
}

// fragmentStream reads one fragment, a little ahead.
type fragmentStream struct {
	target peerapi.Target
	shards chan shard
	cancel context.CancelFunc
	head   *shard // taken from shards
	over   bool   // it failed, or is not needed
}

// whom gives the devices in the order in which to ask them: the primaries that are up, those with data before those with parity; then the handoffs; then those
// that are believed down.
func (r *codedReader) whom() []peerapi.Target {
	up := func(t peerapi.Target) bool { return r.core.devices.Up(t) }
	all := slices.Clone(r.set.targets)
	slices.SortStableFunc(all, func(a, b peerapi.Target) int { return -cmp.Compare(b2i(up(a)), b2i(up(b))) })
	down := slices.IndexFunc(all, func(t peerapi.Target) bool { return !up(t) })
	if down < 0 {
		down = len(all)
	}
	return slices.Concat(all[:down], r.core.spares(&r.set), all[down:])
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *codedReader) Read(p []byte) (int, error) {
	for r.failure == nil && len(r.rest) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.failure = r.segment()
	}
	if r.failure != nil {
		return 0, r.failure
	}
	n := 0
	for n < len(p) && len(r.rest) > 0 {
		k := copy(p[n:], r.rest[0])
		n += k
		if r.rest[0] = r.rest[0][k:]; len(r.rest[0]) == 0 {
			r.rest = r.rest[1:]
		}
	}
	r.left -= int64(n)
	return n, nil
}

// Close ends the reading.
func (r *codedReader) Close() error {
	r.cancel()
	r.failure = errors.New("core: read after Close")
	return nil
}

// segment gets the next segment.
func (r *codedReader) segment() error {
	r.recycle()
	shards, err := r.gather()
	if err != nil {
		return err
	}
	for _, s := range shards {
		if s != nil {
			r.used = append(r.used, s)
		}
	}
	if slices.ContainsFunc(shards[:r.layout.Data], func(s []byte) bool { return s == nil }) {
		if err := r.coder.Join(shards); err != nil {
			return err
		}
	}
	length := min(int64(r.layout.SegmentLen(r.next)), int64(r.skip)+r.left)
	for _, s := range shards[:r.layout.Data] {
		s = s[:min(int64(len(s)), length)]
		length -= int64(len(s))
		drop := min(r.skip, len(s))
		r.skip -= drop
		if len(s) > drop {
			r.rest = append(r.rest, s[drop:])
		}
	}
	r.next++
	return nil
}

// gather waits for k shards of the next segment. A fragment that fails is made up for at once, one that is late after a moment.
func (r *codedReader) gather() ([][]byte, error) {
	late := time.NewTimer(hedgeDelay)
	defer late.Stop()
	hedged := false
	for {
		if err := r.ctx.Err(); err != nil {
			return nil, err
		}
		if shards := r.take(); shards != nil {
			if hedged {
				r.leaveLate()
			}
			return shards, nil
		}
		for r.live() < r.layout.Data && len(r.candidates) > 0 {
			r.start()
		}
		if r.live() < r.layout.Data {
			return nil, errs.New(errs.Unavailable, "%d fragments of %s can be read at segment %d, %d are needed: %w", r.live(), r.set.key.Object, r.next, r.layout.Data, joined(r.failures))
		}
		select {
		case <-r.notify:
		case <-late.C:
			if hedged = true; len(r.candidates) > 0 {
				r.start()
			}
			late.Reset(hedgeDelay)
		case <-r.ctx.Done():
		}
	}
}

// take gives the shards of the next segment by index, if there are enough; data before parity.
func (r *codedReader) take() [][]byte {
	found := make([]*fragmentStream, r.layout.Total())
	n := 0
	for _, s := range r.streams {
		r.pull(s)
		if s.head == nil || s.head.segment != r.next {
			continue
		}
		if found[s.head.index] == nil {
			found[s.head.index] = s
			n++
		} else {
			s.end() // it has the fragment of another
		}
	}
	if n < r.layout.Data {
		return nil
	}
	shards, taken := make([][]byte, len(found)), 0
	for i, s := range found {
		if s != nil && taken < r.layout.Data {
			shards[i], s.head = s.head.data, nil
			taken++
		}
	}
	return shards
}

// pull takes what a stream has for the next segment or a later one.
func (r *codedReader) pull(s *fragmentStream) {
	for !s.over {
		if s.head == nil {
			select {
			case h := <-s.shards:
				s.head = &h
			default:
				return
			}
		}
		switch {
		case s.head.err != nil:
			r.failures = append(r.failures, s.head.err)
			s.end()
		case s.head.segment < r.next:
			r.giveBack(s.head.data)
			s.head = nil
		default:
			return
		}
	}
}

func (s *fragmentStream) end() {
	s.over, s.head = true, nil
	s.cancel()
}

// live counts the streams that may yet give something.
func (r *codedReader) live() int {
	n := 0
	for _, s := range r.streams {
		if !s.over {
			n++
		}
	}
	return n
}

// leaveLate gives up streams that are behind, as long as there are enough others. They may be asked again, last.
func (r *codedReader) leaveLate() {
	for _, s := range r.streams {
		if r.live() <= r.layout.Data {
			return
		}
		if r.pull(s); !s.over && s.head == nil && len(s.shards) == 0 {
			s.end()
			r.candidates = append(r.candidates, s.target)
		}
	}
}

// start opens the next candidate's fragment.
func (r *codedReader) start() {
	s := &fragmentStream{target: r.candidates[0], shards: make(chan shard, 1)}
	r.candidates = r.candidates[1:]
	ctx, cancel := context.WithCancel(r.ctx)
	s.cancel = cancel
	r.streams = append(r.streams, s)
	from := r.next
	r.core.spawn(func() {
		defer cancel()
		if err := r.run(ctx, s, from); err != nil {
			r.give(ctx, s, shard{err: fmt.Errorf("%s/%s: %w", s.target.Peer, s.target.Device, err)})
		}
	})
}

// run reads a fragment from a segment on.
func (r *codedReader) run(ctx context.Context, s *fragmentStream, from int64) (err error) {
	begin, end := r.layout.ShardOffset(from), r.layout.FragmentLen()
	if r.end < r.layout.Segments() {
		end = r.layout.ShardOffset(r.end)
	}
	state, body, err := r.core.devices.Device(s.target).Open(ctx, r.set.key, r.coded.At, peerapi.Range{Offset: begin, Length: end - begin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	f := state.Record.Fragment
	if f == nil || f.Coded != *r.coded || int(f.Index) >= r.layout.Total() {
		return errs.New(errs.Corrupt, "what is kept as a fragment of %s is none", r.set.key.Object)
	}
	for n := from; n < r.end; n++ {
		data := r.room(r.layout.ShardLen(n))
		if _, err := io.ReadFull(body, data); err != nil {
			return fmt.Errorf("read fragment %d: %w", f.Index, err)
		}
		if !r.give(ctx, s, shard{index: int(f.Index), segment: n, data: data}) {
			return nil
		}
	}
	return nil
}

// give hands a shard over; false when nobody wants it any more.
func (r *codedReader) give(ctx context.Context, s *fragmentStream, h shard) bool {
	select {
	case s.shards <- h:
	case <-ctx.Done():
		return false
	}
	select {
	case r.notify <- struct{}{}:
	default:
	}
	return true
}

func (r *codedReader) room(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := len(r.free); k > 0 && cap(r.free[k-1]) >= n {
		b := r.free[k-1][:n]
		r.free = r.free[:k-1]
		return b
	}
	return make([]byte, n)
}

func (r *codedReader) giveBack(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, b)
}

func (r *codedReader) recycle() {
	for _, b := range r.used {
		r.giveBack(b)
	}
	r.used = nil
}
