package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/ring"
	"henge/storaged/peerapi"
)

// objects repairs the objects of every policy; false when no ring is known.
func (p *pass) objects(ctx context.Context) (known bool) {
	for policy, rg := range p.r.cfg.Rings.Objects() {
		known = true
		for first := 0; first < 1<<rg.Power() && ctx.Err() == nil; first += peerapi.SumsMax {
			c := &chunk{pass: p, policy: policy, ring: rg, power: rg.Power(), first: ring.Partition(first), count: min(peerapi.SumsMax, 1<<rg.Power()-first)}
			p.fail(c.repair(ctx))
		}
	}
	return known
}

// chunk is a run of partitions that is compared at once.
type chunk struct {
	*pass
	policy uint8
	ring   Ring
	power  uint8
	first  ring.Partition
	count  int
	mine   []uint64
	sums   map[peerapi.Target][]uint64 // of the fellows that answered
}

// work is one partition with something to do.
type work struct {
	partition ring.Partition
	primaries []peerapi.Target
	primary   bool // this device is one
	differ    int  // fellows that hold something else
}

func (c *chunk) repair(ctx context.Context) error {
	own, err := c.local.Sums(ctx, peerapi.SumsQuery{Policy: c.policy, Power: c.power, First: c.first, Count: c.count})
	if err != nil {
		return fmt.Errorf("sum up the device: %w", err)
	}
	c.mine = own.Sums
	c.ask(ctx)
	for _, w := range c.find() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if w.primary {
			c.pull(ctx, w)
		} else {
			c.push(ctx, w)
		}
	}
	return nil
}

// ask gets the sums of all that are primaries together with this device, each asked once.
func (c *chunk) ask(ctx context.Context) {
	c.sums = map[peerapi.Target][]uint64{}
	asked := map[peerapi.Target]bool{c.self: true}
	var primaries []peerapi.Target
	for i := range c.count {
		primaries = c.ring.Primaries(c.first+ring.Partition(i), primaries[:0])
		if !slices.Contains(primaries, c.self) {
			continue
		}
		for _, t := range primaries {
			if asked[t] {
				continue
			}
			asked[t] = true
			if !c.up(t) {
				continue
			}
			s, err := c.r.cfg.Devices.Device(t).Sums(ctx, peerapi.SumsQuery{Policy: c.policy, Power: c.power, First: c.first, Count: c.count})
			if err != nil {
				c.lost(t, err)
				continue
			}
			c.reached++
			c.heard(t, s.Standing)
			c.sums[t] = s.Sums
		}
	}
}

// heard notes the standing of a fellow. One that returns may hold what nobody else has: a device that lost all must wait for it. The other way round there is nothing
// to wait for, so that no two wait for each other.
func (p *pass) heard(t peerapi.Target, s peerapi.Standing) {
	if s == peerapi.Returning && p.standing == peerapi.Filling {
		p.waitsFor[t] = true
	}
	if s != peerapi.Joined {
		if p.silent == nil {
			p.silent = map[peerapi.Target]peerapi.Standing{}
		}
		p.silent[t] = s
	}
}

// find lists what is to be done, the most endangered partitions first.
func (c *chunk) find() []work {
	var all []work
	for i, sum := range c.mine {
		w := work{partition: c.first + ring.Partition(i)}
		w.primaries = c.ring.Primaries(w.partition, nil)
		w.primary = slices.Contains(w.primaries, c.self)
		for _, t := range w.primaries {
			if theirs, ok := c.sums[t]; ok && t != c.self && theirs[i] != sum {
				w.differ++
			}
		}
		if w.primary && w.differ > 0 || !w.primary && sum != 0 || w.primary && c.standing == peerapi.Returning && sum != 0 {
			all = append(all, w)
		}
	}
	slices.SortStableFunc(all, func(a, b work) int { return cmp.Compare(b.differ, a.differ) })
	return all
}

