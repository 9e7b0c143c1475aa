package core

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"henge/internal/erasure"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

const (
	// chunksAheadMax is how many buffers a device may lag behind the client before the client has to wait for it.
	chunksAheadMax = 2
	// stallMax is how long all wait for one device that takes nothing, when the others suffice.
	stallMax = 3 * time.Second
	// lagMax is how long the end of a body waits for the last devices when a majority has it all.
	lagMax = 250 * time.Millisecond
)

// chunk is a piece of a body on its way to several devices. The last one to be done with it gives the buffer back.
type chunk struct {
	data   []byte
	shards [][]byte // of a coded body: what each slot gets
	buf    *[]byte
	pool   *sync.Pool // where buf goes back to; nil: the core's buffers
	refs   atomic.Int32
}

func (k *chunk) release(c *Core) {
	switch {
	case k.refs.Add(-1) != 0 || k.buf == nil:
	case k.pool != nil:
		k.pool.Put(k.buf)
	default:
		c.buffers.put(k.buf)
	}
}

// part is what slot i gets of a chunk.
func (k *chunk) part(i int) []byte {
	if k.shards != nil {
		return k.shards[i]
	}
	return k.data
}

// slotWriter carries a body to one slot.
type slotWriter struct {
	slot   slot
	chunks chan *chunk
	failed chan struct{} // closed when it takes no more
	done   chan struct{} // closed when all that it was given is written, or it failed
	left   bool          // by the sender: too slow, or failed

	mu     sync.Mutex // guards the fields below
	writer peerapi.Writer
	err    error
	busy   int // commits under way
	closed bool
}

// streamBody is a body that was streamed to the slots.
type streamBody struct {
	core    *Core
	w       *write
	writers []*slotWriter
	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{} // one for each slot that is done
	size    int64
	coded   *coding // what cuts the body into fragments; nil: each slot gets all of it
}

// putStream writes an object whose bytes are not all in memory; prefix is what was read of them already.
func (c *Core) putStream(ctx context.Context, ref Ref, w *write, p PutRequest, prefix []byte) (Info, error) {
	if w.r.shape != nil {
		return c.putCoded(ctx, ref, w, p, prefix)
	}
	s := &streamBody{core: c, w: w}
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
	return c.commitPut(ctx, ref, w, recordOf(w.r.key, s.size, digest, p.Metadata), s, p.Check)
}

func (s *streamBody) start(size int64) {
	s.ended = make(chan struct{}, len(s.w.slots))
	for i, sl := range s.w.slots {
		sw := &slotWriter{slot: sl, chunks: make(chan *chunk, chunksAheadMax), failed: make(chan struct{}), done: make(chan struct{})}
		s.writers = append(s.writers, sw)
		s.core.spawn(func() { s.run(i, sw, size) })
	}
}

// run opens the slot's writer and feeds it.
func (s *streamBody) run(i int, sw *slotWriter, size int64) {
	defer func() {
		close(sw.done)
		s.ended <- struct{}{}
	}()
	writer, err := s.create(i, sw, size)
	sw.mu.Lock()
	sw.writer, sw.err = writer, err
	sw.mu.Unlock()
	if err != nil {
		close(sw.failed)
	}
	for k := range sw.chunks {
		if err == nil {
			if _, err = writer.Write(k.part(i)); err != nil {
				sw.mu.Lock()
				sw.err = fmt.Errorf("%s/%s: %w", sw.slot.target.Peer, sw.slot.target.Device, err)
				sw.mu.Unlock()
				close(sw.failed)
			}
		}
		k.release(s.core)
	}
}

// create begins the object at the slot's device, or at a handoff when that fails.
func (s *streamBody) create(i int, sw *slotWriter, size int64) (peerapi.Writer, error) {
	c := s.core
	if s.coded != nil {
		if size = s.coded.fragmentLen(size); size >= 0 && size <= limits.InlineBytesMax {
			return &smallFragment{device: c.devices.Device(sw.slot.target)}, nil
		}
	}
	writer, err := c.devices.Device(sw.slot.target).Create(s.ctx, s.w.r.key, size)
	if err == nil {
		return writer, nil
	}
	err = fmt.Errorf("%s/%s: %w", sw.slot.target.Peer, sw.slot.target.Device, err)
	if sw.slot.standsFor != nil {
		return nil, err
	}
	for k, t := range c.spares(&s.w.r) {
		if k != i { // each slot has a spare of its own
			continue
		}
		writer, second := c.devices.Device(t).Create(s.ctx, s.w.r.key, size)
		if second != nil {
			break
		}
		sw.mu.Lock()
		sw.slot = slot{target: t, standsFor: &s.w.r.targets[i]}
		sw.mu.Unlock()
		return writer, nil
	}
	return nil, err
}

