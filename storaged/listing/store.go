package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// Config is what a Store needs. Zero numbers mean the defaults.
type Config struct {
	Path    string         // of the tree's file; made when it is not there
	Journal engine.Journal // nobody else appends to StreamRows and StreamPending
	Clock   clock.Clock
	Log     *slog.Logger

	FlushAfter  time.Duration // how long a change may wait for the tree; 15 s
	FlushRows   int           // how many rows may wait before a flush is due; 16384. At twice as many, writers wait
	ReclaimAge  time.Duration // how long a tombstone is kept; 7 days
	NoTreeSync  bool          // for tests: leave the tree to the kernel's care. The journal is released all the same
	FlushFailed func(error)   // counts; may be nil
	BeforeTree  func() error  // is asked before each flush's transaction, whose error it becomes: for tests of broken disks. May be nil
}

func (c Config) withDefaults() Config {
	if c.FlushAfter == 0 {
		c.FlushAfter = 15 * time.Second
	}
	if c.FlushRows == 0 {
		c.FlushRows = 16384
	}
	if c.ReclaimAge == 0 {
		c.ReclaimAge = limits.ReclaimAge
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.BeforeTree == nil {
		c.BeforeTree = func() error { return nil }
	}
	if c.FlushFailed == nil {
		c.FlushFailed = func(error) {}
	}
	return c
}

// Store is the listings of one device. All methods are safe for concurrent use.
type Store struct {
	cfg     Config
	db      *bbolt.DB
	rows    tracker // of StreamRows
	intents tracker // of StreamPending
	pending pending

	kick    chan struct{} // a flush is due
	stop    chan struct{}
	stopped chan struct{}
	closing sync.Once
	filling sync.WaitGroup     // fillDue
	ordered bool               // when it was opened, the bucket of what expires was whole
	flushMu sync.Mutex         // one flush at a time; guards noted
	noted   map[ring.Hash]bool // what the tree holds of changed

	mu        sync.Mutex // guards the fields below
	indexes   map[ring.Hash]*index
	waiting   int                       // rows in overlays that are not frozen
	dirty     time.Time                 // since when there is something to flush; zero: there is not
	flushed   chan struct{}             // closed and renewed when a flush ends
	changed   map[ring.Hash]peerapi.Key // containers whose accounts are to be told of their counts
	reporting map[ring.Hash]peerapi.Key // those being told
	wake      func()                    // there is one more in changed
	failing   error                     // the last flush's error
}

// The tree's top-level buckets; see docs/formats/listing.md.
var (
	bucketMeta    = []byte("meta")
	bucketIndexes = []byte("indexes")
	bucketPending = []byte("pending")
	bucketChanged = []byte("changed")
	bucketDue     = []byte("due")
	keyFormat     = []byte("format")
)

// treeFormat is the value at keyFormat.
const treeFormat = "henge listing 1"

// growBytes is by how much the tree's file grows at a time.
const growBytes = 1 << 20

// mmapBytes is address space, not memory: with room ahead the map need not move while readers wait.
const mmapBytes = 1 << 30

// Open opens or makes a device's listings and replays the journal onto them. errs.Corrupt when the file is not one of ours.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	db, err := bbolt.Open(cfg.Path, 0o600, &bbolt.Options{
		Timeout:         time.Second,
		NoFreelistSync:  false,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: mmapBytes,
		NoSync:          cfg.NoTreeSync,
	})
	if err != nil {
		return nil, errs.New(errs.Corrupt, "open listings %s: %w", cfg.Path, err)
	}
	db.AllocSize = growBytes
	s := &Store{
		cfg: cfg, db: db,
		kick: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
		indexes: map[ring.Hash]*index{}, flushed: make(chan struct{}), changed: map[ring.Hash]peerapi.Key{}, reporting: map[ring.Hash]peerapi.Key{}, noted: map[ring.Hash]bool{}, wake: func() {},
	}
	err = s.prepare()
	if err == nil {
		err = s.replay()
	}
	if err != nil {
		return nil, fmt.Errorf("open listings %s: %w", cfg.Path, joinClose(err, db))
	}
	go s.run()
	if !s.ordered {
		s.filling.Go(s.fillDue)
	}
	return s, nil
}

func joinClose(err error, db *bbolt.DB) error {
	if closeErr := db.Close(); closeErr != nil {
		return fmt.Errorf("%w (and close: %v)", err, closeErr)
	}
	return err
}

// prepare makes the buckets of a new file, checks the format of an old one, and loads what is to be known at once.
func (s *Store) prepare() error {
	var format string
	err := s.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketMeta); b != nil {
			format = string(b.Get(keyFormat))
			s.ordered = bytes.Equal(b.Get(keyDue), dueWhole)
		}
		return s.loadChanged(tx)
	})
	switch {
	case err != nil:
		return err
	case format == treeFormat:
		return errors.Join(s.pending.load(s.db), s.prepareDue())
	case format != "":
		return errs.New(errs.Unsupported, "format %q is not known", format)
	}
	s.ordered = true
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketIndexes, bucketPending, bucketChanged, bucketDue} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("make bucket %s: %w", name, err)
			}
		}
		if err := tx.Bucket(bucketMeta).Put(keyDue, dueWhole); err != nil {
			return fmt.Errorf("note that the order of what expires is whole: %w", err)
		}
		return tx.Bucket(bucketMeta).Put(keyFormat, []byte(treeFormat))
	})
}

