package engine

import (
	"bytes"
	"fmt"
	"sync"

	"henge/internal/checksum"
	"henge/internal/clock"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

const (
	batchBytesMax = 4 << 20  // a batch takes no more after it has as many
	bufferKeepMax = 96 << 10 // a request's buffer that grew larger is not pooled

	pageBytes = 4 << 10 // what the kernel writes of a file at once
	padShare  = 4       // at most one byte in four more
)

var zeros [pageBytes]byte

func clockOf(p Position) clock.Timestamp { return clock.Timestamp(p) }

// request is one entry that somebody waits to have in the log.
type request struct {
	entry entry
	buf   bytes.Buffer // the whole entry; the appender fills in the header

	accept bool // a record that accepts a ballot
	// seen is what the writer made its decision of. With pinned the record must still lie there when the entry is written.
	seen   view
	pinned bool
	move   bool     // compaction: the same entry at a new place; no rule of the register applies
	drop   bool     // the version that was seen is given up; nor does one here
	lead   *request // a journal entry to go in front, if this one goes: see Intent

	again   bool // what was seen has changed: decide anew
	outcome peerapi.Outcome
	err     error
	done    chan struct{}
}

func newRequest() *request { return &request{done: make(chan struct{}, 1)} }

func (s *Store) request() *request {
	r := s.scratch.Get().(*request)
	*r = request{buf: r.buf, done: r.done}
	return r
}

func (s *Store) recycle(r *request) {
	if r.buf.Cap() <= bufferKeepMax {
		s.scratch.Put(r)
	}
}

// appender is the only one that writes to the log. All who wait when it looks share one write and one fsync.
type appender struct {
	store *Store

	mu     sync.Mutex // guards the fields below
	queue  []*request
	closed bool
	wake   chan struct{}

	// The rest belongs to the appender's goroutine.
	cur      *segment
	seq      uint64
	before   uint64 // the sequence number before the batch
	work     []*request
	batch    []byte
	taken    []*request
	releases []entry
	keys     map[ID]struct{}
	carry    []*request // had to wait for the next batch
}

// submit waits until the request's entry is durable, or refused.
func (a *appender) submit(r *request) error {
	if err := a.enqueue(r); err != nil {
		return err
	}
	<-r.done
	return r.err
}

// enqueue hands a request to the appender, which answers on its done.
func (a *appender) enqueue(r *request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errs.New(errs.Unavailable, "the device is closed")
	}
	a.queue = append(a.queue, r)
	select {
	case a.wake <- struct{}{}:
	default: // it is awake, and will look again
	}
	return nil
}

func (a *appender) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		close(a.wake)
	}
}

// run writes until the device is closed, and then what is still to be saved.
func (a *appender) run() {
	for open := true; open; {
		_, open = <-a.wake
		for work := a.take(); len(work) > 0; work = a.take() {
			a.write(work)
		}
	}
	a.finish()
}

// take gives those who wait, those first that had to wait before.
func (a *appender) take() []*request {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.work = append(append(a.work[:0], a.carry...), a.queue...)
	clear(a.queue)
	a.carry, a.queue = a.carry[:0], a.queue[:0]
	return a.work
}

// write decides, writes and answers one batch.
func (a *appender) write(work []*request) {
	s := a.store
	a.batch, a.taken, a.before = a.batch[:0], a.taken[:0], a.seq
	clear(a.keys)
	for i, r := range work {
		if len(a.batch) >= batchBytesMax {
			a.carry = append(a.carry, work[i:]...)
			break
		}
		a.decide(r)
	}
	a.releases = a.releases[:0]
	if len(a.taken) > 0 {
		a.addReleases()
	}
	err := a.store.usableForAppender()
	if err == nil && len(a.batch) > 0 {
		err = a.sync()
	}
	for _, r := range a.taken {
		if err == nil {
			s.apply(&r.entry)
			r.outcome.Accepted = true
		}
		r.err = err
		r.done <- struct{}{}
	}
	if err != nil && len(a.releases) > 0 {
		s.journl.saveAgain()
	}
	if cap(a.batch) > batchBytesMax/2 {
		a.batch = nil
	}
}

