package lun

import "context"

// Store is a block device of bytes. All methods are safe for concurrent use; calls on overlapping ranges at the same time may come in any order,
// as on a disk. A call does all or answers an error; offsets and lengths are whole blocks within Size. An error of kind errs.NoSpace is told the
// initiator as such (space allocation failed); every other one as an unrecovered read or write error. ctx ends when the initiator aborts the command or its
// session ends: a call may stop early then, and must not keep ctx after it returned. p is the caller's again after the call.
type Store interface {
	// ReadAt fills p from off. Ranges never written, unmapped, or zeroed read as zeroes.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// WriteAt writes p at off. It need not be durable before Flush.
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Flush makes durable all writes that were answered before it was called. An error is final: it is not tried again.
	Flush(ctx context.Context) error
	// Unmap frees n bytes at off; they read as zeroes afterwards.
	Unmap(ctx context.Context, off, n int64) error
	// WriteZeroes makes n bytes at off read as zeroes, and keeps their space allocated if the store can.
	WriteZeroes(ctx context.Context, off, n int64) error
	// Size is the length in bytes. It may only grow while exported; Server.Resize makes initiators look again.
	Size() int64
}

// Extents is what a Store may implement as well.
type Extents interface {
	// Extent tells whether the bytes at off are allocated, and for how many bytes, at least one block and at most n, that holds.
	Extent(ctx context.Context, off, n int64) (allocated bool, length int64, err error)
}
