package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"henge/internal/checksum"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/vfs"
)

// Rebuilt is what Rebuild found.
type Rebuilt struct {
	Segments   int   // read from front to back
	Objects    int64 // that can be read
	Files      int   // data files looked at that no record named
	Restored   int   // of these, objects that are there again
	Quarantine int64 // records and places of the log that do not hold
}

// Rebuild makes all that is only derived anew, from the data alone: segments, and the data files, of which each carries its record. Hints are thrown away, every
// segment is read and checked, and data files that no record names (those set aside too) are taken in again where they are newer than what the log has.
// The device must not be open.
func Rebuild(ctx context.Context, cfg Config) (Rebuilt, error) {
	if err := cfg.setDefaults(); err != nil {
		return Rebuilt{}, err
	}
	if err := removeHints(cfg); err != nil {
		return Rebuilt{}, err
	}
	cfg.keepOrphans = true
	s, err := Open(ctx, cfg)
	if err != nil {
		return Rebuilt{}, err
	}
	r := Rebuilt{Segments: len(s.segs.list())}
	err = s.restoreAll(ctx, &r)
	r.Objects, r.Quarantine = s.objects.Load(), s.quarantine.Load()
	return r, errors.Join(err, s.Close())
}

// removeHints takes the lock of the device for as long as it needs.
func removeHints(cfg Config) error {
	lock, err := cfg.FS.Lock(path.Join(cfg.Dir, lockName))
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", cfg.Dir, err)
	}
	dir := path.Join(cfg.Dir, logDir)
	names, err := cfg.FS.List(dir)
	if err != nil {
		return errors.Join(errs.New(errs.NotFound, "rebuild %s: there is no log: %w", cfg.Dir, err), lock.Close())
	}
	for _, n := range names {
		if strings.HasSuffix(n, hintSuffix) {
			if err := cfg.FS.Remove(path.Join(dir, n)); err != nil {
				return errors.Join(fmt.Errorf("rebuild: remove hints: %w", err), lock.Close())
			}
		}
	}
	return lock.Close()
}

// restoreAll looks at every data file that no record names.
func (s *Store) restoreAll(ctx context.Context, r *Rebuilt) error {
	for _, name := range s.orphans {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("rebuild: %w", err)
		}
		r.Files++
		restored, err := s.restore(name)
		if err != nil {
			return fmt.Errorf("restore %s: %w", path.Base(name), err)
		}
		if restored {
			r.Restored++
		}
	}
	return nil
}

// restore takes a data file in again. One that holds nothing newer is removed; one that does not hold is set aside.
func (s *Store) restore(name string) (bool, error) {
	rec, t, err := s.inspect(name)
	if errs.Is(err, errs.Corrupt) {
		s.log.Warn("data file does not hold", "name", name, "error", err)
		return false, s.keepAside(name)
	}
	if err != nil {
		return false, err
	}
	w := Write{Record: rec.Record, Handoff: rec.Handoff}
	standing := new(view)
	*standing = s.index.get(IDOf(w.Record.Key))
	if st := standing.standing(); st.Timestamp > w.Record.Timestamp || st.Timestamp == w.Record.Timestamp && !st.Lost {
		return false, s.fs.Remove(name)
	}
	w.Accept = standing.promise.ts == w.Record.Timestamp
	id := s.files.last.Add(1)
	if err := s.files.folder(s, id&0xff, path.Dir(s.dataName(id))); err != nil {
		return false, err
	}
	if err := durable.Rename(s.fs, name, s.dataName(id)); err != nil {
		return false, err
	}
	out, err := s.put(&w, placement{file: id, size: t.size})
	if err != nil || !out.Accepted {
		return false, errors.Join(err, s.keepAside(s.dataName(id)))
	}
	return true, nil
}

func (s *Store) keepAside(name string) error {
	aside := path.Join(s.cfg.Dir, asideDir, path.Base(name))
	if name == aside {
		return nil
	}
	return durable.Rename(s.fs, name, aside)
}

// inspect reads all of a data file and gives the record that it carries. errs.Corrupt when anything does not hold.
func (s *Store) inspect(name string) (rec *stored, t *trailer, err error) {
	f, err := s.fs.Open(name)
	if err != nil {
		return nil, nil, errs.New(errs.Unavailable, "open data file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	total, err := f.Size()
	if err != nil {
		return nil, nil, errs.New(errs.Unavailable, "size of data file: %w", err)
	}
	footer := make([]byte, footerBytes)
	if n, _ := f.ReadAt(footer, total-footerBytes); total < footerBytes || n < footerBytes {
		return nil, nil, errs.New(errs.Corrupt, "data file of %d bytes", total)
	}
	size, ok := footerSize(footer)
	if !ok || size < 0 || size > total {
		return nil, nil, errs.New(errs.Corrupt, "data file: the footer does not hold")
	}
	if t, err = readTrailer(f, size); err != nil {
		return nil, nil, err
	}
	if err := checkBlocks(f, t); err != nil {
		return nil, nil, err
	}
	if rec, err = decodeStored(t.meta); err != nil {
		return nil, nil, err
	}
	w := Write{Record: rec.Record}
	if w.Check() != nil || rec.Record.Key.Hash != t.hash {
		return nil, nil, errs.New(errs.Corrupt, "data file: its record makes no sense")
	}
	return rec, t, nil
}

func checkBlocks(f vfs.File, t *trailer) error {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	for i, sum := range t.sums {
		off := int64(i) * blockBytes
		b := (*buf)[:min(blockBytes, t.size-off)]
		if n, err := f.ReadAt(b, off); n < len(b) {
			return errs.New(errs.Unavailable, "read data file at %d: %w", off, err)
		}
		if checksum.Of(b) != sum {
			return errs.New(errs.Corrupt, "data file: block %d does not match its checksum", i)
		}
	}
	return nil
}
