package local

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

const (
	grainBytes    = 4096 // the unit of allocation
	pageBytes     = 4096 // of a map: the unit in which it is written
	grainsPerPage = pageBytes * 8
)

type mapPage [pageBytes / 8]atomic.Uint64

// bitmap says which grains of a layer are in it. Bits are set, never cleared, so that any mixture of an old and a new copy of a page on the disk is one
// that was true at some moment: a torn write of it does no harm. get needs no lock.
type bitmap struct {
	pages atomic.Pointer[[]*atomic.Pointer[mapPage]]

	mu    sync.Mutex // guards growing, setting, and dirty
	dirty map[int64]bool
}

func newBitmap() *bitmap {
	b := &bitmap{dirty: map[int64]bool{}}
	b.pages.Store(&[]*atomic.Pointer[mapPage]{})
	return b
}

func (b *bitmap) page(i int64) *mapPage {
	pages := *b.pages.Load()
	if i >= int64(len(pages)) {
		return nil
	}
	return pages[i].Load()
}

func (b *bitmap) get(grain int64) bool {
	p := b.page(grain / grainsPerPage)
	if p == nil {
		return false
	}
	bit := grain % grainsPerPage
	return p[bit/64].Load()&(1<<(bit%64)) != 0
}

// all tells whether the grains from first to last are all set.
func (b *bitmap) all(first, last int64) bool {
	for g := first; g <= last; g++ {
		if !b.get(g) {
			return false
		}
	}
	return true
}

// set sets the grains from first to last.
func (b *bitmap) set(first, last int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for g := first; g <= last; g++ {
		i, bit := g/grainsPerPage, g%grainsPerPage
		p := b.page(i)
		if p == nil {
			p = b.grow(i)
		}
		p[bit/64].Or(1 << (bit % 64))
		b.dirty[i] = true
	}
}

// grow makes page i. Call with b.mu held.
func (b *bitmap) grow(i int64) *mapPage {
	pages := *b.pages.Load()
	if i >= int64(len(pages)) {
		longer := append(pages[:len(pages):len(pages)], make([]*atomic.Pointer[mapPage], i+1-int64(len(pages)))...)
		for k := range longer {
			if longer[k] == nil {
				longer[k] = &atomic.Pointer[mapPage]{}
			}
		}
		b.pages.Store(&longer)
		pages = longer
	}
	p := &mapPage{}
	pages[i].Store(p)
	return p
}

// takeDirty gives copies of the pages that changed since the last call, by number.
func (b *bitmap) takeDirty() map[int64][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.dirty) == 0 {
		return nil
	}
	copies := make(map[int64][]byte, len(b.dirty))
	for i := range b.dirty {
		copies[i] = encodePage(b.page(i))
	}
	clear(b.dirty)
	return copies
}

func encodePage(p *mapPage) []byte {
	raw := make([]byte, 0, pageBytes)
	for k := range p {
		raw = binary.LittleEndian.AppendUint64(raw, p[k].Load())
	}
	return raw
}

// load fills page i from the disk; pages of zeros are not kept.
func (b *bitmap) load(i int64, raw []byte) {
	var p mapPage
	some := uint64(0)
	for k := range p {
		word := binary.LittleEndian.Uint64(raw[k*8:])
		p[k].Store(word)
		some |= word
	}
	if some == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	into := b.grow(i)
	for k := range p {
		into[k].Store(p[k].Load())
	}
}

// runs yields the stretches of grains that are set, in order.
func (b *bitmap) runs(yield func(first, last int64) bool) {
	pages := *b.pages.Load()
	start := int64(-1)
	for i := range pages {
		p := pages[i].Load()
		for bit := range int64(grainsPerPage) {
			g := int64(i)*grainsPerPage + bit
			on := p != nil && p[bit/64].Load()&(1<<(bit%64)) != 0
			switch {
			case on && start < 0:
				start = g
			case !on && start >= 0:
				if !yield(start, g-1) {
					return
				}
				start = -1
			}
			if p == nil {
				break
			}
		}
	}
	if start >= 0 {
		yield(start, int64(len(pages))*grainsPerPage-1)
	}
}
