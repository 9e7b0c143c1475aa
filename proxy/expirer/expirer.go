package expirer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/job"
	"henge/ring"
	"henge/storaged/peerapi"
)

const (
	// interval is about how often the devices are asked what is due: a look at the front of an ordered list.
	interval = 10 * time.Second
	pageRows = 1000
	workers  = 8
	// settle is how long a row that was dealt with is left alone: until then its tombstone has reached the tree. One that failed is tried again then.
	settle = time.Minute
	// yield is how long a replica waits for each one that comes before it in a row's order, and seems to be up.
	yield = 10 * time.Minute
)

// Device is a device of this process.
type Device interface {
	Self() peerapi.Target
	Due(ctx context.Context, now int64, after []byte, limit int) (due []peerapi.DueRow, next []byte, err error)
}

// Objects deletes; core.Core is one.
type Objects interface {
	// Expire deletes the object of a row if it is still to be deleted at that time, else it puts the row right.
	Expire(ctx context.Context, account, container string, row peerapi.Row) (deleted bool, err error)
}

// Counters count what happens, for metrics. They must not block.
type Counters interface {
	Expired() // an object was removed
	Stale()   // a row said what was not so any more
	Failed()  // an object could not be removed now
}

// Config is what an Expirer needs.
type Config struct {
	Devices func() []Device
	Objects Objects
	// Replicas are the devices that list a container; none while that is not known.
	Replicas func(container peerapi.Key) []peerapi.Target
	Up       func(peerapi.Target) bool
	Clock    clock.Clock
	Logger   *slog.Logger
	Counters Counters
	// PerSecond bounds how many objects this peer removes; 0 is no bound.
	PerSecond int64
}

// Expirer removes what has expired.
type Expirer struct {
	cfg      Config
	throttle *job.Throttle

	mu     sync.Mutex // guards the fields below
	later  map[entry]time.Time
	behind map[string]time.Duration
}

// entry is one row with its time.
type entry struct {
	container ring.Hash
	name      string
	at        int64
}

// New makes an Expirer; Run runs it.
func New(cfg Config) *Expirer {
	return &Expirer{cfg: cfg, throttle: job.NewThrottle(cfg.PerSecond), later: map[entry]time.Time{}, behind: map[string]time.Duration{}}
}

// Run removes what expires until ctx ends.
func (e *Expirer) Run(ctx context.Context) error {
	job.Loop(ctx, interval/2+rand.N(interval), nil, func(ctx context.Context) {
		if err := e.Sweep(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "remove expired objects", slog.Any("error", err))
		}
	})
	return nil
}

// Behind tells by device for how long the oldest row that it found due has been so, which counts the work of others as well; 0 when nothing was due.
func (e *Expirer) Behind() map[string]time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make(map[string]time.Duration, len(e.behind))
	for d, t := range e.behind {
		all[d] = t
	}
	return all
}

// Sweep removes all that is due now and is this peer's to remove. It gives the first thing that went wrong.
func (e *Expirer) Sweep(ctx context.Context) error {
	e.forget()
	s := &sweep{Expirer: e, jobs: make(chan peerapi.DueRow)}
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for d := range s.jobs {
				s.note(s.expire(ctx, d))
			}
		})
	}
	for _, d := range e.cfg.Devices() {
		s.note(s.device(ctx, d))
	}
	close(s.jobs)
	working.Wait()
	return s.first
}

// forget drops the rows that may be tried again.
func (e *Expirer) forget() {
	now := e.cfg.Clock.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, until := range e.later {
		if !now.Before(until) {
			delete(e.later, k)
		}
	}
}

// sweep is one pass under way.
type sweep struct {
	*Expirer
	jobs chan peerapi.DueRow

	mu    sync.Mutex // guards first
	first error
}

func (s *sweep) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = err
	}
}

// device goes through what one device says is due.
func (s *sweep) device(ctx context.Context, d Device) error {
	now := s.cfg.Clock.Now().Unix()
	var after []byte
	for first := true; ctx.Err() == nil; first = false {
		due, next, err := d.Due(ctx, now, after, pageRows)
		if err != nil {
			return err
		}
		if first {
			s.measure(d.Self().Device, due, now)
		}
		for _, row := range due {
			if !s.mine(d.Self(), row, now) || !s.begin(row) {
				continue
			}
			if err := s.throttle.Wait(ctx, 1); err != nil {
				return err
			}
			select {
			case s.jobs <- row:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if next == nil {
			return nil
		}
		after = next
	}
	return ctx.Err()
}

func (s *sweep) measure(device string, due []peerapi.DueRow, now int64) {
	var behind time.Duration
	if len(due) > 0 {
		behind = time.Duration(now-due[0].Row.DeleteAt) * time.Second
	}
	s.Expirer.mu.Lock()
	defer s.Expirer.mu.Unlock()
	s.behind[device] = behind
}

// mine tells whether this device is the one to act on a row. A container's replicas share its rows out by their names; for one that is down, or that leaves its share
// undone for long, the next one acts. Two that act on one row do no harm.
func (s *sweep) mine(self peerapi.Target, d peerapi.DueRow, now int64) bool {
	replicas := s.cfg.Replicas(d.Container)
	if len(replicas) == 0 {
		return false
	}
	start := share(d.Row.Name) % len(replicas)
	before := 0
	for i := range replicas {
		t := replicas[(start+i)%len(replicas)]
		switch {
		case t == self:
			return time.Duration(now-d.Row.DeleteAt)*time.Second >= time.Duration(before)*yield
		case s.cfg.Up(t):
			before++
		}
	}
	return false // a ring change has taken the container away from here
}

// share spreads names.
func share(name string) int {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int(h >> 1)
}

func entryOf(d peerapi.DueRow) entry {
	return entry{d.Container.Hash, d.Row.Name, d.Row.DeleteAt}
}

// begin takes a row up, unless it was dealt with a moment ago.
func (e *Expirer) begin(d peerapi.DueRow) bool {
	k := entryOf(d)
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, wait := e.later[k]; wait {
		return false
	}
	e.later[k] = e.cfg.Clock.Now().Add(settle)
	return true
}

// expire removes one object. A container that is gone has no rows any more.
func (e *Expirer) expire(ctx context.Context, d peerapi.DueRow) error {
	deleted, err := e.cfg.Objects.Expire(ctx, d.Container.Account, d.Container.Container, d.Row)
	switch {
	case err == nil && deleted:
		e.cfg.Counters.Expired()
	case err == nil, errs.Is(err, errs.NotFound):
		e.cfg.Counters.Stale()
		return nil
	default:
		e.cfg.Counters.Failed()
	}
	return err
}
