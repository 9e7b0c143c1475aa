package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"henge/internal/checksum"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
)

// The segment format: docs/formats/segment.md.

const (
	headerBytes   = 72
	entryMagic    = 0x45676e48 // "HngE"
	entryVersion  = 1
	metaBytesMax  = 256 << 10 // the CBOR of one record
	dataBytesMax  = 4 << 20   // the bytes of one entry; a journal entry may be that long
	entryBytesMax = headerBytes + metaBytesMax + dataBytesMax + 8
)

// The kinds of entries. Stored: never reuse a number.
const (
	entryRecord  = 1 // an object or a tombstone
	entryPromise = 2
	entryJournal = 3
	entryRelease = 4 // of the journal stream, up to a position
	entryLost    = 5 // the record of this key and timestamp was found corrupt
	entryEnd     = 6 // the last of a segment
	entryPad     = 7 // zeros up to the end of a page
)

// flagBatch marks the first entry of what was written and synced at once. A hole that such an entry follows was synced once: it is damage, not a torn tail.
const flagBatch = 1 << 0

// entry is the header of one entry of the log: enough to index it without its payload.
type entry struct {
	kind    uint8
	flags   uint8
	policy  uint8 // of journal entries: the stream
	metaLen uint32
	dataLen uint32
	seq     uint64
	hash    ring.Hash
	ts      clock.Timestamp // of journal entries and releases: the position
	file    uint64          // flagExternal: the data file. flagDeleted: the segment in which the tombstone was first written
	metaSum uint32
	dataSum uint32
	segment uint32
	off     uint32 // where in the segment; not stored
}

func (e *entry) id() ID { return ID{Hash: e.hash, Policy: e.policy} }

// length is the whole entry's, padding included.
func (e *entry) length() uint32 { return (headerBytes + e.metaLen + e.dataLen + 7) &^ 7 }

func (e *entry) slot() slot {
	return slot{hash: e.hash, ts: e.ts, seg: e.segment, off: e.off, length: e.length(), meta: uint16((headerBytes + e.metaLen + 7) / 8),
		policy: e.policy, flags: e.flags & (flagDeleted | flagMultipart | flagExternal | flagDropped)}
}

// encode writes the header into b. The salt is the device's own secret: nobody can upload bytes that, met after damage, pass for entries.
func (e *entry) encode(b []byte, salt uint32) {
	le := binary.LittleEndian
	_ = b[headerBytes-1]
	le.PutUint32(b, entryMagic)
	b[4], b[5], b[6], b[7] = entryVersion, e.kind, e.flags, e.policy
	le.PutUint32(b[8:], e.metaLen)
	le.PutUint32(b[12:], e.dataLen)
	le.PutUint64(b[16:], e.seq)
	copy(b[24:40], e.hash[:])
	le.PutUint64(b[40:], uint64(e.ts))
	le.PutUint64(b[48:], e.file)
	le.PutUint32(b[56:], e.metaSum)
	le.PutUint32(b[60:], e.dataSum)
	le.PutUint32(b[64:], e.segment)
	le.PutUint32(b[68:], checksum.Update(salt, b[:68]))
}

// decodeEntry reads a header. ok is false when there is none, or one that does not hold.
func decodeEntry(b []byte, salt uint32) (e entry, ok bool) {
	le := binary.LittleEndian
	if len(b) < headerBytes || le.Uint32(b) != entryMagic || b[4] != entryVersion || le.Uint32(b[68:]) != checksum.Update(salt, b[:68]) {
		return e, false
	}
	e = entry{kind: b[5], flags: b[6], policy: b[7], metaLen: le.Uint32(b[8:]), dataLen: le.Uint32(b[12:]), seq: le.Uint64(b[16:]), hash: ring.Hash(b[24:40]),
		ts: clock.Timestamp(le.Uint64(b[40:])), file: le.Uint64(b[48:]), metaSum: le.Uint32(b[56:]), dataSum: le.Uint32(b[60:]), segment: le.Uint32(b[64:])}
	return e, e.metaLen <= metaBytesMax && e.dataLen <= dataBytesMax && e.kind >= entryRecord && e.kind <= entryPad && e.ts >= 0
}

// payloadHolds checks all that follows the header in b.
func (e *entry) payloadHolds(b []byte) bool {
	meta, data := headerBytes+int(e.metaLen), headerBytes+int(e.metaLen)+int(e.dataLen)
	return len(b) >= data && checksum.Of(b[headerBytes:meta]) == e.metaSum && checksum.Of(b[meta:data]) == e.dataSum
}

// stored is the metadata of an entry, and of a data file's trailer.
type stored struct {
	Record  peerapi.Record  `cbor:"1,keyasint"`
	Handoff *peerapi.Target `cbor:"2,keyasint,omitempty"`
}

// encoder writes metadata into buffers that are there already.
var encoder = mustUserMode(cbor.CoreDetEncOptions().UserBufferEncMode())

func mustUserMode(m cbor.UserBufferEncMode, err error) cbor.UserBufferEncMode {
	if err != nil {
		panic(fmt.Sprintf("engine: encoder options: %v", err))
	}
	return m
}

// decoder takes texts that are not UTF-8: metadata is what clients sent, and headers are bytes. What was written must be readable.
var decoder = mustDecMode(cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid}.DecMode())

func mustDecMode(m cbor.DecMode, err error) cbor.DecMode {
	if err != nil {
		panic(fmt.Sprintf("engine: decoder options: %v", err))
	}
	return m
}

var blank [headerBytes]byte

// begin fills buf with room for the header, the metadata (when s is not nil) and the bytes, and gives the header, which the appender completes.
func begin(buf *bytes.Buffer, kind uint8, s *stored, data []byte) (entry, error) {
	e := entry{kind: kind}
	buf.Reset()
	buf.Write(blank[:])
	if s != nil {
		if err := encoder.MarshalToBuffer(s, buf); err != nil {
			return e, fmt.Errorf("encode record of %s: %w", name(s.Record.Key), err)
		}
		e.hash, e.policy, e.ts = s.Record.Key.Hash, s.Record.Key.Policy, s.Record.Timestamp
		if s.Record.Deleted {
			e.flags |= flagDeleted
		}
		if s.Record.Kind == peerapi.KindMultipart || s.Record.Coded != nil {
			e.flags |= flagMultipart
		}
	}
	e.metaLen = uint32(buf.Len() - headerBytes)
	if e.metaLen > metaBytesMax || len(data) > dataBytesMax {
		return e, errs.New(errs.TooLarge, "an entry of %d bytes of metadata and %d of data", e.metaLen, len(data))
	}
	e.metaSum = checksum.Of(buf.Bytes()[headerBytes:])
	e.dataLen, e.dataSum = uint32(len(data)), checksum.Of(data)
	buf.Write(data)
	buf.Write(blank[:int(e.length())-buf.Len()])
	return e, nil
}

// decodeMeta reads what begin encoded; b starts at the header.
func decodeMeta(e *entry, b []byte) (*stored, error) {
	if len(b) < headerBytes+int(e.metaLen) || checksum.Of(b[headerBytes:headerBytes+int(e.metaLen)]) != e.metaSum {
		return nil, errs.New(errs.Corrupt, "entry %d: the metadata does not match its checksum", e.seq)
	}
	return decodeStored(b[headerBytes : headerBytes+int(e.metaLen)])
}

func decodeStored(b []byte) (*stored, error) {
	s := new(stored)
	if err := decoder.Unmarshal(b, s); err != nil {
		return nil, errs.New(errs.Corrupt, "decode record: %w", err)
	}
	return s, nil
}
