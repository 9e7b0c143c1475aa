package core

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

const (
	// hedgeDelay is how long a remote replica may take to begin to answer before the next one is asked too.
	hedgeDelay = 100 * time.Millisecond
	// grace is how long a write waits for its last replicas when a quorum has it already.
	grace = 25 * time.Millisecond
	// stragglersMax is how many writes may go on after their requests were answered; beyond it they are given up.
	stragglersMax = 256
)

// reply is one replica's answer.
type reply[T any] struct {
	index int // of the target
	value T
	err   error
}

// nearest gives the indexes of targets in the order in which to read from them: those that are up first, then by distance, and equals in random order.
func (c *Core) nearest(targets []peerapi.Target) []int {
	var ranks [replicasMax]int
	order := make([]int, len(targets))
	start := rand.IntN(len(targets))
	for i := range targets {
		at := (start + i) % len(targets)
		rank := c.distance(targets[at])
		if !c.devices.Up(targets[at]) {
			rank += 1 << 20
		}
		j := i
		for ; j > 0 && ranks[j-1] > rank; j-- {
			ranks[j], order[j] = ranks[j-1], order[j-1]
		}
		ranks[j], order[j] = rank, at
	}
	return order
}

func (c *Core) local(t peerapi.Target) bool { return c.distance(t) == 0 }

// ask calls fn on targets in the given order until need of them have answered, and gives those answers. One that fails, or is slow, is made up for by the
// next. Devices in this process are called directly. When fewer than need answer, the error says who did not and why.
func ask[T any](ctx context.Context, c *Core, targets []peerapi.Target, order []int, need int, fn func(context.Context, peerapi.Device) (T, error)) ([]reply[T], error) {
	good := make([]reply[T], 0, need)
	var failures []error
	next := 0
	for next < len(order) && len(good) < need && c.local(targets[order[next]]) {
		i := order[next]
		next++
		v, err := fn(ctx, c.devices.Device(targets[i]))
		if err != nil {
			failures = append(failures, fmt.Errorf("%s/%s: %w", targets[i].Peer, targets[i].Device, err))
			continue
		}
		good = append(good, reply[T]{i, v, nil})
	}
	if len(good) == need {
		return good, nil
	}
	if len(order)-next < need-len(good) {
		return good, tooFew(len(good), need, len(targets), failures)
	}
	return askRemote(ctx, c, targets, order[next:], need, good, failures, fn)
}

func askRemote[T any](ctx context.Context, c *Core, targets []peerapi.Target, order []int, need int, good []reply[T], failures []error,
	fn func(context.Context, peerapi.Device) (T, error)) ([]reply[T], error) {
	ctx, cancel := context.WithTimeout(ctx, limits.PeerCallTimeout)
	defer cancel()
	answers := make(chan reply[T], len(order))
	started, open := 0, 0
	start := func() {
		i := order[started]
		started++
		open++
		go func() {
			v, err := fn(ctx, c.devices.Device(targets[i]))
			answers <- reply[T]{i, v, err}
		}()
	}
	for started < need-len(good) {
		start()
	}
	hedge := time.NewTimer(hedgeDelay)
	defer hedge.Stop()
	for open > 0 {
		select {
		case a := <-answers:
			open--
			if a.err == nil {
				good = append(good, a)
				if len(good) == need {
					return good, nil
				}
				continue
			}
			failures = append(failures, fmt.Errorf("%s/%s: %w", targets[a.index].Peer, targets[a.index].Device, a.err))
			if started < len(order) {
				start()
			}
		case <-hedge.C:
			if started < len(order) {
				start()
			}
		case <-ctx.Done():
			failures = append(failures, ctx.Err())
			return good, tooFew(len(good), need, len(targets), failures)
		}
	}
	return good, tooFew(len(good), need, len(targets), failures)
}

// tell calls fn on all targets at the same time. It returns when all have answered, or a little after enough says that those that did suffice; the others go on
// in the background then, for at most limits.PeerCommitTimeout. Those that did not answer have an error in the result, which has one reply for each target.
func tell[T any](ctx context.Context, c *Core, targets []peerapi.Target, fn func(ctx context.Context, i int, d peerapi.Device) (T, error),
	enough func(replies []reply[T]) bool) []reply[T] {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.PeerCommitTimeout)
	answers := make(chan reply[T], len(targets))
	for i, t := range targets {
		c.spawn(func() {
			v, err := fn(ctx, i, c.devices.Device(t))
			if err != nil {
				err = fmt.Errorf("%s/%s: %w", t.Peer, t.Device, err)
			}
			answers <- reply[T]{i, v, err}
		})
	}
	replies := make([]reply[T], len(targets))
	for i := range replies {
		replies[i] = reply[T]{index: i, err: errUnanswered}
	}
	open := collect(answers, len(targets), func(a reply[T]) bool {
		replies[a.index] = a
		return enough(replies)
	})
	if open == 0 {
		cancel()
		return replies
	}
	c.straggle(cancel, func() {
		for range open {
			<-answers
		}
	})
	return replies
}

var errUnanswered = errs.New(errs.Timeout, "no answer in time")

// collect takes answers until none is open, or until a little after take said that there are enough. It gives how many are open still.
func collect[T any](answers <-chan T, open int, take func(T) bool) int {
	var last <-chan time.Time
	for open > 0 {
		select {
		case a := <-answers:
			open--
			if take(a) && last == nil && open > 0 {
				last = time.After(grace)
			}
		case <-last:
			return open
		}
	}
	return 0
}

// straggle lets writes that nobody waits for any more come to their end, unless there are too many of them.
func (c *Core) straggle(cancel context.CancelFunc, wait func()) {
	if c.stragglers.Add(1) > stragglersMax {
		cancel()
	}
	c.spawn(func() {
		defer c.stragglers.Add(-1)
		defer cancel()
		wait()
	})
}

func tooFew(got, need, of int, failures []error) error {
	return errs.New(errs.Unavailable, "%d of %d replicas answered, %d needed: %w", got, of, need, errors.Join(failures...))
}

// pause waits for about d, more or less by chance so that two rivals do not meet again and again; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