// usableForAppender is usable without the question whether the device is being closed: who was let in is served.
func (s *Store) usableForAppender() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// decide answers a request, or puts its entry into the batch.
func (a *appender) decide(r *request) {
	e := &r.entry
	if e.kind != entryJournal && e.kind != entryRelease {
		if _, busy := a.keys[e.id()]; busy {
			a.carry = append(a.carry, r)
			return
		}
		if !a.allowed(r) {
			r.done <- struct{}{}
			return
		}
		a.keys[e.id()] = struct{}{}
	}
	if r.lead != nil {
		a.taken = append(a.taken, r.lead)
		a.put(&r.lead.entry, r.lead.buf.Bytes())
	}
	a.taken = append(a.taken, r)
	a.put(e, r.buf.Bytes())
}

// allowed applies the rules of the register to what is in the log now.
func (a *appender) allowed(r *request) bool {
	now := a.store.index.get(r.entry.id())
	standing := now.standing()
	switch {
	case r.drop:
		r.again = !now.at(&r.seen)
		return !r.again
	case r.move:
		r.again = !stillThere(&now, &r.entry, &r.seen)
		return !r.again
	case r.entry.kind == entryPromise:
		if !standing.AllowsPrepare(r.entry.ts) {
			r.outcome.Newest = standing.Newest()
			return false
		}
	case r.entry.kind == entryLost:
		r.again = !now.at(&r.seen) || now.is(flagLost)
		return !r.again
	default:
		if !now.at(&r.seen) && (r.pinned || now.is(flagMultipart|flagExternal) || now.ts == r.entry.ts) {
			r.again = true
			return false
		}
		if !standing.AllowsWrite(r.entry.ts, r.accept) {
			r.outcome.Newest = standing.Newest()
			return false
		}
	}
	return true
}

// stillThere tells whether an entry that compaction moves is still the one that counts.
func stillThere(now *view, e *entry, seen *view) bool {
	if e.kind == entryPromise {
		return now.promise == seen.promise
	}
	return now.at(seen)
}

// put gives an entry its number and appends it to the batch. Its place is known only when the batch is written: until then off counts from the batch's start.
func (a *appender) put(e *entry, b []byte) {
	a.seq++
	e.seq = a.seq
	if e.kind == entryJournal && e.ts == 0 {
		e.ts = clock.Timestamp(e.seq)
	}
	e.flags &^= flagBatch
	if len(a.batch) == 0 {
		e.flags |= flagBatch
	}
	e.off = uint32(len(a.batch))
	a.batch = append(a.batch, b...)
}

// addReleases appends the journal's releases that are not in the log yet.
func (a *appender) addReleases() {
	for _, e := range a.store.journl.unsaved() {
		a.put(&e, blank[:])
		a.releases = append(a.releases, e)
	}
}

// sync makes the batch durable at the end of the log.
func (a *appender) sync() error {
	s := a.store
	if err := a.room(int64(len(a.batch))); err != nil {
		return err
	}
	off := a.cur.end.Load()
	pad := a.pad(off)
	place := func(e *entry) {
		b := a.batch[e.off:]
		if e.flags&flagDeleted != 0 && e.file == 0 {
			e.file = uint64(a.cur.id)
		}
		e.segment, e.off = a.cur.id, e.off+uint32(off)
		e.encode(b, s.salt)
	}
	for _, r := range a.taken {
		place(&r.entry)
	}
	for i := range a.releases {
		place(&a.releases[i])
	}
	for i := range pad {
		place(&pad[i])
	}
	if err := a.writeAt(off); err != nil {
		return err
	}
	a.cur.end.Store(off + int64(len(a.batch)))
	for _, r := range a.taken {
		a.cur.entries = append(a.cur.entries, r.entry)
	}
	a.cur.entries = append(append(a.cur.entries, a.releases...), pad...)
	return nil
}

// pad fills the batch, which is to lie at off, up to the end of a page, if that is little for what it saves: the next batch need not write that page once
// more. It gives the entry that does, or none.
func (a *appender) pad(off int64) []entry {
	end := off + int64(len(a.batch))
	n := int(-end & (pageBytes - 1))
	if n < headerBytes || n*padShare > len(a.batch) || end+int64(n)+headerBytes > a.store.cfg.SegmentBytes {
		return nil
	}
	e := entry{kind: entryPad, dataLen: uint32(n - headerBytes)}
	e.dataSum = checksum.Of(zeros[:e.dataLen])
	a.put(&e, zeros[:n])
	return []entry{e}
}

