package core

import (
	"sync"

	"henge/internal/limits"
	"henge/internal/vfs"
)

// chunkBytes is how much of a body goes to the devices at once. A device of this process writes it to the disk as it lies in memory, with one system call.
const chunkBytes = 512 << 10

// buffers are pooled: large ones for streams, small ones for objects that are written whole.
type buffers struct {
	large, small sync.Pool
}

// smallBytes holds the largest body that is written whole, and one more, to see that it is not larger.
const smallBytes = limits.InlineBytesMax + 1

func (b *buffers) get() *[]byte {
	if buf, ok := b.large.Get().(*[]byte); ok {
		return buf
	}
	buf := vfs.AlignedBytes(chunkBytes)
	return &buf
}

func (b *buffers) put(buf *[]byte) { b.large.Put(buf) }

func (b *buffers) getSmall() *[]byte {
	if buf, ok := b.small.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, smallBytes)
	return &buf
}

func (b *buffers) putSmall(buf *[]byte) { b.small.Put(buf) }
