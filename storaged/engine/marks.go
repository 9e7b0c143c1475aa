package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
)

// MarkSum is a mark's share of its partition's sum. It is part of the peer protocol: docs/formats/peer-protocol.md.
func MarkSum(m peerapi.Mark) uint64 {
	x := mix(uint64(m.Timestamp) ^ binary.BigEndian.Uint64(m.Hash[:8]))
	if m.Deleted {
		x++
	}
	if m.Lost {
		x += 2
	}
	return mix(x ^ binary.BigEndian.Uint64(m.Hash[8:]))
}

// mix is the finalizer of splitmix64: every bit of the result depends on every bit of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// PartitionOf is where a hash lies in a ring of 2^power partitions.
func PartitionOf(h ring.Hash, power uint8) ring.Partition {
	if power == 0 {
		return 0
	}
	return ring.Partition(binary.BigEndian.Uint32(h[:4]) >> (32 - power))
}

// mark is what others are told of a slot; ok is false when it is none of theirs.
func (s *slot) mark(policy uint8) (m peerapi.Mark, ok bool) {
	if s.flags&flagUsed == 0 || s.is(flagDropped) || s.policy != policy {
		return m, false
	}
	return peerapi.Mark{Hash: s.hash, Timestamp: s.ts, Deleted: s.is(flagDeleted), Lost: s.is(flagLost)}, true
}

// each calls fn for the slots of the shards that partitions from first on can lie in. It copies a shard at a time.
func (x *index) each(power uint8, first ring.Partition, count int, fn func(*slot)) {
	lo, hi := 0, shardCount-1
	if power <= shardBits {
		lo = int(first) << (shardBits - power)
		hi = min(hi, (int(first)+count)<<(shardBits-power)-1)
	} else {
		lo = int(first >> (power - shardBits))
		hi = min(hi, (int(first)+count-1)>>(power-shardBits))
	}
	var copied []slot
	for i := lo; i <= hi; i++ {
		s := &x.shards[i]
		s.mu.RLock()
		copied = append(copied[:0], s.slots...)
		s.mu.RUnlock()
		for j := range copied {
			fn(&copied[j])
		}
	}
}

// Sums implements Engine.
func (s *Store) Sums(q peerapi.SumsQuery) ([]uint64, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	if err := CheckSums(q); err != nil {
		return nil, err
	}
	sums := make([]uint64, q.Count)
	s.index.each(q.Power, q.First, q.Count, func(found *slot) {
		m, ok := found.mark(q.Policy)
		if !ok {
			return
		}
		if at := int(PartitionOf(m.Hash, q.Power)) - int(q.First); at >= 0 && at < q.Count {
			sums[at] += MarkSum(m)
		}
	})
	return sums, nil
}

// Marks implements Engine.
func (s *Store) Marks(q peerapi.MarksQuery) (peerapi.Marks, error) {
	if err := s.open(); err != nil {
		return peerapi.Marks{}, err
	}
	if err := CheckMarks(q); err != nil {
		return peerapi.Marks{}, err
	}
	var all []peerapi.Mark
	for _, found := range s.index.within(q.Partition, q.Power) {
		if m, ok := found.mark(q.Policy); ok {
			all = append(all, m)
		}
	}
	return PageOf(all, q), nil
}

// PageOf cuts a page out of a partition's marks, which are in the order of their hashes.
func PageOf(all []peerapi.Mark, q peerapi.MarksQuery) peerapi.Marks {
	start := 0
	if q.After != (ring.Hash{}) {
		start, _ = slices.BinarySearchFunc(all, q.After, func(m peerapi.Mark, after ring.Hash) int {
			if bytes.Compare(m.Hash[:], after[:]) <= 0 {
				return -1
			}
			return 1
		})
	}
	all = all[start:]
	limit := q.Limit
	if limit <= 0 || limit > peerapi.MarksMax {
		limit = peerapi.MarksMax
	}
	if len(all) > limit {
		return peerapi.Marks{Marks: all[:limit:limit], More: true}
	}
	return peerapi.Marks{Marks: all}
}

// Drop implements Engine.
func (s *Store) Drop(ctx context.Context, key peerapi.Key, at clock.Timestamp) (bool, error) {
	w := Write{Record: peerapi.Record{Key: key, Timestamp: at, Deleted: true}}
	if err := s.begin(ctx, &w); err != nil {
		return false, err
	}
	for {
		dropped, again, err := s.drop(w)
		if err != nil {
			return false, fmt.Errorf("drop %s at %d: %w", name(key), at, err)
		}
		if !again {
			return dropped, nil
		}
	}
}

func (s *Store) drop(w Write) (dropped, again bool, err error) {
	id := IDOf(w.Record.Key)
	v := s.index.get(id)
	if !v.found() || v.is(flagDropped) || v.ts != w.Record.Timestamp {
		return false, false, nil
	}
	var file uint64
	if v.exists() {
		seen, rec, e, _, err := s.lookup(id, false)
		switch {
		case err != nil:
			if now := s.index.get(id); errs.Is(err, errs.Corrupt) && now.is(flagLost) {
				return false, true, nil // set aside just now: there is no data file to remove any more
			}
			return false, false, err
		case rec == nil || !seen.at(&v):
			return false, true, nil
		}
		if e.flags&flagExternal != 0 {
			file = e.file
		}
	}
	r := s.request()
	defer s.recycle(r)
	e, err := begin(&r.buf, entryRecord, &stored{Record: w.Record}, nil)
	if err != nil {
		return false, false, err
	}
	e.flags |= flagDropped
	r.entry, r.seen, r.drop = e, v, true
	if err := s.appender.submit(r); err != nil {
		return false, false, err
	}
	if r.outcome.Accepted && file != 0 {
		s.removeData(file)
	}
	return r.outcome.Accepted, r.again, nil
}
