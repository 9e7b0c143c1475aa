// Package engine keeps objects, promises and journal entries on one device, so that what was acknowledged survives power loss.
//
// Everything is appended to one log of segment files, with one shared fsync for all writers that wait (group commit). Objects above limits.InlineBytesMax
// have their bytes in files of their own; the log holds their records. The index is in memory, and is rebuilt from the data. See DESIGN.md.
package engine

import (
	"context"
	"io"
	"iter"

	"henge/internal/clock"
	"henge/ring"
	"henge/storaged/peerapi"
)

// Engine is one device. All methods are safe for concurrent use. The meaning of each is that of peerapi.Device; what is written is durable when a call returns.
type Engine interface {
	Head(key peerapi.Key) (peerapi.State, error)
	Open(key peerapi.Key, at clock.Timestamp, r peerapi.Range) (peerapi.State, io.ReadCloser, error)
	Create(ctx context.Context, key peerapi.Key, size int64) (Writer, error)
	Commit(ctx context.Context, w Write, data []byte) (peerapi.Outcome, error)
	Restamp(ctx context.Context, from clock.Timestamp, w Write) (peerapi.Outcome, error)
	Prepare(ctx context.Context, key peerapi.Key, ballot clock.Timestamp) (peerapi.Outcome, peerapi.State, error)

	// Walk yields the newest version of every object in a partition, tombstones included, in the order of their hashes. What changes meanwhile may or may not be seen.
	Walk(p ring.Partition, power uint8) iter.Seq2[Held, error]

	// Sums and Marks tell which versions are held, tombstones included, dropped ones not. They read memory only.
	Sums(q peerapi.SumsQuery) ([]uint64, error)
	Marks(q peerapi.MarksQuery) (peerapi.Marks, error)
	// Drop gives up the version at, durably, if it is still the newest: nothing is held for the key afterwards, and nothing older is taken. For copies that were kept
	// for others, and for what others have long forgotten. False: it is not there, or not any more.
	Drop(ctx context.Context, key peerapi.Key, at clock.Timestamp) (bool, error)

	Journal() Journal
	Usage() peerapi.Usage
	Close() error
}

// Write is a record to be written, and how.
type Write struct {
	Record  peerapi.Record
	Accept  bool            // the timestamp is a ballot that was prepared
	Handoff *peerapi.Target // whom this copy is kept for
	Intent  *Intent         // what must not be forgotten once the record is there; nil: nothing
}

// Intent is a journal entry of StreamPending that goes with a record, into the same batch and in front of it: it is durable whenever the record is, and costs no fsync
// of its own. Nothing is appended when the write is refused. An engine that cannot do this leaves Position 0.
type Intent struct {
	Entry    []byte
	Position Position // the engine sets it before the write returns
}

// Held is an object as Walk finds it.
type Held struct {
	Record  peerapi.Record
	Handoff *peerapi.Target
}

// Writer receives a stream; see peerapi.Writer.
type Writer interface {
	io.Writer
	Commit(ctx context.Context, w Write) (peerapi.Outcome, error)
	Close() error
}

// Stream names a kind of journal entries. Stored: never reuse a number.
type Stream uint8

// The streams that storaged uses.
const (
	StreamRows    Stream = 1 // listing rows and index changes, until the B+tree has them
	StreamPending Stream = 2 // listing updates for other devices, until they have them
)

// Position orders the entries of a journal. 0 is before all.
type Position uint64

// Journal is durable, ordered memory for others on the same device: entries share the log and the fsync of the objects.
type Journal interface {
	// Append makes an entry durable. Space for it is held back: it fails with errs.NoSpace only when even that is used up.
	Append(ctx context.Context, s Stream, entry []byte) (Position, error)
	// Replay gives, in order, every entry of the stream that was acknowledged after the last Release and before the device was opened. Entries that were
	// being appended at a crash may come too, whole. Call it before the first Append.
	Replay(s Stream, fn func(Position, []byte) error) error
	// Release says that entries of the stream up to and including upto are not needed any more. It is remembered lazily: after a crash some may come again.
	Release(s Stream, upto Position) error
}
