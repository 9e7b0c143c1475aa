package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/ring"
	"henge/storaged/listing"
	"henge/storaged/peerapi"
)

// The updater's pace.
const (
	updateBatch    = 256                   // rows taken off the queue at once
	updateWorkers  = 4                     // devices told at the same time
	updateRetryMin = time.Second           // after a device did not answer; doubled each time
	updateRetryMax = 2 * time.Minute       //
	updateUpDelay  = 50 * time.Millisecond // after a peer came up
)

// updater tells other devices what is queued for them. It sleeps until something is queued, a peer comes up, or a retry is due.
type updater struct {
	device *Local
	log    *slog.Logger
	ctx    context.Context
	wake   chan struct{}
	done   sync.WaitGroup
	slots  chan struct{}

	mu      sync.Mutex // guards the fields below
	targets map[peerapi.Target]*retry
}

// retry is when a device is to be told next.
type retry struct {
	at      time.Time
	backoff time.Duration
	running bool
	again   bool // something was queued while it was told
}

func newUpdater(ctx context.Context, device *Local, log *slog.Logger) *updater {
	u := &updater{device: device, log: log, ctx: ctx, wake: make(chan struct{}, 1), slots: make(chan struct{}, updateWorkers), targets: map[peerapi.Target]*retry{}}
	device.listing.OnPending(u.queued)
	for t := range device.listing.Waiting() {
		u.queued(t)
	}
	u.done.Go(u.run)
	return u
}

// queued is called when there is something to tell a device. A device that has just failed is left alone until its retry.
func (u *updater) queued(t peerapi.Target) {
	u.mu.Lock()
	r := u.targets[t]
	if r == nil {
		u.targets[t] = &retry{at: time.Now()}
	} else if r.running {
		r.again = true
	}
	u.mu.Unlock()
	u.poke()
}

// peerUp makes the devices of a peer due at once.
func (u *updater) peerUp(peer string) {
	u.mu.Lock()
	for t, r := range u.targets {
		if t.Peer == peer {
			r.at, r.backoff = time.Now().Add(updateUpDelay), 0
		}
	}
	u.mu.Unlock()
	u.poke()
}

func (u *updater) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *updater) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(u.start())
		select {
		case <-u.wake:
		case <-timer.C:
		case <-u.ctx.Done():
			return
		}
	}
}

// start starts what is due, and says when the next is.
func (u *updater) start() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	next := 24 * time.Hour
	for t, r := range u.targets {
		wait := time.Until(r.at)
		switch {
		case r.running:
		case wait > 0:
			next = min(next, wait)
		default:
			select {
			case u.slots <- struct{}{}:
				r.running, r.again = true, false
				u.done.Go(func() { u.tell(t) })
			default: // whoever leaves a slot wakes the loop
			}
		}
	}
	return next
}

// tell tells one device all that is queued for it, until it fails.
func (u *updater) tell(t peerapi.Target) {
	err := u.drain(t)
	u.mu.Lock()
	r := u.targets[t]
	r.running = false
	switch {
	case err != nil:
		r.backoff = min(max(2*r.backoff, updateRetryMin), updateRetryMax)
		r.at = time.Now().Add(r.backoff)
	case r.again:
		r.at, r.backoff = time.Now(), 0
	default:
		delete(u.targets, t)
	}
	u.mu.Unlock()
	<-u.slots
	u.poke()
	if err != nil && !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Timeout) && u.ctx.Err() == nil {
		u.log.Warn("queued listing updates are not delivered", "peer", t.Peer, "device", t.Device, "error", err)
	}
}

func (u *updater) drain(t peerapi.Target) error {
	for u.ctx.Err() == nil {
		items, err := u.device.listing.Next(t, updateBatch)
		if err != nil || len(items) == 0 {
			return err
		}
		for _, group := range byContainer(items) {
			if err := u.deliver(t, group); err != nil {
				return err
			}
		}
	}
	return u.ctx.Err()
}

// deliver tells a device the rows of one container.
func (u *updater) deliver(t peerapi.Target, group []listing.Item) error {
	m := group[0].Merge
	m.Rows = nil
	for _, it := range group {
		wrote, err := u.wrote(it)
		if err != nil {
			return err
		}
		if wrote {
			m.Rows = append(m.Rows, it.Merge.Rows...)
			m.Created = max(m.Created, it.Merge.Created)
		}
	}
	if len(m.Rows) > 0 {
		err := u.device.tellOne(u.ctx, limits.PeerCallTimeout, t, m)
		switch {
		case errs.Is(err, errs.NotFound): // the container is gone, and its rows with it
		case errs.Is(err, errs.Invalid):
			u.log.Error("a listing update is refused for good", "peer", t.Peer, "device", t.Device, "container", m.Key.Container, "error", err)
		case err != nil:
			return err
		}
	}
	u.device.counters.Delivered(len(group))
	return u.device.listing.Told(group)
}

