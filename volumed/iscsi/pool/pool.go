// Package pool lends byte buffers by size, so that the data of a command costs no allocation once a size was seen.
package pool

import (
	"math/bits"
	"sync"
)

const (
	smallest = 12 // 4 KiB
	largest  = 25 // 32 MiB
)

// Buffer is bytes on loan. B may be cut shorter by whoever holds it.
type Buffer struct {
	B     []byte
	whole []byte
	class int
}

// Pool lends buffers. The zero value is ready; safe for concurrent use.
type Pool struct {
	classes [largest - smallest + 1]sync.Pool
}

// Get lends a buffer of n bytes. What is in it is left over from before: whoever sends it must have filled it.
func (p *Pool) Get(n int) *Buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), smallest)
	if class > largest {
		return &Buffer{B: make([]byte, n), class: -1}
	}
	b, ok := p.classes[class-smallest].Get().(*Buffer)
	if !ok {
		b = &Buffer{whole: make([]byte, 1<<class), class: class}
	}
	b.B = b.whole[:n]
	return b
}

// Put takes a buffer back. nil is fine. Nobody may use it afterwards.
func (p *Pool) Put(b *Buffer) {
	if b == nil || b.class < 0 {
		return
	}
	b.B = nil
	p.classes[b.class-smallest].Put(b)
}
