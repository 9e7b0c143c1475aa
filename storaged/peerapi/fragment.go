package peerapi

import (
	"fmt"
	"strconv"
	"strings"

	"henge/internal/clock"
	"henge/internal/erasure"
	"henge/internal/errs"
	"henge/ring"
)

// Objects of an erasure-coded storage policy. The object's record is kept like any other, by all its primaries, and has no bytes; its Coded names a set of fragments.
// The set has a key of its own, in the object's partition; each primary holds one fragment of it, the i-th primary number i, all under one timestamp. A set is
// written once, is whole before a record names it, and is never changed: so what a record names can be read for as long as the record is the newest, whatever becomes of
// writes that nobody finished.

// Coded is how an object's bytes are cut into fragments.
type Coded struct {
	Set     string          `cbor:"1,keyasint"` // names the set; see FragmentSet
	Data    uint8           `cbor:"2,keyasint"` // any so many fragments give the bytes
	Parity  uint8           `cbor:"3,keyasint"`
	Segment uint32          `cbor:"4,keyasint"` // bytes that are encoded at once
	Size    int64           `cbor:"5,keyasint"` // of all the bytes
	At      clock.Timestamp `cbor:"6,keyasint"` // of the fragments' records
}

// Layout says where the bytes lie in the fragments.
func (c *Coded) Layout() erasure.Layout {
	return erasure.Layout{Shape: erasure.Shape{Data: int(c.Data), Parity: int(c.Parity)}, Segment: int(c.Segment), Size: c.Size}
}

// Fragment is what the record of a fragment says: it suffices to find its fellows, to rebuild it, and to find the object that needs it.
type Fragment struct {
	Coded  Coded     `cbor:"1,keyasint"`
	Index  uint8     `cbor:"2,keyasint"`
	Object string    `cbor:"3,keyasint"` // Account and Container are the key's own
	Parent ring.Hash `cbor:"4,keyasint"` // the hash of the object's name
}

// setPrefix tells sets of fragments from multipart uploads, whose names are hex.
const setPrefix = "ec-"

// FragmentSet names a set: it tells the storage policy as well.
func FragmentSet(policy uint8, at clock.Timestamp) string {
	return fmt.Sprintf("%s%02x%016x", setPrefix, policy, int64(at))
}

// ParseFragmentSet undoes FragmentSet; errs.Invalid.
func ParseFragmentSet(set string) (policy uint8, at clock.Timestamp, err error) {
	digits, ok := strings.CutPrefix(set, setPrefix)
	if !ok || len(digits) != 18 {
		return 0, 0, errs.New(errs.Invalid, "%q names no set of fragments", set)
	}
	p, err := strconv.ParseUint(digits[:2], 16, 8)
	if err != nil {
		return 0, 0, errs.New(errs.Invalid, "%q names no set of fragments", set)
	}
	t, err := strconv.ParseInt(digits[2:], 16, 64)
	if err != nil {
		return 0, 0, errs.New(errs.Invalid, "%q names no set of fragments", set)
	}
	return uint8(p), clock.Timestamp(t), nil
}

// FragmentKey is the key of a set of fragments of an object. It lies in the object's partition, whatever the ring's power is.
func FragmentKey(secret ring.Secret, object Key, set string) Key {
	name := object.Object + "\x00" + set
	h := ring.HashPath(secret, object.Account, object.Container, name)
	copy(h[:4], object.Hash[:4])
	return Key{Account: object.Account, Container: object.Container, Object: name, Policy: object.Policy, Hash: h, Partition: object.Partition}
}