// wrote tells whether the object of an update was really written: after a crash, an intent may be there without it.
func (u *updater) wrote(it listing.Item) (bool, error) {
	if it.Object == nil {
		return true, nil
	}
	state, err := u.device.engine.Head(*it.Object)
	if err != nil {
		return false, err
	}
	return state.Timestamp() >= it.Merge.Rows[0].Timestamp, nil
}

func byContainer(items []listing.Item) [][]listing.Item {
	at := map[ring.Hash]int{}
	var groups [][]listing.Item
	for _, it := range items {
		n, ok := at[it.Merge.Key.Hash]
		if !ok {
			n = len(groups)
			at[it.Merge.Key.Hash] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], it)
	}
	return slices.Clip(groups)
}

// reporter tells accounts of their containers' counts, some time after these have changed.
type reporter struct {
	device   *Local
	accounts Accounts
	log      *slog.Logger
	ctx      context.Context
	wake     chan struct{}
	done     sync.WaitGroup
}

// Accounts says where an account's listing is kept; no replicas: it is not known yet.
type Accounts func(account string) (key peerapi.Key, replicas []peerapi.Target)

// reportDelay is how long counts are let change before their account is told; reportRetry is when it is tried again.
const (
	reportDelay = time.Second
	reportRetry = 10 * time.Second
)

func newReporter(ctx context.Context, device *Local, accounts Accounts, log *slog.Logger) *reporter {
	r := &reporter{device: device, accounts: accounts, log: log, ctx: ctx, wake: make(chan struct{}, 1)}
	poke := func() {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	device.listing.OnChanged(poke)
	poke() // what the journal has brought back
	r.done.Go(r.run)
	return r
}

func (r *reporter) run() {
	var retry <-chan time.Time
	for {
		select {
		case <-r.wake:
		case <-retry:
		case <-r.ctx.Done():
			return
		}
		select {
		case <-time.After(reportDelay):
		case <-r.ctx.Done():
			return
		}
		retry = nil
		if !r.report() {
			retry = time.After(reportRetry)
		}
	}
}

// report tells every account whose containers have changed, with one merge a replica. It answers false when some could be neither told nor queued.
func (r *reporter) report() bool {
	byAccount := map[string][]peerapi.Key{}
	for _, key := range r.device.listing.TakeChanged() {
		byAccount[key.Account] = append(byAccount[key.Account], key)
	}
	all := true
	for account, keys := range byAccount {
		for chunk := range slices.Chunk(keys, updateBatch) {
			err := r.reportAccount(account, chunk)
			if err != nil && !errs.Is(err, errs.Unavailable) && r.ctx.Err() == nil {
				r.log.Warn("an account is not told of its containers' counts", "account", account, "error", err)
			}
			all = all && err == nil
			for _, key := range chunk {
				r.device.listing.Reported(key, err == nil)
			}
		}
	}
	return all
}

func (r *reporter) reportAccount(account string, keys []peerapi.Key) error {
	if r.accounts == nil {
		return nil
	}
	if err := r.device.standing.speaks(r.device.self); err != nil {
		return err // what it counts is not all there is
	}
	key, replicas := r.accounts(account)
	if len(replicas) == 0 {
		return errs.New(errs.Unavailable, "nobody knows yet where the account is listed")
	}
	m := peerapi.Merge{Key: key}
	for _, k := range keys {
		i, err := r.device.listing.Info(k)
		if err != nil {
			return err
		}
		if i.Created != 0 || i.Deleted != 0 {
			m.Rows = append(m.Rows, rowOfContainer(k, i, r.device.clock.Now()))
		}
	}
	if len(m.Rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, limits.PeerCommitTimeout)
	defer cancel()
	told := r.device.tell(ctx, replicas, m)
	if len(told.left) == 0 {
		return nil
	}
	r.device.counters.Queued(len(told.left) * len(m.Rows))
	return r.device.listing.Enqueue(ctx, listing.Update{Targets: told.left, Merge: m})
}
