package vfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

type simFile struct {
	sim      *Sim
	node     *node
	name     string
	writable bool
	closed   bool // guarded by sim.mu
	direct   bool // guarded by sim.mu
}

// begin is Sim's, for an open file. Call with sim.mu held.
func (f *simFile) begin(op Op) (Fault, error) {
	if f.closed {
		return Fault{}, &fs.PathError{Op: op.Kind, Path: f.name, Err: fs.ErrClosed}
	}
	op.Name = f.name
	return f.sim.begin(op)
}

func (f *simFile) ReadAt(p []byte, off int64) (int, error) {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if f.direct && (!Aligned(p) || off%DirectBytes != 0) {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EINVAL}
	}
	fault, err := f.begin(Op{Kind: "read", Offset: off, Length: int64(len(p))})
	if err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if fault.Flip && n > 0 {
		p[n/2] ^= 0x10
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) WriteAt(p []byte, off int64) (int, error) {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if !f.writable {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.EBADF}
	}
	if f.direct && (!Aligned(p) || off%DirectBytes != 0) {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.EINVAL}
	}
	fault, err := f.begin(Op{Kind: "write", Offset: off, Length: int64(len(p))})
	if err != nil {
		if fault.Torn {
			f.put(p[:len(p)/2], off)
			if f.sim.cut { // all of it was under way
				f.node.unsynced[len(f.node.unsynced)-1].data = bytes.Clone(p)
			}
			return len(p) / 2, err
		}
		return 0, err
	}
	if over := f.over(off + int64(len(p))); over > 0 {
		n := max(0, len(p)-int(over))
		f.put(p[:n], off)
		return n, &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	f.put(p, off)
	return len(p), nil
}

// over is by how much the disk is too small for the file to have size bytes. Call with sim.mu held.
func (f *simFile) over(size int64) int64 {
	if f.sim.capacity == 0 {
		return 0
	}
	return size - max(f.node.allocated, int64(len(f.node.data))) + f.sim.used() - f.sim.capacity
}

func (f *simFile) put(p []byte, off int64) {
	w := write{at: off, data: bytes.Clone(p)}
	f.node.data = w.apply(f.node.data)
	f.node.unsynced = append(f.node.unsynced, w)
}

func (f *simFile) Sync() error {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if _, err := f.begin(Op{Kind: "sync"}); err != nil {
		return err
	}
	for _, w := range f.node.unsynced {
		f.node.stable = w.apply(f.node.stable)
	}
	f.node.unsynced = nil
	return nil
}

func (f *simFile) SyncData() error { return f.Sync() }

func (f *simFile) Begin(int64, int64) {}

func (f *simFile) Direct(on bool) error {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if _, err := f.begin(Op{Kind: "direct"}); err != nil {
		return err
	}
	f.direct = on
	return nil
}

func (f *simFile) Truncate(size int64) error {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if _, err := f.begin(Op{Kind: "truncate", Offset: size}); err != nil {
		return err
	}
	if size < 0 || !f.writable {
		return fmt.Errorf("truncate %s to %d: %w", f.name, size, syscall.EINVAL)
	}
	w := write{at: -1, size: size}
	f.node.data, f.node.allocated = w.apply(f.node.data), 0
	f.node.unsynced = append(f.node.unsynced, w)
	return nil
}

func (f *simFile) Allocate(size int64) error {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if _, err := f.begin(Op{Kind: "allocate", Length: size}); err != nil {
		return err
	}
	if f.over(size) > 0 {
		return &fs.PathError{Op: "allocate", Path: f.name, Err: syscall.ENOSPC}
	}
	w := write{at: -1, size: size, allocate: true}
	f.node.data = w.apply(f.node.data)
	f.node.allocated = max(f.node.allocated, size)
	f.node.unsynced = append(f.node.unsynced, w)
	return nil
}

func (f *simFile) Punch(off, n int64) error {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if !f.writable {
		return &fs.PathError{Op: "punch", Path: f.name, Err: syscall.EBADF}
	}
	if _, err := f.begin(Op{Kind: "punch", Offset: off, Length: n}); err != nil {
		return err
	}
	if end := min(off+n, int64(len(f.node.data))); off < end {
		f.put(make([]byte, end-off), off)
	}
	return nil
}

func (f *simFile) Size() (int64, error) {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *simFile) Close() error {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
