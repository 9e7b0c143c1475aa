package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"henge/e2e/lab/cloud"
)

// fault is one kind of thing that goes wrong at one peer for a while.
type fault struct {
	name string
	make func(c *cloud.Cloud, peer int, random *rand.Rand) error
	undo func(c *cloud.Cloud, peer int) error
}

// killAll is the one fault that all peers have at once: nothing is served meanwhile, and nothing acknowledged may be missing afterwards.
const killAll = "kill all"

// faults are all kinds. Each but killAll is one that the cloud promises to bear at any one peer.
var faults = []fault{
	{"kill", func(c *cloud.Cloud, peer int, _ *rand.Rand) error { return c.Kill(peer) }, (*cloud.Cloud).Revive},
	{"pause", func(c *cloud.Cloud, peer int, _ *rand.Rand) error { return c.Pause(peer) }, (*cloud.Cloud).Resume},
	{"partition", func(c *cloud.Cloud, peer int, _ *rand.Rand) error { return c.Cut(peer) }, join},
	{"deaf", func(c *cloud.Cloud, peer int, _ *rand.Rand) error { return c.Deaf(peer, c.Others(peer)...) }, join},
	{"mute", func(c *cloud.Cloud, peer int, _ *rand.Rand) error {
		for _, other := range c.Others(peer) {
			if err := c.Deaf(other, peer); err != nil {
				return err
			}
		}
		return nil
	}, join},
	{"slow", func(c *cloud.Cloud, peer int, random *rand.Rand) error { return c.Slow(peer, 64+random.IntN(512)) }, (*cloud.Cloud).Fast},
	{"lossy", func(c *cloud.Cloud, peer int, random *rand.Rand) error {
		return c.Lossy(peer, 0.02+0.2*random.Float64())
	}, (*cloud.Cloud).Hear},
	{"clock", func(c *cloud.Cloud, peer int, random *rand.Rand) error {
		offsets := []time.Duration{-2 * time.Hour, -time.Minute, -3 * time.Second, 3 * time.Second, time.Minute, 8 * time.Minute}
		return c.SetClock(peer, offsets[random.IntN(len(offsets))])
	}, func(c *cloud.Cloud, peer int) error { return c.SetClock(peer, 0) }},
	{killAll, func(c *cloud.Cloud, _ int, _ *rand.Rand) error { return each(c, c.Kill) },
		func(c *cloud.Cloud, _ int) error { return each(c, c.Revive) }},
}

func join(c *cloud.Cloud, _ int) error { return c.Join() }

func each(c *cloud.Cloud, do func(int) error) error {
	for i := range c.Peers() {
		if err := do(i + 1); err != nil {
			return err
		}
	}
	return nil
}

func kindNames() []string {
	var all []string
	for _, f := range faults {
		all = append(all, f.name)
	}
	return all
}

func checkKinds(only []string) error {
	for _, name := range only {
		if !slices.Contains(kindNames(), name) {
			return fmt.Errorf("there is no fault %q; there are %q", name, kindNames())
		}
	}
	return nil
}

// planned is a fault at its place in a plan.
type planned struct {
	fault
	peer  int
	wait  time.Duration // before it
	hold  time.Duration // until it is undone
	seeds [2]uint64     // of what it chooses itself
}

func (p planned) String() string {
	if p.name == killAll {
		return fmt.Sprintf("kill of all peers for %.1f s", p.hold.Seconds())
	}
	return fmt.Sprintf("%s of peer %d for %.1f s", p.name, p.peer, p.hold.Seconds())
}

// plan is what a seed does to a cloud, one fault after the other.
func plan(seed uint64, o options) []planned {
	random := rand.New(rand.NewPCG(seed, 1))
	kinds := faults
	if len(o.only) > 0 {
		kinds = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !slices.Contains(o.only, f.name) })
	}
	var all []planned
	var order []int // every kind comes before one comes twice
	for total := time.Duration(0); total < time.Duration(o.seconds)*time.Second; {
		if len(order) == 0 {
			order = random.Perm(len(kinds))
		}
		p := planned{
			fault: kinds[order[0]], peer: 1 + random.IntN(o.peers), seeds: [2]uint64{random.Uint64(), random.Uint64()},
			wait: time.Duration(200+random.IntN(800)) * time.Millisecond, hold: time.Duration(500+random.IntN(4000)) * time.Millisecond,
		}
		order = order[1:]
		all = append(all, p)
		total += p.wait + p.hold
	}
	return all
}

// suffer carries a plan out until its time is over, and leaves nothing broken. It gives how many faults were made.
func suffer(ctx context.Context, c *cloud.Cloud, todo []planned, until time.Time, say func(string, ...any)) (int, error) {
	for i, p := range todo {
		if time.Now().After(until) {
			return i, nil
		}
		if !pause(ctx, p.wait) {
			return i, ctx.Err()
		}
		say("fault %d: %s", i+1, p)
		if err := p.make(c, p.peer, rand.New(rand.NewPCG(p.seeds[0], p.seeds[1]))); err != nil {
			return i, fmt.Errorf("%s: %w", p, err)
		}
		pause(ctx, p.hold) // undone also when the run is given up
		if err := p.undo(c, p.peer); err != nil {
			return i, fmt.Errorf("undo %s: %w", p, err)
		}
		say("undone")
		// The next one is a fault of one peer, not of two.
		for peer := range c.Peers() {
			if err := c.Answers(ctx, peer+1); err != nil {
				return i, fmt.Errorf("after %s: %w", p, err)
			}
		}
	}
	return len(todo), nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
