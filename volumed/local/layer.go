package local

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"henge/internal/errs"
	"henge/internal/vfs"
)

// layer is one file of a volume's grains, each at the place that it has in the volume, and the map that tells which are in it. What is not in it is in the layer
// below. Only a volume's top layer is written; the others are shared by whatever stands on them.
type layer struct {
	id     string
	parent string // guarded by Backend.mu, as is users
	users  int

	// While users is over 0:
	data, table vfs.File
	bits        *bitmap

	alloc sync.Mutex // held while grains come into the layer

	asked    atomic.Uint64
	broken   atomic.Pointer[brokenError]
	flushing sync.Mutex // guards the field below
	done     uint64
}

// open opens the files and reads the map.
func (l *layer) open(fsys vfs.FS, dir string) (err error) {
	if l.data, err = fsys.OpenWrite(dir + "/" + l.id + dataSuffix); err != nil {
		return fmt.Errorf("open layer %s: %w", l.id, err)
	}
	if l.table, err = fsys.OpenWrite(dir + "/" + l.id + mapSuffix); err != nil {
		return errors.Join(fmt.Errorf("open the map of layer %s: %w", l.id, err), l.data.Close())
	}
	l.bits = newBitmap()
	if err := l.loadMap(); err != nil {
		return errors.Join(err, l.close())
	}
	return nil
}

func (l *layer) loadMap() error {
	size, err := l.table.Size()
	if err != nil {
		return fmt.Errorf("read the map of layer %s: %w", l.id, err)
	}
	raw := make([]byte, pageBytes)
	for i := int64(0); i*pageBytes < size; i++ {
		if err := readFull(l.table, raw, i*pageBytes); err != nil {
			return fmt.Errorf("read the map of layer %s: %w", l.id, err)
		}
		l.bits.load(i, raw)
	}
	return nil
}

func (l *layer) close() error {
	err := errors.Join(l.data.Close(), l.table.Close())
	l.data, l.table, l.bits = nil, nil, nil
	return err
}

// readFull reads p at off; what lies behind the file's end is zeros.
func readFull(f vfs.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	clear(p[n:])
	return nil
}

// flush makes durable what was written before it was called. Those who call while another flush is under way share the next one.
func (l *layer) flush() error {
	mine := l.asked.Add(1)
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.check(); err != nil || l.done >= mine {
		return err
	}
	covers := l.asked.Load()
	if err := l.sync(); err != nil {
		l.broken.Store(&brokenError{l.id, err})
		return l.check()
	}
	l.done = covers
	return nil
}

// sync puts the bytes on the disk before the map that says that they are there.
func (l *layer) sync() error {
	pages := l.bits.takeDirty() // before the bytes: bits that come after may be of bytes that this does not cover
	if err := l.data.SyncData(); err != nil {
		return err
	}
	if len(pages) == 0 {
		return nil
	}
	for i, raw := range pages {
		if _, err := l.table.WriteAt(raw, i*pageBytes); err != nil {
			return err
		}
	}
	return l.table.SyncData()
}

// brokenError is a sync that failed: what is on the disk is not known any more.
type brokenError struct {
	layer string
	cause error
}

func (e *brokenError) Error() string {
	return "layer " + e.layer + " takes no more writes: " + e.cause.Error()
}
func (e *brokenError) Unwrap() error { return e.cause }

// check tells why the layer cannot be written any more.
func (l *layer) check() error {
	if b := l.broken.Load(); b != nil {
		return b
	}
	return nil
}

// chain is a volume's layers, the top first.
type chain []*layer

// owner is the index of the topmost layer that has a grain; len(c) when none has.
func (c chain) owner(grain int64) int {
	for i, l := range c {
		if l.bits.get(grain) {
			return i
		}
	}
	return len(c)
}

