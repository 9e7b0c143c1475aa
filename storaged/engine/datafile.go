package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"henge/internal/checksum"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/internal/vfs"
	"henge/ring"
)

// The data file format: docs/formats/datafile.md.

const (
	dataDir     = "data"
	dataSuffix  = ".obj"
	blockBytes  = 64 << 10
	footerMagic = "HENGEDAT"
	footerBytes = 64
	blocksMax   = limits.ObjectBytesMax/blockBytes + 1
)

// dataFiles hands out the names of data files.
type dataFiles struct {
	last atomic.Uint64

	mu   sync.Mutex // guards made
	made [256]bool  // the folders that are there
}

// seen makes sure that a number is not given again.
func (d *dataFiles) seen(id uint64) {
	for {
		last := d.last.Load()
		if id <= last || d.last.CompareAndSwap(last, id) {
			return
		}
	}
}

func (s *Store) dataName(id uint64) string {
	return path.Join(s.cfg.Dir, dataDir, fmt.Sprintf("%02x", id&0xff), fmt.Sprintf("%016x%s", id, dataSuffix))
}

// parseDataName reads the last part of what dataName wrote.
func parseDataName(n string) (uint64, bool) {
	digits, ok := strings.CutSuffix(n, dataSuffix)
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, ok && err == nil && len(digits) == 16
}

// create makes a new, empty data file.
func (d *dataFiles) create(s *Store) (uint64, vfs.File, error) {
	id := d.last.Add(1)
	name := s.dataName(id)
	if err := d.folder(s, id&0xff, path.Dir(name)); err != nil {
		return 0, nil, err
	}
	f, err := s.fs.Create(name)
	if err != nil {
		return 0, nil, fmt.Errorf("create data file: %w", err)
	}
	return id, f, nil
}

func (d *dataFiles) folder(s *Store, n uint64, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made[n] {
		return nil
	}
	if err := durable.Mkdir(s.fs, s.cfg.Dir, dir); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	d.made[n] = true
	return nil
}

// each calls fn for every data file.
func (d *dataFiles) each(s *Store, fn func(id uint64, name string) error) error {
	dirs, err := s.fs.List(path.Join(s.cfg.Dir, dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errs.New(errs.Unavailable, "list data folders: %w", err)
	}
	for _, dir := range dirs {
		names, err := s.fs.List(path.Join(s.cfg.Dir, dataDir, dir))
		if err != nil {
			return errs.New(errs.Unavailable, "list data folder: %w", err)
		}
		for _, n := range names {
			id, ok := parseDataName(n)
			if !ok {
				continue
			}
			if err := fn(id, path.Join(s.cfg.Dir, dataDir, dir, n)); err != nil {
				return fmt.Errorf("data file %s: %w", n, err)
			}
		}
	}
	return nil
}

// removeData removes a data file that no record names any more. Whoever reads it goes on. If it fails, the next Open removes it.
func (s *Store) removeData(id uint64) {
	defer s.space.freed()
	if err := s.fs.Remove(s.dataName(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("data file not removed", "name", s.dataName(id), "error", err)
	}
}

// trailer is what follows the bytes in a data file.
type trailer struct {
	size int64    // of the bytes
	sums []uint32 // of each block
	meta []byte   // a stored, as CBOR
	hash ring.Hash
}

// encode gives the table, the metadata and the footer.
func (t *trailer) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, len(t.sums)*4+len(t.meta)+footerBytes)
	for _, sum := range t.sums {
		b = le.AppendUint32(b, sum)
	}
	tableSum := checksum.Of(b)
	b = append(b, t.meta...)
	footer := make([]byte, footerBytes)
	copy(footer, footerMagic)
	le.PutUint32(footer[8:], entryVersion)
	le.PutUint32(footer[12:], blockBytes)
	le.PutUint64(footer[16:], uint64(t.size))
	le.PutUint32(footer[24:], uint32(len(t.meta)))
	le.PutUint32(footer[28:], checksum.Of(t.meta))
	le.PutUint32(footer[32:], tableSum)
	copy(footer[36:52], t.hash[:])
	le.PutUint32(footer[60:], checksum.Of(footer[:60]))
	return append(b, footer...)
}

// blocksOf is how many blocks size bytes have.
func blocksOf(size int64) int64 { return (size + blockBytes - 1) / blockBytes }

// decodeTrailer reads what encode wrote: all that follows the first size bytes of a file.
func decodeTrailer(b []byte, size int64) (*trailer, error) {
	le := binary.LittleEndian
	bad := func(what string) (*trailer, error) {
		return nil, errs.New(errs.Corrupt, "data file: the %s does not hold", what)
	}
	if len(b) < footerBytes {
		return bad("end")
	}
	footer := b[len(b)-footerBytes:]
	if string(footer[:8]) != footerMagic || le.Uint32(footer[60:]) != checksum.Of(footer[:60]) || le.Uint32(footer[8:]) != entryVersion || le.Uint32(footer[12:]) != blockBytes {
		return bad("footer")
	}
	t := &trailer{size: int64(le.Uint64(footer[16:])), hash: ring.Hash(footer[36:52])}
	blocks, metaLen := blocksOf(t.size), int64(le.Uint32(footer[24:]))
	if t.size != size || size < 0 || blocks > blocksMax || blocks*4+metaLen+footerBytes != int64(len(b)) {
		return bad("size")
	}
	table := b[:blocks*4]
	if checksum.Of(table) != le.Uint32(footer[32:]) {
		return bad("table")
	}
	if t.meta = b[blocks*4 : blocks*4+metaLen]; checksum.Of(t.meta) != le.Uint32(footer[28:]) {
		return bad("metadata")
	}
	t.sums = make([]uint32, blocks)
	for i := range t.sums {
		t.sums[i] = le.Uint32(table[i*4:])
	}
	return t, nil
}

// readTrailer reads the end of a data file that has size bytes of data.
func readTrailer(f vfs.File, size int64) (*trailer, error) {
	total, err := f.Size()
	if err != nil {
		return nil, errs.New(errs.Unavailable, "size of data file: %w", err)
	}
	if rest := total - size; rest < footerBytes || rest > blocksOf(size)*4+metaBytesMax+footerBytes {
		return nil, errs.New(errs.Corrupt, "data file: %d bytes long, for %d bytes of data", total, size)
	}
	b := make([]byte, total-size)
	if n, err := f.ReadAt(b, size); n < len(b) {
		return nil, errs.New(errs.Unavailable, "read the end of a data file: %w", err)
	}
	return decodeTrailer(b, size)
}

// footerSize reads, from the last bytes of a data file, how many bytes of data it has: for rebuilding, when no record tells.
func footerSize(footer []byte) (int64, bool) {
	if len(footer) != footerBytes || string(footer[:8]) != footerMagic || binary.LittleEndian.Uint32(footer[60:]) != checksum.Of(footer[:60]) {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(footer[16:])), true
}
