package core

import (
	"sync"

	"henge/internal/limits"
)

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
	buf := make([]byte, limits.CopyBufferBytes)
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
