package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/job"
)

const (
	compactInterval   = time.Hour // and whenever a segment is full
	compactGroupBytes = 1 << 20   // that are moved at once, with one fsync
	compactGroupMax   = 256
)

// Compacted is what a sweep of compaction did.
type Compacted struct {
	Segments int   // removed
	Moved    int64 // bytes that were still needed
	Freed    int64
}

func (s *Store) wantCompaction() {
	select {
	case s.compactWanted <- struct{}{}:
	default:
	}
}

func (s *Store) compactLoop(ctx context.Context) {
	job.Loop(ctx, compactInterval, s.compactWanted, func(ctx context.Context) {
		done, err := s.Compact(ctx)
		if err != nil && ctx.Err() == nil && !s.closing.Load() {
			s.log.Warn("compaction", "dir", s.cfg.Dir, "error", err)
		}
		if done.Segments > 0 {
			s.log.Info("compacted", "dir", s.cfg.Dir, "segments", done.Segments, "moved", done.Moved, "freed", done.Freed)
		}
	})
}

// Compact rewrites the segments of which little is needed, and removes them. It runs by itself too; one at a time. A segment that cannot be rewritten does not
// stop the others. Safe to be interrupted anywhere, by a crash too: what was moved is there twice until the old segment is gone.
func (s *Store) Compact(ctx context.Context) (Compacted, error) {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	var done Compacted
	var all error
	throttle := job.NewThrottle(s.cfg.CompactBytes)
	for _, seg := range s.sparse() {
		if err := errors.Join(ctx.Err(), s.usable()); err != nil {
			return done, err
		}
		moved, err := s.compactSegment(ctx, seg, throttle)
		if err != nil {
			all = errors.Join(all, fmt.Errorf("compact segment %08x: %w", seg.id, err))
			continue
		}
		done.Segments++
		done.Moved += moved
		done.Freed += seg.end.Load() - moved
	}
	return done, all
}

// sparse gives the segments that are worth rewriting, the oldest first.
func (s *Store) sparse() []*segment {
	active := s.active.Load()
	list := slices.DeleteFunc(s.segs.list(), func(g *segment) bool {
		return g.id >= active || g.stuck || float64(g.live.Load()) >= s.cfg.CompactShare*float64(g.end.Load())
	})
	slices.SortFunc(list, func(a, b *segment) int { return cmp.Compare(a.id, b.id) })
	return list
}

// compactSegment moves what is needed to the end of the log and removes the segment.
func (s *Store) compactSegment(ctx context.Context, seg *segment, throttle *job.Throttle) (moved int64, err error) {
	entries, err := s.entriesOf(seg)
	if err != nil {
		return 0, err
	}
	m := &mover{store: s, seg: seg}
	for i := range entries {
		if err := m.add(&entries[i]); err != nil {
			return m.moved, errors.Join(err, m.flush())
		}
		if m.bytes >= compactGroupBytes || len(m.group) >= compactGroupMax {
			if err := errors.Join(throttle.Wait(ctx, m.bytes), m.flush()); err != nil {
				return m.moved, err
			}
		}
	}
	if err := errors.Join(m.addReleases(), m.flush()); err != nil {
		return m.moved, err
	}
	if live := seg.live.Load(); live != 0 {
		// Something needs this segment, and it is not where it should be: removing it would lose that.
		seg.stuck = true
		return m.moved, errs.New(errs.Corrupt, "%d bytes are needed and were not found; the segment stays", live)
	}
	return m.moved, s.removeSegment(seg)
}

// entriesOf lists a segment, by its hints if they do.
func (s *Store) entriesOf(seg *segment) ([]entry, error) {
	if h := s.readHint(seg); h != nil && h.sealed {
		return h.entries, nil
	}
	all, _, err := scan(seg, s.salt, segmentHeaderBytes, 0)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(all))
	for _, f := range all {
		if !f.gap {
			entries = append(entries, f.entry)
		}
	}
	return entries, nil
}

func (s *Store) removeSegment(seg *segment) error {
	defer s.space.freed()
	s.segs.remove(seg)
	err := seg.release()
	if seg.odd.Load() || seg.damage > 0 {
		err = errors.Join(err, durable.Rename(s.fs, seg.name, path.Join(s.cfg.Dir, asideDir, path.Base(seg.name))))
		s.quarantine.Add(-int64(seg.damage))
	} else {
		err = errors.Join(err, s.fs.Remove(seg.name))
	}
	if e := s.fs.Remove(hintName(seg.name)); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	// Durably, before the next one: a tombstone may be forgotten only when what it deletes is surely gone.
	return errors.Join(err, s.fs.SyncDir(path.Dir(seg.name)))
}

