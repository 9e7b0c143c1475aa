package library

import (
	"context"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/imaged/model"
	"henge/internal/job"
)

const (
	sweepInterval = 15 * time.Second
	// silence is how long another peer's upload may be without a sign of life: several beats.
	silence = 60 * time.Second
	// grace is how long the segments of a dead upload are looked for: a writer that was stopped in the midst of one may still end it.
	grace = 5 * time.Minute
)

// heard is what was last heard of another peer's upload, by our own clock.
type heard struct {
	beat int64
	at   time.Time
}

// Run does the upkeep until ctx ends: uploads that died with their peer, data that no image has, old tasks. Imports under way end with it.
func (l *Library) Run(ctx context.Context) error {
	l.sweepSoon()
	job.Loop(ctx, sweepInterval, l.wake, l.Sweep)
	l.end()
	l.imports.Wait()
	return nil
}

// sweepSoon asks for a sweep now.
func (l *Library) sweepSoon() {
	select {
	case l.wake <- struct{}{}:
	default: // one is asked for already
	}
}

// Sweep looks once at everything that may be left over. One that cannot be removed does not keep it from the others.
func (l *Library) Sweep(ctx context.Context) {
	var uploads []model.Upload
	var expired []string
	err := l.Store.View(ctx, func(r state.Reader) error {
		for u, err := range model.Uploads.All(r) {
			if err != nil {
				return err
			}
			uploads = append(uploads, u)
		}
		var err error
		expired, err = expiredTasks(r, l.now())
		return err
	})
	if err != nil {
		l.Logger.Warn("look for what uploads left", "error", err)
		return
	}
	there := map[string]bool{}
	for _, u := range uploads {
		there[u.ID] = true
		l.tend(ctx, u)
	}
	l.mu.Lock()
	for id := range l.seen {
		if !there[id] {
			delete(l.seen, id)
		}
	}
	l.mu.Unlock()
	if len(expired) > 0 {
		if err := l.update(ctx, func(w state.Writer) error { return dropTasks(w, expired) }); err != nil {
			l.Logger.Warn("drop old tasks", "error", err)
		}
	}
}

// tend does what an upload needs: nothing while it lives.
func (l *Library) tend(ctx context.Context, u model.Upload) {
	switch {
	case u.Dead:
		if stop := l.stopOf(u.ID); stop != nil {
			stop(errLost)
			return // the writer itself removes what it wrote
		}
		if err := l.vault.Remove(ctx, u.ID); err != nil {
			l.Logger.Warn("remove what an upload left", "upload", u.ID, "error", err)
			return
		}
		if l.now().Sub(u.Since) < grace {
			return
		}
		if err := l.forget(ctx, u.ID); err != nil {
			l.Logger.Warn("forget an upload", "upload", u.ID, "error", err)
		}
	case !l.lives(u):
		l.Logger.Info("an upload died with its peer", "upload", u.ID, "image", u.ImageID, "peer", u.Peer)
		l.abandon(ctx, u, model.Queued, "The peer that took the data stopped in the midst of it.")
	}
}

func (l *Library) stopOf(id string) context.CancelCauseFunc {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active[id]
}

// lives tells whether somebody may still be at an upload.
func (l *Library) lives(u model.Upload) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u.Peer != l.run && strings.HasPrefix(u.Peer, l.Peer+"/") {
		return false // this peer, before it was started again
	}
	now := l.Clock.Now()
	last, known := l.seen[u.ID]
	if !known || last.beat != u.Beat {
		l.seen[u.ID] = heard{u.Beat, now}
		return true
	}
	return now.Sub(last.at) < silence
}
