package engine

import (
	"encoding/binary"

	"henge/internal/errs"
)

const scanWindowBytes = 8 << 20 // more than an entry can have

// found is what a scan met: an entry, an entry whose payload does not hold, or a gap.
type found struct {
	entry
	bad bool // the payload does not match its checksums
	gap bool // no header here: bytes that mean nothing up to the next found
}

// scanner reads a segment from front to back without any help.
type scanner struct {
	seg    *segment
	salt   uint32
	last   uint64 // the sequence number of the entry before
	size   int64
	window []byte // what lies at start
	start  int64
}

// scan gives all that lies in a segment from off on, and where that ends.
func scan(seg *segment, salt uint32, off int64, last uint64) ([]found, int64, error) {
	size, err := seg.file.Size()
	if err != nil {
		return nil, 0, errs.New(errs.Unavailable, "size of segment %08x: %w", seg.id, err)
	}
	c := &scanner{seg: seg, salt: salt, last: last, size: size}
	var all []found
	for {
		e, state, err := c.next(off)
		if err != nil {
			return nil, 0, err
		}
		if state == whole || state == spoiled {
			c.last = e.seq
			all = append(all, found{entry: e, bad: state == spoiled})
			off += int64(e.length())
			continue
		}
		next, err := c.resync(off + 8)
		if err != nil {
			return nil, 0, err
		}
		if next < 0 {
			return all, off, nil
		}
		all = append(all, found{entry: entry{segment: seg.id, off: uint32(off)}, gap: true})
		off = next
	}
}

type entryState uint8

const (
	absent entryState = iota
	whole
	spoiled
)

// next reads the entry at off.
func (c *scanner) next(off int64) (entry, entryState, error) {
	b, err := c.at(off, headerBytes)
	if err != nil || len(b) < headerBytes {
		return entry{}, absent, err
	}
	e, ok := decodeEntry(b, c.salt)
	if !ok || e.segment != c.seg.id || e.seq <= c.last {
		return entry{}, absent, nil
	}
	e.off = uint32(off)
	b, err = c.at(off, int(e.length()))
	if err != nil {
		return entry{}, absent, err
	}
	if !e.payloadHolds(b) {
		return e, spoiled, nil
	}
	return e, whole, nil
}

// resync finds the next header at or after off; -1 when there is none.
func (c *scanner) resync(off int64) (int64, error) {
	for {
		b, err := c.at(off, scanWindowBytes/2)
		if err != nil {
			return 0, err
		}
		for i := 0; i+headerBytes <= len(b); i += 8 {
			if binary.LittleEndian.Uint32(b[i:]) != entryMagic {
				continue
			}
			if e, ok := decodeEntry(b[i:], c.salt); ok && e.segment == c.seg.id && e.seq > c.last {
				return off + int64(i), nil
			}
		}
		if off+int64(len(b)) >= c.size {
			return -1, nil
		}
		off += int64(len(b)) - headerBytes&^7
	}
}

// at gives n bytes at off, or as many as there are.
func (c *scanner) at(off int64, n int) ([]byte, error) {
	if off < c.start || off+int64(n) > c.start+int64(len(c.window)) {
		size := min(max(scanWindowBytes, int64(n)), c.size-off)
		if size <= 0 {
			return nil, nil
		}
		if int64(cap(c.window)) < size {
			c.window = make([]byte, size)
		}
		c.window = c.window[:size]
		c.start = off
		if err := c.seg.readAt(c.window, off); err != nil {
			c.window = c.window[:0]
			return nil, err
		}
	}
	b := c.window[off-c.start:]
	return b[:min(n, len(b))], nil
}

// tear gives what of a segment's last entries counts, and where it ends. What was written at once when the power went may be there in part: from the
// first place that does not hold, and that nothing written later follows, all is void, and was never acknowledged.
func tear(all []found, end int64) ([]found, int64) {
	first := len(all)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].bad || all[i].gap {
			first = i
		}
		if all[i].flags&flagBatch != 0 && !all[i].gap {
			break
		}
	}
	if first == len(all) {
		return all, end
	}
	return all[:first], int64(all[first].off)
}
