package repair

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/job"
	"henge/internal/limits"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/server"
)

// The pace of repair where Config does not say otherwise.
const (
	intervalDefault = 10 * time.Minute
	settleDefault   = 10 * time.Second
	wakeDelay       = 2 * time.Second // after something happened: more is likely to
	bytesDefault    = 64 << 20
	deepInterval    = 24 * time.Hour
	// forgetTime is how long a device that lost its promises keeps silent at least: rounds that counted on them are over then.
	forgetTime = limits.PeerCommitTimeout + 5*time.Second
)

// Rings gives the rings as they are now. Safe for concurrent use.
type Rings interface {
	Account() Ring   // nil when it is not known yet
	Container() Ring // nil when it is not known yet
	// Objects yields each storage policy and its ring.
	Objects() iter.Seq2[uint8, Ring]
}

// Ring says which devices hold what.
type Ring interface {
	Power() uint8
	Partition(h ring.Hash) ring.Partition
	// Primaries appends the devices that hold a partition's replicas to dst.
	Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target
}

// Counters count what repair does, for metrics. They must not block.
type Counters interface {
	Pulled(objects int, bytes int64) // versions that a device lacked
	Pushed(objects int, bytes int64) // versions brought to their primaries
	Dropped(objects int)             // copies given up after that
	Rows(n int)                      // listing rows that a device lacked
	Audited(bytes int64)             // read and found good
	Corrupt(objects int)             // found corrupt by reading
}

// NoCounters count nothing.
type NoCounters struct{}

// Pulled is Counters'.
func (NoCounters) Pulled(int, int64) {}

// Pushed is Counters'.
func (NoCounters) Pushed(int, int64) {}

// Dropped is Counters'.
func (NoCounters) Dropped(int) {}

// Rows is Counters'.
func (NoCounters) Rows(int) {}

// Audited is Counters'.
func (NoCounters) Audited(int64) {}

// Corrupt is Counters'.
func (NoCounters) Corrupt(int) {}

// Config is what repair needs. Zero numbers mean the defaults.
type Config struct {
	Locals   func() []*server.Local // the devices of this process
	Devices  peerapi.Devices        // the way to all devices
	Rings    Rings
	Clock    clock.Clock
	Logger   *slog.Logger
	Counters Counters

	Interval time.Duration // between passes when nothing happens; 10 min
	// Settle is how old a difference must be to count: younger ones are writes under way. 10 s.
	Settle time.Duration
	// BytesPerSecond bounds what a device takes from others or brings to them; 64 MiB/s.
	BytesPerSecond int64
	// ReclaimAge is how long tombstones are kept at least; 7 days.
	ReclaimAge time.Duration
	// AuditBytesPerSecond bounds what the auditor reads from one device; 8 MiB/s. Below 0: it does not run.
	AuditBytesPerSecond int64
}

// Repair repairs the devices of one process.
type Repair struct {
	cfg Config

	mu      sync.Mutex // guards the fields below
	devices map[peerapi.Target]*device
}

// device is what repair remembers of one device between passes.
type device struct {
	local    *server.Local
	wake     chan struct{}
	throttle *job.Throttle

	mu     sync.Mutex // guards the fields below
	last   Report
	deep   time.Time               // when all listings were last compared row by row
	listed map[ring.Hash]time.Time // when the rows of an index that differs were last compared
}

// Report is what one pass over a device did.
type Report struct {
	Started  time.Time
	Took     time.Duration
	Complete bool // every fellow answered, and nothing is missing any more
	Pulled   int
	Pushed   int
	Dropped  int
	Rows     int
	Missing  int  // versions that the device still lacks, or that it keeps and could not bring home
	Absent   int  // fellows that did not answer
	Young    bool // something was left alone because its write may be under way
}

// New makes a Repair; Run runs it.
func New(cfg Config) *Repair {
	if cfg.Interval == 0 {
		cfg.Interval = intervalDefault
	}
	if cfg.Settle == 0 {
		cfg.Settle = settleDefault
	}
	if cfg.BytesPerSecond == 0 {
		cfg.BytesPerSecond = bytesDefault
	}
	if cfg.ReclaimAge == 0 {
		cfg.ReclaimAge = limits.ReclaimAge
	}
	if cfg.AuditBytesPerSecond == 0 {
		cfg.AuditBytesPerSecond = auditBytesDefault
	}
	return &Repair{cfg: cfg, devices: map[peerapi.Target]*device{}}
}

// Run repairs until ctx ends.
func (r *Repair) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, l := range r.cfg.Locals() {
		d := r.device(l)
		running.Go(func() { r.loop(ctx, d) })
		if r.cfg.AuditBytesPerSecond > 0 {
			running.Go(func() { r.audit(ctx, d) })
		}
	}
	running.Wait()
	return nil
}

func (r *Repair) device(l *server.Local) *device {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.devices[l.Self()]
	if d == nil || d.local != l {
		d = &device{local: l, wake: make(chan struct{}, 1), throttle: job.NewThrottle(r.cfg.BytesPerSecond), listed: map[ring.Hash]time.Time{}}
		r.devices[l.Self()] = d
	}
	return d
}

