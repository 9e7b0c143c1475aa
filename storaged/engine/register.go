package engine

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/ring"
	"henge/storaged/peerapi"
)

// ID is what tells objects apart on a device. The same name may be there under two storage policies.
type ID struct {
	Hash   ring.Hash
	Policy uint8
}

// IDOf is the ID of a key.
func IDOf(key peerapi.Key) ID { return ID{Hash: key.Hash, Policy: key.Policy} }

// Standing is what the rules of the register need to know of a key: see peerapi's package comment. The zero Standing is that of a key never written.
type Standing struct {
	Timestamp clock.Timestamp // of the newest record
	Promise   clock.Timestamp // 0 when there is none, or the record is as new
	Lost      bool            // the newest record was found corrupt and set aside, or dropped: the same version may be written again
}

// Newest is what a refused writer has to surpass.
func (s Standing) Newest() clock.Timestamp { return max(s.Timestamp, s.Promise) }

// AllowsWrite tells whether a record at t may be written; accept says that t is a ballot that was prepared.
func (s Standing) AllowsWrite(t clock.Timestamp, accept bool) bool {
	newer := t > s.Timestamp || s.Lost && t == s.Timestamp
	if accept {
		return newer && s.Promise == t
	}
	return newer && t > s.Promise
}

// AllowsPrepare tells whether ballot may be promised. A ballot belongs to one proposer: promising it twice is a retry.
func (s Standing) AllowsPrepare(ballot clock.Timestamp) bool {
	return ballot > s.Timestamp && ballot >= s.Promise
}

// Same tells whether two records are one and the same write, repeated.
func Same(a, b *peerapi.Record) bool {
	x, errX := canonical.Marshal(a)
	y, errY := canonical.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Replaced is the upload whose parts, or the set of fragments, that became garbage when next took the place of old, or "". A metadata update keeps both.
func Replaced(old, next *peerapi.Record) string {
	switch {
	case old == nil:
	case old.Kind == peerapi.KindMultipart && old.Upload != next.Upload:
		return old.Upload
	case old.Coded != nil && (next.Coded == nil || old.Coded.Set != next.Coded.Set):
		return old.Coded.Set
	}
	return ""
}

// Check refuses records that no engine can keep: errs.Invalid.
func (w *Write) Check() error {
	switch r := &w.Record; {
	case r.Timestamp <= 0:
		return errs.New(errs.Invalid, "write %s: timestamp %d is not positive", name(r.Key), r.Timestamp)
	case r.Key.Hash == ring.Hash{}:
		return errs.New(errs.Invalid, "write %s: the key has no hash", name(r.Key))
	case len(r.Key.Account) > limits.AccountNameBytesMax || len(r.Key.Container) > limits.ContainerNameBytesMax*2 || len(r.Key.Object) > limits.ObjectNameBytesMax*2:
		return errs.New(errs.Invalid, "write %.100s...: the name is too long", name(r.Key))
	}
	return nil
}

// CheckRange fits r into an object of size bytes: errs.Invalid when it begins outside. The result's Length is never negative.
func CheckRange(r peerapi.Range, size int64) (peerapi.Range, error) {
	if r.Offset < 0 || r.Offset > size {
		return r, errs.New(errs.Invalid, "range begins at %d of %d bytes", r.Offset, size)
	}
	if r.Length < 0 || r.Length > size-r.Offset {
		r.Length = size - r.Offset
	}
	return r, nil
}

// In tells whether a hash lies in a partition of a ring with 2^power partitions.
func In(h ring.Hash, p ring.Partition, power uint8) bool {
	top := uint64(h[0])<<24 | uint64(h[1])<<16 | uint64(h[2])<<8 | uint64(h[3])
	return power == 0 || power <= 32 && top>>(32-power) == uint64(p)
}

// CheckSums refuses a query that makes no sense: errs.Invalid.
func CheckSums(q peerapi.SumsQuery) error {
	if q.Power > 32 || q.Count < 1 || q.Count > peerapi.SumsMax || uint64(q.First)+uint64(q.Count) > 1<<q.Power {
		return errs.New(errs.Invalid, "sums of %d partitions from %d on, of 2^%d", q.Count, q.First, q.Power)
	}
	return nil
}

// CheckMarks refuses a query that makes no sense: errs.Invalid.
func CheckMarks(q peerapi.MarksQuery) error {
	if q.Power > 32 || uint64(q.Partition) >= 1<<q.Power {
		return errs.New(errs.Invalid, "marks of partition %d, of 2^%d", q.Partition, q.Power)
	}
	return nil
}

func name(k peerapi.Key) string {
	return fmt.Sprintf("%s/%s/%s", k.Account, k.Container, k.Object)
}

// canonical writes the same bytes for the same record, whatever the order of its maps.
var canonical = mustMode(cbor.CoreDetEncOptions().EncMode())

func mustMode(m cbor.EncMode, err error) cbor.EncMode {
	if err != nil {
		panic(fmt.Sprintf("engine: encoder options: %v", err))
	}
	return m
}
