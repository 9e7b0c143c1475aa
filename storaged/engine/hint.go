package engine

import (
	"encoding/binary"

	"henge/internal/checksum"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
)

// A hint file holds the headers of a segment's entries, so that opening does not read the segment. It is only a cache: see docs/formats/segment.md.

const (
	hintMagic       = "HENGEHNT"
	hintHeaderBytes = 40
	hintEntryBytes  = 56
	hintBytesMax    = 1 << 30
	hintEndMax      = 1 << 32
)

// hint is what a hint file says.
type hint struct {
	segment uint32
	end     int64 // where the entries end
	damage  uint32
	sealed  bool
	entries []entry
}

func (h *hint) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, hintHeaderBytes, hintHeaderBytes+len(h.entries)*hintEntryBytes+4)
	copy(b, hintMagic)
	le.PutUint32(b[8:], entryVersion)
	le.PutUint32(b[12:], h.segment)
	le.PutUint64(b[16:], uint64(h.end))
	le.PutUint32(b[24:], h.damage)
	le.PutUint32(b[28:], uint32(len(h.entries)))
	if h.sealed {
		b[32] = 1
	}
	for i := range h.entries {
		e := &h.entries[i]
		b = append(b, e.kind, e.flags, e.policy, 0)
		b = le.AppendUint32(b, e.metaLen)
		b = le.AppendUint32(b, e.dataLen)
		b = le.AppendUint32(b, e.off)
		b = le.AppendUint64(b, e.seq)
		b = append(b, e.hash[:]...)
		b = le.AppendUint64(b, uint64(e.ts))
		b = le.AppendUint64(b, e.file)
	}
	return le.AppendUint32(b, checksum.Of(b))
}

// decodeHint reads a hint file. errs.Corrupt when it does not hold: then the segment is to be scanned. A segment that is shorter than its hints say was
// damaged: the hints are used all the same, so that whoever reads what is missing learns that it is lost.
func decodeHint(b []byte, segment uint32) (*hint, error) {
	le := binary.LittleEndian
	if len(b) < hintHeaderBytes+4 || string(b[:8]) != hintMagic || le.Uint32(b[8:]) != entryVersion || le.Uint32(b[12:]) != segment ||
		le.Uint32(b[len(b)-4:]) != checksum.Of(b[:len(b)-4]) {
		return nil, errs.New(errs.Corrupt, "hints of segment %08x do not hold", segment)
	}
	h := &hint{segment: segment, end: int64(le.Uint64(b[16:])), damage: le.Uint32(b[24:]), sealed: b[32] == 1}
	n := int(le.Uint32(b[28:]))
	b = b[hintHeaderBytes : len(b)-4]
	if len(b) != n*hintEntryBytes || h.end < segmentHeaderBytes || h.end > hintEndMax {
		return nil, errs.New(errs.Corrupt, "hints of segment %08x: %d bytes for %d entries up to %d", segment, len(b), n, h.end)
	}
	h.entries = make([]entry, n)
	for i := range h.entries {
		e := &h.entries[i]
		*e = entry{kind: b[0], flags: b[1], policy: b[2], metaLen: le.Uint32(b[4:]), dataLen: le.Uint32(b[8:]), off: le.Uint32(b[12:]), seq: le.Uint64(b[16:]),
			hash: ring.Hash(b[24:40]), ts: clock.Timestamp(le.Uint64(b[40:])), file: le.Uint64(b[48:]), segment: segment}
		if e.metaLen > metaBytesMax || e.dataLen > dataBytesMax || int64(e.off)+int64(e.length()) > h.end {
			return nil, errs.New(errs.Corrupt, "hints of segment %08x: entry %d lies outside", segment, i)
		}
		b = b[hintEntryBytes:]
	}
	return h, nil
}
