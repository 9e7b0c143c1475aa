package peerapi

import (
	"henge/internal/clock"
	"henge/ring"
)

// What repair asks of a device: which versions it holds, told by hash and timestamp, and by sums over whole partitions so that only differences travel. These calls
// are answered by a device that is catching up, too.

// Mark is one version that a device holds, without its name.
type Mark struct {
	Hash      ring.Hash
	Timestamp clock.Timestamp
	Deleted   bool // a tombstone
	Lost      bool // the device knows of the version, and its record is corrupt
}

// SumsQuery asks for the sums of Count partitions from First on, in a ring of 2^Power partitions.
type SumsQuery struct {
	Policy uint8          `cbor:"1,keyasint,omitempty"`
	Power  uint8          `cbor:"2,keyasint"`
	First  ring.Partition `cbor:"3,keyasint"`
	Count  int            `cbor:"4,keyasint"`
}

// SumsMax is how many sums one answer has at most.
const SumsMax = 8192

// Sums are a device's: two devices that hold the same versions of a partition have the same sum for it, and that of nothing is 0.
type Sums struct {
	Standing Standing `cbor:"1,keyasint,omitempty"`
	Sums     []uint64 `cbor:"2,keyasint"`
}

// Standing says whether a device may speak for what it holds.
type Standing uint8

// The standings.
const (
	// Joined: it takes part in everything.
	Joined Standing = iota
	// Filling: it began empty where it should hold something. It answers nobody but repair until it has what its fellows have.
	Filling
	// Returning: it was away for longer than deletes are remembered. It answers nobody but repair until it has given up what its fellows have forgotten.
	Returning
)

func (s Standing) String() string {
	switch s {
	case Joined:
		return "joined"
	case Filling:
		return "being filled"
	case Returning:
		return "catching up after a long absence"
	}
	return "unknown"
}

// MarksQuery asks for the marks of a partition, by hash, those after After.
type MarksQuery struct {
	Policy    uint8          `cbor:"1,keyasint,omitempty"`
	Power     uint8          `cbor:"2,keyasint"`
	Partition ring.Partition `cbor:"3,keyasint"`
	After     ring.Hash      `cbor:"4,keyasint"`
	Limit     int            `cbor:"5,keyasint"`
}

// MarksMax is how many marks one answer has at most.
const MarksMax = 8192

// Marks is a page of marks. The next begins after the last one's hash.
type Marks struct {
	Marks []Mark
	More  bool
}

// IndexesQuery asks for the containers and accounts of a device by hash, those after After.
type IndexesQuery struct {
	After ring.Hash `cbor:"1,keyasint"`
	Limit int       `cbor:"2,keyasint"`
}

// IndexesMax is how many indexes one answer has at most; fewer when they are large.
const IndexesMax = 256

// Indexes is a page of containers and accounts, in the order of their hashes.
type Indexes struct {
	Standing Standing `cbor:"1,keyasint,omitempty"`
	Indexes  []Index  `cbor:"2,keyasint,omitempty"`
	More     bool     `cbor:"3,keyasint,omitempty"`
}

// Index is one container or account of a device.
type Index struct {
	Key  Key       `cbor:"1,keyasint"`
	Info IndexInfo `cbor:"2,keyasint"`
}
