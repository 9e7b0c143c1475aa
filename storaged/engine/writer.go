package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"syscall"

	"henge/internal/checksum"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/internal/vfs"
	"henge/storaged/peerapi"
)

// writeBytes is how much is gathered before it is written: whole blocks.
const writeBytes = 4 * blockBytes

var writeBuffers = sync.Pool{New: func() any { b := vfs.AlignedBytes(writeBytes); return &b }}

// beginBytes is how much is written, through the page cache, before the kernel is told to start: a sync at the end then waits for less.
const beginBytes = 4 << 20

// writer takes a stream. Small ones end up in the log; once there is more than a buffer, a data file is begun. Its blocks are written past the page cache where the
// file system can: nobody may ever read them, and to fill the cache costs several times the CPU of the write. What follows the last whole block goes through the cache.
type writer struct {
	store *Store
	key   peerapi.Key
	want  int64   // the size that was announced, or -1
	buf   *[]byte // nil: nothing was gathered yet
	n     int     // bytes in buf
	size  int64

	file    uint64 // 0: none yet
	f       vfs.File
	direct  bool  // f is in direct mode
	room    int64 // that was allocated: the file is that long at least
	written int64
	begun   int64
	sums    []uint32
	synced  bool // the bytes are durable; the trailer is that of the last Commit

	kept   bool // committed
	err    error
	closed bool
}

// Create implements Engine.
func (s *Store) Create(ctx context.Context, key peerapi.Key, size int64) (Writer, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create %s: %w", name(key), err)
	}
	if size > limits.ObjectBytesMax {
		return nil, errs.New(errs.TooLarge, "create %s: %d bytes are more than %d", name(key), size, int64(limits.ObjectBytesMax))
	}
	if err := s.space.admit(max(size, 0)); err != nil {
		return nil, fmt.Errorf("create %s: %w", name(key), err)
	}
	return &writer{store: s, key: key, want: size}, nil
}

