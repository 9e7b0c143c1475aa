package peerapi

import (
	"henge/internal/clock"
	"henge/ring"
)

// Key names an object, a container (Object empty) or an account (Container empty too), with what the ring made of it.
type Key struct {
	Account   string         `cbor:"1,keyasint"`
	Container string         `cbor:"2,keyasint,omitempty"`
	Object    string         `cbor:"3,keyasint,omitempty"`
	Policy    uint8          `cbor:"4,keyasint,omitempty"` // the storage policy's index; 0 for containers and accounts
	Hash      ring.Hash      `cbor:"5,keyasint"`
	Partition ring.Partition `cbor:"6,keyasint"`
}

// Record is one version of an object, without its bytes. It is kept with them, and says all that is needed to rebuild every index.
type Record struct {
	Key         Key               `cbor:"1,keyasint"`
	Timestamp   clock.Timestamp   `cbor:"2,keyasint"`            // when it was written, and its place in the order of all writes
	Deleted     bool              `cbor:"3,keyasint,omitempty"`  // a tombstone: no bytes, no metadata
	Size        int64             `cbor:"4,keyasint,omitempty"`  // what a client sees: of a manifest, the size of the whole
	StoredSize  int64             `cbor:"5,keyasint,omitempty"`  // the bytes kept here
	ETag        string            `cbor:"6,keyasint,omitempty"`  // what a client sees, without quotes
	ContentType string            `cbor:"7,keyasint,omitempty"`  //
	Created     clock.Timestamp   `cbor:"8,keyasint,omitempty"`  // when the bytes were first written, if a metadata update changed Timestamp since
	Meta        map[string]string `cbor:"9,keyasint,omitempty"`  // what clients set and see, in bytes that need not be UTF-8, by lower-case header name ("x-object-meta-color", "content-encoding")
	System      map[string]string `cbor:"10,keyasint,omitempty"` // what only Henge sets; no dialect shows it as it is
	DeleteAt    int64             `cbor:"11,keyasint,omitempty"` // seconds since 1970; the object is gone from then on
	Kind        Kind              `cbor:"12,keyasint,omitempty"` // what the bytes are
	Upload      string            `cbor:"13,keyasint,omitempty"` // of a KindMultipart: the upload whose parts belong to this object alone
	Version     string            `cbor:"14,keyasint,omitempty"` // reserved for versioning: "" is the null version
	Tags        map[string]string `cbor:"15,keyasint,omitempty"` // reserved for object tagging
	LockMode    string            `cbor:"16,keyasint,omitempty"` // reserved for Object Lock
	LockUntil   int64             `cbor:"17,keyasint,omitempty"` // reserved for Object Lock: seconds since 1970
	LegalHold   bool              `cbor:"18,keyasint,omitempty"` // reserved for Object Lock
	Generation  uint32            `cbor:"19,keyasint,omitempty"` // reserved
	// Coded is how an object's bytes are cut into fragments, which are kept under keys of their own: see fragment.go. nil: the bytes are here.
	Coded *Coded `cbor:"20,keyasint,omitempty"`
	// Fragment is set of a fragment.
	Fragment *Fragment `cbor:"21,keyasint,omitempty"`
}

// Kind says what an object's bytes are.
type Kind uint8

// The kinds of objects. Stored: append, never reorder.
const (
	KindPlain     Kind = iota
	KindSLO            // the bytes are a core.Manifest: Swift's static large object
	KindMultipart      // the bytes are a core.Manifest: a completed S3 multipart upload
	KindDLO            // no bytes; Meta holds x-object-manifest
)

// State is what a device holds for a key.
type State struct {
	Record  *Record         `cbor:"1,keyasint,omitempty"` // the newest version, perhaps a tombstone; nil when nothing was ever written or all is reclaimed
	Promise clock.Timestamp `cbor:"2,keyasint,omitempty"`
}

// Timestamp is the record's, or 0.
func (s State) Timestamp() clock.Timestamp {
	if s.Record == nil {
		return 0
	}
	return s.Record.Timestamp
}

// Exists tells whether there is an object (expiry aside).
func (s State) Exists() bool { return s.Record != nil && !s.Record.Deleted }

// Target names a device in the cluster.
type Target struct {
	Peer   string `cbor:"1,keyasint"`
	Device string `cbor:"2,keyasint"`
}