// marksOf reads all marks of a partition.
func (c *chunk) marksOf(ctx context.Context, d interface {
	Marks(context.Context, peerapi.MarksQuery) (peerapi.Marks, error)
}, p ring.Partition) (map[ring.Hash]peerapi.Mark, error) {
	all := map[ring.Hash]peerapi.Mark{}
	q := peerapi.MarksQuery{Policy: c.policy, Power: c.power, Partition: p, Limit: peerapi.MarksMax}
	for {
		page, err := d.Marks(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, m := range page.Marks {
			all[m.Hash] = m
			q.After = m.Hash
		}
		if !page.More || len(page.Marks) == 0 {
			return all, nil
		}
	}
}

// source is where a version that the device lacks can be had.
type source struct {
	peerapi.Mark
	from []peerapi.Target
}

// pull takes what the device lacks of a partition.
func (c *chunk) pull(ctx context.Context, w work) {
	mine, err := c.marksOf(ctx, c.local, w.partition)
	if err != nil {
		c.fail(err)
		return
	}
	lacking := map[ring.Hash]source{}
	seen := map[ring.Hash]int{} // fellows that know of a name, of those that count
	counting := 0
	for _, t := range w.primaries {
		if _, answered := c.sums[t]; t == c.self || !answered || c.silent[t] != peerapi.Joined {
			continue // what one that catches up holds, others have as well, or it is to go
		}
		theirs, err := c.marksOf(ctx, c.r.cfg.Devices.Device(t), w.partition)
		if err != nil {
			c.lost(t, err)
			continue
		}
		counting++
		for h, m := range theirs {
			seen[h]++
			if c.lacks(mine[h], m) {
				lacking[h] = better(lacking[h], m, t)
			}
		}
	}
	if c.standing == peerapi.Returning && counting == len(w.primaries)-1 {
		c.giveUp(ctx, w.partition, mine, seen)
	}
	for h, s := range lacking {
		if ctx.Err() != nil {
			return
		}
		c.take(ctx, peerapi.Key{Policy: c.policy, Hash: h, Partition: w.partition}, s, w.primaries)
	}
}

// lacks tells whether a version that a fellow holds is to be had.
func (c *chunk) lacks(mine, theirs peerapi.Mark) bool {
	switch {
	case theirs.Lost:
		return false
	case theirs.Timestamp == mine.Timestamp:
		return mine.Lost
	case theirs.Timestamp < mine.Timestamp, theirs.Deleted && c.forgotten(theirs.Timestamp):
		return false
	}
	return !c.young(theirs.Timestamp)
}

func better(s source, m peerapi.Mark, t peerapi.Target) source {
	switch {
	case m.Timestamp > s.Timestamp:
		return source{Mark: m, from: []peerapi.Target{t}}
	case m.Timestamp == s.Timestamp:
		s.from = append(s.from, t)
	}
	return s
}

// giveUp drops what is so old that its deletion may be forgotten, and that nobody else knows of.
func (c *chunk) giveUp(ctx context.Context, p ring.Partition, mine map[ring.Hash]peerapi.Mark, seen map[ring.Hash]int) {
	for h, m := range mine {
		if seen[h] > 0 || m.Deleted || !c.forgotten(m.Timestamp) {
			continue
		}
		c.drop(ctx, peerapi.Key{Policy: c.policy, Hash: h, Partition: p}, m.Timestamp)
	}
}

// take gets one version from one of those that hold it.
func (c *chunk) take(ctx context.Context, key peerapi.Key, s source, primaries []peerapi.Target) {
	var all error
	for _, t := range s.from {
		size, ok, err := c.takeFrom(ctx, key, s.Mark, t, primaries)
		fragment := errors.Is(err, errFragment)
		if fragment {
			size, ok, err = c.rebuild(ctx, key, s, primaries)
		}
		if err == nil {
			if ok {
				c.report.Pulled++
				c.r.cfg.Counters.Pulled(1, size)
			}
			return
		}
		all = errors.Join(all, fmt.Errorf("take %x at %d from %s/%s: %w", key.Hash, s.Timestamp, t.Peer, t.Device, err))
		if fragment {
			break // all were asked
		}
	}
	c.report.Missing++
	c.fail(all)
}

// takeFrom gets one version from one fellow. Not ok, and no error: it has been overtaken.
func (c *chunk) takeFrom(ctx context.Context, key peerapi.Key, m peerapi.Mark, t peerapi.Target, primaries []peerapi.Target) (size int64, ok bool, err error) {
	d := c.r.cfg.Devices.Device(t)
	if m.Deleted {
		st, err := d.Head(ctx, key)
		if err != nil || st.Timestamp() != m.Timestamp {
			return 0, false, err
		}
		ok, err = c.local.Learn(ctx, *st.Record, nil)
		return 0, ok, err
	}
	st, body, err := d.Open(ctx, key, m.Timestamp, peerapi.Whole)
	if errs.Is(err, errs.NotFound) {
		return 0, false, nil // something newer is there: the next pass finds it
	}
	if err != nil {
		return 0, false, err
	}
	if f := st.Record.Fragment; f != nil && int(f.Index) != slices.Index(primaries, c.self) {
		return 0, false, errors.Join(errFragment, body.Close())
	}
	ok, err = c.local.Learn(ctx, *st.Record, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return 0, false, err
	}
	return st.Record.StoredSize, ok, c.d.throttle.Wait(ctx, st.Record.StoredSize)
}

// push brings what the device keeps for others to its primaries, and gives it up when they all have it.
func (c *chunk) push(ctx context.Context, w work) {
	if c.standing == peerapi.Filling {
		return
	}
	mine, err := c.marksOf(ctx, c.local, w.partition)
	if err != nil {
		c.fail(err)
		return
	}
	theirs := map[peerapi.Target]map[ring.Hash]peerapi.Mark{}
	for _, t := range w.primaries {
		if !c.up(t) {
			continue
		}
		if marks, err := c.marksOf(ctx, c.r.cfg.Devices.Device(t), w.partition); err == nil {
			theirs[t] = marks
		}
	}
	for h, m := range mine {
		if ctx.Err() != nil {
			return
		}
		if c.young(m.Timestamp) {
			continue // its writer may bring it home yet
		}
		key := peerapi.Key{Policy: c.policy, Hash: h, Partition: w.partition}
		if c.buried(key, m, w.primaries, theirs) {
			c.drop(ctx, key, m.Timestamp)
			continue
		}
		c.bringHome(ctx, key, m, w.primaries, theirs)
	}
}

// buried tells whether a copy that was kept for a primary that was down is of an object whose deletion is forgotten by now: it is old enough, and none of the primaries,
// two of which had it once, knows of it. A copy that is misplaced because the ring changed is never taken for one.
func (c *chunk) buried(key peerapi.Key, m peerapi.Mark, primaries []peerapi.Target, theirs map[peerapi.Target]map[ring.Hash]peerapi.Mark) bool {
	if !c.forgotten(m.Timestamp) || len(theirs) < len(primaries) {
		return false
	}
	for _, marks := range theirs {
		if _, known := marks[key.Hash]; known {
			return false
		}
	}
	kept, err := c.local.KeptForOthers(key, c.power)
	c.fail(err)
	return kept
}

func (c *chunk) drop(ctx context.Context, key peerapi.Key, at clock.Timestamp) {
	dropped, err := c.local.Drop(ctx, key, at)
	c.fail(err)
	if dropped {
		c.report.Dropped++
		c.r.cfg.Counters.Dropped(1)
	}
}

// bringHome brings one copy to those of its primaries that lack it.
func (c *chunk) bringHome(ctx context.Context, key peerapi.Key, m peerapi.Mark, primaries []peerapi.Target, theirs map[peerapi.Target]map[ring.Hash]peerapi.Mark) {
	primaries = c.fragmentHome(key, m, primaries)
	home := 0
	for _, t := range primaries {
		marks, answered := theirs[t]
		there, known := marks[key.Hash]
		switch {
		case !answered:
		case there.Timestamp > m.Timestamp, there.Timestamp == m.Timestamp && known && !there.Lost:
			home++
		case m.Lost:
		default:
			err := c.give(ctx, key, m, t)
			if err == nil {
				home++
			} else if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Timeout) {
				c.fail(fmt.Errorf("bring %x at %d to %s/%s: %w", key.Hash, m.Timestamp, t.Peer, t.Device, err))
			}
		}
	}
	if home < len(primaries) {
		c.report.Missing++
		return
	}
	c.drop(ctx, key, m.Timestamp)
}