// mover collects entries that are still needed and appends them again, many with one fsync.
type mover struct {
	store *Store
	seg   *segment
	group []*request
	bytes int64
	moved int64
}

// add takes an entry if it is needed.
func (m *mover) add(e *entry) error {
	s := m.store
	v := s.index.get(e.id())
	switch e.kind {
	case entryRecord, entryLost:
		if !v.found() || v.seg != m.seg.id || v.off != e.off {
			return nil
		}
		switch {
		case v.is(flagLost):
			return m.addLost(&v)
		case v.is(flagDeleted) && s.forgettable(e):
			s.forget(&v)
			return nil
		}
	case entryPromise:
		if v.promise.ts != e.ts || v.promise.seg != m.seg.id || v.promise.off != e.off {
			return nil
		}
		if s.old(e) && s.index.dropPromise(e.id(), v.promise) {
			s.segs.addLive(m.seg.id, -promiseLength)
			return nil
		}
	case entryJournal:
		if !s.journl.holds(e) {
			return nil
		}
	default:
		return nil
	}
	return m.read(e, &v)
}

// read brings an entry into the group.
func (m *mover) read(e *entry, v *view) error {
	found, b, err := m.store.readEntry(m.seg.id, e.off, e.length())
	if errs.Is(err, errs.Corrupt) && (e.kind == entryRecord || e.kind == entryLost) {
		m.store.setAside(v, 0, err)
		return nil
	}
	if errs.Is(err, errs.Corrupt) && e.kind == entryJournal {
		m.store.journl.lose(e)
		m.store.quarantine.Add(1)
		m.store.log.Error("journal entry is corrupt", "dir", m.store.cfg.Dir, "stream", e.policy, "position", e.ts, "error", err)
		return nil
	}
	if errs.Is(err, errs.Corrupt) && e.kind == entryPromise {
		// All that the entry says is in the index: it is written anew.
		found, b, err = *e, make([]byte, headerBytes), nil
		found.metaLen, found.dataLen, found.metaSum, found.dataSum = 0, 0, 0, 0
	}
	if err != nil {
		return err
	}
	r := newRequest()
	r.entry, r.seen, r.move = found, *v, true
	r.buf.Write(b)
	m.push(r)
	return nil
}

func (m *mover) addLost(v *view) error {
	r := newRequest()
	e, err := begin(&r.buf, entryLost, nil, nil)
	if err != nil {
		return err
	}
	e.hash, e.policy, e.ts = v.hash, v.policy, v.ts
	r.entry, r.seen, r.move = e, *v, true
	m.push(r)
	return nil
}

// addReleases writes the journal's releases again: the segment may be the one that had them.
func (m *mover) addReleases() error {
	for _, e := range m.store.journl.releases() {
		r := newRequest()
		r.entry = e
		r.buf.Write(blank[:])
		m.push(r)
	}
	return nil
}

func (m *mover) push(r *request) {
	m.group = append(m.group, r)
	m.bytes += int64(r.buf.Len())
}

// flush appends the group and waits until it is durable.
func (m *mover) flush() error {
	var all error
	queued := 0
	for _, r := range m.group {
		if err := m.store.appender.enqueue(r); err != nil {
			all = err
			break
		}
		queued++
	}
	for _, r := range m.group[:queued] {
		<-r.done
		if all = errors.Join(all, r.err); r.err == nil && !r.again {
			m.moved += int64(r.entry.length())
		}
	}
	m.group, m.bytes = m.group[:0], 0
	return all
}

// old tells whether an entry's time is past the age at which tombstones and promises may go.
func (s *Store) old(e *entry) bool {
	return s.cfg.Clock.Now().Sub(e.ts.Time()) > s.cfg.ReclaimAge
}

// forgettable tells whether a tombstone may go: it is old enough, and no other segment can hold an older version that would come back to life. Such
// versions lie in the segments that were there when the tombstone was first written, those that hold any record that does not count any more.
func (s *Store) forgettable(e *entry) bool {
	if !s.old(e) {
		return false
	}
	for _, g := range s.segs.list() {
		if g.id != e.segment && uint64(g.id) <= e.file && g.stale.Load() > 0 {
			return false
		}
	}
	return true
}

// forget drops a tombstone from the index.
func (s *Store) forget(v *view) {
	if s.index.remove(v.slot) {
		s.segs.addLive(v.seg, -int64(v.length))
	}
}
