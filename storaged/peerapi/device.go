package peerapi

import (
	"context"
	"io"

	"henge/internal/clock"
)

// Device is one disk of one peer. All methods are safe for concurrent use. Errors are of these kinds: Unavailable and Timeout (peer or disk does not answer),
// NoSpace, Corrupt, Invalid, and those that a method names.
type Device interface {
	// Head gives what is held for an object. Nothing held is not an error.
	Head(ctx context.Context, key Key) (State, error)

	// Open gives the newest version and a stream of its stored bytes. With at != 0 it must be exactly that version. errs.NotFound when there is none, or it
	// is a tombstone, or not the version asked for (then State still says what is there). Every byte is checked before it is delivered: errs.Corrupt from Read.
	Open(ctx context.Context, key Key, at clock.Timestamp, r Range) (State, io.ReadCloser, error)

	// Create begins an object whose bytes come as a stream. size is what is expected, or -1; it serves to reserve space (errs.NoSpace). Nothing is visible
	// before Commit accepted.
	Create(ctx context.Context, key Key, size int64) (Writer, error)

	// Commit writes a record with all its bytes at once: a small object, or a tombstone (data nil). Durable when it answers Accepted.
	Commit(ctx context.Context, c Commit, data []byte) (Outcome, error)

	// Restamp writes a record over the bytes of the version at from: a metadata update, or the repair of an undecided write. Missing when that version is not the newest here.
	Restamp(ctx context.Context, from clock.Timestamp, c Commit) (Outcome, error)

	// Prepare promises to accept nothing older than ballot for the key, durably. Not accepted when something as new is here already; the State is
	// given in both cases.
	Prepare(ctx context.Context, key Key, ballot clock.Timestamp) (Outcome, State, error)

	// Index gives what this replica knows of a container or account. Nothing known is not an error.
	Index(ctx context.Context, key Key) (IndexInfo, error)

	// ChangeIndex creates, updates or deletes a container or account. errs.NotFound when there is nothing to update or delete, errs.Conflict when it is not empty.
	ChangeIndex(ctx context.Context, c IndexChange) (IndexOutcome, error)

	// Merge puts rows into a container's or account's listing. Each is taken if it supersedes what is there. Durable when it returns.
	// errs.NotFound when the container does not exist, or when a row that is not a tombstone is older than the container's last deletion (the other rows are
	// taken all the same). An account comes to be by itself.
	Merge(ctx context.Context, m Merge) error

	// List gives a page of rows.
	List(ctx context.Context, q ListQuery) (ListPage, error)

	// Sums, Marks and Indexes tell repair what is held. A device that is catching up (see Standing) answers these calls, Usage, and
	// no others: all the rest is Unavailable.
	Sums(ctx context.Context, q SumsQuery) (Sums, error)
	Marks(ctx context.Context, q MarksQuery) (Marks, error)
	Indexes(ctx context.Context, q IndexesQuery) (Indexes, error)

	// Usage says how full the device is.
	Usage(ctx context.Context) (Usage, error)
}

// Writer receives an object's bytes.
type Writer interface {
	io.Writer
	// Commit makes the bytes durable and visible as the record says. When the Outcome is not Accepted it may be called again, with a later timestamp.
	Commit(ctx context.Context, c Commit) (Outcome, error)
	// Close gives the bytes up unless they were committed. It may be called twice, and must be called.
	Close() error
}

// Usage is how full a device is, in bytes. Used counts live and dead bytes; Reserved is held back for deletes and metadata.
type Usage struct {
	Size       int64 `cbor:"1,keyasint"`
	Used       int64 `cbor:"2,keyasint"`
	Free       int64 `cbor:"3,keyasint"`
	Reserved   int64 `cbor:"4,keyasint"`
	Objects    int64 `cbor:"5,keyasint"`
	Pending    int64 `cbor:"6,keyasint"` // listing updates queued
	Quarantine int64 `cbor:"7,keyasint"` // records set aside as corrupt
	Full       bool  `cbor:"8,keyasint"` // only what the reserve is for is taken
	// Failed is why the device takes no writes at all until it is opened again; "" when it does.
	Failed string `cbor:"9,keyasint,omitempty"`
}

// Devices finds devices, here or elsewhere.
type Devices interface {
	// Device never fails: a device that is not there answers every call with errs.Unavailable. It does not dial.
	Device(t Target) Device
	// Up tells whether the target's peer is believed to be alive, so that the dead are tried last.
	Up(t Target) bool
}
