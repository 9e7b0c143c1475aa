package agent

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"henge/cluster/state"
	"henge/computed/configdrive"
	"henge/computed/hypervisor"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/internal/clock"
	"henge/internal/errs"
)

// Disks makes the files of guests out of images.
type Disks interface {
	// Root makes the root disk of a guest from an image; it may be there already. It gives the file and its format, and whether it is a CD.
	Root(ctx context.Context, dir string, image model.Image, gib int, fetch Fetch) (Root, error)
	// Forget removes the files of a guest. Not there is no error.
	Forget(dir string) error
}

// Fetch opens the bytes of an image.
type Fetch = neighbour.Fetch

// Root is a root disk.
type Root = neighbour.Root

// Config is what an agent stands on.
type Config struct {
	Store  state.Store
	Clock  clock.Clock
	Logger *slog.Logger
	Host   model.Host // ID, Name, Address, ConsoleURL, Zone, Initiator; the driver tells the rest
	Dir    string     // guests' files lie below

	Driver    hypervisor.Driver
	Disks     Disks
	Images    neighbour.Images
	Networks  neighbour.Networks
	Volumes   neighbour.Volumes
	Scheduler neighbour.Scheduler
	// Space tells how much the disk under Dir has, and has left.
	Space func() (totalGiB, freeGiB int)
	// Metadata gives the files of a guest's config drive.
	Metadata func(ctx context.Context, serverID string) ([]configdrive.File, error)

	BootsMax int           // at a time; 0: 4
	Tick     time.Duration // between two looks at everything; 0: ten seconds
}

// Agent runs the guests of one peer.
type Agent struct {
	Config
	boots chan struct{}

	mu      sync.Mutex // guards the fields below
	workers map[string]*worker
	started sync.WaitGroup
}

// worker is the one goroutine that works on a server.
type worker struct {
	cancel context.CancelFunc
	task   string // what it carries out: action and request
	again  bool   // something changed while it was at work
}

// New makes an agent.
func New(cfg Config) *Agent {
	if cfg.BootsMax == 0 {
		cfg.BootsMax = 4
	}
	if cfg.Tick == 0 {
		cfg.Tick = 10 * time.Second
	}
	return &Agent{Config: cfg, boots: make(chan struct{}, cfg.BootsMax), workers: map[string]*worker{}}
}

// GuestDir is where a server's files are.
func (a *Agent) GuestDir(id string) string { return filepath.Join(a.Dir, "guests", id) }

// ConsoleLog is where a guest's serial console is written.
func (a *Agent) ConsoleLog(id string) string { return filepath.Join(a.GuestDir(id), "console.log") }

// Run works until ctx ends. Guests run on after it.
func (a *Agent) Run(ctx context.Context) error {
	defer a.started.Wait()
	events := a.Driver.Events(ctx)
	changes := make(chan state.Event)
	go a.watch(ctx, changes)
	tick := time.NewTicker(a.Tick)
	defer tick.Stop()
	a.round(ctx, true)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-changes:
			a.changed(ctx, e)
		case <-events:
			a.round(ctx, false)
		case <-tick.C:
			a.round(ctx, true)
		}
	}
}

// watch hands on what changes among the servers. After anything that went wrong it begins anew; the round that follows sees what was missed.
func (a *Agent) watch(ctx context.Context, changes chan<- state.Event) {
	for ctx.Err() == nil {
		var from state.Index
		err := a.Store.View(ctx, func(r state.Reader) error { from = r.Index(); return nil })
		if err == nil {
			err = a.follow(ctx, from, changes)
		}
		if err != nil && ctx.Err() == nil {
			a.Logger.Warn("compute watch", "error", err)
		}
		pause(ctx, time.Second)
	}
}

