package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"henge/internal/clock"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/internal/vfs"
	"henge/storaged/peerapi"
)

// Config says what an engine is to be opened on. FS, Dir, Clock and Logger must be given; the rest may be left at zero.
type Config struct {
	FS     vfs.FS
	Dir    string // the device's folder; it is made when it is not there
	Clock  clock.Clock
	Logger *slog.Logger

	Reserve      Reserve       // default: 1 % of the disk, and not less than 256 MiB
	SegmentBytes int64         // default 64 MiB; from 1 MiB below 4 GiB
	ReclaimAge   time.Duration // how long tombstones and promises are kept at least; default a week
	CompactShare float64       // a segment of which less than this share is needed is rewritten; default 0.5
	CompactBytes int64         // bytes a second that compaction reads at most; default 16 MiB
	Random       io.Reader     // default crypto/rand

	keepOrphans bool // Rebuild looks at data files that no record names
}

func (c *Config) setDefaults() error {
	if c.FS == nil || c.Dir == "" || c.Clock == nil || c.Logger == nil {
		return errs.New(errs.Invalid, "engine: FS, Dir, Clock and Logger must be given")
	}
	if c.Reserve == (Reserve{}) {
		c.Reserve = Reserve{Bytes: reserveBytesDefault, Percent: reservePercentDefault}
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.SegmentBytes < 1<<20 || c.SegmentBytes >= 4<<30 {
		return errs.New(errs.Invalid, "engine: segments of %d bytes; from 1 MiB to below 4 GiB is possible", c.SegmentBytes)
	}
	if c.ReclaimAge == 0 {
		c.ReclaimAge = limits.ReclaimAge
	}
	if c.CompactShare == 0 {
		c.CompactShare = 0.5
	}
	if c.CompactBytes == 0 {
		c.CompactBytes = 16 << 20
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return nil
}

// Store is the Engine on a real disk. Make it with Open.
type Store struct {
	cfg    Config
	fs     vfs.FS
	log    *slog.Logger
	lock   io.Closer
	salt   uint32
	space  space
	index  index
	segs   segments
	files  dataFiles
	recent recentReads
	journl journal

	objects    atomic.Int64 // that can be read
	quarantine atomic.Int64 // records lost, and places of the log that could not be read

	orphans  []string // data files that no record names, for Rebuild
	appender appender
	failed   atomic.Pointer[error] // why the device takes no more writes
	closing  atomic.Bool
	active   atomic.Uint32 // the segment that is written
	stop     context.CancelFunc
	running  sync.WaitGroup // the appender, compaction, hint writers
	closed   sync.Once
	closeErr error

	compacting    sync.Mutex // one sweep at a time
	compactWanted chan struct{}
	scratch       sync.Pool // *request
}

var _ Engine = (*Store)(nil)

const (
	lockName   = "lock"
	formatName = "format"
	asideDir   = "aside"
)

// Open opens a device, makes it when the folder is empty, and brings the index into memory. ctx bounds the opening only. errs.Conflict when another process has
// it open; errs.Unsupported when a newer release wrote it.
//
// What a power cut left half written is removed. Damage is reported to the logger and counted, and does not stop the rest.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, fs: cfg.FS, log: cfg.Logger, compactWanted: make(chan struct{}, 1)}
	s.space = space{fs: cfg.FS, dir: cfg.Dir, clock: cfg.Clock, reserve: cfg.Reserve}
	s.segs.all = map[uint32]*segment{}
	s.journl.init(s)
	s.scratch.New = func() any { return newRequest() }
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make device folder: %w", err)
	}
	lock, err := cfg.FS.Lock(path.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open device %s: %w", cfg.Dir, err)
	}
	s.lock = lock
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open device %s: %w", cfg.Dir, err), s.closeFiles(), lock.Close())
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) error {
	if err := s.format(); err != nil {
		return err
	}
	began := s.cfg.Clock.Now()
	r, err := s.recover(ctx)
	if err != nil {
		return err
	}
	s.log.Info("device opened", "dir", s.cfg.Dir, "objects", s.objects.Load(), "segments", len(s.segs.list()), "scanned", r.scanned,
		"quarantine", s.quarantine.Load(), "orphans", r.orphans, "torn_bytes", r.torn, "took", s.cfg.Clock.Now().Sub(began))
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Go(s.appender.run)
	s.running.Go(func() { s.compactLoop(running) })
	return nil
}