// run finds who has the grain at off, and how many bytes from off on, at most n, the same one has.
func (c chain) run(off, n int64) (owner int, length int64) {
	grain := off / grainBytes
	owner = c.owner(grain)
	end := (grain + 1) * grainBytes
	for end < off+n && c.owner(end/grainBytes) == owner {
		end += grainBytes
	}
	return owner, min(n, end-off)
}

// read fills p from off.
func (c chain) read(p []byte, off int64) error {
	for len(p) > 0 {
		owner, n := c.run(off, int64(len(p)))
		if owner == len(c) {
			clear(p[:n])
		} else if err := readFull(c[owner].data, p[:n], off); err != nil {
			return fmt.Errorf("read layer %s at %d: %w", c[owner].id, off, err)
		}
		p, off = p[n:], off+n
	}
	return nil
}

// write puts p at off into the top layer. allow is asked before room is taken.
func (c chain) write(p []byte, off int64, allow func(n int64) error) error {
	if len(p) == 0 {
		return nil
	}
	top := c[0]
	first, last := off/grainBytes, (off+int64(len(p))-1)/grainBytes
	if top.bits.all(first, last) {
		return top.put(p, off)
	}
	if err := allow(int64(len(p))); err != nil {
		return err
	}
	top.alloc.Lock()
	defer top.alloc.Unlock()
	return c.fill(p, off, first, last)
}

// fill is write where grains come into the layer: those at the ends that p covers only in part are completed with what is below them. Call with alloc held.
func (c chain) fill(p []byte, off, first, last int64) error {
	top := c[0]
	whole := p
	from := off
	if lead := off - first*grainBytes; lead > 0 && !top.bits.get(first) {
		whole = make([]byte, lead+int64(len(p)), lead+int64(len(p))+grainBytes)
		from = first * grainBytes
		if err := c[1:].read(whole[:lead], from); err != nil {
			return err
		}
		copy(whole[lead:], p)
	}
	if end := from + int64(len(whole)); end%grainBytes != 0 && !top.bits.get(last) {
		tail := make([]byte, (last+1)*grainBytes-end)
		if err := c[1:].read(tail, end); err != nil {
			return err
		}
		whole = append(whole[:len(whole):len(whole)], tail...)
	}
	if err := top.put(whole, from); err != nil {
		return err
	}
	top.bits.set(first, last)
	return nil
}

func (l *layer) put(p []byte, off int64) error {
	if err := l.check(); err != nil {
		return err
	}
	if _, err := l.data.WriteAt(p, off); err != nil {
		return fmt.Errorf("write layer %s at %d: %w", l.id, off, err)
	}
	return nil
}

// zero makes n bytes at off read as zeros, without taking room where it can.
func (c chain) zero(off, n int64, allow func(n int64) error) error {
	first, end := (off+grainBytes-1)/grainBytes, (off+n)/grainBytes
	if first >= end { // within one or two grains
		return c.zeroPart(off, n, allow)
	}
	if err := c.zeroPart(off, first*grainBytes-off, allow); err != nil {
		return err
	}
	if err := c.zeroPart(end*grainBytes, off+n-end*grainBytes, allow); err != nil {
		return err
	}
	top := c[0]
	top.alloc.Lock()
	defer top.alloc.Unlock()
	if err := top.data.Punch(first*grainBytes, (end-first)*grainBytes); err != nil {
		return fmt.Errorf("unmap in layer %s at %d: %w", top.id, off, err)
	}
	if len(c) > 1 {
		top.bits.set(first, end-1)
	}
	return nil
}

// zeroPart zeroes less than a grain, or bytes of two: where nothing is there is nothing to do.
func (c chain) zeroPart(off, n int64, allow func(n int64) error) error {
	for n > 0 {
		part := min(n, grainBytes-off%grainBytes)
		if c.owner(off/grainBytes) < len(c) {
			if err := c.write(make([]byte, part), off, allow); err != nil {
				return err
			}
		}
		off, n = off+part, n-part
	}
	return nil
}

var errRange = errs.New(errs.Invalid, "outside of the volume")