// Write implements Writer.
func (w *writer) Write(p []byte) (written int, err error) {
	if w.closed || w.kept {
		return 0, errs.New(errs.Invalid, "write %s after Commit or Close", name(w.key))
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.size+int64(len(p)) > limits.ObjectBytesMax {
		return 0, errs.New(errs.TooLarge, "write %s: more than %d bytes", name(w.key), int64(limits.ObjectBytesMax))
	}
	for len(p) > 0 {
		n := 0
		switch whole := p[:len(p)-len(p)%blockBytes]; {
		case w.n == 0 && len(whole) >= writeBytes && vfs.Aligned(whole):
			n = len(whole)
			w.err = w.put(whole) // no copy
		case w.n == writeBytes:
			w.err = w.flush()
		default:
			n = w.gather(p)
		}
		if w.err != nil {
			return written, w.err
		}
		w.size += int64(n)
		written += n
		p = p[n:]
	}
	return written, nil
}

// gather copies as much as there is room for.
func (w *writer) gather(p []byte) int {
	if w.buf == nil {
		w.buf = writeBuffers.Get().(*[]byte)
	}
	n := copy((*w.buf)[w.n:], p)
	w.n += n
	return n
}

// flush writes what was gathered to the data file.
func (w *writer) flush() error {
	b := (*w.buf)[:w.n]
	w.n = 0
	return w.put(b)
}

// put writes whole blocks, or the last bytes, to the data file.
func (w *writer) put(b []byte) error {
	if w.f == nil {
		if err := w.open(int64(len(b))); err != nil {
			return fmt.Errorf("write %s: %w", name(w.key), err)
		}
	}
	if w.written+int64(len(b)) > w.room { // room was admitted, and is taken from the disk already
		if err := w.store.space.admit(int64(len(b))); err != nil {
			return fmt.Errorf("write %s: %w", name(w.key), err)
		}
	}
	for i := 0; i < len(b); i += blockBytes {
		w.sums = append(w.sums, checksum.Of(b[i:min(i+blockBytes, len(b))]))
	}
	whole := 0
	if w.direct {
		whole = len(b) - len(b)%blockBytes
	}
	if err := w.write(b[:whole]); err != nil {
		return err
	}
	if whole == len(b) {
		return nil
	}
	if err := w.cached(); err != nil {
		return err
	}
	if err := w.write(b[whole:]); err != nil {
		return err
	}
	if w.written-w.begun >= beginBytes {
		w.f.Begin(w.begun, w.written-w.begun)
		w.begun = w.written
	}
	return nil
}

// open makes the data file, when the first n bytes are to be written.
func (w *writer) open(n int64) error {
	id, f, err := w.store.files.create(w.store)
	if err != nil {
		return err
	}
	w.file, w.f = id, f
	if n < writeBytes {
		return nil // all that there is: one write through the cache, which the sync takes along
	}
	if w.want > n {
		if err := f.Allocate(w.want); err != nil {
			return fmt.Errorf("reserve data file: %w", diskError(err))
		}
		w.room = w.want
	}
	switch err := f.Direct(true); {
	case err == nil:
		w.direct = true
	case !errs.Is(err, errs.Unsupported):
		return diskError(err)
	}
	return nil
}

// cached ends direct mode.
func (w *writer) cached() error {
	if !w.direct {
		return nil
	}
	w.direct = false
	if err := w.f.Direct(false); err != nil {
		return diskError(err)
	}
	return nil
}

// write writes b behind what was written. A device whose blocks are larger than vfs.DirectBytes refuses the direct write: then it goes through the cache.
func (w *writer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.f.WriteAt(b, w.written)
	if w.direct && errors.Is(err, syscall.EINVAL) {
		if err := w.cached(); err != nil {
			return err
		}
		_, err = w.f.WriteAt(b, w.written)
	}
	if err != nil {
		return fmt.Errorf("write data file of %s: %w", name(w.key), diskError(err))
	}
	w.written += int64(len(b))
	return nil
}

// diskError says of an error of the disk whether it is full or broken.
func diskError(err error) error {
	if errs.Is(err, errs.NoSpace) {
		return errs.With(errs.NoSpace, err)
	}
	return errs.With(errs.Unavailable, err)
}

// Commit implements Writer.
func (w *writer) Commit(ctx context.Context, write Write) (peerapi.Outcome, error) {
	s := w.store
	switch {
	case w.closed || w.kept:
		return peerapi.Outcome{}, errs.New(errs.Invalid, "commit %s after Commit or Close", name(w.key))
	case w.err != nil:
		return peerapi.Outcome{}, w.err
	case IDOf(write.Record.Key) != IDOf(w.key):
		return peerapi.Outcome{}, errs.New(errs.Invalid, "commit %s: the stream is for %s", name(write.Record.Key), name(w.key))
	case write.Record.Deleted:
		return peerapi.Outcome{}, errs.New(errs.Invalid, "commit %s: a tombstone has no bytes", name(w.key))
	}
	if err := s.begin(ctx, &write); err != nil {
		return peerapi.Outcome{}, err
	}
	p := placement{size: w.size}
	if w.size <= limits.InlineBytesMax {
		if w.buf != nil {
			p.data = (*w.buf)[:w.n]
		}
	} else {
		// Whoever is refused anyway, or repeats himself, is not made to wait for the disk.
		write.Record.StoredSize = w.size
		if out, _, done, err := s.consider(&write, &p, &request{}); done || err != nil {
			return out, err
		}
		if w.err = w.finish(&write); w.err != nil {
			return peerapi.Outcome{}, fmt.Errorf("commit %s: %w", name(w.key), w.err)
		}
		p.file = w.file
	}
	out, err := s.put(&write, p)
	if err != nil {
		if p.file != 0 {
			// Whether the record is on the disk is not known: then the file must stay.
			w.kept = w.kept || s.failed.Load() != nil
		}
		return out, fmt.Errorf("commit %s: %w", name(w.key), err)
	}
	w.kept = w.kept || out.Accepted && s.owns(IDOf(w.key), p.file)
	return out, nil
}

// owns tells whether a data file is the one that the newest record names; a write that repeats another has made a second file, which goes.
func (s *Store) owns(id ID, file uint64) bool {
	if file == 0 {
		return false
	}
	_, rec, e, _, err := s.lookup(id, false)
	return err != nil || rec == nil || e.file == file
}

// finish makes the data file durable, with the record that is to be written.
func (w *writer) finish(write *Write) error {
	if w.n > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	write.Record.StoredSize = w.size
	meta, err := canonical.Marshal(&stored{Record: write.Record, Handoff: write.Handoff})
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	t := trailer{size: w.size, sums: w.sums, meta: meta, hash: w.key.Hash}
	end := t.encode()
	if w.synced || w.room > w.size {
		if err := w.f.Truncate(w.size); err != nil {
			return diskError(err)
		}
		w.room = w.size
	}
	if err := w.cached(); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(end, w.size); err != nil {
		return diskError(err)
	}
	if err := w.f.Sync(); err != nil {
		w.store.fail(fmt.Errorf("sync data file: %w", err))
		return *w.store.failed.Load()
	}
	if !w.synced {
		if err := w.store.fs.SyncDir(path.Dir(w.store.dataName(w.file))); err != nil {
			w.store.fail(fmt.Errorf("sync data folder: %w", err))
			return *w.store.failed.Load()
		}
	}
	w.synced = true
	return nil
}

// Close implements Writer.
func (w *writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	if w.buf != nil {
		writeBuffers.Put(w.buf)
		w.buf = nil
	}
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	if !w.kept {
		w.store.removeData(w.file)
	}
	if err != nil {
		return errors.Join(errs.New(errs.Unavailable, "close data file of %s", name(w.key)), err)
	}
	return nil
}
