package core

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// write is one change of an object: where it goes, and whom to tell.
type write struct {
	r         replicas
	parent    replicas // the container
	container peerapi.IndexInfo
	slots     []slot
}

// slot is one device that gets a copy: a primary, or a handoff that stands in for one.
type slot struct {
	target    peerapi.Target
	standsFor *peerapi.Target // of a handoff
	down      bool            // as far as is known
}

// share is what slot i is to tell of the container's replicas. Those that are up tell them all, each once.
func (w *write) share(i int) []peerapi.Target {
	up, rank := 0, 0
	for j, s := range w.slots {
		if s.down {
			continue
		}
		if j == i {
			rank = up
		}
		up++
	}
	if up == 0 {
		return listingShare(w.parent.targets, i, len(w.slots))
	}
	if w.slots[i].down {
		return nil
	}
	return listingShare(w.parent.targets, rank, up)
}

// body is what a write puts under its record. commit may be called for several slots at once, and again with a later timestamp.
type body interface {
	commit(ctx context.Context, i int, d peerapi.Device, cm peerapi.Commit) (peerapi.Outcome, error)
}

// begin finds out where an object goes. errs.NotFound (IsNoContainer) when there is no such container.
func (c *Core) begin(ctx context.Context, ref Ref) (*write, error) {
	info, err := c.findContainer(ctx, ref.Account, ref.Container, false)
	if err != nil {
		return nil, err
	}
	r, err := c.placeObject(ref, info.Policy)
	if err != nil {
		return nil, err
	}
	return c.writeIn(r, info)
}

// writeTo is begin for an object that is placed already. A container that is gone is no error: nobody is told then.
func (c *Core) writeTo(ctx context.Context, r replicas) (*write, error) {
	info, err := c.findContainer(ctx, r.key.Account, r.key.Container, false)
	if IsNoContainer(err) {
		return &write{r: r, slots: c.slots(&r)}, nil
	}
	if err != nil {
		return nil, err
	}
	return c.writeIn(r, info)
}

func (c *Core) writeIn(r replicas, info peerapi.IndexInfo) (*write, error) {
	parent, err := c.placeContainer(r.key.Account, r.key.Container)
	if err != nil {
		return nil, err
	}
	return &write{r: r, parent: parent, container: info, slots: c.slots(&r)}, nil
}

// slots gives each primary, or a handoff for one that is known to be down. When that would leave no majority of primaries, they are all tried.
func (c *Core) slots(r *replicas) []slot {
	out := make([]slot, len(r.targets))
	up := 0
	for i, t := range r.targets {
		out[i] = slot{target: t, down: !c.devices.Up(t)}
		if !out[i].down {
			up++
		}
	}
	if up == len(out) || up < r.majority() && !r.fragments {
		return out
	}
	spare := c.spares(r)
	for i := range out {
		if out[i].down && len(spare) > 0 {
			out[i] = slot{target: spare[0], standsFor: &r.targets[i]}
			spare = spare[1:]
		}
	}
	return out
}

// spares are the first handoffs that are up, at most one for each primary.
func (c *Core) spares(r *replicas) []peerapi.Target {
	var out []peerapi.Target
	for t := range r.ring.Handoffs(r.key.Partition) {
		if c.devices.Up(t) {
			out = append(out, t)
		}
		if len(out) == len(r.targets) {
			break
		}
	}
	return out
}

// attempt is what became of sending one record to the slots. Only primaries count.
type attempt struct {
	record   peerapi.Record
	accepted int // durable there
	refused  int // certainly not there: something newer is
	unknown  int // no answer, or an error: it may be there or not
	full     int // certainly not there: no space
	newest   clock.Timestamp
	gone     bool
	listed   []bool // by container replica
	replaced []ended
	errs     []error
}

// ended is a version with parts of its own that a write has put an end to.
type ended struct {
	upload string
	at     clock.Timestamp
}

func (a *attempt) possible() int { return a.accepted + a.unknown }

// ballot says to which primaries a record goes as a prepared ballot. nil: to none, it is a plain write.
type ballot []bool

// send commits a record at all slots at the same time.
func (c *Core) send(ctx context.Context, w *write, rec peerapi.Record, b body, prepared ballot) attempt {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.PeerCommitTimeout)
	n := len(w.slots)
	answers := make(chan reply[peerapi.Outcome], n)
	cm := peerapi.Commit{Record: rec, ContainerKey: w.parent.key, ContainerCreated: w.container.First, ContainerPolicy: w.container.Policy}
	for i := range w.slots {
		c.spawn(func() {
			cm := cm
			cm.Listing = w.share(i)
			cm.Accept = prepared != nil && prepared[i]
			out, err := c.sendOne(ctx, w, i, b, cm)
			answers <- reply[peerapi.Outcome]{i, out, err}
		})
	}
	a := attempt{record: rec, listed: make([]bool, len(w.parent.targets))}
	open := collect(answers, n, func(r reply[peerapi.Outcome]) bool {
		a.take(w, prepared, r)
		return a.accepted+a.refused >= w.r.majority()
	})
	if open == 0 {
		cancel()
		return a
	}
	a.unknown += open
	c.straggle(cancel, func() {
		for range open {
			<-answers
		}
	})
	return a
}

