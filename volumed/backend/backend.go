// Package backend is what volumed asks of whatever keeps the bytes of volumes. Implementations: local (thin files on one peer). Each passes backendtest.Run.
package backend

import "context"

// Device is an open volume: a block device of bytes. All methods are safe for concurrent use; calls on overlapping ranges at the same time may come in
// any order, as on a disk. A call does all or answers an error. Whoever opened it closes it; nothing else may be called after that.
type Device interface {
	// ReadAt fills p from off. What was never written, unmapped or zeroed reads as zeros.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// WriteAt writes p at off. It is durable after the next Flush. errs.NoSpace when the disk is full up to what is held back.
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Flush makes durable what was written before it was called. An error is final: the device refuses writes from then on.
	Flush(ctx context.Context) error
	// Unmap gives n bytes at off back; they read as zeros.
	Unmap(ctx context.Context, off, n int64) error
	// WriteZeroes makes n bytes at off read as zeros.
	WriteZeroes(ctx context.Context, off, n int64) error
	// Size is the length in bytes. It grows with Backend.Extend.
	Size() int64
	// Extent tells whether the bytes at off are allocated, and for how many bytes, at most n, that holds.
	Extent(ctx context.Context, off, n int64) (allocated bool, length int64, err error)
	// Close flushes, and gives the device back.
	Close() error
}

// Source is what a clone begins with: a volume or a snapshot.
type Source struct{ Volume, Snapshot string }

// Stats is the room that a backend has, in bytes.
type Stats struct {
	Total, Free int64
	Provisioned int64 // the sizes of its volumes together
}

// Backend keeps volumes and snapshots by id. Every change is durable when it returns, happens whole or not at all whenever the process is killed, and may be
// repeated: what is done already is no error. Safe for concurrent use.
type Backend interface {
	// Create makes an empty volume. One that is there with that size is left alone; errs.Exists when its size differs.
	Create(ctx context.Context, id string, size int64) error
	// Clone makes a volume that begins as a copy of the source, at once, whatever the source's size. The source may be open, and may be deleted at any time
	// after. errs.NotFound when there is no source; errs.Invalid when size is less than the source's.
	Clone(ctx context.Context, id string, size int64, from Source) error
	// Snapshot keeps a volume as it is at some moment during the call, all that was flushed before included. The volume may be open.
	Snapshot(ctx context.Context, id, volume string) error
	// Revert puts a volume back to one of its snapshots. errs.Conflict while it is open.
	Revert(ctx context.Context, volume, snapshot string) error
	// Delete removes a volume; its snapshots and clones stay as they are. errs.Conflict while it is open. Not there is no error.
	Delete(ctx context.Context, id string) error
	// DeleteSnapshot removes a snapshot; its volume and what was cloned from it stay as they are. Not there is no error.
	DeleteSnapshot(ctx context.Context, id string) error
	// Extend makes a volume larger. It may be open. A size that it has is no error; a smaller one is errs.Invalid.
	Extend(ctx context.Context, id string, size int64) error
	// Open opens a volume. It may be open more than once: all see the same bytes.
	Open(ctx context.Context, id string) (Device, error)
	// Stats tells how much room there is.
	Stats(ctx context.Context) (Stats, error)
	// Contents lists what is there, sorted.
	Contents(ctx context.Context) (volumes, snapshots []string, err error)
	// Upkeep does what was put off (merging what deleted snapshots left); it may take long, and may be cut short by ctx at any time.
	Upkeep(ctx context.Context) error
}