// give writes one copy at a primary; nil when that has it, or something newer.
func (c *chunk) give(ctx context.Context, key peerapi.Key, m peerapi.Mark, t peerapi.Target) error {
	st, err := c.local.Holds(key)
	if err != nil || st.Timestamp() != m.Timestamp {
		return err
	}
	cm := peerapi.Commit{Record: *st.Record}
	d := c.r.cfg.Devices.Device(t)
	if m.Deleted {
		out, err := d.Commit(ctx, cm, nil)
		return accepted(out, err, m.Timestamp)
	}
	st, body, err := c.local.Read(key, m.Timestamp)
	if err != nil {
		return err
	}
	defer body.Close()
	out, err := send(ctx, d, cm, body)
	if err := accepted(out, err, m.Timestamp); err != nil {
		return err
	}
	c.report.Pushed++
	c.r.cfg.Counters.Pushed(1, st.Record.StoredSize)
	return c.d.throttle.Wait(ctx, st.Record.StoredSize)
}

// send writes a record with its bytes: in one call when they are few.
func send(ctx context.Context, d peerapi.Device, cm peerapi.Commit, body io.Reader) (out peerapi.Outcome, err error) {
	if cm.Record.StoredSize <= limits.InlineBytesMax {
		data, err := io.ReadAll(body)
		if err != nil {
			return out, err
		}
		return d.Commit(ctx, cm, data)
	}
	w, err := d.Create(ctx, cm.Record.Key, cm.Record.StoredSize)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := io.Copy(w, body); err != nil {
		return out, err
	}
	return w.Commit(ctx, cm)
}

// accepted is nil when the device has the version now, or a newer one. A promise may stand in the way for a moment.
func accepted(out peerapi.Outcome, err error, at clock.Timestamp) error {
	switch {
	case err != nil:
		return err
	case out.Accepted:
		return nil
	}
	return errs.New(errs.Unavailable, "refused, %d stands in the way of %d", out.Newest, at)
}
