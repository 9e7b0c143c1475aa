package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"henge/internal/durable"
	"henge/internal/errs"
)

// recovery is what opening found.
type recovery struct {
	scanned int // segments read because their hints did not do
	orphans int // data files that no record names
	torn    int64
	damage  int64
	files   map[ID]uint64 // the data file of each object that has one
}

// recover brings the log into the index, and removes what a crash left.
func (s *Store) recover(ctx context.Context) (*recovery, error) {
	r := &recovery{files: map[ID]uint64{}}
	ids, err := s.segmentIDs()
	if err != nil {
		return nil, err
	}
	a := &s.appender
	*a = appender{store: s, wake: make(chan struct{}, 1), keys: map[ID]struct{}{}}
	for i, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("recover: %w", err)
		}
		seg, err := s.recoverSegment(r, id, i == len(ids)-1)
		if err != nil {
			return nil, err
		}
		a.cur = seg
		s.active.Store(id)
	}
	s.quarantine.Add(r.damage)
	if err := s.recoverFiles(r); err != nil {
		return nil, err
	}
	return r, nil
}

// segmentIDs lists the log, and removes files that a crash left half written.
func (s *Store) segmentIDs() ([]uint32, error) {
	dir := path.Join(s.cfg.Dir, logDir)
	names, err := s.fs.List(dir)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "list the log: %w", err)
	}
	var ids []uint32
	for _, n := range names {
		id, ok := parseSegmentName(n)
		switch {
		case ok:
			ids = append(ids, id)
		case !strings.HasSuffix(n, hintSuffix) || !slices.Contains(names, strings.TrimSuffix(n, hintSuffix)+segmentSuffix):
			if err := s.fs.Remove(path.Join(dir, n)); err != nil {
				return nil, errs.New(errs.Unavailable, "remove what a crash left: %w", err)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// recoverSegment opens one segment and applies what is in it.
func (s *Store) recoverSegment(r *recovery, id uint32, last bool) (*segment, error) {
	seg := &segment{id: id, name: segmentName(s.cfg.Dir, id)}
	seg.refs.Store(1)
	f, err := s.fs.OpenWrite(seg.name)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "open segment: %w", err)
	}
	seg.file = f
	s.segs.add(seg)
	h := s.readHint(seg)
	if h == nil || last && !h.sealed {
		if h, err = s.scanSegment(r, seg, h, last); err != nil {
			return nil, err
		}
	}
	seg.damage, seg.sealed = h.damage, h.sealed
	r.damage += int64(h.damage)
	seg.end.Store(h.end)
	for i := range h.entries {
		e := &h.entries[i]
		s.apply(e)
		s.appender.seq = max(s.appender.seq, e.seq)
		r.note(s, e)
	}
	if last {
		seg.entries = h.entries
	}
	return seg, nil
}

// note keeps track of the data files that records name.
func (r *recovery) note(s *Store, e *entry) {
	if e.kind != entryRecord && e.kind != entryLost {
		return
	}
	if v := s.index.get(e.id()); v.seg != e.segment || v.off != e.off {
		return
	}
	if e.kind == entryRecord && e.flags&flagExternal != 0 {
		r.files[e.id()] = e.file
		s.files.seen(e.file)
	} else {
		delete(r.files, e.id())
	}
}

// readHint gives a segment's hints, or nil when they do not do.
func (s *Store) readHint(seg *segment) *hint {
	b, err := durable.ReadFile(s.fs, hintName(seg.name), hintBytesMax)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("hint file not read", "segment", seg.name, "error", err)
		}
		return nil
	}
	h, err := decodeHint(b, seg.id)
	if err != nil {
		s.log.Warn("hint file not used", "segment", seg.name, "error", err)
		return nil
	}
	return h
}