func (a *Agent) follow(ctx context.Context, from state.Index, changes chan<- state.Event) error {
	select {
	case changes <- state.Event{Reset: true}: // what changed before from is not told again
	case <-ctx.Done():
	}
	for e, err := range a.Store.Watch(ctx, model.Servers.Prefix(), from) {
		if err != nil {
			return err
		}
		select {
		case changes <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (a *Agent) changed(ctx context.Context, e state.Event) {
	if e.Reset {
		a.round(ctx, false)
		return
	}
	for _, c := range e.Changes {
		id, s, err := model.Servers.Decode(c)
		if err != nil {
			a.Logger.Error("compute watch", "error", err)
			continue
		}
		if c.Deleted || s.Host != a.Host.ID {
			continue // what is left here of it the next round removes
		}
		if needsWork(s) {
			a.kick(ctx, id, taskKey(s))
		}
	}
}

// needsWork tells whether a row asks for something.
func needsWork(s model.Server) bool {
	if s.Task != nil {
		return true
	}
	if s.Launched.IsZero() {
		return false
	}
	for _, d := range s.Disks {
		if !d.Local && (d.State != model.Attached || d.Grown) {
			return true
		}
	}
	return slices.ContainsFunc(s.NICs, func(n model.NIC) bool { return n.State != model.Attached })
}

func taskKey(s model.Server) string {
	if s.Task == nil {
		return ""
	}
	return string(s.Task.Action) + " " + s.Task.RequestID
}

// kick makes sure that somebody works on a server. A new task that takes the place of the one under way, as only a delete does, ends that at once.
func (a *Agent) kick(ctx context.Context, id, task string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.workers[id]; w != nil {
		w.again = true
		if w.task != "" && task != "" && w.task != task {
			w.cancel()
		}
		return
	}
	a.workers[id] = &worker{cancel: func() {}}
	a.started.Go(func() { a.work(ctx, id) })
}

// begin notes what a worker is at, and gives it a context that ends when that is taken back.
func (a *Agent) begin(ctx context.Context, id, task string) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.workers[id]
	w.cancel()
	w.cancel, w.task, w.again = cancel, task, false
	return ctx
}

// leave ends a worker, unless there is more to do.
func (a *Agent) leave(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.workers[id]
	if w.again {
		w.again = false
		return false
	}
	w.cancel()
	delete(a.workers, id)
	return true
}

// errSuperseded says that the row is no longer what the work began with: somebody deleted it, or it is another host's.
var errSuperseded = errors.New("the server was given something else to do")

// retryAfter is how long work rests that met a trouble of the cluster or of the hypervisor's daemon, not of the server.
const retryAfter = time.Second

// work carries out what a server's row asks for, until it asks for nothing.
func (a *Agent) work(ctx context.Context, id string) {
	for ctx.Err() == nil {
		s, err := a.read(ctx, id)
		switch {
		case errs.Is(err, errs.NotFound) || err == nil && s.Host != a.Host.ID:
			// Its leftovers are the next round's, when it is sure that it is gone.
			if a.leave(id) {
				return
			}
			continue
		case err == nil:
			err = a.step(a.begin(ctx, id, taskKey(s)), s)
		}
		switch {
		case errors.Is(err, errSuperseded):
		case err != nil:
			if ctx.Err() == nil {
				a.Logger.Warn("compute will try again", "server", id, "error", err)
			}
			pause(ctx, retryAfter)
		case a.leave(id):
			return
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers[id].cancel()
	delete(a.workers, id)
}

func (a *Agent) read(ctx context.Context, id string) (s model.Server, err error) {
	err = a.Store.View(ctx, func(r state.Reader) error {
		s, err = model.Servers.Get(r, id)
		return err
	})
	return s, err
}

// change writes what became of a server, if the task that s was read with is still its task; otherwise errSuperseded. s becomes the new row.
func (a *Agent) change(ctx context.Context, s *model.Server, change func(w state.Writer, s *model.Server) error) error {
	var now model.Server
	err := a.Store.Update(ctx, func(w state.Writer) (err error) {
		now, err = model.Servers.Get(w, s.ID)
		if errs.Is(err, errs.NotFound) || err == nil && (taskKey(now) != taskKey(*s) || now.Host != a.Host.ID) {
			return errSuperseded
		}
		if err != nil {
			return err
		}
		if err := change(w, &now); err != nil {
			return err
		}
		now.Updated = a.Clock.Now()
		return model.Servers.Put(w, now.ID, now)
	})
	if err == nil {
		*s = now
	}
	return err
}
