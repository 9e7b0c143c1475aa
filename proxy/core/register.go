package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

const (
	backoffFirst = 2 * time.Millisecond
	backoffMax   = 100 * time.Millisecond
	// deciding bounds one decision in time, and so the rounds that it takes when rivals come in between.
	deciding = limits.PeerCommitTimeout
)

// round is a prepared ballot.
type round struct {
	ballot   clock.Timestamp
	promised ballot
	states   []peerapi.State // of those that promised
}

// newest is the newest version that those who promised hold; a majority did, so that it is the chosen one if any was chosen.
func (rd *round) newest() *peerapi.Record {
	var best *peerapi.Record
	for i, ok := range rd.promised {
		if r := rd.states[i].Record; ok && r != nil && (best == nil || r.Timestamp > best.Timestamp) {
			best = r
		}
	}
	return best
}

// holds tells whether primary i holds the version at t.
func (rd *round) holds(i int, t clock.Timestamp) bool {
	return rd.promised[i] && rd.states[i].Record != nil && rd.states[i].Timestamp() == t
}

// prepare gets promises from a majority, at a ballot newer than all that it meets.
func (c *Core) prepare(ctx context.Context, w *write) (*round, error) {
	r := &w.r
	for try := 0; ; try++ {
		rd := &round{ballot: c.clock.Next(), promised: make(ballot, len(r.targets)), states: make([]peerapi.State, len(r.targets))}
		type answer struct {
			out   peerapi.Outcome
			state peerapi.State
		}
		got := func(replies []reply[answer]) (promised, answered int) {
			for _, a := range replies {
				if a.err == nil {
					answered++
					if a.value.out.Accepted {
						promised++
					}
				}
			}
			return promised, answered
		}
		replies := tell(ctx, c, r.targets, func(ctx context.Context, _ int, d peerapi.Device) (answer, error) {
			out, state, err := d.Prepare(ctx, r.key, rd.ballot)
			return answer{out, state}, err
		}, func(replies []reply[answer]) bool { _, n := got(replies); return n >= r.majority() })
		var failures []error
		var newest clock.Timestamp
		for i, a := range replies {
			if a.err != nil {
				failures = append(failures, a.err)
				continue
			}
			rd.promised[i], rd.states[i] = a.value.out.Accepted, a.value.state
			newest = max(newest, a.value.out.Newest, a.value.state.Timestamp(), a.value.state.Promise)
		}
		promised, answered := got(replies)
		if promised >= r.majority() {
			return rd, nil
		}
		if answered < r.majority() {
			return nil, errs.New(errs.Unavailable, "%d of %d primaries promised, %d needed: %w", promised, len(r.targets), r.majority(), joined(failures))
		}
		if newest >= rd.ballot {
			if err := c.observe(newest); err != nil {
				return nil, err
			}
		}
		if !c.backOff(ctx, try) {
			return nil, errCrowded
		}
	}
}

// errCrowded: others came in between all the time.
var errCrowded = errs.New(errs.Unavailable, "others write the object too often to decide on it")

// backOff waits before the next try; false when there is to be none.
func (c *Core) backOff(ctx context.Context, try int) bool {
	return pause(ctx, min(backoffFirst<<min(try, 10), backoffMax))
}

// decision is a change that depends on what is there, or that must not happen twice.
type decision struct {
	// sent are the timestamps under which the change went out before and may have been taken.
	sent []clock.Timestamp
	// blind: what is proposed does not depend on what is there.
	blind bool
	// floor, when floored, is the newest timestamp that a majority of the primaries held at a moment since the request began: whatever is newer was not complete then.
	floor   clock.Timestamp
	floored bool
	// propose gives what to write over current, or an error if nothing is to be written. It may be called several times.
	propose func(current *peerapi.Record) (peerapi.Record, body, error)
}

// errUnknown: nobody can tell any more.
func errUnknown(key peerapi.Key) error {
	return errs.New(errs.Unavailable, "it cannot be told whether the write to %s took place before another replaced it", key.Object)
}

