package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"sync"
	"sync/atomic"
	"syscall"

	"henge/internal/checksum"
	"henge/internal/clock"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/ring"
	"henge/storaged/peerapi"
)

// errMoved says that an entry is not any more where the index said: look again.
var errMoved = errors.New("the entry was moved")

// readEntry reads length bytes of an entry, its header first, into new memory. The payload is not checked.
func (s *Store) readEntry(seg, off, length uint32) (entry, []byte, error) {
	b := make([]byte, length)
	e, err := s.readInto(b, seg, off)
	return e, b, err
}

// readInto fills b from the log; at off lies an entry. What does not hold is read a second time: the disk is to blame only if it says the same twice.
func (s *Store) readInto(b []byte, id, off uint32) (e entry, err error) {
	seg := s.segs.acquire(id)
	if seg == nil {
		return e, errMoved
	}
	defer func() { err = errors.Join(err, seg.release()) }()
	for range 2 {
		if err = seg.readAt(b, int64(off)); err != nil {
			return e, err
		}
		var ok bool
		e, ok = decodeEntry(b, s.salt)
		e.off = off
		if ok && e.segment == id && e.holdsFor(b) {
			return e, nil
		}
	}
	seg.odd.Store(true)
	return e, errs.New(errs.Corrupt, "segment %08x at %d: the entry does not match its checksum", id, off)
}

// holdsFor checks as much of the payload as b has.
func (e *entry) holdsFor(b []byte) bool {
	meta := headerBytes + int(e.metaLen)
	if len(b) < meta || checksum.Of(b[headerBytes:meta]) != e.metaSum {
		return false
	}
	end := meta + int(e.dataLen)
	return len(b) < end || checksum.Of(b[meta:end]) == e.dataSum
}

// record reads the metadata of what v shows, and as much of its bytes as n asks for (0: none; else all). errMoved: look again.
func (s *Store) record(v *slot, all bool) (*stored, entry, []byte, error) {
	length := min(uint32(v.meta)*8, v.length)
	if all {
		length = v.length
	}
	e, b, err := s.readEntry(v.seg, v.off, length)
	if err != nil {
		return nil, e, nil, err
	}
	if e.kind != entryRecord || e.ts != v.ts || e.id() != v.id() {
		return nil, e, nil, errs.New(errs.Corrupt, "segment %08x at %d: another entry than the index says", v.seg, v.off)
	}
	rec, err := decodeMeta(&e, b)
	if err != nil {
		return nil, e, nil, err
	}
	return rec, e, b, nil
}

// lookup finds a key and reads its record (nil when there is none). A corrupt one is set aside. errs.Corrupt then and from then on, until something newer is written: who lost a
// version must not vote as one who never had it.
func (s *Store) lookup(id ID, all bool) (v view, rec *stored, e entry, b []byte, err error) {
	for {
		v = s.index.get(id)
		if !v.found() {
			return v, nil, e, nil, nil
		}
		if v.is(flagLost) {
			return v, nil, e, nil, errLost(&v)
		}
		if v.is(flagDropped) {
			return v, nil, e, nil, nil
		}
		rec, e, b, err = s.record(&v.slot, all)
		if errors.Is(err, errMoved) {
			if err := s.open(); err != nil {
				return v, nil, e, nil, err
			}
			continue
		}
		if errs.Is(err, errs.Corrupt) {
			s.setAside(&v, 0, err)
		}
		return v, rec, e, b, err
	}
}

func errLost(v *view) error {
	return errs.New(errs.Corrupt, "the version at %d was found corrupt and set aside", v.ts)
}

// setAside makes the engine forget a record that was found corrupt, but not its timestamp: nothing older is taken in its place, and the same version may be
// written again. It is remembered in the log, if that can be written.
func (s *Store) setAside(v *view, file uint64, cause error) {
	s.log.Error("record is corrupt", "dir", s.cfg.Dir, "hash", fmt.Sprintf("%x", v.hash), "timestamp", v.ts, "error", cause)
	r := s.request()
	defer s.recycle(r)
	r.entry, _ = begin(&r.buf, entryLost, nil, nil)
	r.entry.hash, r.entry.policy, r.entry.ts = v.hash, v.policy, v.ts
	r.seen = *v
	if err := s.usable(); err != nil {
		return // the next reader finds it again
	}
	if err := s.appender.submit(r); err != nil || !r.outcome.Accepted {
		return
	}
	if file != 0 {
		name := s.dataName(file)
		if err := durable.Rename(s.fs, name, path.Join(s.cfg.Dir, asideDir, path.Base(name))); err != nil {
			s.log.Warn("data file not set aside", "name", name, "error", err)
		}
	}
}