// Commit says how a record is to be written.
type Commit struct {
	Record Record `cbor:"1,keyasint"`
	// Accept: the record's timestamp is a ballot that was prepared. Otherwise it is a plain write.
	Accept bool `cbor:"2,keyasint,omitempty"`
	// Listing are the container replicas that this device is to tell, before it answers. What cannot be told now is queued durably, and told later.
	Listing []Target `cbor:"3,keyasint,omitempty"`
	// ContainerKey is the key of the container, for Listing.
	ContainerKey Key `cbor:"4,keyasint,omitempty"`
	// Handoff names the primary that this copy is kept for, when the device is not one itself.
	Handoff *Target `cbor:"5,keyasint,omitempty"`
	// ContainerCreated and ContainerPolicy are what the writer knows of the container: its IndexInfo.First and Policy. A container replica that slept through
	// the container's PUT makes it from them, instead of answering that it is gone. 0: not known.
	ContainerCreated clock.Timestamp `cbor:"6,keyasint,omitempty"`
	ContainerPolicy  uint8           `cbor:"7,keyasint,omitempty"`
}

// Merge is rows for one container's or account's listing.
type Merge struct {
	Key  Key   `cbor:"1,keyasint"`
	Rows []Row `cbor:"2,keyasint"`
	// Created and Policy: as ContainerCreated and ContainerPolicy of a Commit.
	Created clock.Timestamp `cbor:"3,keyasint,omitempty"`
	Policy  uint8           `cbor:"4,keyasint,omitempty"`
}

// Outcome is a device's answer to a write that did not fail.
type Outcome struct {
	Accepted bool            `cbor:"1,keyasint"`           // durable here
	Newest   clock.Timestamp `cbor:"2,keyasint,omitempty"` // when not accepted: the record or promise that stands in the way
	Missing  bool            `cbor:"3,keyasint,omitempty"` // Restamp only: the version to restamp is not here
	Listed   int             `cbor:"4,keyasint,omitempty"` // how many of Listing hold the row now
	Queued   int             `cbor:"5,keyasint,omitempty"` // how many will be told later
	Gone     bool            `cbor:"6,keyasint,omitempty"` // a container replica says that the container does not exist
	Replaced string          `cbor:"7,keyasint,omitempty"` // the Upload of the version that this write replaced or deleted: its parts are garbage now
	// ReplacedAt is when the version named by Replaced was written.
	ReplacedAt clock.Timestamp `cbor:"8,keyasint,omitempty"`
}

// Range is a part of an object's stored bytes. Length < 0 means to the end.
type Range struct {
	Offset int64 `cbor:"1,keyasint,omitempty"`
	Length int64 `cbor:"2,keyasint"`
}

// Whole is everything.
var Whole = Range{Length: -1}

// Row is one line of a listing: an object in a container, or a container in an account. Rows merge by Timestamp: the newest wins; see Supersedes.
type Row struct {
	Name        string          `cbor:"1,keyasint"`
	Timestamp   clock.Timestamp `cbor:"2,keyasint"`
	Deleted     bool            `cbor:"3,keyasint,omitempty"`
	Size        int64           `cbor:"4,keyasint,omitempty"` // bytes (of a container: of all its objects)
	Count       int64           `cbor:"5,keyasint,omitempty"` // of a container: its objects
	ETag        string          `cbor:"6,keyasint,omitempty"`
	ContentType string          `cbor:"7,keyasint,omitempty"`
	Kind        Kind            `cbor:"8,keyasint,omitempty"`
	DeleteAt    int64           `cbor:"9,keyasint,omitempty"`
	Policy      uint8           `cbor:"10,keyasint,omitempty"`
	Checksum    string          `cbor:"11,keyasint,omitempty"` // the S3 checksum algorithm and type, for ListObjects
	Counted     clock.Timestamp `cbor:"12,keyasint,omitempty"` // of a container: when Size and Count were counted; they change without the container's Timestamp
}

// Supersedes tells whether r takes o's place when the two meet: the newer one does, of one age the tombstone, and of one container's rows the one counted
// last. It is a total order but for rows that say the same of a container or object, so that replicas agree whatever the order in which rows come.
func (r Row) Supersedes(o Row) bool {
	switch {
	case r.Timestamp != o.Timestamp:
		return r.Timestamp > o.Timestamp
	case r.Deleted != o.Deleted:
		return r.Deleted
	case r.Counted != o.Counted:
		return r.Counted > o.Counted
	}
	return r.Size > o.Size || r.Size == o.Size && r.ETag > o.ETag
}

// MetaValue is one metadata header of a container or account, with when it was set; "" means removed. The newest wins.
type MetaValue struct {
	Value     string          `cbor:"1,keyasint,omitempty"`
	Timestamp clock.Timestamp `cbor:"2,keyasint"`
}

