package rpc

import (
	"sync"

	"henge/internal/limits"
)

// buffer is a message on its way, in pooled memory.
type buffer struct {
	bytes []byte // of the message
	class int
}

// classes are the sizes of pooled memory; a little over the powers of two, since messages are a body and a small head.
var classes = [...]int{1 << 10, 5 << 10, 20 << 10, 68 << 10, 264 << 10, limits.RPCMessageBytesMax}

// buffers is the pool of one peer.
type buffers struct {
	pools [len(classes)]sync.Pool
}

// get gives memory for a message of n bytes, n at most limits.RPCMessageBytesMax.
func (p *buffers) get(n int) *buffer {
	class := 0
	for classes[class] < n {
		class++
	}
	if b, ok := p.pools[class].Get().(*buffer); ok {
		b.bytes = b.bytes[:n]
		return b
	}
	return &buffer{bytes: make([]byte, n, classes[class]), class: class}
}

// put takes a buffer back; nil is fine.
func (p *buffers) put(b *buffer) {
	if b != nil {
		p.pools[b.class].Put(b)
	}
}

func (p *buffers) copyOf(msg []byte) *buffer {
	b := p.get(len(msg))
	copy(b.bytes, msg)
	return b
}