// writeAt writes the batch and syncs it. A full disk leaves the log as it was; any other error ends all writing.
func (a *appender) writeAt(off int64) error {
	if _, err := a.cur.file.WriteAt(a.batch, off); err != nil {
		err = fmt.Errorf("append to segment %08x: %w", a.cur.id, err)
		if errs.Is(err, errs.NoSpace) {
			if cut := a.cur.file.Truncate(off); cut == nil {
				return errs.With(errs.NoSpace, err)
			}
		}
		a.store.fail(err)
		return *a.store.failed.Load()
	}
	if err := a.cur.file.SyncData(); err != nil {
		// Nobody knows what of the batch is on the disk, and the kernel may forget that it failed: never try again.
		a.store.fail(fmt.Errorf("sync segment %08x: %w", a.cur.id, err))
		return *a.store.failed.Load()
	}
	return nil
}

// room makes the current segment one with room for n bytes.
func (a *appender) room(n int64) error {
	s := a.store
	if a.cur != nil && !a.cur.sealed && a.cur.end.Load()+n+headerBytes <= s.cfg.SegmentBytes {
		return nil
	}
	if a.cur != nil && !a.cur.sealed && a.cur.end.Load() > segmentHeaderBytes {
		if err := a.seal(); err != nil {
			return err
		}
	}
	if a.cur != nil && !a.cur.sealed {
		return nil // an empty segment and a batch larger than a segment
	}
	id := uint32(1)
	if a.cur != nil {
		id = a.cur.id + 1
	}
	next, err := createSegment(s.fs, s.cfg.Dir, id, s.salt, a.before, s.cfg.SegmentBytes)
	if err != nil {
		if errs.Is(err, errs.NoSpace) {
			return errs.With(errs.NoSpace, err)
		}
		s.fail(err)
		return *s.failed.Load()
	}
	s.segs.add(next)
	a.cur = next
	s.active.Store(next.id)
	return nil
}

// seal ends the current segment: it will not change any more.
func (a *appender) seal() error {
	s := a.store
	var b [headerBytes]byte
	end := entry{kind: entryEnd, flags: flagBatch, seq: a.seq, segment: a.cur.id, off: uint32(a.cur.end.Load())}
	// The batch in hand has its numbers already: the end of the segment takes the one after what the segment has.
	if n := len(a.cur.entries); n > 0 {
		end.seq = a.cur.entries[n-1].seq + 1
	}
	end.encode(b[:], s.salt)
	if _, err := a.cur.file.WriteAt(b[:], int64(end.off)); err != nil {
		if errs.Is(err, errs.NoSpace) {
			return errs.With(errs.NoSpace, fmt.Errorf("seal segment %08x: %w", a.cur.id, err))
		}
		s.fail(err)
		return *s.failed.Load()
	}
	a.cur.end.Add(headerBytes)
	if err := a.cur.file.SyncData(); err != nil {
		s.fail(fmt.Errorf("sync segment %08x: %w", a.cur.id, err))
		return *s.failed.Load()
	}
	// What was reserved and not used goes back; a crash before that costs nothing but the space.
	if err := a.cur.file.Truncate(a.cur.end.Load()); err != nil {
		s.fail(fmt.Errorf("seal segment %08x: %w", a.cur.id, err))
		return *s.failed.Load()
	}
	a.cur.sealed = true
	a.cur.entries = append(a.cur.entries, end)
	h, name := a.cur.hint(), hintName(a.cur.name)
	a.cur.entries = nil
	s.running.Go(func() { s.writeHint(h, name) })
	s.wantCompaction()
	return nil
}

// hint is what the segment's hint file is to say now.
func (g *segment) hint() *hint {
	return &hint{segment: g.id, end: g.end.Load(), damage: g.damage, sealed: g.sealed, entries: g.entries}
}

// writeHint saves a hint file. Without it opening takes longer, no more.
func (s *Store) writeHint(h *hint, name string) {
	if s.failed.Load() != nil {
		return
	}
	if err := durable.WriteFile(s.fs, name, h.encode()); err != nil {
		s.log.Warn("hint file not written", "name", name, "error", err)
	}
}

// finish saves, at Close, what was put off.
func (a *appender) finish() {
	s := a.store
	if s.failed.Load() != nil {
		return
	}
	a.batch, a.taken, a.releases, a.before = a.batch[:0], a.taken[:0], a.releases[:0], a.seq
	if a.addReleases(); len(a.batch) > 0 {
		if err := a.sync(); err != nil {
			s.log.Warn("journal releases not saved", "dir", s.cfg.Dir, "error", err)
			return
		}
	}
	if a.cur != nil && len(a.cur.entries) > 0 {
		s.writeHint(a.cur.hint(), hintName(a.cur.name))
	}
}