// fill reads the body to its end and passes it on.
func (s *streamBody) fill(p PutRequest, prefix []byte, d *digest) error {
	defer func() {
		for _, sw := range s.writers {
			close(sw.chunks)
		}
	}()
	c := s.core
	for first := true; ; first = false {
		k, room := s.chunk()
		at := 0
		if first {
			at = copy(room, prefix)
		}
		n, more, err := readSmall(p.Body, room[at:])
		n += at
		s.size += int64(n)
		switch {
		case err != nil:
		case p.Size >= 0 && (s.size > p.Size || !more && s.size < p.Size):
			err = errs.New(errs.Incomplete, "the body is not of the %d bytes announced", p.Size)
		case s.size > limits.ObjectBytesMax:
			err = errs.New(errs.TooLarge, "an object of more than %d bytes", int64(limits.ObjectBytesMax))
		}
		k.refs.Store(1)
		k.data = room[:n]
		if err == nil && s.coded != nil {
			k.shards, err = s.coded.coder.Encode(*k.buf, n)
		}
		if err != nil {
			k.release(c)
			return err
		}
		d.Write(k.data) // never fails
		err = s.pass(k)
		k.release(c)
		if err != nil || !more {
			return err
		}
	}
}

// pass gives a chunk to all slots that still take some, waiting for the slow ones while they move.
func (s *streamBody) pass(k *chunk) error {
	for _, sw := range s.writers {
		if sw.left {
			continue
		}
		k.refs.Add(1)
		select {
		case <-sw.failed:
			sw.left = true
		case sw.chunks <- k:
			continue
		default:
			if err := s.wait(sw, k); err != nil {
				k.release(s.core)
				return err
			}
		}
		if sw.left {
			k.release(s.core)
		}
	}
	return s.enough()
}

// wait gives a chunk to a slot that lags.
func (s *streamBody) wait(sw *slotWriter, k *chunk) error {
	t := time.NewTimer(stallMax)
	defer t.Stop()
	select {
	case sw.chunks <- k:
	case <-sw.failed:
		sw.left = true
	case <-t.C:
		sw.left = true
		sw.fail(errs.New(errs.Timeout, "%s/%s takes no more bytes", sw.slot.target.Peer, sw.slot.target.Device))
	case <-s.ctx.Done():
		return errs.New(errs.Incomplete, "the client went away: %w", context.Cause(s.ctx))
	}
	return nil
}

func (sw *slotWriter) fail(err error) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.err == nil {
		sw.err = err
	}
}

// state gives whether the slot is a primary, and its error.
func (sw *slotWriter) state() (primary bool, err error) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	return sw.slot.standsFor == nil, sw.err
}

// enough tells whether a majority of the primaries is still there.
func (s *streamBody) enough() error {
	a := attempt{}
	good := 0
	for _, sw := range s.writers {
		counts, err := s.counts(sw)
		switch {
		case err == nil && counts:
			good++
		case errs.Is(err, errs.NoSpace):
			a.full++
		}
		if err != nil {
			a.errs = append(a.errs, err)
		}
	}
	if good >= s.need() {
		return nil
	}
	if s.coded != nil {
		return tooFewFragments(good, s.need(), a.full, a.errs)
	}
	return a.shortfall(s.w)
}

// drain waits until all bytes are written or, when a majority has them, not much longer.
func (s *streamBody) drain() error {
	t := time.NewTimer(stallMax)
	defer t.Stop()
	for open := len(s.writers); open > 0; {
		select {
		case <-s.ended:
			if open--; s.finished() >= s.need() {
				t.Reset(lagMax)
			}
		case <-s.ctx.Done():
			return errs.New(errs.Incomplete, "the client went away: %w", context.Cause(s.ctx))
		case <-t.C:
			open = 0
		}
	}
	for _, sw := range s.writers {
		select {
		case <-sw.done:
		default:
			sw.left = true
			sw.fail(errs.New(errs.Timeout, "%s/%s takes no more bytes", sw.slot.target.Peer, sw.slot.target.Device))
		}
	}
	return s.enough()
}

