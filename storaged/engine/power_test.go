package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/peerapi"
)

// version is what a key may hold.
type version struct {
	at      clock.Timestamp
	deleted bool
	data    []byte
}

// history runs random operations one after the other and remembers what was acknowledged.
type history struct {
	random   *rand.Rand
	e        engine.Engine
	now      clock.Timestamp
	sure     map[string]version           // acknowledged
	maybe    map[string]version           // begun, and not answered
	promise  map[string]clock.Timestamp   // acknowledged
	hoped    map[string]clock.Timestamp   // promise begun, and not answered
	journal  map[engine.Position]string   // acknowledged, not released
	loose    map[engine.Position]struct{} // released: may come again
	hope     string                       // the journal entry begun, and not answered
	dropping map[string]bool              // a drop begun, and not answered
	reclaim  bool                         // tombstones and promises may be forgotten at any time
}

func newHistory(seed uint64) *history {
	return &history{random: rand.New(rand.NewPCG(seed, 3)), now: 100, sure: map[string]version{}, maybe: map[string]version{}, promise: map[string]clock.Timestamp{},
		hoped: map[string]clock.Timestamp{}, dropping: map[string]bool{}, journal: map[engine.Position]string{}, loose: map[engine.Position]struct{}{}}
}

// run does n operations; it ends at the first that fails.
func (h *history) run(ctx context.Context, n int) error {
	for range n {
		if err := h.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) step(ctx context.Context) error {
	h.now++
	object := fmt.Sprint("k", h.random.IntN(5))
	at := h.now
	v := version{at: at, data: enginetest.Data(int(at), h.size())}
	w := engine.Write{Record: enginetest.Record(object, at)}
	switch h.random.IntN(10) {
	case 9:
		return h.drop(ctx, object)
	case 8:
		_, err := h.e.(*engine.Store).Compact(ctx)
		return err
	case 0:
		return h.prepare(ctx, object, at)
	case 1:
		return h.append(ctx, fmt.Sprint("entry", at))
	case 2:
		v.deleted, v.data = true, nil
		w.Record = peerapi.Record{Key: w.Record.Key, Timestamp: at, Deleted: true}
	case 3:
		old, ok := h.sure[object]
		if !ok || old.deleted {
			return nil
		}
		v.data = old.data
		h.maybe[object] = v
		out, err := h.e.Restamp(ctx, old.at, w)
		return h.settle(object, v, out, err)
	}
	h.maybe[object] = v
	stream, err := h.e.Create(ctx, w.Record.Key, int64(len(v.data)))
	if err != nil {
		return err
	}
	defer stream.Close()
	if v.deleted || h.random.IntN(2) == 0 {
		out, err := h.e.Commit(ctx, w, v.data)
		return h.settle(object, v, out, err)
	}
	data := v.data
	if h.random.IntN(2) == 0 { // as a proxy in the same process gives them
		data = vfs.AlignedBytes(len(v.data))
		copy(data, v.data)
	}
	if _, err := stream.Write(data); err != nil {
		return err
	}
	out, err := stream.Commit(ctx, w)
	return h.settle(object, v, out, err)
}

// drop gives up what is there; nothing is held afterwards, and no promise is needed against what is older.
func (h *history) drop(ctx context.Context, object string) error {
	sure, ok := h.sure[object]
	if !ok {
		return nil
	}
	h.dropping[object] = true
	dropped, err := h.e.Drop(ctx, enginetest.Key(object), sure.at)
	if err != nil {
		return err
	}
	if !dropped && !h.reclaim {
		return fmt.Errorf("%s at %d is not there to be dropped", object, sure.at)
	}
	h.settleDrop(object)
	return nil
}

func (h *history) settleDrop(object string) {
	if h.promise[object] <= h.sure[object].at {
		delete(h.promise, object)
	}
	delete(h.sure, object)
	delete(h.dropping, object)
}

func (h *history) size() int {
	return []int{0, 100, 5000, 60_000, 70_000, 265_000}[h.random.IntN(6)]
}

func (h *history) settle(object string, v version, out peerapi.Outcome, err error) error {
	if err != nil {
		return err
	}
	if !out.Accepted {
		return fmt.Errorf("%s at %d: %+v", object, v.at, out)
	}
	h.sure[object] = v
	delete(h.maybe, object)
	return nil
}

func (h *history) prepare(ctx context.Context, object string, at clock.Timestamp) error {
	h.hoped[object] = at
	out, _, err := h.e.Prepare(ctx, enginetest.Key(object), at)
	if err == nil && out.Accepted {
		h.promise[object] = at
		delete(h.hoped, object)
	}
	return err
}

func (h *history) append(ctx context.Context, text string) error {
	h.hope = text
	p, err := h.e.Journal().Append(ctx, engine.StreamRows, []byte(text))
	if err != nil {
		return err
	}
	h.hope = ""
	h.journal[p] = text
	if len(h.journal) > 3 {
		for old := range h.journal {
			if old < p {
				h.loose[old] = struct{}{}
				delete(h.journal, old)
			}
		}
		return h.e.Journal().Release(engine.StreamRows, p-1)
	}
	return nil
}

// check says what is wrong on a device that was opened after a crash, and takes what it finds for settled.
func (h *history) check(e engine.Engine) error {
	h.e = e
	for i := range 5 {
		object := fmt.Sprint("k", i)
		got, promised, err := read(e, object)
		if err != nil {
			return fmt.Errorf("%s: %w", object, err)
		}
		sure, maybe := h.sure[object], h.maybe[object]
		if h.reclaim && got.at == 0 && (sure.deleted || maybe.deleted) {
			sure, h.sure[object] = version{}, version{}
		}
		if got.at == 0 && h.dropping[object] {
			h.settleDrop(object)
			sure = version{}
		}
		delete(h.dropping, object)
		if !got.equal(sure) && (maybe.at == 0 || !got.equal(maybe)) {
			return fmt.Errorf("%s: found version %d (%d bytes, deleted %v), acknowledged was %d (%d bytes), begun %d", object, got.at, len(got.data), got.deleted, sure.at,
				len(sure.data), maybe.at)
		}
		if p := max(promised, got.at); p < h.promise[object] && !h.reclaim || promised > max(h.promise[object], h.hoped[object]) {
			return fmt.Errorf("%s: promise %d, acknowledged was %d", object, promised, h.promise[object])
		}
		if h.sure[object] = got; got.at == 0 {
			delete(h.sure, object)
		}
		h.promise[object] = promised
		delete(h.maybe, object)
		delete(h.hoped, object)
	}
	if q := e.Usage().Quarantine; q != 0 {
		return fmt.Errorf("%d records in quarantine after a power cut", q)
	}
	return h.checkJournal(e)
}

func (h *history) checkJournal(e engine.Engine) error {
	found := map[engine.Position]string{}
	err := e.Journal().Replay(engine.StreamRows, func(p engine.Position, b []byte) error {
		_, loose := h.loose[p]
		if text, ok := h.journal[p]; !loose && (!ok && string(b) != h.hope || ok && text != string(b)) {
			return fmt.Errorf("journal %d: %q, want %q", p, b, text)
		}
		found[p] = string(b)
		return nil
	})
	for p, text := range h.journal {
		if err == nil && found[p] != text {
			err = fmt.Errorf("journal %d: %q is missing", p, text)
		}
	}
	h.journal, h.hope = found, ""
	return err
}

func (v version) equal(o version) bool {
	return v.at == o.at && v.deleted == o.deleted && bytes.Equal(v.data, o.data)
}

// read gives what is there of an object: the record, its bytes, and the promise.
func read(e engine.Engine, object string) (version, clock.Timestamp, error) {
	s, err := e.Head(enginetest.Key(object))
	if err != nil || s.Record == nil {
		return version{}, s.Promise, err
	}
	v := version{at: s.Timestamp(), deleted: s.Record.Deleted}
	if v.deleted {
		return v, s.Promise, nil
	}
	_, rc, err := e.Open(enginetest.Key(object), v.at, peerapi.Whole)
	if err != nil {
		return v, s.Promise, err
	}
	defer rc.Close()
	v.data, err = io.ReadAll(rc)
	return v, s.Promise, err
}

// TestPowerCut_EveryStep cuts the power after each change that a history makes to the disk, looks what is there, goes on, and cuts it again.
func TestPowerCut_EveryStep(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			disk := vfs.NewSim()
			newHistory := func(seed uint64) *history {
				h := newHistory(seed)
				h.reclaim = seed == 2
				return h
			}
			if err := cutHistory(t, disk, newHistory(seed)); err != nil {
				t.Fatalf("without a cut: %v", err)
			}
			steps := disk.Steps()
			if steps < 100 {
				t.Fatalf("only %d steps", steps)
			}
			for cut := 1; cut <= steps; cut++ {
				// Every other time all that was not synced is lost; else chance decides.
				for _, crash := range []uint64{uint64(cut%2) * uint64(cut)} {
					h := newHistory(seed)
					disk := vfs.NewSim()
					disk.CutAfter(cut)
					_ = cutHistory(t, disk, h) // it fails, or the cut fell into Close
					disk = disk.Crash(crash)
					disk.CutAfter(int(crash%50) + 3)
					if e, err := engine.Open(t.Context(), h.config(disk)); err == nil {
						if err := h.check(e); err != nil {
							t.Fatalf("cut after step %d of %d, crash %d: %v", cut, steps, crash, err)
						}
						_ = h.run(t.Context(), 10)
						e.Close()
					}
					mustCheck(t, disk.Crash(crash+1), h, fmt.Sprintf("second cut after step %d, crash %d", cut, crash))
				}
			}
		})
	}
}

func (h *history) config(disk vfs.FS) engine.Config {
	cfg := config(disk, "/disk")
	if h.reclaim {
		cfg.ReclaimAge = time.Hour
	}
	return cfg
}

// cutHistory opens a device, works on it, restarts it, works on, and closes it.
func cutHistory(t *testing.T, disk *vfs.Sim, h *history) error {
	for range 2 {
		e, err := engine.Open(t.Context(), h.config(disk))
		if err != nil {
			return err
		}
		h.e = e
		err = h.run(t.Context(), 18)
		if errClose := e.Close(); err != nil || errClose != nil {
			return fmt.Errorf("%w, close: %w", err, errClose)
		}
	}
	return nil
}

func mustCheck(t *testing.T, disk *vfs.Sim, h *history, when string) {
	t.Helper()
	e, err := engine.Open(t.Context(), h.config(disk))
	if err != nil {
		t.Fatalf("%s: open: %v", when, err)
	}
	defer e.Close()
	if err := h.check(e); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if err := h.run(t.Context(), 5); err != nil {
		t.Fatalf("%s: go on: %v", when, err)
	}
}
