// Package memory is an engine that keeps everything in memory: for tests of what stands on an engine. It passes the same contract suite as the real one.
package memory

import (
	"bytes"
	"context"
	"io"
	"iter"
	"slices"
	"sync"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// Disk is what remains when an engine is closed. Create it with NewDisk; one engine at a time may be open on it.
type Disk struct {
	mu      sync.Mutex // guards all below
	open    bool
	full    bool
	objects map[engine.ID]*object
	journal map[engine.Stream][]entry
	last    engine.Position
}

type object struct {
	held    engine.Held // Record.Timestamp is 0 when there is only a promise
	data    []byte
	promise clock.Timestamp
	dropped bool // held counts for the order of writes only
}

type entry struct {
	at   engine.Position
	data []byte
}

// NewDisk makes an empty one.
func NewDisk() *Disk {
	return &Disk{objects: map[engine.ID]*object{}, journal: map[engine.Stream][]entry{}}
}

// SetFull makes every write but tombstones, promises and journal entries fail with errs.NoSpace, or ends that.
func (d *Disk) SetFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// Open gives the engine. errs.Conflict when one is open already.
func (d *Disk) Open() (engine.Engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return nil, errs.New(errs.Conflict, "open device: it is open already")
	}
	d.open = true
	return &memory{disk: d}, nil
}

// New is an engine on a new disk of its own.
func New() engine.Engine {
	d := NewDisk()
	d.open = true
	return &memory{disk: d}
}

type memory struct {
	disk   *Disk
	closed bool // guarded by disk.mu
}

func (m *memory) lock() error {
	m.disk.mu.Lock()
	if m.closed {
		m.disk.mu.Unlock()
		return errs.New(errs.Unavailable, "the device is closed")
	}
	return nil
}

func (m *memory) Close() error {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	if !m.closed {
		m.closed, m.disk.open = true, false
	}
	return nil
}

func (m *memory) Head(key peerapi.Key) (peerapi.State, error) {
	if err := m.lock(); err != nil {
		return peerapi.State{}, err
	}
	defer m.disk.mu.Unlock()
	return m.disk.objects[engine.IDOf(key)].state(), nil
}

func (o *object) state() peerapi.State {
	if o == nil {
		return peerapi.State{}
	}
	s := peerapi.State{Promise: o.promise}
	if o.held.Record.Timestamp != 0 && !o.dropped {
		r := o.held.Record
		s.Record = &r
	}
	return s
}

func (o *object) standing() engine.Standing {
	if o == nil {
		return engine.Standing{}
	}
	return engine.Standing{Timestamp: o.held.Record.Timestamp, Promise: o.promise, Lost: o.dropped}
}

func (m *memory) Open(key peerapi.Key, at clock.Timestamp, r peerapi.Range) (peerapi.State, io.ReadCloser, error) {
	if err := m.lock(); err != nil {
		return peerapi.State{}, nil, err
	}
	defer m.disk.mu.Unlock()
	o := m.disk.objects[engine.IDOf(key)]
	s := o.state()
	if !s.Exists() || at != 0 && s.Timestamp() != at {
		return s, nil, errs.New(errs.NotFound, "open %s/%s/%s: no such version", key.Account, key.Container, key.Object)
	}
	r, err := engine.CheckRange(r, int64(len(o.data)))
	if err != nil {
		return s, nil, err
	}
	return s, io.NopCloser(bytes.NewReader(o.data[r.Offset : r.Offset+r.Length])), nil
}

func (m *memory) Commit(_ context.Context, w engine.Write, data []byte) (peerapi.Outcome, error) {
	if err := w.Check(); err != nil {
		return peerapi.Outcome{}, err
	}
	if w.Record.Deleted && len(data) > 0 {
		return peerapi.Outcome{}, errs.New(errs.Invalid, "commit: a tombstone has no bytes")
	}
	if err := m.lock(); err != nil {
		return peerapi.Outcome{}, err
	}
	defer m.disk.mu.Unlock()
	if m.disk.full && !w.Record.Deleted {
		return peerapi.Outcome{}, errs.New(errs.NoSpace, "commit: the device is full")
	}
	return m.disk.put(w, bytes.Clone(data)), nil
}

// put applies the rules of the register. Call with mu held.
func (d *Disk) put(w engine.Write, data []byte) peerapi.Outcome {
	w.Record.StoredSize = int64(len(data))
	id := engine.IDOf(w.Record.Key)
	o := d.objects[id]
	if o != nil && !o.dropped && o.held.Record.Timestamp == w.Record.Timestamp && engine.Same(&o.held.Record, &w.Record) {
		return peerapi.Outcome{Accepted: true}
	}
	s := o.standing()
	if !s.AllowsWrite(w.Record.Timestamp, w.Accept) {
		return peerapi.Outcome{Newest: s.Newest()}
	}
	out := peerapi.Outcome{Accepted: true}
	if o == nil {
		o = &object{}
		d.objects[id] = o
	}
	if out.Replaced = engine.Replaced(&o.held.Record, &w.Record); o.dropped {
		out.Replaced = ""
	}
	o.dropped = false
	if out.Replaced != "" {
		out.ReplacedAt = o.held.Record.Timestamp
	}
	if w.Intent != nil {
		d.last++
		d.journal[engine.StreamPending] = append(d.journal[engine.StreamPending], entry{d.last, bytes.Clone(w.Intent.Entry)})
		w.Intent.Position = d.last
	}
	o.held, o.data = engine.Held{Record: w.Record, Handoff: w.Handoff}, data
	if o.promise <= w.Record.Timestamp {
		o.promise = 0
	}
	return out
}

