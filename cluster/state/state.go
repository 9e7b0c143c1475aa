// Package state is the door to the cluster's replicated state: View, Update and Watch, and typed tables on top.
//
// The state is a sorted map from string keys to small values. Every committed Update has an Index; indexes grow by at least one.
// Implementations: agreement (Raft) for real clusters, Memory for tests and tools. Both pass statetest.Run.
package state

import (
	"context"
	"iter"
)

// Index numbers the committed updates.
type Index uint64

// Store is what the services see of the replicated state.
type Store interface {
	// View runs fn on a consistent snapshot that no writer changes, at this peer's latest applied index. It never waits for
	// another peer, and works while there is no leader.
	View(ctx context.Context, fn func(Reader) error) error

	// Update runs fn on a snapshot, then commits what it wrote only if nothing that it read (keys and scanned prefixes, absence
	// included) has changed since: otherwise fn runs again, so it must have no side effects. Serializable; callable on any peer; when it
	// returns nil the change is durable at a majority and visible to later Views on this peer. When fn returns an error, nothing is written and that error
	// comes back. It ends after limits.StateUpdateTimeout at the latest. Without a leader: errs.Unavailable, in which case it may or may not have happened only if the error says "outcome unknown".
	Update(ctx context.Context, fn func(Writer) error) error

	// Watch delivers every committed change under prefix with an index greater than after, in order, each index once and whole, until ctx ends
	// or the caller stops. When the changes since after are no longer kept, the first Event has Reset set: the watcher then forgets what it knew and takes
	// Changes as the whole content under prefix at that index.
	Watch(ctx context.Context, prefix string, after Index) iter.Seq2[Event, error]

	// Barrier waits until this peer has applied everything that was committed anywhere before the call: a View after it is linearizable. It ends
	// after limits.StateUpdateTimeout at the latest.
	Barrier(ctx context.Context) error
}

// Reader reads one snapshot. Values are shared: do not modify them.
type Reader interface {
	Index() Index
	Get(key string) (value []byte, ok bool)
	// Scan yields the keys that begin with prefix, in order.
	Scan(prefix string) iter.Seq2[string, []byte]
}

// Writer is a Reader that sees its own writes.
type Writer interface {
	Reader
	Put(key string, value []byte)
	Delete(key string)
}

// Event is all that one index changed under the watched prefix.
type Event struct {
	Index   Index
	Reset   bool
	Changes []Change
}

// Change is one key's new value; Deleted when it is gone.
type Change struct {
	Key     string
	Value   []byte
	Deleted bool
}
