package rpc

import (
	"sync"

	"henge/internal/limits"
	"henge/internal/vfs"
)

// buffer is a message on its way, in pooled memory.
type buffer struct {
	bytes []byte // of the message
	class int
}

// classes are the sizes of pooled memory; a little over the powers of two, since messages are a body and a small head.
var classes = [...]int{1 << 10, 5 << 10, 20 << 10, 68 << 10, 264 << 10, 520 << 10, limits.RPCMessageBytesMax}

// alignedFrom is from which class on a buffer begins one byte before a multiple of vfs.DirectBytes. A piece of an object's bytes is a long message behind one
// byte, and so lies as the disk wants it.
const alignedFrom = 4

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
	return &buffer{bytes: newBytes(class)[:n], class: class}
}

func newBytes(class int) []byte {
	if class < alignedFrom {
		return make([]byte, classes[class])
	}
	const before = vfs.DirectBytes - 1
	return vfs.AlignedBytes(before + classes[class])[before:]
}

// put takes a buffer back; nil is fine.
func (p *buffers) put(b *buffer) {
	if b != nil {
		p.pools[b.class].Put(b)
	}
}

func (p *buffers) copyOf(m message) *buffer {
	b := p.get(m.length())
	at := 0
	for _, part := range m {
		at += copy(b.bytes[at:], part)
	}
	return b
}

// message is what a user sends, in parts that follow one another.
type message [][]byte

func (m message) length() int {
	n := 0
	for _, part := range m {
		n += len(part)
	}
	return n
}
