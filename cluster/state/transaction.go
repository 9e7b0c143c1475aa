package state

import (
	"encoding/binary"

	"henge/internal/errs"
	"henge/internal/limits"
)

// Transaction is one Update on its way to be committed: what it read, and what it writes. docs/formats/state.md describes its bytes.
type Transaction struct {
	Base   Index // of the snapshot that was read
	Reads  []Read
	Ranges []Range
	Writes []Change // by key, each once
}

// Read is a key that was read, and the index that last wrote it; 0 when it was absent.
type Read struct {
	Key string
	Mod Index
}

// Range is a scan: all keys that begin with Prefix, up to and with Last unless that is "", of which there were Count.
type Range struct {
	Prefix, Last string
	Count        uint64
}

// TransactionBytesMax bounds one transaction's encoding.
const TransactionBytesMax = 16 << 20

const transactionVersion = 1

// Check tells what is over the limits: errs.TooLarge or errs.Invalid.
func (tx *Transaction) Check() error {
	total := 0
	for _, w := range tx.Writes {
		if len(w.Value) > limits.StateValueBytesMax {
			return errs.New(errs.TooLarge, "value of %q: %d bytes, at most %d are possible", w.Key, len(w.Value), limits.StateValueBytesMax)
		}
		if w.Key == "" {
			return errs.New(errs.Invalid, "the empty key cannot be written")
		}
		total += len(w.Key) + len(w.Value)
	}
	if total > TransactionBytesMax/2 {
		return errs.New(errs.TooLarge, "one update writes %d bytes, at most %d are possible", total, TransactionBytesMax/2)
	}
	return nil
}

// AppendBinary adds the encoding to b.
func (tx *Transaction) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, transactionVersion)
	b = binary.AppendUvarint(b, uint64(tx.Base))
	b = binary.AppendUvarint(b, uint64(len(tx.Reads)))
	for _, r := range tx.Reads {
		b = appendString(b, r.Key)
		b = binary.AppendUvarint(b, uint64(r.Mod))
	}
	b = binary.AppendUvarint(b, uint64(len(tx.Ranges)))
	for _, r := range tx.Ranges {
		b = appendString(appendString(b, r.Prefix), r.Last)
		b = binary.AppendUvarint(b, r.Count)
	}
	return AppendChanges(b, tx.Writes), nil
}

// AppendChanges adds the encoding of changes to b.
func AppendChanges(b []byte, changes []Change) []byte {
	b = binary.AppendUvarint(b, uint64(len(changes)))
	for _, c := range changes {
		b = appendString(b, c.Key)
		if c.Deleted {
			b = append(b, 1)
			continue
		}
		b = append(b, 0)
		b = binary.AppendUvarint(b, uint64(len(c.Value)))
		b = append(b, c.Value...)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// DecodeTransaction reads what AppendBinary wrote: errs.Corrupt if it is anything else. Values share b's memory.
func DecodeTransaction(b []byte) (*Transaction, error) {
	if len(b) == 0 || b[0] != transactionVersion {
		return nil, errs.New(errs.Corrupt, "decode transaction: not of version %d", transactionVersion)
	}
	d := decoder{rest: b[1:]}
	tx := &Transaction{Base: Index(d.number())}
	for range d.count(2) {
		tx.Reads = append(tx.Reads, Read{d.text(), Index(d.number())})
	}
	for range d.count(3) {
		tx.Ranges = append(tx.Ranges, Range{d.text(), d.text(), d.number()})
	}
	tx.Writes = d.changes()
	if d.bad || len(d.rest) > 0 {
		return nil, errs.New(errs.Corrupt, "decode transaction of %d bytes: cut short or too long", len(b))
	}
	return tx, nil
}

// DecodeChanges reads what AppendChanges wrote, and gives the bytes after it. Values share b's memory.
func DecodeChanges(b []byte) (changes []Change, rest []byte, err error) {
	d := decoder{rest: b}
	changes = d.changes()
	if d.bad {
		return nil, nil, errs.New(errs.Corrupt, "decode changes: cut short")
	}
	return changes, d.rest, nil
}

// decoder takes values off the front of rest; after the first that does not fit everything is zero and bad is set.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads a number of items of at least bytesMin each, and refuses one that the rest cannot hold.
func (d *decoder) count(bytesMin int) uint64 {
	n := d.number()
	if n > uint64(len(d.rest)/bytesMin) {
		d.bad, d.rest = true, nil
		return 0
	}
	return n
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes()) }

func (d *decoder) changes() []Change {
	var changes []Change
	for range d.count(2) {
		c := Change{Key: d.text()}
		switch d.number() {
		case 0:
			c.Value = d.bytes()
		case 1:
			c.Deleted = true
		default:
			d.bad, d.rest = true, nil
		}
		changes = append(changes, c)
	}
	return changes
}