// Head implements Engine: one small read.
func (s *Store) Head(key peerapi.Key) (peerapi.State, error) {
	if err := s.open(); err != nil {
		return peerapi.State{}, err
	}
	v, rec, _, _, err := s.lookup(IDOf(key), false)
	if err != nil {
		return peerapi.State{}, fmt.Errorf("head %s: %w", name(key), err)
	}
	return state(&v, rec), nil
}

func state(v *view, rec *stored) peerapi.State {
	s := peerapi.State{Promise: v.promise.ts}
	if rec != nil {
		s.Record = &rec.Record
	}
	return s
}

// Open implements Engine.
func (s *Store) Open(key peerapi.Key, at clock.Timestamp, r peerapi.Range) (peerapi.State, io.ReadCloser, error) {
	if err := s.open(); err != nil {
		return peerapi.State{}, nil, err
	}
	for {
		v, rec, e, b, err := s.lookup(IDOf(key), true)
		if err != nil {
			return peerapi.State{}, nil, fmt.Errorf("open %s: %w", name(key), err)
		}
		st := state(&v, rec)
		if !st.Exists() || at != 0 && at != st.Timestamp() {
			return st, nil, errs.New(errs.NotFound, "open %s: no such version", name(key))
		}
		r, err := CheckRange(r, rec.Record.StoredSize)
		if err != nil {
			return st, nil, fmt.Errorf("open %s: %w", name(key), err)
		}
		if e.flags&flagExternal == 0 {
			data := b[headerBytes+e.metaLen:][:e.dataLen]
			return st, io.NopCloser(bytes.NewReader(data[r.Offset : r.Offset+r.Length])), nil
		}
		rc, err := s.openData(&v, &e, rec, r)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return st, nil, fmt.Errorf("open %s: %w", name(key), err)
		}
		return st, rc, nil
	}
}