// replay applies what the journal holds over the tree. What the tree has already changes nothing.
func (s *Store) replay() error {
	j := s.cfg.Journal
	if err := j.Replay(engine.StreamRows, func(at engine.Position, b []byte) error {
		var e entry
		if err := decode(b, &e); err != nil {
			return fmt.Errorf("journal entry %d: %w", at, err)
		}
		s.rows.saw(at)
		return s.reapply(e)
	}); err != nil {
		return fmt.Errorf("replay rows: %w", err)
	}
	if err := j.Replay(engine.StreamPending, func(at engine.Position, b []byte) error {
		var u Update
		if err := decode(b, &u); err != nil {
			return fmt.Errorf("journal entry %d: %w", at, err)
		}
		s.intents.saw(at)
		s.pending.add(u, true)
		s.touch(1)
		return nil
	}); err != nil {
		return fmt.Errorf("replay pending updates: %w", err)
	}
	return nil
}

func (s *Store) reapply(e entry) error {
	if e.Change != nil {
		x, err := s.acquire(e.Change.Key)
		if err != nil {
			return err
		}
		defer s.release(x)
		s.touch(x.change(*e.Change))
		s.noteChanged(x, e.Change.Key)
	}
	if e.Merge != nil {
		x, err := s.acquire(e.Merge.Key)
		if err != nil {
			return err
		}
		defer s.release(x)
		x.bring(*e.Merge)
		put, err := x.put(s.db, e.Merge.Rows, nil)
		if err != nil {
			return err
		}
		s.touch(put)
		s.noteChanged(x, e.Merge.Key)
	}
	s.mu.Lock()
	full := s.waiting >= s.cfg.FlushRows
	s.mu.Unlock()
	if full {
		return s.flush(false)
	}
	return nil
}

// touch notes that rows wait for the tree, and sees to it that they do not wait for long.
func (s *Store) touch(rows int) {
	s.mu.Lock()
	s.waiting += rows
	first := s.dirty.IsZero()
	if first {
		s.dirty = time.Now()
	}
	due := s.waiting >= s.cfg.FlushRows
	s.mu.Unlock()
	if first || due {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// room waits until the overlay may grow: when the tree is slower than the writers, these wait with bounded memory.
func (s *Store) room(ctx context.Context) error {
	for {
		s.mu.Lock()
		full, flushed, failing := s.waiting >= 2*s.cfg.FlushRows, s.flushed, s.failing
		s.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			if failing != nil {
				return errs.New(errs.KindOf(failing), "listings are not written: %w", failing)
			}
			return errs.New(errs.Timeout, "wait for the listings to be written: %w", ctx.Err())
		case <-s.stop:
			return errs.New(errs.Unavailable, "the device is closing")
		}
	}
}

// run flushes when it is due. It sleeps while there is nothing to do.
func (s *Store) run() {
	defer close(s.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	sweep := time.NewTimer(sweepInterval)
	defer sweep.Stop()
	backoff := time.Second
	for {
		wait := s.next()
		if wait == 0 {
			if err := s.flush(true); err != nil {
				s.cfg.FlushFailed(err)
				if backoff == time.Second {
					s.cfg.Log.Error("listings are not written; they stay in the journal", "path", s.cfg.Path, "error", err)
				}
				wait, backoff = backoff, min(2*backoff, 30*time.Second)
			} else {
				backoff = time.Second
				continue
			}
		}
		timer.Reset(wait)
		kick := s.kick
		if backoff > time.Second {
			kick = nil // a failing disk is not asked again for each row
		}
		select {
		case <-kick:
		case <-timer.C:
		case <-sweep.C:
			if n, err := s.Sweep(); err != nil {
				s.cfg.Log.Error("old tombstones are not removed", "path", s.cfg.Path, "removed", n, "error", err)
			}
			sweep.Reset(sweepInterval)
		case <-s.stop:
			return
		}
	}
}

// next says how long until a flush is due; 0 is now.
func (s *Store) next() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.waiting >= s.cfg.FlushRows:
		return 0
	case s.dirty.IsZero():
		return 24 * time.Hour
	}
	return max(0, time.Until(s.dirty.Add(s.cfg.FlushAfter)))
}

// Close writes what is in memory to the tree and closes it. Nothing else may be called afterwards.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.stop)
		<-s.stopped
		s.filling.Wait()
		if flushErr := s.flush(true); flushErr != nil {
			err = fmt.Errorf("close listings: %w", flushErr)
		}
		if closeErr := s.db.Close(); closeErr != nil && err == nil {
			err = fmt.Errorf("close listings: %w", closeErr)
		}
	})
	return err
}

// tracker knows up to where a stream's entries have been applied: those that are being appended hold it back, so that none is released unseen.
type tracker struct {
	mu       sync.Mutex // guards the fields below
	last     engine.Position
	released engine.Position
	open     map[*ticket]struct{}
}

type ticket struct{ floor engine.Position }

func (t *tracker) begin() *ticket {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[*ticket]struct{}{}
	}
	k := &ticket{floor: t.last}
	t.open[k] = struct{}{}
	return k
}

// end closes a ticket whose entry got position at (0: none) and is applied.
func (t *tracker) end(k *ticket, at engine.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, k)
	t.last = max(t.last, at)
}

func (t *tracker) saw(at engine.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = max(t.last, at)
}

// applied is the position up to which everything is applied.
func (t *tracker) applied() engine.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.last
	for k := range t.open {
		at = min(at, k.floor)
	}
	return at
}
