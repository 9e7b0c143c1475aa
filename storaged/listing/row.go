package listing

import (
	"encoding/binary"
	"encoding/hex"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// rowFormat is the first byte of every stored row.
const rowFormat = 1

// The second byte of a stored row says what follows.
const (
	rowDeleted  = 1 << iota // a tombstone
	rowHexETag              // the ETag is 32 lower-case hexadecimal digits, kept as 16 bytes
	rowTextETag             // the ETag is anything else
	rowCounts               // Count and Counted follow
	rowExtras               // Kind, DeleteAt, Policy and Checksum follow
)

// appendRow adds a row's stored form, without its name, which is the key.
func appendRow(b []byte, r peerapi.Row) []byte {
	var raw [16]byte
	flags := byte(0)
	if r.Deleted {
		flags |= rowDeleted
	}
	if len(r.ETag) == 32 && packHex(raw[:], r.ETag) {
		flags |= rowHexETag
	} else if r.ETag != "" {
		flags |= rowTextETag
	}
	if r.Count != 0 || r.Counted != 0 {
		flags |= rowCounts
	}
	if r.Kind != 0 || r.DeleteAt != 0 || r.Policy != 0 || r.Checksum != "" {
		flags |= rowExtras
	}
	b = append(b, rowFormat, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Timestamp))
	b = binary.AppendVarint(b, r.Size)
	b = appendText(b, r.ContentType)
	switch {
	case flags&rowHexETag != 0:
		b = append(b, raw[:]...)
	case flags&rowTextETag != 0:
		b = appendText(b, r.ETag)
	}
	if flags&rowCounts != 0 {
		b = binary.AppendVarint(b, r.Count)
		b = binary.AppendVarint(b, int64(r.Counted))
	}
	if flags&rowExtras != 0 {
		b = append(b, byte(r.Kind), r.Policy)
		b = binary.AppendVarint(b, r.DeleteAt)
		b = appendText(b, r.Checksum)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// packHex tells whether s is all lower-case hexadecimal, so that unpacking gives the same text.
func packHex(dst []byte, s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// words remembers content types while many rows are decoded: there are few of them, and each would be a string of its own.
type words struct{ last string }

func (w *words) of(b []byte) string {
	if w == nil {
		return string(b)
	}
	if w.last != string(b) {
		w.last = string(b)
	}
	return w.last
}

// decodeRow reads what appendRow wrote. The row shares nothing with b.
func decodeRow(name string, b []byte, seen *words) (peerapi.Row, error) {
	d := decoder{rest: b}
	r := peerapi.Row{Name: name}
	format, flags := d.byte(), d.byte()
	if format != rowFormat && !d.bad {
		return r, errs.New(errs.Corrupt, "row %q: format %d is not known", name, format)
	}
	r.Timestamp = clock.Timestamp(d.uint64())
	r.Deleted = flags&rowDeleted != 0
	r.Size = d.varint()
	r.ContentType = seen.of(d.text())
	switch {
	case flags&rowHexETag != 0:
		r.ETag = hex.EncodeToString(d.take(16))
	case flags&rowTextETag != 0:
		r.ETag = string(d.text())
	}
	if flags&rowCounts != 0 {
		r.Count = d.varint()
		r.Counted = clock.Timestamp(d.varint())
	}
	if flags&rowExtras != 0 {
		r.Kind, r.Policy = peerapi.Kind(d.byte()), d.byte()
		r.DeleteAt = d.varint()
		r.Checksum = string(d.text())
	}
	if d.bad || len(d.rest) != 0 {
		return r, errs.New(errs.Corrupt, "row %q: %d bytes that are not a row", name, len(b))
	}
	return r, nil
}

// decoder takes fields off the front of a buffer; once one is missing, bad is set and everything is zero.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.rest) {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() []byte {
	v, n := binary.Uvarint(d.rest)
	if d.bad || n <= 0 || v > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	d.rest = d.rest[n:]
	return d.take(int(v))
}
