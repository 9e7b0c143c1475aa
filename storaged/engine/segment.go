package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"henge/internal/checksum"
	"henge/internal/errs"
	"henge/internal/vfs"
)

const (
	segmentMagic       = "HENGESEG"
	segmentHeaderBytes = 64
	segmentSuffix      = ".seg"
	hintSuffix         = ".hint"
	logDir             = "log"
)

// segment is one file of the log.
type segment struct {
	id   uint32
	name string
	file vfs.File
	end  atomic.Int64 // where the entries end
	live atomic.Int64 // bytes of entries that are still needed

	// The entries, for the hint file: of the segment that is written, until it is sealed. Only the appender uses it.
	entries []entry
	stuck   bool         // compaction could not empty it; guarded by Store.compacting
	stale   atomic.Int64 // records that do not count any more
	sealed  bool         // the last entry says that it is the last
	damage  uint32       // places that could not be read
	odd     atomic.Bool  // damage was met while reading: keep the file aside rather than remove it
	refs    atomic.Int64 // readers, and 1 while it is in the table; who takes the last one closes the file
}

func segmentName(dir string, id uint32) string {
	return path.Join(dir, logDir, fmt.Sprintf("%08x%s", id, segmentSuffix))
}

func hintName(segment string) string { return strings.TrimSuffix(segment, segmentSuffix) + hintSuffix }

// parseSegmentName reads what segmentName wrote.
func parseSegmentName(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	id, err := strconv.ParseUint(digits, 16, 32)
	return uint32(id), ok && err == nil && len(digits) == 8
}

func segmentHeader(id, salt uint32, firstSeq uint64) []byte {
	b := make([]byte, segmentHeaderBytes)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], entryVersion)
	binary.LittleEndian.PutUint32(b[12:], id)
	binary.LittleEndian.PutUint64(b[16:], firstSeq)
	binary.LittleEndian.PutUint32(b[24:], salt)
	binary.LittleEndian.PutUint32(b[60:], checksum.Of(b[:60]))
	return b
}

// decodeSegmentHeader gives the sequence number from which the segment's entries count, and the device's salt.
func decodeSegmentHeader(b []byte, id uint32) (firstSeq uint64, salt uint32, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) < segmentHeaderBytes || string(b[:8]) != segmentMagic || le.Uint32(b[60:]) != checksum.Of(b[:60]):
		return 0, 0, errs.New(errs.Corrupt, "segment %08x: its header does not hold", id)
	case le.Uint32(b[8:]) > entryVersion:
		return 0, 0, errs.New(errs.Unsupported, "segment %08x has format %d; this release reads up to %d", id, le.Uint32(b[8:]), entryVersion)
	case le.Uint32(b[12:]) != id:
		return 0, 0, errs.New(errs.Corrupt, "segment %08x: its header names segment %08x", id, le.Uint32(b[12:]))
	}
	return le.Uint64(b[16:]), le.Uint32(b[24:]), nil
}

// createSegment makes a segment, durably, with room for all of it reserved if the disk has it.
func createSegment(fsys vfs.FS, dir string, id, salt uint32, firstSeq uint64, size int64) (*segment, error) {
	s := &segment{id: id, name: segmentName(dir, id)}
	f, err := fsys.Create(s.name)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	s.file = f
	s.refs.Store(1)
	s.end.Store(segmentHeaderBytes)
	if err := f.Allocate(size); err != nil && !errs.Is(err, errs.NoSpace) {
		return nil, errors.Join(fmt.Errorf("reserve segment: %w", err), s.drop(fsys))
	}
	_, err = f.WriteAt(segmentHeader(id, salt, firstSeq), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.SyncDir(path.Dir(s.name))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create segment %08x: %w", id, err), s.drop(fsys))
	}
	return s, nil
}

// drop closes and removes a segment that could not be made.
func (s *segment) drop(fsys vfs.FS) error {
	return errors.Join(s.file.Close(), fsys.Remove(s.name))
}

// release gives a reference back.
func (s *segment) release() error {
	if s.refs.Add(-1) == 0 {
		return s.file.Close()
	}
	return nil
}

// readAt fills b; a file that ends before is corrupt.
func (s *segment) readAt(b []byte, off int64) error {
	n, err := s.file.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return errs.New(errs.Corrupt, "segment %08x ends before %d", s.id, off+int64(len(b)))
	}
	return errs.New(errs.Unavailable, "read segment %08x at %d: %w", s.id, off, err)
}

// segments is the table of all.
type segments struct {
	mu  sync.RWMutex // guards all
	all map[uint32]*segment
}

// acquire gives a segment that stays open until it is released; nil when it is gone.
func (t *segments) acquire(id uint32) *segment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.all[id]
	if s != nil {
		s.refs.Add(1)
	}
	return s
}

func (t *segments) add(s *segment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[s.id] = s
}

func (t *segments) remove(s *segment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, s.id)
}

// list gives all, unordered.
func (t *segments) list() []*segment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l := make([]*segment, 0, len(t.all))
	for _, s := range t.all {
		l = append(l, s)
	}
	return l
}

// addStale counts a record that does not count any more.
func (t *segments) addStale(id uint32) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := t.all[id]; s != nil {
		s.stale.Add(1)
	}
}

// addLive counts bytes that came into use (or, negative, out of use) in a segment.
func (t *segments) addLive(id uint32, n int64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := t.all[id]; s != nil {
		s.live.Add(n)
	}
}