// decide makes a change in the manner of CASPaxos: promises from a majority, then the newest version they hold is what there is, then the change on top of it under
// the same ballot. An attempt that only some accepted is not guessed about: the next round finds it, or finds that it can never be chosen.
func (c *Core) decide(ctx context.Context, w *write, d decision) (peerapi.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, deciding)
	defer cancel()
	// A handoff cannot take part: it made no promise.
	asked := w
	w = &write{r: w.r, parent: w.parent, container: w.container, slots: w.primaries()}
	for try := 0; ; try++ {
		rd, err := c.prepare(ctx, w)
		if err != nil {
			return peerapi.Record{}, d.surely(err)
		}
		current := rd.newest()
		if len(d.sent) > 0 {
			ours, err := c.recognise(w, &d, current)
			if err != nil {
				return peerapi.Record{}, err
			}
			if ours != absent {
				rec, told, err := c.affirm(ctx, w, rd, current)
				if err == nil && !told {
					err = c.finish(ctx, w, &attempt{record: rec, listed: make([]bool, len(w.parent.targets))})
				}
				if err == nil && ours == replaced {
					rec = peerapi.Record{Key: w.r.key, Timestamp: d.sent[0]}
				}
				if !errors.Is(err, errRefused) {
					return rec, err
				}
				if !c.backOff(ctx, try) {
					return rec, errUnknown(w.r.key)
				}
				continue
			}
			d.sent = nil
		}
		rec, b, refusal := d.propose(current)
		if refusal != nil {
			again, err := c.refuse(ctx, w, rd, current, refusal, try)
			if again {
				continue
			}
			return peerapi.Record{}, err
		}
		if again, ok := b.(*copyBody); ok {
			again.round = rd
		}
		rec.Timestamp = rd.ballot
		if !d.blind {
			withSystem(&rec, systemBase, origin(current))
		}
		a := c.send(ctx, w, rec, b, rd.promised)
		if a.accepted >= w.r.majority() {
			c.standIn(ctx, asked, rec, b)
			return rec, c.finish(ctx, w, &a)
		}
		if a.possible() > 0 {
			d.sent = append(d.sent, rd.ballot)
		}
		if a.accepted+a.refused < w.r.majority() {
			return rec, a.shortfall(w)
		}
		c.contended.mark(c, w.r.key.Hash)
		if err := c.observe(a.newest); err != nil {
			return rec, err
		}
		if !c.backOff(ctx, try) {
			return rec, d.surely(errCrowded)
		}
	}
}

// surely makes an error that comes of rivals alone a conflict, when it is certain that what was to be written under a condition was not and never will be.
func (d *decision) surely(err error) error {
	if errors.Is(err, errCrowded) && len(d.sent) == 0 && !d.blind {
		return errs.With(errs.Conflict, err)
	}
	return err
}

// refuse answers a change that is not to be made, once what there is has been chosen; again when another round came in between.
func (c *Core) refuse(ctx context.Context, w *write, rd *round, current *peerapi.Record, refusal error, try int) (again bool, err error) {
	_, _, err = c.affirm(ctx, w, rd, current)
	switch {
	case err == nil:
		return false, refusal
	case !errors.Is(err, errRefused):
		return false, err
	case c.backOff(ctx, try):
		return true, nil
	}
	return false, errs.With(errs.Conflict, errCrowded)
}

// standIn leaves a copy of what was decided with the handoffs that stand in for primaries. They add to the durability, and never count.
func (c *Core) standIn(ctx context.Context, w *write, rec peerapi.Record, b body) {
	for i, s := range w.slots {
		if s.standsFor == nil {
			continue
		}
		cm := peerapi.Commit{Record: rec, Handoff: s.standsFor}
		if _, err := b.commit(ctx, i, c.devices.Device(s.target), cm); err != nil {
			c.logger.LogAttrs(ctx, slog.LevelDebug, "no copy at a handoff", slog.String("peer", s.target.Peer), slog.String("device", s.target.Device), slog.Any("error", err))
		}
	}
}