// handoffDelay is how long a primary may take before a handoff gets a copy as well: a peer that hangs is not known to be dead for seconds.
const handoffDelay = time.Second

// sendOne commits at one slot. A plain write whose primary fails, or does not answer soon, leaves its copy with a handoff.
func (c *Core) sendOne(ctx context.Context, w *write, i int, b body, cm peerapi.Commit) (peerapi.Outcome, error) {
	s := w.slots[i]
	cm.Handoff = s.standsFor
	whole, ok := b.(wholeBody)
	if !ok || cm.Accept || s.standsFor != nil {
		out, err := b.commit(ctx, i, c.devices.Device(s.target), cm)
		if err != nil {
			err = fmt.Errorf("%s/%s: %w", s.target.Peer, s.target.Device, err)
		}
		return out, err
	}
	second := &standIn{}
	late := time.AfterFunc(handoffDelay, func() { second.commit(ctx, c, w, i, whole, cm) })
	out, err := b.commit(ctx, i, c.devices.Device(s.target), cm)
	if err == nil {
		if !late.Stop() {
			second.commit(ctx, c, w, i, whole, cm) // it reads the bytes, which are the caller's again when we return
		}
		return out, nil
	}
	late.Stop()
	if stood := second.commit(ctx, c, w, i, whole, cm); stood != nil {
		out = peerapi.Outcome{Listed: stood.Listed, Gone: stood.Gone}
	}
	return out, fmt.Errorf("%s/%s: %w", s.target.Peer, s.target.Device, err)
}

// standIn is the copy of a write at a handoff, made once.
type standIn struct {
	once sync.Once
	out  *peerapi.Outcome
}

// commit gives what became of the copy; nil: no handoff took it. Who comes second waits for the first.
func (s *standIn) commit(ctx context.Context, c *Core, w *write, i int, b wholeBody, cm peerapi.Commit) *peerapi.Outcome {
	s.once.Do(func() {
		cm.Handoff = &w.r.targets[i]
		for k, t := range c.spares(&w.r) {
			if k != i { // each slot has a spare of its own
				continue
			}
			if out, err := b.commit(ctx, i, c.devices.Device(t), cm); err == nil {
				s.out = &out
			}
		}
	})
	return s.out
}

func (a *attempt) take(w *write, prepared ballot, r reply[peerapi.Outcome]) {
	primary := w.slots[r.index].standsFor == nil
	out := r.value
	switch {
	case !primary:
	case errs.Is(r.err, errs.NoSpace):
		a.full++
	case r.err != nil:
		a.unknown++
	case out.Accepted:
		a.accepted++
	case out.Newest == a.record.Timestamp && !out.Missing:
		if prepared != nil && !prepared[r.index] {
			a.unknown++ // it promised, though its answer was lost; or it has the record
		} else {
			a.accepted++ // somebody completed it for us
		}
	default:
		a.refused++
		a.newest = max(a.newest, out.Newest)
	}
	if r.err != nil {
		a.errs = append(a.errs, r.err)
	}
	a.gone = a.gone || out.Gone
	if share := w.share(r.index); len(share) > 0 && out.Listed >= len(share) {
		for j, t := range w.parent.targets {
			a.listed[j] = a.listed[j] || slices.Contains(share, t)
		}
	}
	if out.Replaced != "" && out.Accepted && out.Replaced != a.record.Upload {
		a.replaced = append(a.replaced, ended{out.Replaced, out.ReplacedAt})
	}
}

// shortfall is the error of an attempt that too few primaries answered.
func (a *attempt) shortfall(w *write) error {
	need := w.r.majority()
	if len(w.r.targets)-a.full < need {
		return errs.New(errs.NoSpace, "%d of %d devices are full: %w", a.full, len(w.r.targets), joined(a.errs))
	}
	return errs.New(errs.Unavailable, "%d of %d primaries stored, %d needed: %w", a.accepted, len(w.r.targets), need, joined(a.errs))
}

// plainTriesMax is how often a plain write that all refused goes out again with a later timestamp before it goes through the register.
const plainTriesMax = 4