// openData opens the data file of a record.
func (s *Store) openData(v *view, e *entry, rec *stored, r peerapi.Range) (io.ReadCloser, error) {
	f, err := s.fs.Open(s.dataName(e.file))
	if errors.Is(err, fs.ErrNotExist) {
		if now := s.index.get(v.id()); !now.at(v) {
			return nil, errMoved // replaced meanwhile
		}
		err = errs.New(errs.Corrupt, "data file %x is missing", e.file)
		s.setAside(v, 0, err)
		return nil, err
	}
	if err != nil {
		return nil, errs.New(errs.Unavailable, "open data file: %w", err)
	}
	t, err := readTrailer(f, rec.Record.StoredSize)
	if err == nil && t.hash != v.hash {
		err = errs.New(errs.Corrupt, "data file %x belongs to another object", e.file)
	}
	if err != nil {
		if errs.Is(err, errs.Corrupt) {
			s.setAside(v, e.file, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	d := &dataReader{store: s, view: *v, file: e.file, f: f, trailer: t, off: r.Offset, end: r.Offset + r.Length}
	if r.Length >= directMin && !s.recent.again(e.file) {
		d.direct = f.Direct(true) == nil // else through the cache
	}
	return d, nil
}

const (
	readBytes = 8 * blockBytes // that one read of a data file brings
	// directMin is from how many bytes on a reader goes past the page cache: for less, what the kernel reads ahead is worth more.
	directMin = 1 << 20
)

// readBuffers are the buffers of data readers.
var readBuffers = sync.Pool{New: func() any { b := vfs.AlignedBytes(readBytes); return &b }}

// recentReads remembers data files that were read lately. To fill the page cache costs several times the CPU of a read past it, and what is read once pushes out what
// is read often: only who reads a file again fills it.
type recentReads [4096]atomic.Uint64

// again tells whether a file was read lately, and remembers it.
func (r *recentReads) again(file uint64) bool {
	return r[file%uint64(len(r))].Swap(file) == file
}

// dataReader gives the bytes of a data file, each block checked before any of it is given.
type dataReader struct {
	store   *Store
	view    view
	file    uint64
	f       vfs.File
	direct  bool // f is in direct mode
	trailer *trailer
	off     int64
	end     int64
	buf     *[]byte
	ready   []byte // checked, and not given yet
	err     error
}

func (d *dataReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := d.fill(); err != nil {
		return 0, err
	}
	n := copy(p, d.ready)
	d.ready = d.ready[n:]
	return n, nil
}

// WriteTo gives all that is left without a copy in between.
func (d *dataReader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if err := d.fill(); err != nil {
			if err == io.EOF {
				err = nil
			}
			return n, err
		}
		m, err := w.Write(d.ready)
		n += int64(m)
		d.ready = d.ready[m:]
		if err != nil {
			return n, err
		}
	}
}

// fill makes ready not empty, or says why not.
func (d *dataReader) fill() error {
	if len(d.ready) > 0 || d.err != nil {
		return d.err
	}
	if d.off >= d.end {
		d.err = io.EOF
		return d.err
	}
	if d.buf == nil {
		d.buf = readBuffers.Get().(*[]byte)
	}
	start := d.off - d.off%blockBytes
	last := min((d.end+blockBytes-1)/blockBytes*blockBytes, d.trailer.size)
	b := (*d.buf)[:min(last-start, readBytes)]
	if d.err = d.read(b, start); d.err != nil {
		if errs.Is(d.err, errs.Corrupt) {
			d.store.setAside(&d.view, d.file, d.err)
		}
		return d.err
	}
	to := min(d.end, start+int64(len(b)))
	d.ready = b[d.off-start : to-start]
	d.off = to
	return nil
}

// read fills b with blocks and checks them; what does not hold is read a second time.
func (d *dataReader) read(b []byte, start int64) error {
	bad := int64(-1)
	for range 2 {
		if n, err := d.readAt(b, start); n < len(b) {
			if errors.Is(err, io.EOF) {
				return errs.New(errs.Corrupt, "data file %x ends at %d", d.file, start+int64(n))
			}
			return errs.New(errs.Unavailable, "read data file %x at %d: %w", d.file, start, err)
		}
		if bad = d.check(b, start); bad < 0 {
			return nil
		}
	}
	return errs.New(errs.Corrupt, "data file %x: block %d does not match its checksum", d.file, bad)
}

// readAt reads at least b, which begins a buffer and lies on blocks: a direct read takes whole units. Where the device's units are larger, the rest goes through the cache.
func (d *dataReader) readAt(b []byte, start int64) (int, error) {
	if d.direct {
		whole := (len(b) + vfs.DirectBytes - 1) &^ (vfs.DirectBytes - 1)
		n, err := d.f.ReadAt(b[:whole], start)
		if n >= len(b) || !errors.Is(err, syscall.EINVAL) {
			return n, err
		}
		d.direct = false
		if err := d.f.Direct(false); err != nil {
			return 0, err
		}
	}
	return d.f.ReadAt(b, start)
}

// check gives the first block that does not hold, or -1.
func (d *dataReader) check(b []byte, start int64) int64 {
	for i := start / blockBytes; len(b) > 0; i++ {
		n := min(blockBytes, len(b))
		if checksum.Of(b[:n]) != d.trailer.sums[i] {
			return i
		}
		b = b[n:]
	}
	return -1
}

func (d *dataReader) Close() error {
	if d.f == nil {
		return nil
	}
	err := d.f.Close()
	if d.buf != nil {
		readBuffers.Put(d.buf)
	}
	d.f, d.buf, d.ready, d.err = nil, nil, nil, errs.New(errs.Invalid, "read after Close")
	return err
}

// Walk implements Engine.
func (s *Store) Walk(p ring.Partition, power uint8) iter.Seq2[Held, error] {
	return func(yield func(Held, error) bool) {
		if err := s.open(); err != nil {
			yield(Held{}, err)
			return
		}
		for _, found := range s.index.within(p, power) {
			if now := s.index.get(found.id()); now.is(flagLost) {
				continue
			}
			_, rec, _, _, err := s.lookup(found.id(), false)
			switch {
			case err != nil:
				if !yield(Held{}, fmt.Errorf("walk partition %d: %w", p, err)) {
					return
				}
			case rec != nil:
				if !yield(Held{Record: rec.Record, Handoff: rec.Handoff}, nil) {
					return
				}
			}
		}
	}
}
