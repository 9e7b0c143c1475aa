// Package job is what background work shares: a sweep that runs when something is to be done and now and then besides, and a throttle that keeps it from
// taking the disk from those who wait.
package job

import (
	"context"
	"sync"
	"time"
)

// Loop calls sweep after each interval, and at once when wake says so, until ctx ends. Sweeps do not overlap. Between them nothing runs.
func Loop(ctx context.Context, interval time.Duration, wake <-chan struct{}, sweep func(context.Context)) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
		sweep(ctx)
		timer.Reset(interval)
	}
}

// Throttle bounds a rate, in bytes a second. Safe for concurrent use.
type Throttle struct {
	rate int64

	mu   sync.Mutex // guards next
	next time.Time  // when what was taken so far is paid for
}

// NewThrottle makes one. A rate of 0 or less is no bound.
func NewThrottle(bytesPerSecond int64) *Throttle { return &Throttle{rate: bytesPerSecond} }

// Wait takes n bytes, and waits until those taken before are paid for. It gives ctx's error if that ends first.
func (t *Throttle) Wait(ctx context.Context, n int64) error {
	if t.rate <= 0 {
		return ctx.Err()
	}
	t.mu.Lock()
	now := time.Now()
	if t.next.Before(now) {
		t.next = now
	}
	wait := t.next.Sub(now)
	t.next = t.next.Add(time.Duration(float64(n) / float64(t.rate) * float64(time.Second)))
	t.mu.Unlock()
	if wait == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
