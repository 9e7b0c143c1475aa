package engine

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"henge/internal/clock"
	"henge/ring"
)

// The index says, for every object, where in the log its newest record lies. It is all that the engine keeps in memory of an object: 40 bytes,
// about 52 with the room that the tables need to grow.

const (
	shardBits  = 10
	shardCount = 1 << shardBits
	// A shard's table is enlarged by a quarter when it is 85 % full: a search then looks at a few dozen neighbouring slots at worst.
	loadPercent   = 85
	slotsAtFirst  = 4
	promiseLength = headerBytes
)

// slot flags, kept in segments and hints too (as entry flags, see entry.go).
const (
	flagDeleted   = 1 << 1 // a tombstone
	flagMultipart = 1 << 2 // a KindMultipart, or Coded: who replaces it must be told what became garbage
	flagExternal  = 1 << 3 // the bytes are in a data file
	flagDropped   = 1 << 4 // with flagDeleted: the version was given up here, its primaries have it. It counts as nothing held
	flagLost      = 1 << 6 // in the index: the record was found corrupt
	flagUsed      = 1 << 7 // in the index: the slot is taken
)

// slot is one object. Its layout keeps it at 40 bytes.
type slot struct {
	hash   ring.Hash
	ts     clock.Timestamp
	seg    uint32
	off    uint32
	length uint32 // of the whole entry
	meta   uint16 // of the header and the metadata, in units of 8 bytes
	policy uint8
	flags  uint8
}

func (s *slot) id() ID          { return ID{Hash: s.hash, Policy: s.policy} }
func (s *slot) is(f uint8) bool { return s.flags&f != 0 }

// exists tells whether the slot is an object that can be read.
func (s *slot) exists() bool { return s.flags&(flagUsed|flagDeleted|flagLost) == flagUsed }

// promise is a promise and where it is written.
type promise struct {
	ts  clock.Timestamp
	seg uint32
	off uint32
}

// view is what the index has of one key.
type view struct {
	slot
	promise promise
}

func (v *view) found() bool { return v.flags&flagUsed != 0 }

func (v *view) standing() Standing {
	return Standing{Timestamp: v.ts, Promise: v.promise.ts, Lost: v.is(flagLost | flagDropped)}
}

// at tells whether the record lies at the same place as the other's: then it is the same record.
func (v *view) at(o *view) bool { return v.found() == o.found() && v.seg == o.seg && v.off == o.off }

type index struct {
	shards [shardCount]shard
}

type shard struct {
	mu       sync.RWMutex // guards the fields below
	slots    []slot
	used     int
	promises map[ID]promise
}

func (x *index) shard(h ring.Hash) *shard {
	return &x.shards[binary.BigEndian.Uint16(h[:])>>(16-shardBits)]
}

// get gives what is known of a key; the zero view is nothing.
func (x *index) get(id ID) view {
	s := x.shard(id.Hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	var v view
	if i, ok := s.find(id); ok {
		v.slot = s.slots[i]
	}
	v.promise = s.promises[id]
	return v
}

// set puts a slot in the place of what was there, which it gives back (flags 0: nothing).
func (x *index) set(n slot) (old slot) {
	n.flags |= flagUsed
	s := x.shard(n.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.find(n.id())
	if ok {
		old, s.slots[i] = s.slots[i], n
		return old
	}
	if (s.used+1)*100 > len(s.slots)*loadPercent {
		s.enlarge()
	}
	s.insert(n)
	return old
}

// remove forgets a record if it still lies where the caller found it.
func (x *index) remove(found slot) bool {
	s := x.shard(found.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.find(found.id())
	if !ok || s.slots[i] != found {
		return false
	}
	s.used--
	// Close the gap: what was pushed over it by its neighbours moves back.
	n := len(s.slots)
	for j := (i + 1) % n; s.slots[j].flags != 0; j = (j + 1) % n {
		home := place(s.slots[j].hash, s.slots[j].policy, n)
		if (j-home+n)%n >= (j-i+n)%n {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = slot{}
	return true
}

// setPromise sets (or with a zero promise removes) a promise and gives the old one.
func (x *index) setPromise(id ID, p promise) (old promise) {
	s := x.shard(id.Hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.promises[id]
	switch {
	case p.ts == 0:
		delete(s.promises, id)
	case s.promises == nil:
		s.promises = map[ID]promise{id: p}
	default:
		s.promises[id] = p
	}
	return old
}

// dropPromise forgets a promise if it is still the one that the caller found.
func (x *index) dropPromise(id ID, found promise) bool {
	s := x.shard(id.Hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.promises[id] != found {
		return false
	}
	delete(s.promises, id)
	return true
}

// within gives copies of the slots whose hashes lie in a partition, in the order of their hashes.
func (x *index) within(p ring.Partition, power uint8) []slot {
	first, last := 0, shardCount-1
	switch {
	case power > 0 && power <= shardBits:
		first = int(p) << (shardBits - power)
		last = first + 1<<(shardBits-power) - 1
	case power > shardBits:
		first = int(p >> (power - shardBits))
		last = first
	}
	var all []slot
	for i := first; i <= last && i < shardCount; i++ {
		s := &x.shards[i]
		s.mu.RLock()
		for j := range s.slots {
			if s.slots[j].flags != 0 && In(s.slots[j].hash, p, power) {
				all = append(all, s.slots[j])
			}
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(all, func(a, b slot) int {
		if c := bytes.Compare(a.hash[:], b.hash[:]); c != 0 {
			return c
		}
		return int(a.policy) - int(b.policy)
	})
	return all
}

// place is where a key would lie in a table of n slots. Shards take the hash's first bits, tables its last.
func place(h ring.Hash, policy uint8, n int) int {
	hi, _ := bits.Mul64(binary.BigEndian.Uint64(h[8:])^uint64(policy)<<56, uint64(n))
	return int(hi)
}

// find gives the place of a key. Call with mu held.
func (s *shard) find(id ID) (int, bool) {
	n := len(s.slots)
	if n == 0 {
		return 0, false
	}
	for i := place(id.Hash, id.Policy, n); s.slots[i].flags != 0; {
		if s.slots[i].hash == id.Hash && s.slots[i].policy == id.Policy {
			return i, true
		}
		if i++; i == n {
			i = 0
		}
	}
	return 0, false
}

// insert adds a key that is not there; there is room. Call with mu held.
func (s *shard) insert(n slot) {
	i := place(n.hash, n.policy, len(s.slots))
	for s.slots[i].flags != 0 {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	s.slots[i] = n
	s.used++
}

func (s *shard) enlarge() {
	old := s.slots
	s.slots = make([]slot, max(slotsAtFirst, len(old)+len(old)/4+1))
	s.used = 0
	for i := range old {
		if old[i].flags != 0 {
			s.insert(old[i])
		}
	}
}
