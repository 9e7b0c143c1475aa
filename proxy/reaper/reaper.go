package reaper

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/job"
	"henge/internal/limits"
	"henge/proxy/core"
)

const (
	// interval is about how often it is looked whether there is something to empty: one page of a short listing.
	interval = 15 * time.Second
	page     = 1000
	workers  = 8
	// unmarked is how old a note of an account without a mark must be to count as left over: its deletion died half-way, and was never acknowledged.
	unmarked      = time.Hour
	accountPrefix = "AUTH_"
)

// Store is the proxy's core.
type Store interface {
	core.Service
	DeletedAccounts(ctx context.Context, after string, limit int) (all []core.DeletedAccount, next string, err error)
	ForgetAccount(ctx context.Context, account string) error
}

// Projects tells of projects that were deleted.
type Projects interface {
	EndedProjects(ctx context.Context, limit int) ([]string, error)
	SettleProject(ctx context.Context, id string) error
}

// Counters count what happens, for metrics. They must not block.
type Counters interface {
	Accounts()   // marked as deleted because their project was
	Containers() // removed
	Objects()    // removed
}

// Config is what a Reaper needs.
type Config struct {
	Store    Store
	Projects Projects
	// Mine tells whether this peer is the one to work on an account. Two that believe it do no harm.
	Mine     func(account string) bool
	Clock    clock.Clock
	Logger   *slog.Logger
	Counters Counters
	// Delay is how long what was in a deleted account is left alone.
	Delay time.Duration
	// ReclaimAge is how long an emptied account stays deleted, before it may come to be anew; 0: limits.ReclaimAge.
	ReclaimAge time.Duration
	// PerSecond bounds how many objects this peer removes; 0 is no bound.
	PerSecond int64
}

// Reaper empties accounts.
type Reaper struct {
	cfg      Config
	throttle *job.Throttle
}

// New makes a Reaper; Run runs it.
func New(cfg Config) *Reaper {
	if cfg.ReclaimAge == 0 {
		cfg.ReclaimAge = limits.ReclaimAge
	}
	return &Reaper{cfg: cfg, throttle: job.NewThrottle(cfg.PerSecond)}
}

// Run empties accounts until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	job.Loop(ctx, interval/2+rand.N(interval), nil, func(ctx context.Context) {
		if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "empty deleted accounts", slog.Any("error", err))
		}
	})
	return nil
}

// Sweep does all that is due now. One account that fails stops no other; the first error is given.
func (r *Reaper) Sweep(ctx context.Context) error {
	first := r.endProjects(ctx)
	ctx = core.IntoDeleted(ctx)
	after := ""
	for {
		accounts, next, err := r.cfg.Store.DeletedAccounts(ctx, after, page)
		if err != nil {
			return err
		}
		for _, a := range accounts {
			if !r.cfg.Mine(a.Name) {
				continue
			}
			if err := r.account(ctx, a); err != nil && first == nil {
				first = fmt.Errorf("account %s: %w", a.Name, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if next == "" {
			return first
		}
		after = next
	}
}

// endProjects marks the accounts of projects that were deleted. The project is settled after that, so that a crash in between repeats it.
func (r *Reaper) endProjects(ctx context.Context) error {
	ids, err := r.cfg.Projects.EndedProjects(ctx, page)
	if err != nil {
		return fmt.Errorf("which projects have ended: %w", err)
	}
	for _, id := range ids {
		if !r.cfg.Mine(accountPrefix + id) {
			continue
		}
		err := r.cfg.Store.DeleteAccount(ctx, accountPrefix+id)
		switch {
		case err == nil:
			r.cfg.Counters.Accounts()
		case !errs.Is(err, errs.NotFound): // it had none, or it is deleted
			return fmt.Errorf("delete the account of project %s: %w", id, err)
		}
		if err := r.cfg.Projects.SettleProject(ctx, id); err != nil {
			return fmt.Errorf("settle project %s: %w", id, err)
		}
	}
	return nil
}

// account does what is due for one account.
func (r *Reaper) account(ctx context.Context, a core.DeletedAccount) error {
	info, err := r.cfg.Store.Account(ctx, a.Name)
	if err != nil {
		return err
	}
	age := r.cfg.Clock.Now().Sub(info.Deleted)
	switch {
	case info.Deleted.IsZero() && r.cfg.Clock.Now().Sub(a.Noted) > unmarked:
		return r.cfg.Store.ForgetAccount(ctx, a.Name)
	case info.Deleted.IsZero(), age < r.cfg.Delay:
		return nil
	}
	empty, err := r.empty(ctx, a.Name)
	if err == nil && empty && age > r.cfg.Delay+r.cfg.ReclaimAge {
		return r.cfg.Store.ForgetAccount(ctx, a.Name)
	}
	return err
}

// empty removes an account's containers. already: there were none.
func (r *Reaper) empty(ctx context.Context, account string) (already bool, err error) {
	o := core.ListOptions{Limit: page}
	var first error
	for already = true; ; already = false {
		containers, err := r.cfg.Store.ListContainers(ctx, account, o)
		if err != nil {
			return false, err
		}
		if len(containers.Entries) == 0 {
			return already, first
		}
		for _, c := range containers.Entries {
			if err := r.container(ctx, account, c.Name); err != nil && first == nil {
				first = err
			}
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
		}
		o.Marker = containers.Entries[len(containers.Entries)-1].Name
	}
}

// container removes a container with its objects. What is written meanwhile, by a proxy that has not heard yet, goes the next time.
func (r *Reaper) container(ctx context.Context, account, container string) error {
	o := core.ListOptions{Limit: page}
	for {
		objects, err := r.cfg.Store.ListObjects(ctx, account, container, o)
		if core.IsNoContainer(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.objects(ctx, account, container, objects.Entries); err != nil {
			return err
		}
		if !objects.More {
			break
		}
		o.Marker = objects.Next
	}
	err := r.cfg.Store.DeleteContainer(ctx, account, container)
	switch {
	case err == nil:
		r.cfg.Counters.Containers()
	case !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Conflict):
		return err
	}
	return nil
}

// objects removes a page of objects, several at a time.
func (r *Reaper) objects(ctx context.Context, account, container string, entries []core.Entry) error {
	var mu sync.Mutex // guards first
	var first error
	var working sync.WaitGroup
	slots := make(chan struct{}, workers)
	for _, e := range entries {
		if err := r.throttle.Wait(ctx, 1); err != nil {
			break // ctx has ended
		}
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			err := r.cfg.Store.Delete(ctx, core.Ref{Account: account, Container: container, Object: e.Name}, nil)
			if err == nil {
				r.cfg.Counters.Objects()
			} else if !errs.Is(err, errs.NotFound) {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
	}
	working.Wait()
	if first == nil {
		return ctx.Err()
	}
	return first
}