// Wake makes a pass over every device due: a peer came or went, or a ring changed.
func (r *Repair) Wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.devices {
		d.poke()
	}
}

func (d *device) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Reports are the last passes over each device.
func (r *Repair) Reports() map[peerapi.Target]Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[peerapi.Target]Report{}
	for t, d := range r.devices {
		d.mu.Lock()
		all[t] = d.last
		d.mu.Unlock()
	}
	return all
}

func (r *Repair) loop(ctx context.Context, d *device) {
	wait := wakeDelay
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-d.wake:
			timer.Stop()
			if !pause(ctx, wakeDelay) {
				return
			}
		case <-ctx.Done():
			timer.Stop()
			return
		}
		rep := r.Pass(ctx, d.local)
		wait = r.cfg.Interval/2 + rand.N(r.cfg.Interval)
		switch now, _ := d.local.Standing(); {
		case now != peerapi.Joined, rep.Missing > 0 && rep.Absent == 0:
			wait = min(wait, r.cfg.Settle) // somebody waits for it; a fellow that comes back wakes us
		case rep.Young:
			wait = min(wait, 2*r.cfg.Settle)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Pass compares one device with all its fellows, once, and repairs what it finds. One bad item stops nothing.
func (r *Repair) Pass(ctx context.Context, l *server.Local) Report {
	d := r.device(l)
	if err := l.Overdue(); err != nil {
		r.cfg.Logger.Warn("repair", "device", l.Self().Device, "error", err)
	}
	now, judged := l.Standing()
	if !judged {
		return Report{}
	}
	p := &pass{r: r, d: d, local: l, self: l.Self(), standing: now, absent: map[peerapi.Target]bool{}, waitsFor: map[peerapi.Target]bool{}, now: r.cfg.Clock.Now()}
	p.report.Started = p.now
	known := p.objects(ctx)
	known = p.indexes(ctx) && known
	p.report.Absent, p.report.Young = len(p.absent), p.soon
	p.report.Complete = known && ctx.Err() == nil && len(p.absent) == 0 && len(p.waitsFor) == 0 && p.report.Missing == 0 && p.failed == nil
	p.report.Took = r.cfg.Clock.Now().Sub(p.now)
	p.end(known)
	d.mu.Lock()
	d.last = p.report
	d.mu.Unlock()
	return p.report
}

// pass is one pass under way.
type pass struct {
	r        *Repair
	d        *device
	local    *server.Local
	self     peerapi.Target
	standing peerapi.Standing
	now      time.Time
	report   Report
	reached  int                                 // fellows that answered
	absent   map[peerapi.Target]bool             // fellows that did not
	waitsFor map[peerapi.Target]bool             // fellows that must catch up before this device can have
	silent   map[peerapi.Target]peerapi.Standing // fellows that catch up themselves
	failed   error                               // the first thing that went wrong
	failures int
	soon     bool // something was left alone because it was young
}

// fail counts what went wrong; the first is logged at the end.
func (p *pass) fail(err error) {
	if err == nil {
		return
	}
	if p.failures++; p.failed == nil {
		p.failed = err
	}
}

// end draws the conclusions from a pass.
func (p *pass) end(known bool) {
	log := p.r.cfg.Logger.With("device", p.self.Device)
	if p.failed != nil && !errors.Is(p.failed, context.Canceled) {
		log.Warn("repair", "failures", p.failures, "first", p.failed)
	}
	if known && (p.reached > 0 || len(p.absent) == 0) {
		if err := p.local.Took(); err != nil {
			log.Warn("repair", "error", err)
		}
	}
	if p.report.Complete && p.standing != peerapi.Joined && p.now.Sub(p.local.Since()) >= forgetTime {
		if err := p.local.Join(); err != nil {
			log.Error("a device that has caught up cannot say so", "error", err)
		} else {
			log.Info("device has caught up", "was", p.standing.String())
		}
	}
	if rep := p.report; rep.Pulled+rep.Pushed+rep.Dropped+rep.Rows > 0 {
		log.Info("repaired", "pulled", rep.Pulled, "pushed", rep.Pushed, "dropped", rep.Dropped, "rows", rep.Rows, "missing", rep.Missing, "took", rep.Took)
	}
}

// young tells whether a version is of a write that may be under way.
func (p *pass) young(t clock.Timestamp) bool {
	young := p.now.Sub(t.Time()) < p.r.cfg.Settle
	p.soon = p.soon || young
	return young
}

// forgotten tells whether tombstones of that age may have been reclaimed.
func (p *pass) forgotten(t clock.Timestamp) bool { return p.now.Sub(t.Time()) > p.r.cfg.ReclaimAge }

// up notes a fellow that is down.
func (p *pass) up(t peerapi.Target) bool {
	if p.absent[t] {
		return false
	}
	if !p.r.cfg.Devices.Up(t) {
		p.absent[t] = true
		return false
	}
	return true
}

// lost notes a fellow that did not answer a call; the pass goes on without it.
func (p *pass) lost(t peerapi.Target, err error) {
	p.absent[t] = true
	if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Timeout) {
		p.fail(fmt.Errorf("ask %s/%s: %w", t.Peer, t.Device, err))
	}
}
