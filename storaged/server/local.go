package server

import (
	"context"
	"io"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/engine"
	"henge/storaged/listing"
	"henge/storaged/peerapi"
)

// Local is a device of this process. It is a peerapi.Device.
type Local struct {
	self     peerapi.Target
	engine   engine.Engine
	standing *standing
	listing  *listing.Store
	devices  peerapi.Devices
	counters Counters
	clock    clock.Clock
}

// Head is peerapi.Device's.
func (l *Local) Head(ctx context.Context, key peerapi.Key) (peerapi.State, error) {
	if err := l.answers(ctx); err != nil {
		return peerapi.State{}, err
	}
	return l.engine.Head(key)
}

// Open is peerapi.Device's.
func (l *Local) Open(ctx context.Context, key peerapi.Key, at clock.Timestamp, r peerapi.Range) (peerapi.State, io.ReadCloser, error) {
	if err := l.answers(ctx); err != nil {
		return peerapi.State{}, nil, err
	}
	return l.engine.Open(key, at, r)
}

// answers is nil when the caller still waits and the device may speak for what it holds.
func (l *Local) answers(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return gaveUp(err)
	}
	return l.standing.speaks(l.self)
}

func gaveUp(err error) error { return errs.New(errs.KindOf(err), "the caller gave up: %w", err) }

// Prepare is peerapi.Device's.
func (l *Local) Prepare(ctx context.Context, key peerapi.Key, ballot clock.Timestamp) (peerapi.Outcome, peerapi.State, error) {
	if err := l.answers(ctx); err != nil {
		return peerapi.Outcome{}, peerapi.State{}, err
	}
	return l.engine.Prepare(ctx, key, ballot)
}

// Create is peerapi.Device's.
func (l *Local) Create(ctx context.Context, key peerapi.Key, size int64) (peerapi.Writer, error) {
	if err := l.answers(ctx); err != nil {
		return nil, err
	}
	w, err := l.engine.Create(ctx, key, size)
	if err != nil {
		return nil, err
	}
	return &localWriter{Writer: w, device: l}, nil
}

type localWriter struct {
	engine.Writer
	device *Local
}

// Commit is peerapi.Writer's.
func (w *localWriter) Commit(ctx context.Context, c peerapi.Commit) (peerapi.Outcome, error) {
	return w.device.write(ctx, c, w.Writer.Commit)
}

// Commit is peerapi.Device's.
func (l *Local) Commit(ctx context.Context, c peerapi.Commit, data []byte) (peerapi.Outcome, error) {
	return l.write(ctx, c, func(ctx context.Context, w engine.Write) (peerapi.Outcome, error) {
		return l.engine.Commit(ctx, w, data)
	})
}

// Restamp is peerapi.Device's.
func (l *Local) Restamp(ctx context.Context, from clock.Timestamp, c peerapi.Commit) (peerapi.Outcome, error) {
	return l.write(ctx, c, func(ctx context.Context, w engine.Write) (peerapi.Outcome, error) {
		return l.engine.Restamp(ctx, from, w)
	})
}

// write brings a record to the engine, and its row to the container's replicas.
func (l *Local) write(ctx context.Context, c peerapi.Commit, commit func(context.Context, engine.Write) (peerapi.Outcome, error)) (peerapi.Outcome, error) {
	if err := l.answers(ctx); err != nil {
		return peerapi.Outcome{}, err
	}
	w := engine.Write{Record: c.Record, Accept: c.Accept, Handoff: c.Handoff}
	if len(c.Listing) == 0 {
		return commit(ctx, w)
	}
	key := c.Record.Key
	update := listing.Update{
		Targets: c.Listing,
		Merge:   peerapi.Merge{Key: c.ContainerKey, Rows: []peerapi.Row{RowOf(c.Record)}, Created: c.ContainerCreated, Policy: c.ContainerPolicy},
		Object:  &key,
	}
	intended, err := l.listing.Intend(ctx, update)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	w.Intent = intended.Intent
	// From here on the caller's going away must not part the object from its row.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.PeerCommitTimeout)
	defer cancel()
	out, err := commit(ctx, w)
	switch {
	case err != nil && !surelyNotWritten(err):
		intended.Doubt()
		return out, err
	case err != nil:
		_ = intended.Done(ctx, nil) // nothing is left to tell, so nothing can fail
		return out, err
	case !out.Accepted:
		return out, intended.Done(ctx, nil)
	}
	told := l.tell(ctx, update.Targets, update.Merge)
	out.Listed, out.Queued, out.Gone = told.listed, len(told.left), told.gone
	l.counters.Queued(len(told.left))
	if err := intended.Done(ctx, told.left); err != nil {
		return peerapi.Outcome{}, err
	}
	return out, nil
}

// surelyNotWritten tells the errors after which nothing can be on the disk from those that leave it open.
func surelyNotWritten(err error) bool {
	switch errs.KindOf(err) {
	case errs.NoSpace, errs.Invalid, errs.NotFound, errs.TooLarge:
		return true
	}
	return false
}