func (m *memory) Restamp(_ context.Context, from clock.Timestamp, w engine.Write) (peerapi.Outcome, error) {
	if err := w.Check(); err != nil {
		return peerapi.Outcome{}, err
	}
	if err := m.lock(); err != nil {
		return peerapi.Outcome{}, err
	}
	defer m.disk.mu.Unlock()
	o := m.disk.objects[engine.IDOf(w.Record.Key)]
	s := o.standing()
	switch {
	case s.Timestamp < from:
		return peerapi.Outcome{Missing: true, Newest: s.Newest()}, nil
	case s.Timestamp == w.Record.Timestamp:
		return m.disk.put(w, o.data), nil
	case s.Timestamp > from:
		return peerapi.Outcome{Newest: s.Newest()}, nil
	case o.held.Record.Deleted && !w.Record.Deleted:
		return peerapi.Outcome{}, errs.New(errs.Invalid, "restamp: the version at %d is a tombstone", from)
	case m.disk.full && !w.Record.Deleted:
		return peerapi.Outcome{}, errs.New(errs.NoSpace, "restamp: the device is full")
	}
	data := o.data
	if w.Record.Deleted {
		data = nil
	}
	return m.disk.put(w, data), nil
}

func (m *memory) Prepare(_ context.Context, key peerapi.Key, ballot clock.Timestamp) (peerapi.Outcome, peerapi.State, error) {
	if ballot <= 0 {
		return peerapi.Outcome{}, peerapi.State{}, errs.New(errs.Invalid, "prepare: ballot %d is not positive", ballot)
	}
	if err := m.lock(); err != nil {
		return peerapi.Outcome{}, peerapi.State{}, err
	}
	defer m.disk.mu.Unlock()
	id := engine.IDOf(key)
	o := m.disk.objects[id]
	if s := o.standing(); !s.AllowsPrepare(ballot) {
		return peerapi.Outcome{Newest: s.Newest()}, o.state(), nil
	}
	if o == nil {
		o = &object{}
		m.disk.objects[id] = o
	}
	o.promise = ballot
	return peerapi.Outcome{Accepted: true}, o.state(), nil
}

func (m *memory) Walk(p ring.Partition, power uint8) iter.Seq2[engine.Held, error] {
	return func(yield func(engine.Held, error) bool) {
		if err := m.lock(); err != nil {
			yield(engine.Held{}, err)
			return
		}
		var all []engine.Held
		for id, o := range m.disk.objects {
			if o.held.Record.Timestamp != 0 && !o.dropped && engine.In(id.Hash, p, power) {
				all = append(all, o.held)
			}
		}
		m.disk.mu.Unlock()
		slices.SortFunc(all, func(a, b engine.Held) int {
			return bytes.Compare(a.Record.Key.Hash[:], b.Record.Key.Hash[:])
		})
		for _, h := range all {
			if !yield(h, nil) {
				return
			}
		}
	}
}

// marks gives what is held of a policy in the order of the hashes.
func (d *Disk) marks(policy uint8, in func(ring.Hash) bool) []peerapi.Mark {
	var all []peerapi.Mark
	for id, o := range d.objects {
		if r := o.held.Record; r.Timestamp != 0 && !o.dropped && id.Policy == policy && in(id.Hash) {
			all = append(all, peerapi.Mark{Hash: id.Hash, Timestamp: r.Timestamp, Deleted: r.Deleted})
		}
	}
	slices.SortFunc(all, func(a, b peerapi.Mark) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	return all
}

func (m *memory) Sums(q peerapi.SumsQuery) ([]uint64, error) {
	if err := engine.CheckSums(q); err != nil {
		return nil, err
	}
	if err := m.lock(); err != nil {
		return nil, err
	}
	defer m.disk.mu.Unlock()
	sums := make([]uint64, q.Count)
	for _, mark := range m.disk.marks(q.Policy, func(ring.Hash) bool { return true }) {
		if at := int(engine.PartitionOf(mark.Hash, q.Power)) - int(q.First); at >= 0 && at < q.Count {
			sums[at] += engine.MarkSum(mark)
		}
	}
	return sums, nil
}

func (m *memory) Marks(q peerapi.MarksQuery) (peerapi.Marks, error) {
	if err := engine.CheckMarks(q); err != nil {
		return peerapi.Marks{}, err
	}
	if err := m.lock(); err != nil {
		return peerapi.Marks{}, err
	}
	defer m.disk.mu.Unlock()
	return engine.PageOf(m.disk.marks(q.Policy, func(h ring.Hash) bool { return engine.In(h, q.Partition, q.Power) }), q), nil
}

func (m *memory) Drop(_ context.Context, key peerapi.Key, at clock.Timestamp) (bool, error) {
	if err := m.lock(); err != nil {
		return false, err
	}
	defer m.disk.mu.Unlock()
	o := m.disk.objects[engine.IDOf(key)]
	if o == nil || o.dropped || at == 0 || o.held.Record.Timestamp != at {
		return false, nil
	}
	o.dropped, o.data = true, nil
	return true, nil
}

func (m *memory) Usage() peerapi.Usage {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	u := peerapi.Usage{Size: 1 << 40, Full: m.disk.full}
	for _, o := range m.disk.objects {
		u.Used += int64(len(o.data))
		if o.state().Exists() {
			u.Objects++
		}
	}
	u.Free = u.Size - u.Used
	return u
}
