package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"henge/cluster/state"
	"henge/computed/hypervisor"
	"henge/computed/lifecycle"
	"henge/computed/model"
)

// round looks at everything: it says that the host is there, starts work that nobody does, takes over what guests did by themselves, and, when thorough, removes
// what belongs to no server.
func (a *Agent) round(ctx context.Context, thorough bool) {
	if thorough {
		if err := a.report(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Warn("compute report", "error", err)
		}
	}
	seen, seenErr := a.Driver.Guests(ctx)
	if seenErr != nil && ctx.Err() == nil {
		a.Logger.Warn("compute round", "error", seenErr)
	}
	mine, err := a.mine(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.Logger.Warn("compute round", "error", err)
		}
		return
	}
	powers := map[string]lifecycle.Power{}
	for _, g := range seen {
		powers[g.ID] = g.Power
	}
	for _, s := range mine {
		if needsWork(s) {
			a.kick(ctx, s.ID, taskKey(s))
		} else if seenErr == nil {
			a.observe(ctx, s, powers[s.ID])
		}
	}
	if thorough && seenErr == nil {
		if err := a.sweep(ctx, seen); err != nil && ctx.Err() == nil {
			a.Logger.Warn("compute sweep", "error", err)
		}
	}
}

func (a *Agent) mine(ctx context.Context) (all []model.Server, err error) {
	err = a.Store.View(ctx, func(r state.Reader) error {
		for s, err := range model.Servers.Where(r, "host", a.Host.ID) {
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

func (a *Agent) busy(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.workers[id] != nil
}

// observe writes what a guest did by itself.
func (a *Agent) observe(ctx context.Context, s model.Server, power lifecycle.Power) {
	if a.busy(s.ID) || lifecycle.Observe(s.State, false, power) == s.State {
		return
	}
	err := a.change(ctx, &s, func(_ state.Writer, s *model.Server) error {
		s.State = lifecycle.Observe(s.State, needsWork(*s), power)
		return nil
	})
	if err != nil && !errors.Is(err, errSuperseded) && ctx.Err() == nil {
		a.Logger.Warn("compute observe", "server", s.ID, "error", err)
	}
}

// sweep removes guests and files that belong to no server of this host: left by a delete that was cut off, or by a build that went elsewhere. It acts only on what the
// whole cluster agrees on.
func (a *Agent) sweep(ctx context.Context, seen []hypervisor.Seen) error {
	ids := map[string]bool{}
	for _, g := range seen {
		ids[g.ID] = true
	}
	entries, err := os.ReadDir(filepath.Join(a.Dir, "guests"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		ids[e.Name()] = true
	}
	mine, err := a.mine(ctx)
	if err != nil {
		return err
	}
	for _, s := range mine {
		delete(ids, s.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	if err := a.Store.Barrier(ctx); err != nil {
		return err
	}
	if mine, err = a.mine(ctx); err != nil {
		return err
	}
	for _, s := range mine {
		delete(ids, s.ID)
	}
	for id := range ids {
		if a.busy(id) {
			continue
		}
		a.Logger.Info("remove what is left of a server", "server", id)
		if err := errors.Join(a.Driver.Undefine(ctx, id), a.Disks.Forget(a.GuestDir(id))); err != nil {
			return err
		}
	}
	return nil
}

// seenEvery is how often a host that has nothing new to say writes its row.
const seenEvery = 5 * time.Minute

// report writes what the host has, and that it is there.
func (a *Agent) report(ctx context.Context) error {
	info, err := a.Driver.Host(ctx)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	total, free := a.Space()
	return a.Store.Update(ctx, func(w state.Writer) error {
		old, there, err := model.Optional(model.Hosts.Get(w, a.Host.ID))
		if err != nil {
			return err
		}
		h := a.Host
		h.UUID = old.UUID
		if !there {
			h.UUID = model.NewUUID()
		}
		h.Disabled, h.DisabledReason, h.ForcedDown = old.Disabled, old.DisabledReason, old.ForcedDown
		h.VCPUs, h.MemoryMiB, h.Hypervisor, h.Version, h.VirtType, h.CPUModel, h.Arch = info.VCPUs, info.MemoryMiB, info.Type, info.Version, info.VirtType, info.CPUModel, info.Arch
		if problem != "" {
			h.VCPUs, h.MemoryMiB, h.Hypervisor, h.Version, h.VirtType, h.CPUModel, h.Arch = old.VCPUs, old.MemoryMiB, old.Hypervisor, old.Version, old.VirtType, old.CPUModel, old.Arch
		}
		h.DiskGiB, h.DiskFreeGiB, h.Problem, h.Seen = total, free, problem, old.Seen
		if now := a.Clock.Now(); h == old && now.Sub(old.Seen) < seenEvery {
			return nil // nothing new: gossip says that we live
		} else if h.Seen = now; h.DiskFreeGiB != old.DiskFreeGiB || h != old {
			if err := a.Scheduler.Report(w, h); err != nil {
				return err
			}
		}
		return model.Hosts.Put(w, h.ID, h)
	})
}
