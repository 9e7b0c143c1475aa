package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"henge/internal/clock"
	"henge/internal/limits"
	"henge/storaged/engine"
	"henge/storaged/listing"
	"henge/storaged/peerapi"
)

// What repair does to a device of this process, beside the calls of peerapi.Device. None of it asks for the device's standing.

// Self is the device's place in the cluster.
func (l *Local) Self() peerapi.Target { return l.self }

// Standing tells whether the device speaks for what it holds; false while that is not known.
func (l *Local) Standing() (peerapi.Standing, bool) { return l.standing.get() }

// Since is when the standing was last noted.
func (l *Local) Since() time.Time {
	l.standing.mu.Lock()
	defer l.standing.mu.Unlock()
	return l.standing.seen
}

// Join lets the device take part: it has caught up.
func (l *Local) Join() error { return l.standing.set(peerapi.Joined) }

// Took notes that the device reached its fellows, so that it may be away again for a while.
func (l *Local) Took() error { return l.standing.took() }

// Overdue turns a device that has reached none of its fellows for too long into one that returns.
func (l *Local) Overdue() error { return l.standing.overdue() }

// Sums is peerapi.Device's.
func (l *Local) Sums(ctx context.Context, q peerapi.SumsQuery) (peerapi.Sums, error) {
	if err := ctx.Err(); err != nil {
		return peerapi.Sums{}, gaveUp(err)
	}
	now, _ := l.standing.get()
	sums, err := l.engine.Sums(q)
	return peerapi.Sums{Standing: now, Sums: sums}, err
}

// Marks is peerapi.Device's.
func (l *Local) Marks(ctx context.Context, q peerapi.MarksQuery) (peerapi.Marks, error) {
	if err := ctx.Err(); err != nil {
		return peerapi.Marks{}, gaveUp(err)
	}
	return l.engine.Marks(q)
}

// indexesBytesMax is about how large the metadata in one answer of Indexes may get.
const indexesBytesMax = 256 << 10

// Indexes is peerapi.Device's.
func (l *Local) Indexes(ctx context.Context, q peerapi.IndexesQuery) (peerapi.Indexes, error) {
	if err := ctx.Err(); err != nil {
		return peerapi.Indexes{}, gaveUp(err)
	}
	now, _ := l.standing.get()
	page := peerapi.Indexes{Standing: now}
	limit := peerapi.IndexesMax
	if q.Limit > 0 {
		limit = min(limit, q.Limit)
	}
	all, more, err := l.listing.All(q.After, limit)
	if err != nil {
		return page, err
	}
	size := 0
	for i, x := range all {
		for name, v := range x.Info.Meta {
			size += len(name) + len(v.Value)
		}
		if size > indexesBytesMax && i > 0 {
			all, more = all[:i], true
			break
		}
	}
	page.Indexes, page.More = all, more
	return page, nil
}

// Learn writes a version that another replica holds, under the rules of the register: it is what the version's own writer would have written here, come late. It tells no
// listing. False: something newer is here, or a promise to write nothing so old.
func (l *Local) Learn(ctx context.Context, r peerapi.Record, body io.Reader) (accepted bool, err error) {
	w := engine.Write{Record: r}
	if r.Deleted || r.StoredSize <= limits.InlineBytesMax {
		var data []byte
		if !r.Deleted {
			if data, err = io.ReadAll(body); err != nil {
				return false, err
			}
		}
		out, err := l.engine.Commit(ctx, w, data)
		return out.Accepted, err
	}
	stream, err := l.engine.Create(ctx, r.Key, r.StoredSize)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	if _, err := io.Copy(stream, body); err != nil {
		return false, err
	}
	out, err := stream.Commit(ctx, w)
	return out.Accepted, err
}

// Drop gives a version up that others hold; see engine.Engine.
func (l *Local) Drop(ctx context.Context, key peerapi.Key, at clock.Timestamp) (bool, error) {
	return l.engine.Drop(ctx, key, at)
}

// Read opens a version that this device holds, whatever its standing. Of a tombstone the body is empty.
func (l *Local) Read(key peerapi.Key, at clock.Timestamp) (peerapi.State, io.ReadCloser, error) {
	return l.engine.Open(key, at, peerapi.Whole)
}

// Examine opens a version in order to read all of it; a tombstone has nothing but its record.
func (l *Local) Examine(_ context.Context, key peerapi.Key, m peerapi.Mark) (io.ReadCloser, error) {
	if m.Deleted {
		_, err := l.engine.Head(key)
		return io.NopCloser(strings.NewReader("")), err
	}
	_, body, err := l.engine.Open(key, m.Timestamp, peerapi.Whole)
	return body, err
}

// Holds gives what the device holds for an object, whatever its standing.
func (l *Local) Holds(key peerapi.Key) (peerapi.State, error) { return l.engine.Head(key) }

// KeptForOthers tells whether the copy that the device holds was written for a primary that was down, in a ring of 2^power partitions.
func (l *Local) KeptForOthers(key peerapi.Key, power uint8) (bool, error) {
	for held, err := range l.engine.Walk(key.Partition, power) {
		if err != nil {
			return false, err
		}
		if held.Record.Key.Hash == key.Hash && held.Record.Key.Policy == key.Policy {
			return held.Handoff != nil, nil
		}
	}
	return false, nil
}

// Listing is the device's listings.
func (l *Local) Listing() *listing.Store { return l.listing }