// format reads the format file, or makes it and the folders.
func (s *Store) format() error {
	name := path.Join(s.cfg.Dir, formatName)
	b, err := durable.ReadFile(s.fs, name, 4096)
	if err == nil {
		s.salt, err = parseFormat(b)
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return errs.New(errs.Unavailable, "read format: %w", err)
	}
	if names, err := s.fs.List(path.Join(s.cfg.Dir, logDir)); err == nil && len(names) > 0 {
		// The file was lost, the data was not: each segment knows the salt.
		if s.salt, err = s.saltOfSegments(names); err != nil {
			return err
		}
	} else {
		var random [4]byte
		if _, err := io.ReadFull(s.cfg.Random, random[:]); err != nil {
			return fmt.Errorf("make salt: %w", err)
		}
		s.salt = uint32(random[0]) | uint32(random[1])<<8 | uint32(random[2])<<16 | uint32(random[3])<<24
	}
	for _, dir := range []string{logDir, dataDir, asideDir} {
		if err := durable.Mkdir(s.fs, s.cfg.Dir, path.Join(s.cfg.Dir, dir)); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	if err := s.fs.SyncDir(path.Dir(path.Clean(s.cfg.Dir))); err != nil {
		return fmt.Errorf("sync the folder above the device: %w", err)
	}
	return durable.WriteFile(s.fs, name, fmt.Appendf(nil, "henge device\nformat %d\nsalt %08x\n", formatVersion, s.salt))
}

const formatVersion = 1

// parseFormat reads the format file.
func parseFormat(b []byte) (salt uint32, err error) {
	var version int
	if _, err := fmt.Sscanf(string(b), "henge device\nformat %d\n", &version); err != nil {
		return 0, errs.New(errs.Corrupt, "the format file does not hold: %w", err)
	}
	if version > formatVersion {
		return 0, errs.New(errs.Unsupported, "the device has format %d; this release reads up to %d: use the release that wrote it, or a newer one", version, formatVersion)
	}
	if _, err := fmt.Sscanf(string(b), "henge device\nformat %d\nsalt %08x\n", &version, &salt); err != nil {
		return 0, errs.New(errs.Corrupt, "the format file does not hold: %w", err)
	}
	return salt, nil
}

func (s *Store) saltOfSegments(names []string) (uint32, error) {
	for _, n := range names {
		id, ok := parseSegmentName(n)
		if !ok {
			continue
		}
		f, err := s.fs.Open(segmentName(s.cfg.Dir, id))
		if err != nil {
			return 0, errs.New(errs.Unavailable, "open segment: %w", err)
		}
		b := make([]byte, segmentHeaderBytes)
		_, err = f.ReadAt(b, 0)
		if err := errors.Join(err, f.Close()); err != nil {
			continue
		}
		if _, salt, err := decodeSegmentHeader(b, id); err == nil {
			return salt, nil
		}
	}
	return 0, errs.New(errs.Corrupt, "the format file is missing, and no segment has a header that holds")
}

// fail makes the device take no more writes. The first reason stays.
func (s *Store) fail(err error) {
	err = errs.New(errs.Unavailable, "the device takes no more writes: %w", err)
	if s.failed.CompareAndSwap(nil, &err) {
		s.log.Error("device failed", "dir", s.cfg.Dir, "error", err)
	}
}

// usable tells why nothing can be written, if so.
func (s *Store) usable() error {
	if s.closing.Load() {
		return errs.New(errs.Unavailable, "the device is closed")
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *Store) open() error {
	if s.closing.Load() {
		return errs.New(errs.Unavailable, "the device is closed")
	}
	return nil
}

// Close ends all writing, saves hints so that the next Open is quick, and gives the lock back. Readers that are open go on. It may be called twice.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.closing.Store(true)
		s.appender.close()
		s.stop()
		s.running.Wait()
		s.closeErr = errors.Join(s.closeFiles(), s.lock.Close())
	})
	return s.closeErr
}

func (s *Store) closeFiles() error {
	var all error
	for _, seg := range s.segs.list() {
		s.segs.remove(seg)
		all = errors.Join(all, seg.release())
	}
	return all
}

// Usage tells how full the disk is; others may share it.
func (s *Store) Usage() peerapi.Usage {
	u := peerapi.Usage{Objects: s.objects.Load(), Quarantine: s.quarantine.Load(), Pending: s.journl.count(StreamPending)}
	if failed := s.failed.Load(); failed != nil {
		u.Failed = (*failed).Error()
	}
	room, reserved, err := s.space.look(0)
	if err != nil {
		s.log.Warn("usage", "dir", s.cfg.Dir, "error", err)
		if u.Failed == "" {
			u.Failed = fmt.Sprintf("its space cannot be told: %v", err)
		}
		return u
	}
	u.Size, u.Free, u.Used, u.Reserved = room.Size, room.Free, room.Size-room.Free, reserved
	u.Full = room.Free < reserved
	return u
}