// IndexInfo describes a container or an account as one replica knows it.
type IndexInfo struct {
	Created   clock.Timestamp      `cbor:"1,keyasint,omitempty"` // the newest PUT; 0: never seen here
	Deleted   clock.Timestamp      `cbor:"2,keyasint,omitempty"` // the newest DELETE
	First     clock.Timestamp      `cbor:"3,keyasint,omitempty"` // when it came to be (since the last DELETE)
	Policy    uint8                `cbor:"4,keyasint,omitempty"`
	Count     int64                `cbor:"5,keyasint,omitempty"` // live rows
	Bytes     int64                `cbor:"6,keyasint,omitempty"`
	Meta      map[string]MetaValue `cbor:"7,keyasint,omitempty"` // by lower-case header name; System ones begin with "sys-"
	Timestamp clock.Timestamp      `cbor:"8,keyasint,omitempty"` // the newest change of anything above but Count and Bytes
	Objects   int64                `cbor:"9,keyasint,omitempty"` // of an account: the objects in all its containers, as these last said
}

// Exists tells whether the container or account exists.
func (i IndexInfo) Exists() bool { return i.Created > i.Deleted }

// IndexChange creates, updates or deletes a container or account at one replica. Changes merge: they may come late, twice, in any order. A delete that finds
// nothing is remembered all the same, so that an older create that comes after it makes nothing.
//
// Whoever merges replicas takes the newest Deleted of them: rows no newer than that are of a life that is over.
type IndexChange struct {
	Key       Key                  `cbor:"1,keyasint"`
	Timestamp clock.Timestamp      `cbor:"2,keyasint"`
	Create    bool                 `cbor:"3,keyasint,omitempty"` // make it if it is not there (PUT); otherwise only Meta merges, if it exists (POST). errs.Conflict when a delete here is newer
	Delete    bool                 `cbor:"4,keyasint,omitempty"` // errs.Conflict unless it is empty, and no create here is newer
	Policy    uint8                `cbor:"5,keyasint,omitempty"` // counts when it is made
	Meta      map[string]MetaValue `cbor:"6,keyasint,omitempty"`
	// Listing are the account replicas that this device is to tell of a container made or deleted, as in Commit.
	Listing    []Target `cbor:"7,keyasint,omitempty"`
	AccountKey Key      `cbor:"8,keyasint,omitempty"`
	// Created and CreatedPolicy, with a change that is not Create: as ContainerCreated and ContainerPolicy of a Commit, so that a replica that slept through the PUT does
	// not lose the change.
	Created       clock.Timestamp `cbor:"9,keyasint,omitempty"`
	CreatedPolicy uint8           `cbor:"10,keyasint,omitempty"`
	// Restores, with Create, is the First of a life that a deletion ended here while other replicas refused it: the deletion is taken back, so that the rows of that
	// life, which the other replicas hold, count again.
	Restores clock.Timestamp `cbor:"11,keyasint,omitempty"`
}

// IndexOutcome is the answer to an IndexChange.
type IndexOutcome struct {
	Existed bool `cbor:"1,keyasint,omitempty"` // it existed before the change
	Listed  int  `cbor:"2,keyasint,omitempty"`
	Queued  int  `cbor:"3,keyasint,omitempty"`
	// Newest is the newest create or delete that is known here, given with errors too: a writer whose change came too late (errs.Conflict) learns what to be newer than.
	Newest clock.Timestamp `cbor:"4,keyasint,omitempty"`
}

// ListQuery asks for a page of rows in byte order of their names. All rows come back, tombstones included: the caller merges pages of several replicas.
type ListQuery struct {
	Key       Key    `cbor:"1,keyasint"`
	Marker    string `cbor:"2,keyasint,omitempty"` // names after it only (before it, when Reverse)
	From      string `cbor:"3,keyasint,omitempty"` // names from it on, itself included (up to it, when Reverse); with Marker, the later one counts
	EndMarker string `cbor:"4,keyasint,omitempty"` // names before it only (after it, when Reverse)
	Prefix    string `cbor:"5,keyasint,omitempty"`
	Delimiter string `cbor:"6,keyasint,omitempty"` // see ListPage
	Limit     int    `cbor:"7,keyasint"`           // live rows and folders; tombstones come on top, bounded by the page
	Reverse   bool   `cbor:"8,keyasint,omitempty"`
}

// ListPage is a page. With a Delimiter, of the names that share everything up to the delimiter after Prefix (a "folder") only some are given: the
// tombstones before the first live name, and that one; the rest is skipped.
type ListPage struct {
	Info IndexInfo `cbor:"1,keyasint"`
	Rows []Row     `cbor:"2,keyasint,omitempty"`
	// More: there are names after the last row given (and its folder).
	More bool `cbor:"3,keyasint,omitempty"`
	// End is up to where the page speaks for this replica: a name that is not given and lies between the query's start and End is not here. "" when More is false.
	End string `cbor:"4,keyasint,omitempty"`
}
