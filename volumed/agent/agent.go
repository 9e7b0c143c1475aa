package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/volumed/backend"
	"henge/volumed/images"
	"henge/volumed/model"
)

// Target is what is exported of a volume.
type Target struct {
	VolumeID  string
	Device    backend.Device
	ReadOnly  bool
	Epoch     uint64
	Initiator string
	// What initiators prove, and what is proved to them.
	User, Secret, BackUser, BackKey string
}

// Targets is the iSCSI target of this peer.
type Targets interface {
	// Export offers a target, in place of any of the same volume with a smaller epoch, which does no I/O any more when it returns.
	Export(ctx context.Context, t Target) error
	// Resize tells initiators that a volume has grown. Not exported is no error.
	Resize(volumeID string) error
	// Unexport ends a target: its device is not used any more when it returns. Not exported is no error.
	Unexport(ctx context.Context, volumeID string) error
	// Drain has all initiators log out, and takes no more logins: they come again to the next process.
	Drain(ctx context.Context) error
}

// Config is what an agent needs.
type Config struct {
	Store   state.Store
	Clock   clock.Clock
	Logger  *slog.Logger
	Peer    string
	Name    string // of the backend
	Zone    string
	Portal  string // where Targets listens: address and port
	Backend backend.Backend
	Targets Targets
	Images  images.Service
	Convert Converter
	// Grown tells a server that a volume that it has is larger now; the server may be gone. nil: nobody is told.
	Grown func(ctx context.Context, serverID, volumeID string, gib int64) error
}

// Agent works on one peer. Run it once.
type Agent struct {
	Config
	queue  *queue
	copies gate

	mu       sync.Mutex // guards the field below
	exported map[string]*exported
	last     model.Host // as written
}

// New makes an agent.
func New(cfg Config) *Agent {
	return &Agent{Config: cfg, queue: newQueue(), copies: make(gate, copiesMax), exported: map[string]*exported{}}
}

const (
	workers        = 6 // of which copies take copiesMax at most
	copiesMax      = 3
	retryWait      = time.Second
	upkeepInterval = 10 * time.Second
)

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range workers {
		tasks.Go(func() { a.work(ctx) })
	}
	tasks.Go(func() { a.upkeep(ctx) })
	defer a.queue.close()
	defer a.closeExports()
	for ctx.Err() == nil {
		if err := a.watch(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Warn("volumes: watch", "error", err)
		}
		wait(ctx, retryWait)
	}
	cancel()
	a.queue.close()
	tasks.Wait()
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// watch looks at all rows of this peer, then at what changes.
func (a *Agent) watch(ctx context.Context) error {
	var from state.Index
	err := a.Store.View(ctx, func(r state.Reader) error {
		from = r.Index()
		return a.enqueueAll(r)
	})
	if err != nil {
		return err
	}
	for event, err := range a.Store.Watch(ctx, model.Prefix, from) {
		if err != nil {
			return err
		}
		for _, c := range event.Changes {
			a.changed(c)
		}
	}
	return nil
}

func (a *Agent) enqueueAll(r state.Reader) error {
	for v, err := range model.Volumes.Where(r, "host", a.Peer) {
		if err != nil {
			return err
		}
		a.queue.add(key{volumeKey, v.ID}, v.Task)
		a.queue.add(key{exportKey, v.ID}, "")
	}
	for s, err := range model.Snapshots.Where(r, "host", a.Peer) {
		if err != nil {
			return err
		}
		a.queue.add(key{snapshotKey, s.ID}, s.Task)
	}
	return nil
}

// changed looks at a row that changed. Rows of other peers come too; they are cheap to pass over.
func (a *Agent) changed(c state.Change) {
	switch {
	case c.Deleted && has(c, model.Attachments.Prefix()):
		a.queue.addAll(exportKey, a.exportedVolumes())
	case has(c, model.Attachments.Prefix()):
		if _, row, err := model.Attachments.Decode(c); err == nil {
			a.queue.add(key{exportKey, row.VolumeID}, "")
		}
	case c.Deleted:
	case has(c, model.Volumes.Prefix()):
		if id, row, err := model.Volumes.Decode(c); err == nil && row.Host == a.Peer {
			a.queue.add(key{volumeKey, id}, row.Task)
		}
	case has(c, model.Snapshots.Prefix()):
		if id, row, err := model.Snapshots.Decode(c); err == nil && row.Host == a.Peer {
			a.queue.add(key{snapshotKey, id}, row.Task)
		}
	}
}

func has(c state.Change, prefix string) bool {
	return len(c.Key) > len(prefix) && c.Key[:len(prefix)] == prefix
}

// work takes keys off the queue.
func (a *Agent) work(ctx context.Context) {
	for {
		k, during, ok := a.queue.take(ctx)
		if !ok {
			return
		}
		again := a.handle(during, k)
		a.queue.done(k)
		if again && ctx.Err() == nil {
			time.AfterFunc(retryWait, func() { a.queue.add(k, "") })
		}
	}
}

// handle does what a row says, and tells whether to look at it again.
func (a *Agent) handle(ctx context.Context, k key) (again bool) {
	var err error
	switch k.kind {
	case volumeKey:
		err = a.volume(ctx, k.id)
	case snapshotKey:
		err = a.snapshot(ctx, k.id)
	case exportKey:
		err = a.export(ctx, k.id)
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err() != nil
	}
	if !errors.Is(err, errLater) {
		a.Logger.Warn("volumes", "kind", k.kind, "id", k.id, "error", err)
	}
	return true
}

// errLater says that something else must happen first.
var errLater = errs.New(errs.Unavailable, "not yet")

// update runs a transaction.
func (a *Agent) update(ctx context.Context, fn func(w state.Writer) error) error {
	return a.Store.Update(ctx, fn)
}

func (a *Agent) now() time.Time { return a.Clock.Now().UTC() }

// upkeep describes this peer, and lets the backend do what it put off.
func (a *Agent) upkeep(ctx context.Context) {
	for ctx.Err() == nil {
		if err := a.describe(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Warn("volumes: describe this peer", "error", err)
		}
		if err := a.Backend.Upkeep(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Warn("volumes: upkeep", "error", err)
		}
		wait(ctx, upkeepInterval)
	}
}

// describeStep is how much the free room must change to be worth a row.
const describeStep = 64 << 20

// describe writes this peer's row when it says something else than before.
func (a *Agent) describe(ctx context.Context) error {
	h := model.Host{Peer: a.Peer, Backend: a.Name, Zone: a.Zone, Portal: a.Portal}
	stats, err := a.Backend.Stats(ctx)
	if err != nil {
		h.Fault = err.Error()
	}
	h.Total, h.Free, h.Provisioned = stats.Total, stats.Free/describeStep*describeStep, stats.Provisioned
	last := a.last
	last.Updated = time.Time{}
	if last == h {
		return nil
	}
	h.Updated = a.now()
	err = a.update(ctx, func(w state.Writer) error {
		if err := model.SeedTypes(w, a.now()); err != nil {
			return err
		}
		return model.Hosts.Put(w, h.Peer, h)
	})
	if err != nil {
		return fmt.Errorf("write the row of the peer: %w", err)
	}
	a.last = h
	return nil
}