// counts tells whether a slot counts towards the quorum, and its error. Of a register only primaries do; a fragment is as good anywhere.
func (s *streamBody) counts(sw *slotWriter) (bool, error) {
	primary, err := sw.state()
	return primary || s.coded != nil, err
}

// need is how many slots must have all bytes.
func (s *streamBody) need() int {
	if s.coded != nil {
		return s.w.r.shape.Quorum()
	}
	return s.w.r.majority()
}

// chunk is an empty chunk, and the room in it for bytes of the body.
func (s *streamBody) chunk() (*chunk, []byte) {
	if s.coded == nil {
		buf := s.core.buffers.get()
		return &chunk{buf: buf}, *buf
	}
	buf := s.coded.get()
	return &chunk{buf: buf, pool: s.coded.pool}, (*buf)[:erasure.SegmentBytes]
}

// finished counts the primaries that have all bytes.
func (s *streamBody) finished() int {
	n := 0
	for _, sw := range s.writers {
		select {
		case <-sw.done:
			if counts, err := s.counts(sw); counts && err == nil {
				n++
			}
		default:
		}
	}
	return n
}

func (s *streamBody) commit(ctx context.Context, i int, _ peerapi.Device, cm peerapi.Commit) (peerapi.Outcome, error) {
	sw := s.writers[i]
	if s.coded != nil {
		cm.Record.Fragment = s.coded.fragment(i)
	}
	sw.mu.Lock()
	err := sw.err
	switch {
	case err != nil:
	case sw.closed || sw.writer == nil:
		err = errs.New(errs.Unavailable, "%s/%s: the writer is closed", sw.slot.target.Peer, sw.slot.target.Device)
	case cm.Handoff == nil && sw.slot.standsFor != nil && s.w.slots[i].standsFor == nil && !cm.Accept:
		cm.Handoff = sw.slot.standsFor // the primary failed at the beginning, and this one stands in
	case (cm.Handoff == nil) != (sw.slot.standsFor == nil):
		err = errs.New(errs.Unavailable, "%s/%s does not have the bytes", s.w.r.targets[i].Peer, s.w.r.targets[i].Device)
	}
	if err != nil {
		sw.mu.Unlock()
		return peerapi.Outcome{}, err
	}
	sw.busy++
	writer, standsIn := sw.writer, sw.slot.standsFor != nil && s.w.slots[i].standsFor == nil
	sw.mu.Unlock()
	out, err := writer.Commit(ctx, cm)
	sw.mu.Lock()
	sw.busy--
	late := sw.closed && sw.busy == 0
	sw.mu.Unlock()
	if late {
		_ = writer.Close() // it was committed, or its bytes are given up
	}
	if standsIn && err == nil && s.coded == nil {
		return peerapi.Outcome{Listed: out.Listed, Gone: out.Gone}, errs.New(errs.Unavailable, "a handoff took the copy of %s/%s", s.w.r.targets[i].Peer, s.w.r.targets[i].Device)
	}
	return out, err
}

// close gives up what was not committed. Commits that nobody waits for come to their end first.
func (s *streamBody) close() {
	committing := false
	for _, sw := range s.writers {
		sw.mu.Lock()
		sw.closed = true
		busy := sw.busy > 0
		sw.mu.Unlock()
		committing = committing || busy
		select {
		case <-sw.done:
			if !busy {
				sw.giveUp()
			}
		default:
			s.core.spawn(func() {
				<-sw.done
				sw.giveUp()
			})
		}
	}
	if !committing {
		s.cancel()
	}
}

// giveUp closes the writer; what it committed stays.
func (sw *slotWriter) giveUp() {
	sw.mu.Lock()
	writer := sw.writer
	sw.mu.Unlock()
	if writer != nil {
		_ = writer.Close() // nothing is lost by an error here
	}
}

// streamBytes writes a record over bytes that are in memory but too many for one message.
func (c *Core) streamBytes(ctx context.Context, ref Ref, w *write, rec peerapi.Record, data []byte, check Check) (Info, error) {
	s := &streamBody{core: c, w: w}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer s.close()
	d := c.hashes.stream()
	defer d.close()
	s.start(int64(len(data)))
	if err := s.fill(PutRequest{Body: bytes.NewReader(data), Size: int64(len(data))}, nil, d); err != nil {
		return Info{}, err
	}
	if err := s.drain(); err != nil {
		return Info{}, err
	}
	return c.commitPut(ctx, ref, w, rec, s, check)
}