// put makes a plain write: rec at the next timestamp. It returns when a majority of the primaries holds it and a majority of the container's replicas lists it.
// asked, if not nil, is what a majority said since the request began.
func (c *Core) put(ctx context.Context, w *write, rec peerapi.Record, b body, asked *view) (peerapi.Record, error) {
	d := decision{blind: true, propose: func(*peerapi.Record) (peerapi.Record, body, error) { return rec, b, nil }}
	if asked == nil && c.contended.is(c, w.r.key.Hash) {
		asked = &view{r: &w.r, order: c.nearest(w.r.targets)}
		c.more(ctx, asked, w.r.majority())
	}
	if asked != nil && asked.count() >= w.r.majority() {
		d.floor, d.floored = asked.newest(), true
		if err := c.observe(d.floor); err != nil {
			return rec, err
		}
	}
	for try := 1; ; try++ {
		rec.Timestamp = c.clock.Next()
		a := c.send(ctx, w, rec, b, nil)
		if a.accepted >= w.r.majority() {
			return rec, c.finish(ctx, w, &a)
		}
		if a.refused == 0 || a.accepted+a.refused < w.r.majority() {
			return rec, a.shortfall(w)
		}
		c.contended.mark(c, w.r.key.Hash)
		if err := c.observe(a.newest); err != nil {
			return rec, err
		}
		if a.possible() > 0 || try == plainTriesMax {
			// Some took it and some met something newer. To send it again might let it happen twice: a reader may have completed it already, and another
			// writer replaced it. The register finds out.
			if a.possible() > 0 {
				d.sent = []clock.Timestamp{rec.Timestamp}
			}
			return c.decide(ctx, w, d)
		}
		d.floor, d.floored = a.newest, true // a majority said so, and none took it
	}
}

// finish does what is left when a majority of the primaries holds a record: the listing, and the parts that it put an end to.
func (c *Core) finish(ctx context.Context, w *write, a *attempt) error {
	c.giveUp(ctx, w, a.replaced)
	if len(w.parent.targets) == 0 {
		return nil
	}
	listed := 0
	for _, l := range a.listed {
		if l {
			listed++
		}
	}
	if listed >= w.parent.majority() && !a.gone {
		return nil
	}
	if a.gone {
		return c.finishGone(ctx, w, a)
	}
	err := c.enlist(ctx, w.parent, a.listed, w.rows(&a.record))
	if errs.Is(err, errs.NotFound) {
		return c.finishGone(ctx, w, a)
	}
	return err
}

func (w *write) rows(rec *peerapi.Record) peerapi.Merge {
	return peerapi.Merge{Rows: []peerapi.Row{rowOf(rec)}, Created: w.container.First, Policy: w.container.Policy}
}

// finishGone is for a write after which a replica said that the container does not exist. If that is so, the write is undone.
func (c *Core) finishGone(ctx context.Context, w *write, a *attempt) error {
	account, container := w.r.key.Account, w.r.key.Container
	c.containers.drop(containerName{account, container})
	info, err := c.findContainer(ctx, account, container, true)
	if err == nil && info.Policy == w.container.Policy {
		// It was deleted and made again, or this replica is behind.
		again := *w
		again.container = info
		return c.enlist(ctx, w.parent, make([]bool, len(w.parent.targets)), again.rows(&a.record))
	}
	if err != nil && !IsNoContainer(err) {
		return err
	}
	if a.record.Deleted {
		return noContainer(account, container)
	}
	if undo := c.undo(ctx, w, origin(&a.record)); undo != nil {
		return errs.New(errs.Unavailable, "undo a write to a container that is gone: %w", undo)
	}
	return noContainer(account, container)
}

// undo deletes the version of that origin, and no other.
func (c *Core) undo(ctx context.Context, w *write, which clock.Timestamp) error {
	quiet := &write{r: w.r, slots: w.slots}
	_, err := c.decide(ctx, quiet, decision{propose: func(current *peerapi.Record) (peerapi.Record, body, error) {
		if origin(current) != which {
			return peerapi.Record{}, nil, errOther
		}
		return tombstone(w.r.key), wholeBody(nil), nil
	}})
	if err == errOther {
		return nil
	}
	return err
}

var errOther = errs.New(errs.Conflict, "another version is there")

func tombstone(key peerapi.Key) peerapi.Record { return peerapi.Record{Key: key, Deleted: true} }

// wholeBody is all the bytes of a small object; nil for a tombstone.
type wholeBody []byte

func (b wholeBody) commit(ctx context.Context, _ int, d peerapi.Device, cm peerapi.Commit) (peerapi.Outcome, error) {
	return d.Commit(ctx, cm, b)
}
