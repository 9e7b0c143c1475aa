package core

import (
	"context"
	"errors"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// mergeInfo makes one description of a container or account out of what its replicas say: the newest of each thing counts.
func mergeInfo(replies []reply[peerapi.IndexInfo]) peerapi.IndexInfo {
	out := replies[0].value
	for _, r := range replies[1:] {
		out = mergeTwo(out, r.value)
	}
	return out
}

func mergeTwo(a, b peerapi.IndexInfo) peerapi.IndexInfo {
	out := peerapi.IndexInfo{Created: max(a.Created, b.Created), Deleted: max(a.Deleted, b.Deleted), Timestamp: max(a.Timestamp, b.Timestamp)}
	// First and Policy are those of the present life of the container: what was before its last deletion does not count. Two makers at once may have
	// given it two policies; the earlier one holds, on every proxy alike.
	for _, i := range [2]peerapi.IndexInfo{a, b} {
		if i.First > out.Deleted && (out.First == 0 || i.First < out.First) {
			out.First, out.Policy = i.First, i.Policy
		}
	}
	// A replica that slept through writes knows of fewer rows. (Through deletes: of more. Nothing tells, and counts are statistics.)
	if b.Count > a.Count {
		a.Count, a.Bytes = b.Count, b.Bytes
	}
	out.Count, out.Bytes, out.Objects = a.Count, a.Bytes, max(a.Objects, b.Objects)
	switch {
	case len(b.Meta) == 0:
		out.Meta = a.Meta
	case len(a.Meta) == 0:
		out.Meta = b.Meta
	default:
		out.Meta = make(map[string]peerapi.MetaValue, len(a.Meta))
		for _, m := range [2]map[string]peerapi.MetaValue{a.Meta, b.Meta} {
			for name, v := range m {
				if old, ok := out.Meta[name]; !ok || v.Timestamp > old.Timestamp {
					out.Meta[name] = v
				}
			}
		}
	}
	return out
}

// liveMeta is the metadata that is set, of the container's present life.
func liveMeta(i peerapi.IndexInfo) map[string]string {
	out := make(map[string]string, len(i.Meta))
	for name, v := range i.Meta {
		if v.Value != "" && v.Timestamp > i.Deleted {
			out[name] = v.Value
		}
	}
	return out
}

// readIndex asks a majority of the replicas.
func (c *Core) readIndex(ctx context.Context, r replicas) (peerapi.IndexInfo, error) {
	replies, err := ask(ctx, c, r.targets, c.nearest(r.targets), r.majority(), func(ctx context.Context, d peerapi.Device) (peerapi.IndexInfo, error) {
		return d.Index(ctx, r.key)
	})
	if err != nil {
		return peerapi.IndexInfo{}, err
	}
	info := mergeInfo(replies)
	return info, c.observe(info.Timestamp)
}

// indexChanged is what became of an IndexChange.
type indexChanged struct {
	replies  []reply[peerapi.IndexOutcome]
	accepted int
	at       clock.Timestamp
	newest   clock.Timestamp // create or delete that a replica knows of
	listed   []bool          // by the parent's replica: it holds the row
}

// lateMax is how often a change that came too late at some replica is made again, later.
const lateMax = 4

// changeIndex makes a change at all replicas, and succeeds when a majority has it. change gives it for a timestamp. parent, if it has targets, is the account to be
// told; each replica tells one.
func (c *Core) changeIndex(ctx context.Context, r replicas, parent replicas, change func(clock.Timestamp) peerapi.IndexChange) (indexChanged, error) {
	for try := 1; ; try++ {
		t := c.clock.Next()
		done, err := c.changeOnce(ctx, r, parent, change(t))
		done.at = t
		if err == nil || done.newest <= t || try == lateMax {
			return done, err
		}
		// Another proxy, whose clock is ahead, changed it before.
		if err := c.observe(done.newest); err != nil {
			return done, err
		}
	}
}

func (c *Core) changeOnce(ctx context.Context, r, parent replicas, change peerapi.IndexChange) (indexChanged, error) {
	change.Key = r.key
	tally := func(replies []reply[peerapi.IndexOutcome]) indexChanged {
		out := indexChanged{replies: replies, listed: make([]bool, len(parent.targets))}
		for i, a := range replies {
			out.newest = max(out.newest, a.value.Newest)
			if a.err != nil {
				continue
			}
			out.accepted++
			if share := listingShare(parent.targets, i, len(replies)); a.value.Listed == len(share) {
				for j := i; j < len(parent.targets); j += len(replies) {
					out.listed[j] = true
				}
			}
		}
		return out
	}
	replies := tell(ctx, c, r.targets, func(ctx context.Context, i int, d peerapi.Device) (peerapi.IndexOutcome, error) {
		change := change
		change.Listing, change.AccountKey = listingShare(parent.targets, i, len(r.targets)), parent.key
		return d.ChangeIndex(ctx, change)
	}, func(replies []reply[peerapi.IndexOutcome]) bool {
		return tally(replies).accepted >= r.majority() // what they could not tell is told by enlist
	})
	out := tally(replies)
	if out.accepted >= r.majority() {
		return out, nil
	}
	return out, indexRefusal(replies, out.accepted, r.majority())
}

// indexRefusal turns the replicas' errors into one: what a majority says, if they agree on a reason, else errs.Unavailable.
func indexRefusal(replies []reply[peerapi.IndexOutcome], accepted, need int) error {
	counts := map[errs.Kind]int{}
	var all []error
	for _, a := range replies {
		if a.err != nil {
			counts[errs.KindOf(a.err)]++
			all = append(all, a.err)
		}
	}
	for _, kind := range []errs.Kind{errs.Conflict, errs.NotFound, errs.NoSpace, errs.Invalid} {
		if counts[kind] >= need {
			return errs.With(kind, errors.Join(all...))
		}
	}
	return errs.New(errs.Unavailable, "%d of %d replicas changed, %d needed: %w", accepted, len(replies), need, errors.Join(all...))
}

// listingShare is what the i-th of n writers tells: every n-th of the listing's replicas, so that together they tell all of them, each once.
func listingShare(listing []peerapi.Target, i, n int) []peerapi.Target {
	if len(listing) == n {
		return listing[i : i+1 : i+1]
	}
	var share []peerapi.Target
	for j := i; j < len(listing); j += n {
		share = append(share, listing[j])
	}
	return share
}

// enlist puts m's rows into the listings that do not hold them yet, and succeeds when a majority of all does.
func (c *Core) enlist(ctx context.Context, r replicas, listed []bool, m peerapi.Merge) error {
	m.Key = r.key
	var missing []peerapi.Target
	have := 0
	for i, t := range r.targets {
		if listed[i] {
			have++
		} else {
			missing = append(missing, t)
		}
	}
	if have >= r.majority() {
		return nil
	}
	count := func(replies []reply[struct{}]) int {
		n := have
		for _, a := range replies {
			if a.err == nil {
				n++
			}
		}
		return n
	}
	replies := tell(ctx, c, missing, func(ctx context.Context, _ int, d peerapi.Device) (struct{}, error) {
		return struct{}{}, d.Merge(ctx, m)
	}, func(replies []reply[struct{}]) bool { return count(replies) >= r.majority() })
	if n := count(replies); n < r.majority() {
		var all []error
		gone := 0
		for _, a := range replies {
			all = append(all, a.err)
			if errs.Is(a.err, errs.NotFound) {
				gone++
			}
		}
		if gone > 0 {
			return errs.With(errs.NotFound, errors.Join(all...))
		}
		return errs.New(errs.Unavailable, "listed at %d of %d replicas, %d needed: %w", n, len(r.targets), r.majority(), errors.Join(all...))
	}
	return nil
}

// stamped gives every header of meta the timestamp t.
func stamped(meta map[string]string, t clock.Timestamp) map[string]peerapi.MetaValue {
	out := make(map[string]peerapi.MetaValue, len(meta))
	for name, value := range meta {
		out[name] = peerapi.MetaValue{Value: value, Timestamp: t}
	}
	return out
}
