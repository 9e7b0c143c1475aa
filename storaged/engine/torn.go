package engine

import (
	"bytes"
	"fmt"
	"path"

	"henge/internal/durable"
	"henge/internal/errs"
)

// sectorBytes is what a disk writes whole or not at all.
const sectorBytes = 512

// reportTorn tells of what is cut off the end of the log: the entries in void, from cut on. What the power took was never acknowledged, and is no loss. But a flipped bit in what
// was written last looks the same, but for one thing: sectors that the power kept from being written read as zeros, as they did before. Where none is missing, and the sums do
// not hold all the same, something acknowledged may have been lost: that is counted as damage, and the bytes are set aside.
func (s *Store) reportTorn(r *recovery, seg *segment, void []found, cut, end int64) error {
	r.torn += end - cut
	damaged := 0
	for i := range void {
		if f := &void[i]; f.gap || f.bad {
			whole, err := s.wasWritten(seg, int64(f.off), f)
			if err != nil {
				return err
			}
			if whole {
				damaged++
			}
		}
	}
	// An entry whose header was hit is not even found when nothing follows it.
	whole, err := s.wasWritten(seg, end, &found{gap: true})
	if err != nil {
		return err
	}
	if whole {
		damaged++
	}
	if damaged == 0 {
		if cut < end {
			s.log.Warn("the end of the log was torn; what is cut off was never acknowledged", "segment", seg.name, "at", cut, "bytes", end-cut, "entries", len(void))
		}
		return nil
	}
	r.damage += int64(damaged)
	aside := path.Join(s.cfg.Dir, asideDir, fmt.Sprintf("tail-%08x-%08x", seg.id, cut))
	s.log.Error("the end of the log is damaged; it is cut off, and may have been acknowledged", "segment", seg.name, "at", cut, "bytes", end-cut, "places", damaged, "kept", aside)
	return s.keepTail(seg, cut, aside)
}

// wasWritten tells whether all sectors of an entry (of a gap: of the header that should be there) reached the disk.
func (s *Store) wasWritten(seg *segment, off int64, f *found) (bool, error) {
	length := int64(headerBytes)
	if !f.gap {
		length = int64(f.length())
	}
	size, err := seg.file.Size()
	if err != nil {
		return false, errs.New(errs.Unavailable, "size of segment %08x: %w", seg.id, err)
	}
	if off+length > size {
		return false, nil
	}
	b := make([]byte, length)
	if err := seg.readAt(b, off); err != nil {
		return false, err
	}
	for len(b) > 0 {
		n := min(sectorBytes-off%sectorBytes, int64(len(b)))
		if len(bytes.Trim(b[:n], "\x00")) == 0 {
			return false, nil
		}
		b = b[n:]
		off += n
	}
	return true, nil
}

// keepTail copies the segment's end to a file, once: it is all that is left of what was there.
func (s *Store) keepTail(seg *segment, cut int64, name string) error {
	size, err := seg.file.Size()
	if err != nil {
		return errs.New(errs.Unavailable, "size of segment %08x: %w", seg.id, err)
	}
	b := make([]byte, min(size-cut, batchBytesMax+entryBytesMax))
	if err := seg.readAt(b, cut); err != nil {
		return err
	}
	if err := durable.WriteFile(s.fs, name, bytes.TrimRight(b, "\x00")); err != nil {
		s.log.Warn("the damaged end of the log is not kept", "name", name, "error", err)
	}
	return nil
}