// scanSegment reads what the hints (or nil) do not tell.
func (s *Store) scanSegment(r *recovery, seg *segment, known *hint, last bool) (*hint, error) {
	if known == nil {
		r.scanned++
		known = &hint{segment: seg.id, end: segmentHeaderBytes}
	}
	firstSeq, headerErr := s.firstSeq(seg)
	for _, e := range known.entries {
		firstSeq = max(firstSeq, e.seq)
	}
	all, end, err := scan(seg, s.salt, known.end, firstSeq)
	if err != nil {
		return nil, err
	}
	if last {
		kept, cut := tear(all, end)
		if err := s.reportTorn(r, seg, all[len(kept):], cut, end); err != nil {
			return nil, err
		}
		all, end = kept, cut
	}
	for _, f := range all {
		s.take(known, &f, seg)
	}
	known.end = end
	if errs.Is(headerErr, errs.Corrupt) && last && len(known.entries) == 0 {
		// The power went while the segment was made.
		if _, headerErr = seg.file.WriteAt(segmentHeader(seg.id, s.salt, s.appender.seq), 0); headerErr != nil {
			return nil, errs.New(errs.Unavailable, "write header of segment %08x: %w", seg.id, headerErr)
		}
	}
	if headerErr != nil {
		known.damage++
		s.log.Error("segment header", "segment", seg.name, "error", headerErr)
	}
	if last && !known.sealed {
		return known, s.clearTail(seg, end)
	}
	if !known.sealed {
		known.sealed = true
		known.damage++ // the end is missing
		s.log.Error("segment ends early", "segment", seg.name, "at", end)
	}
	s.writeHint(known, hintName(seg.name))
	return known, nil
}

// take adds to the hints what a scan found.
func (s *Store) take(h *hint, f *found, seg *segment) {
	switch {
	case f.gap:
		h.damage++
		s.log.Error("damage in segment", "segment", seg.name, "at", f.off)
	case f.bad && f.kind == entryRecord:
		s.log.Error("record is corrupt", "segment", seg.name, "at", f.off, "timestamp", f.ts)
		f.kind = entryLost // it is counted while it is the newest
		h.entries = append(h.entries, f.entry)
	case f.bad:
		h.damage++
		s.log.Error("entry is corrupt", "segment", seg.name, "at", f.off, "kind", f.kind)
	default:
		h.sealed = h.sealed || f.kind == entryEnd
		h.entries = append(h.entries, f.entry)
	}
}

// firstSeq gives the number from which the segment's entries count; where the header does not hold, the entries speak for themselves.
func (s *Store) firstSeq(seg *segment) (uint64, error) {
	b := make([]byte, segmentHeaderBytes)
	if err := seg.readAt(b, 0); err != nil {
		return 0, err
	}
	first, _, err := decodeSegmentHeader(b, seg.id)
	return first, err
}

// clearTail makes sure that nothing lies behind the last entry: it would be met again after the next ones.
func (s *Store) clearTail(seg *segment, end int64) error {
	err := seg.file.Truncate(end)
	if err == nil {
		if err = seg.file.Allocate(s.cfg.SegmentBytes); errs.Is(err, errs.NoSpace) {
			err = nil
		}
	}
	if err == nil {
		err = seg.file.Sync()
	}
	if err == nil {
		err = s.fs.SyncDir(path.Dir(seg.name)) // the power may have gone before its name was safe
	}
	if err != nil {
		return errs.New(errs.Unavailable, "clear the end of segment %08x: %w", seg.id, err)
	}
	return nil
}

// recoverFiles removes data files that no record names: their writers never heard that they were accepted, or they were replaced. Where the log is
// damaged a record may be what is missing: then they are set aside.
func (s *Store) recoverFiles(r *recovery) error {
	named := make(map[uint64]struct{}, len(r.files))
	for _, id := range r.files {
		named[id] = struct{}{}
	}
	if s.cfg.keepOrphans {
		if err := s.listAside(); err != nil {
			return err
		}
	}
	return s.files.each(s, func(id uint64, name string) error {
		s.files.seen(id)
		if _, ok := named[id]; ok {
			return nil
		}
		r.orphans++
		if s.cfg.keepOrphans {
			s.orphans = append(s.orphans, name)
			return nil
		}
		if s.quarantine.Load() > 0 {
			return durable.Rename(s.fs, name, path.Join(s.cfg.Dir, asideDir, path.Base(name)))
		}
		return s.fs.Remove(name)
	})
}

// listAside finds the data files that were set aside.
func (s *Store) listAside() error {
	names, err := s.fs.List(path.Join(s.cfg.Dir, asideDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.New(errs.Unavailable, "list what was set aside: %w", err)
	}
	for _, n := range names {
		if id, ok := parseDataName(n); ok {
			s.files.seen(id)
			s.orphans = append(s.orphans, path.Join(s.cfg.Dir, asideDir, n))
		}
	}
	return nil
}