// primaries are slots with no handoff among them.
func (w *write) primaries() []slot {
	out := make([]slot, len(w.r.targets))
	for i, t := range w.r.targets {
		out[i] = slot{target: t}
		if len(w.slots) == len(out) {
			out[i].down = w.slots[i].standsFor != nil || w.slots[i].down
		}
	}
	return out
}

type recognition int

const (
	absent   recognition = iota // what was sent is not the value, never was, and never will be
	present                     // it is what there is
	replaced                    // it was, or counts as if it had been; something newer is there now
)

// recognise finds out what became of earlier attempts, now that a newer ballot is prepared and current is the newest version.
func (c *Core) recognise(w *write, d *decision, current *peerapi.Record) (recognition, error) {
	if current == nil {
		return absent, nil // not on this majority, which has promised to take nothing so old
	}
	at, base := origin(current), systemTime(current, systemBase, 0)
	if slices.Contains(d.sent, at) {
		return present, nil
	}
	if base != 0 && slices.Contains(d.sent, base) {
		return replaced, nil
	}
	// What was written before ours is there now, or was there when what is there now was decided, at a newer ballot than ours: the majority that promised that ballot
	// did not hold ours, and has not taken it since.
	_, conditional := current.System[systemBase]
	after := func(t clock.Timestamp) bool { return t < at && (!conditional || t < base) }
	if !slices.ContainsFunc(d.sent, after) {
		return absent, nil
	}
	// Something newer lies over it. Perhaps ours was the value in between (a reader may have completed it), perhaps not. If the newer one depends on nothing, and came up
	// since our request began, that makes no difference: ours may be said to have been there just before it.
	if d.floored && d.blind && !conditional && at > d.floor {
		return replaced, nil
	}
	return absent, errUnknown(w.r.key)
}

var errRefused = errs.New(errs.Conflict, "a newer ballot came in between")

func unavailable(err error) error {
	if errors.Is(err, errRefused) {
		return errs.With(errs.Unavailable, err)
	}
	return err
}

// affirm makes current, the newest version of a round, the chosen one: if no majority holds it yet, it is accepted again at the round's ballot, under its own origin,
// and the container is told. errRefused when another round came in between.
func (c *Core) affirm(ctx context.Context, w *write, rd *round, current *peerapi.Record) (rec peerapi.Record, told bool, err error) {
	if current == nil {
		return peerapi.Record{}, false, nil
	}
	holders := 0
	for i := range w.r.targets {
		if rd.holds(i, current.Timestamp) {
			holders++
		}
	}
	if holders >= w.r.majority() {
		return *current, false, nil
	}
	rec = *current
	rec.Timestamp = rd.ballot
	withSystem(&rec, systemOrigin, origin(current))
	a := c.send(ctx, w, rec, &copyBody{core: c, w: w, round: rd, from: current}, rd.promised)
	switch {
	case a.accepted >= w.r.majority():
		return rec, true, c.finish(ctx, w, &a)
	case a.accepted+a.refused < w.r.majority():
		return rec, false, a.shortfall(w)
	}
	if err := c.observe(a.newest); err != nil {
		return rec, false, err
	}
	return rec, false, errRefused
}

// affirmCurrent makes the newest version the chosen one, whatever it is, and gives it; nil when there is none.
func (c *Core) affirmCurrent(ctx context.Context, w *write) (*peerapi.Record, error) {
	w = &write{r: w.r, parent: w.parent, container: w.container, slots: w.primaries()}
	for try := 0; ; try++ {
		rd, err := c.prepare(ctx, w)
		if err != nil {
			return nil, err
		}
		current := rd.newest()
		if current == nil {
			return nil, nil
		}
		rec, _, err := c.affirm(ctx, w, rd, current)
		if err == nil {
			return &rec, nil
		}
		if !errors.Is(err, errRefused) || !c.backOff(ctx, try) {
			return nil, unavailable(err)
		}
	}
}

func joined(list []error) error {
	if len(list) == 0 {
		return errors.New("no answer in time")
	}
	if len(list) == 1 {
		return list[0]
	}
	return fmt.Errorf("%w", errors.Join(list...))
}