// RowOf is the line of a container's listing that stands for an object's version.
func RowOf(r peerapi.Record) peerapi.Row {
	row := peerapi.Row{Name: r.Key.Object, Timestamp: r.Timestamp, Deleted: r.Deleted}
	if r.Deleted {
		return row
	}
	row.Size, row.ETag, row.ContentType = r.Size, r.ETag, r.ContentType
	row.Kind, row.DeleteAt, row.Policy = r.Kind, r.DeleteAt, r.Key.Policy
	row.Checksum = r.System[SystemListingChecksum]
	return row
}

// SystemListingChecksum is the key of Record.System whose value goes into Row.Checksum.
const SystemListingChecksum = "listing-checksum"

// telling is what became of telling several devices the same.
type telling struct {
	mu     sync.Mutex // guards the fields below
	listed int
	gone   bool
	left   []peerapi.Target
}

// tell merges rows into the listings of the targets, all at once. A target that does not answer soon is left: a client waits for us, and a peer that hangs must not
// make it wait for longer than it takes to queue the row. Should the row arrive there all the same, it is the same row.
func (l *Local) tell(ctx context.Context, targets []peerapi.Target, m peerapi.Merge) *telling {
	told := &telling{}
	var others sync.WaitGroup
	for _, t := range targets[1:] {
		others.Go(func() { told.note(t, l.tellOne(ctx, limits.PeerRowTimeout, t, m)) })
	}
	told.note(targets[0], l.tellOne(ctx, limits.PeerRowTimeout, targets[0], m))
	others.Wait()
	return told
}

func (l *Local) tellOne(ctx context.Context, within time.Duration, t peerapi.Target, m peerapi.Merge) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return l.devices.Device(t).Merge(ctx, m)
}

func (t *telling) note(target peerapi.Target, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.listed++
	case errs.Is(err, errs.NotFound):
		t.gone = true
	default:
		t.left = append(t.left, target)
	}
}

// Index is peerapi.Device's.
func (l *Local) Index(ctx context.Context, key peerapi.Key) (peerapi.IndexInfo, error) {
	if err := l.answers(ctx); err != nil {
		return peerapi.IndexInfo{}, err
	}
	return l.listing.Info(key)
}

// Merge is peerapi.Device's.
func (l *Local) Merge(ctx context.Context, m peerapi.Merge) error {
	if err := l.answers(ctx); err != nil {
		return err
	}
	return l.listing.Merge(ctx, m)
}

// List is peerapi.Device's.
func (l *Local) List(ctx context.Context, q peerapi.ListQuery) (peerapi.ListPage, error) {
	if err := l.answers(ctx); err != nil {
		return peerapi.ListPage{}, err
	}
	return l.listing.List(q)
}

// Due gives rows of this device's listings whose DeleteAt is not after now (seconds since 1970), the earliest first; next is where to go on, nil at the end.
func (l *Local) Due(ctx context.Context, now int64, after []byte, limit int) (due []peerapi.DueRow, next []byte, err error) {
	if err := l.answers(ctx); err != nil {
		return nil, nil, err
	}
	return l.listing.Due(now, after, limit)
}

// ChangeIndex is peerapi.Device's.
func (l *Local) ChangeIndex(ctx context.Context, c peerapi.IndexChange) (peerapi.IndexOutcome, error) {
	if err := l.answers(ctx); err != nil {
		return peerapi.IndexOutcome{}, err
	}
	targets := c.Listing
	before, after, err := l.listing.Change(ctx, c)
	out := peerapi.IndexOutcome{Existed: before.Exists(), Newest: max(after.Created, after.Deleted)}
	if err != nil {
		return out, err
	}
	if len(targets) == 0 || c.Key.Container == "" {
		return out, nil
	}
	// Should this process die here, the journal has the change, and the reporter tells the account.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.PeerCommitTimeout)
	defer cancel()
	m := peerapi.Merge{Key: c.AccountKey, Rows: []peerapi.Row{rowOfContainer(c.Key, after, l.clock.Now())}}
	told := l.tell(ctx, targets, m)
	out.Listed, out.Queued = told.listed, len(told.left)
	if len(told.left) > 0 {
		l.counters.Queued(len(told.left))
		if err := l.listing.Enqueue(ctx, listing.Update{Targets: told.left, Merge: m}); err != nil {
			return peerapi.IndexOutcome{}, err
		}
	}
	return out, nil
}

// rowOfContainer is the line of an account's listing that stands for a container.
func rowOfContainer(key peerapi.Key, i peerapi.IndexInfo, now time.Time) peerapi.Row {
	row := peerapi.Row{Name: key.Container, Timestamp: max(i.Created, i.Deleted), Deleted: !i.Exists()}
	if !row.Deleted {
		row.Size, row.Count, row.Policy, row.Counted = i.Bytes, i.Count, i.Policy, clock.FromTime(now)
	}
	return row
}

// Usage is peerapi.Device's.
func (l *Local) Usage(ctx context.Context) (peerapi.Usage, error) {
	if err := ctx.Err(); err != nil {
		return peerapi.Usage{}, gaveUp(err)
	}
	u := l.engine.Usage()
	u.Pending = 0 // the journal holds intents as well, of updates that were delivered long since
	for _, n := range l.listing.Waiting() {
		u.Pending += int64(n)
	}
	return u, nil
}
