package servertest

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

// Engine is an engine.Engine in memory. What it holds survives Close: opened again, it goes on, as a disk does.
type Engine struct {
	mu      sync.Mutex // guards the fields below
	objects map[ring.Hash]*object
	last    engine.Position
	journal map[engine.Stream][]journalEntry
	closed  bool
}

type object struct {
	record  *peerapi.Record
	promise clock.Timestamp
	handoff *peerapi.Target
	data    []byte
}

type journalEntry struct {
	at engine.Position
	b  []byte
}

// NewEngine makes an empty one.
func NewEngine() *Engine {
	return &Engine{objects: map[ring.Hash]*object{}, journal: map[engine.Stream][]journalEntry{}}
}

// Reopen makes a closed engine serve again.
func (e *Engine) Reopen() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = false
}

var errEngineClosed = errs.New(errs.Unavailable, "the engine is closed")

func (e *Engine) of(key peerapi.Key) *object {
	o := e.objects[key.Hash]
	if o == nil {
		o = &object{}
		e.objects[key.Hash] = o
	}
	return o
}

func (o *object) state() peerapi.State {
	s := peerapi.State{Promise: o.promise}
	if o.record != nil {
		r := *o.record
		s.Record = &r
	}
	return s
}

func (o *object) newest() clock.Timestamp { return max(o.state().Timestamp(), o.promise) }

// Head is engine.Engine's.
func (e *Engine) Head(key peerapi.Key) (peerapi.State, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return peerapi.State{}, errEngineClosed
	}
	if o := e.objects[key.Hash]; o != nil {
		return o.state(), nil
	}
	return peerapi.State{}, nil
}

// Open is engine.Engine's.
func (e *Engine) Open(key peerapi.Key, at clock.Timestamp, r peerapi.Range) (peerapi.State, io.ReadCloser, error) {
	state, err := e.Head(key)
	if err != nil {
		return state, nil, err
	}
	if !state.Exists() || at != 0 && state.Timestamp() != at {
		return state, nil, errs.New(errs.NotFound, "no %s/%s/%s", key.Account, key.Container, key.Object)
	}
	e.mu.Lock()
	data := e.objects[key.Hash].data
	e.mu.Unlock()
	if r.Offset < 0 || r.Offset > int64(len(data)) {
		return state, nil, errs.New(errs.Invalid, "open at %d of %d bytes", r.Offset, len(data))
	}
	data = data[r.Offset:]
	if r.Length >= 0 && r.Length < int64(len(data)) {
		data = data[:r.Length]
	}
	return state, io.NopCloser(bytes.NewReader(data)), nil
}

// Commit is engine.Engine's.
func (e *Engine) Commit(ctx context.Context, w engine.Write, data []byte) (peerapi.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return peerapi.Outcome{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return peerapi.Outcome{}, errEngineClosed
	}
	return e.accept(w, bytes.Clone(data)), nil
}

func (e *Engine) accept(w engine.Write, data []byte) peerapi.Outcome {
	o, t := e.of(w.Record.Key), w.Record.Timestamp
	ok := t > o.newest()
	if w.Accept {
		ok = t == o.promise && t > o.state().Timestamp()
	}
	if !ok {
		return peerapi.Outcome{Newest: o.newest()}
	}
	if w.Intent != nil {
		w.Intent.Position = e.append(engine.StreamPending, w.Intent.Entry)
	}
	out := peerapi.Outcome{Accepted: true}
	if o.record != nil && o.record.Upload != "" && o.record.Upload != w.Record.Upload {
		out.Replaced, out.ReplacedAt = o.record.Upload, o.record.Timestamp
	}
	r := w.Record
	o.record, o.handoff, o.data = &r, w.Handoff, data
	return out
}

// Restamp is engine.Engine's.
func (e *Engine) Restamp(ctx context.Context, from clock.Timestamp, w engine.Write) (peerapi.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return peerapi.Outcome{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return peerapi.Outcome{}, errEngineClosed
	}
	o := e.of(w.Record.Key)
	if !o.state().Exists() || o.record.Timestamp != from {
		return peerapi.Outcome{Missing: true, Newest: o.newest()}, nil
	}
	return e.accept(w, o.data), nil
}

// Prepare is engine.Engine's.
func (e *Engine) Prepare(_ context.Context, key peerapi.Key, ballot clock.Timestamp) (peerapi.Outcome, peerapi.State, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return peerapi.Outcome{}, peerapi.State{}, errEngineClosed
	}
	o := e.of(key)
	if ballot <= o.newest() {
		return peerapi.Outcome{Newest: o.newest()}, o.state(), nil
	}
	o.promise = ballot
	return peerapi.Outcome{Accepted: true}, o.state(), nil
}

// Create is engine.Engine's.
func (e *Engine) Create(_ context.Context, _ peerapi.Key, size int64) (engine.Writer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errEngineClosed
	}
	return &writer{engine: e}, nil
}

type writer struct {
	engine *Engine
	data   []byte
	done   bool
}

func (w *writer) Write(b []byte) (int, error) {
	w.data = append(w.data, b...)
	return len(b), nil
}

func (w *writer) Commit(ctx context.Context, r engine.Write) (peerapi.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return peerapi.Outcome{}, err
	}
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	if w.done || w.engine.closed {
		return peerapi.Outcome{}, errEngineClosed
	}
	out := w.engine.accept(r, w.data)
	w.done = out.Accepted
	return out, nil
}

func (w *writer) Close() error {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	w.done = true
	return nil
}

// Walk is engine.Engine's.
func (e *Engine) Walk(p ring.Partition, _ uint8) iter.Seq2[engine.Held, error] {
	return func(yield func(engine.Held, error) bool) {
		e.mu.Lock()
		var all []engine.Held
		for _, o := range e.objects {
			if o.record != nil && o.record.Key.Partition == p {
				all = append(all, engine.Held{Record: *o.record, Handoff: o.handoff})
			}
		}
		e.mu.Unlock()
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

// Usage is engine.Engine's.
func (e *Engine) Usage() peerapi.Usage {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := peerapi.Usage{Size: 1 << 40, Free: 1 << 40}
	for _, o := range e.objects {
		if o.state().Exists() {
			u.Objects++
			u.Used += int64(len(o.data))
		}
	}
	return u
}

// Close is engine.Engine's.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

// Journal is engine.Engine's.
func (e *Engine) Journal() engine.Journal { return journal{e} }

type journal struct{ *Engine }

func (e *Engine) append(s engine.Stream, b []byte) engine.Position {
	e.last++
	e.journal[s] = append(e.journal[s], journalEntry{e.last, bytes.Clone(b)})
	return e.last
}

// Append is engine.Journal's.
func (j journal) Append(ctx context.Context, s engine.Stream, b []byte) (engine.Position, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return 0, errEngineClosed
	}
	return j.append(s, b), nil
}

// Replay is engine.Journal's.
func (j journal) Replay(s engine.Stream, fn func(engine.Position, []byte) error) error {
	j.mu.Lock()
	all := slices.Clone(j.journal[s])
	j.mu.Unlock()
	for _, e := range all {
		if err := fn(e.at, e.b); err != nil {
			return err
		}
	}
	return nil
}

// Release is engine.Journal's.
func (j journal) Release(s engine.Stream, upto engine.Position) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.journal[s]
	for len(all) > 0 && all[0].at <= upto {
		all = all[1:]
	}
	j.journal[s] = all
	return nil
}
