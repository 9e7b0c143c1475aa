package local

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"henge/internal/errs"
	"henge/volumed/backend"
)

// volume is an open volume. Its calls go on while its layers change below it.
type volume struct {
	backend *Backend
	id      string
	users   int // guarded by Backend.mu

	mu    sync.RWMutex // held for reading during I/O, for writing while the chain changes: guards the field below
	chain chain
	size  atomic.Int64
}

// device is one opening of a volume.
type device struct {
	*volume
	closed atomic.Bool
}

var _ backend.Device = (*device)(nil)

func (v *volume) check(ctx context.Context, off, n int64) error {
	if size := v.size.Load(); off < 0 || n < 0 || off > size || n > size-off {
		return errRange
	}
	return ctx.Err()
}

// ReadAt implements backend.Device.
func (v *volume) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := v.check(ctx, off, int64(len(p))); err != nil {
		return err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.chain.read(p, off)
}

// WriteAt implements backend.Device.
func (v *volume) WriteAt(ctx context.Context, p []byte, off int64) error {
	if err := v.check(ctx, off, int64(len(p))); err != nil {
		return err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.chain.write(p, off, v.backend.space.take)
}

// Flush implements backend.Device.
func (v *volume) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.chain[0].flush()
}

// Unmap implements backend.Device.
func (v *volume) Unmap(ctx context.Context, off, n int64) error {
	if err := v.check(ctx, off, n); err != nil {
		return err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.chain.zero(off, n, v.backend.space.take)
}

// WriteZeroes implements backend.Device: thin as the volume is, zeros take no room.
func (v *volume) WriteZeroes(ctx context.Context, off, n int64) error { return v.Unmap(ctx, off, n) }

// Size implements backend.Device.
func (v *volume) Size() int64 { return v.size.Load() }

// extentScanMax bounds how far Extent looks at a time.
const extentScanMax = 64 << 20

// Extent implements backend.Device.
func (v *volume) Extent(ctx context.Context, off, n int64) (allocated bool, length int64, err error) {
	if err := v.check(ctx, off, n); err != nil {
		return false, 0, err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	end, limit := off, off+min(n, extentScanMax)
	for end < limit {
		owner, run := v.chain.run(end, limit-end)
		if here := owner < len(v.chain); end > off && here != allocated {
			break
		} else {
			allocated = here
		}
		end += run
	}
	return allocated, end - off, nil
}

// Close implements backend.Device. What was written is durable after it.
func (d *device) Close() error {
	if d.closed.Swap(true) {
		return errs.New(errs.Internal, "volume %s is closed twice", d.id)
	}
	err := d.Flush(context.Background())
	return d.backend.release(d.volume, err)
}

// space watches the room on the disk. Asking the file system at every write would cost more than the write.
type space struct {
	measure func() (int64, error) // what may still be taken

	mu    sync.Mutex // guards the fields below
	left  int64      // at the last look, less what was taken since
	until time.Time  // when to look again at the latest
	now   func() time.Time
}

const (
	spaceLook  = 64 << 20 // taken at most between two looks
	spaceTrust = time.Second
)

// take is asked before n bytes are allocated: errs.NoSpace when they would come out of what is held back.
func (s *space) take(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); s.left < n || now.After(s.until) {
		free, err := s.measure()
		if err != nil {
			return err
		}
		if free < n {
			s.left = 0
			return errs.New(errs.NoSpace, "the disk of the volumes is full: %d bytes are left beyond what is held back, %d are needed", max(0, free), n)
		}
		s.left, s.until = min(free, spaceLook), now.Add(spaceTrust)
	}
	s.left -= n
	return nil
}
