package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

func walk(h *harness) {
	const objects = 300
	for i := range objects {
		h.put(fmt.Sprint("o", i), 10, Data(i, 20))
	}
	h.accepted(h.commit(peerapi.Record{Key: Key("o0"), Timestamp: 20, Deleted: true}, nil), nil)
	out, _ := h.prepare("promised", 5)
	h.accepted(out, nil)
	w := engine.Write{Record: Record("handoff", 10), Handoff: &peerapi.Target{Peer: "p1", Device: "d2"}}
	h.accepted(h.Commit(h.Context(), w, nil))
	h.reopen(func() {
		for _, power := range []uint8{0, 3, 12} {
			h.walkAll(power, objects+1)
		}
	})
	for range h.Walk(0, 0) {
		break // a caller may stop
	}
}

func (h *harness) walkAll(power uint8, objects int) {
	h.Helper()
	seen := map[string]engine.Held{}
	for p := range ring.Partition(1) << power {
		var last ring.Hash
		for held, err := range h.Walk(p, power) {
			if err != nil {
				h.Fatal(err)
			}
			hash := held.Record.Key.Hash
			if bytes.Compare(last[:], hash[:]) >= 0 || !engine.In(hash, p, power) {
				h.Fatalf("power %d: %x after %x in partition %d", power, hash, last, p)
			}
			last = hash
			seen[held.Record.Key.Object] = held
		}
	}
	if len(seen) != objects || !seen["o0"].Record.Deleted || seen["o1"].Record.Timestamp != 10 {
		h.Fatalf("power %d: %d objects, want %d; o0 %+v", power, len(seen), objects, seen["o0"])
	}
	if t := seen["handoff"].Handoff; t == nil || t.Device != "d2" || seen["o1"].Handoff != nil {
		h.Fatalf("handoff: %+v", t)
	}
}

func (h *harness) replay(s engine.Stream) (entries []string, last engine.Position) {
	h.Helper()
	err := h.Journal().Replay(s, func(p engine.Position, b []byte) error {
		if p <= last {
			h.Fatalf("position %d after %d", p, last)
		}
		last, entries = p, append(entries, string(b))
		return nil
	})
	if err != nil {
		h.Fatalf("replay: %v", err)
	}
	return entries, last
}

func (h *harness) append(s engine.Stream, text string) engine.Position {
	h.Helper()
	p, err := h.Journal().Append(h.Context(), s, []byte(text))
	if err != nil || p == 0 {
		h.Fatalf("append: %d, %v", p, err)
	}
	return p
}

func journal(h *harness) {
	var rows []engine.Position
	for i := range 5 {
		rows = append(rows, h.append(engine.StreamRows, fmt.Sprint("row", i)))
		h.append(engine.StreamPending, fmt.Sprint("pending", i))
	}
	if !slices.IsSorted(rows) || rows[0] == rows[1] {
		h.Fatalf("positions %v are not in order", rows)
	}
	h.close()
	h.open()
	got, last := h.replay(engine.StreamRows)
	if fmt.Sprint(got) != "[row0 row1 row2 row3 row4]" || last != rows[4] {
		h.Fatalf("rows %v up to %d, want up to %d", got, last, rows[4])
	}
	if p := h.append(engine.StreamRows, "row5"); p <= rows[4] {
		h.Fatalf("position %d after %d", p, rows[4])
	}
	if err := h.Journal().Release(engine.StreamRows, rows[2]); err != nil {
		h.Fatal(err)
	}
	h.close()
	h.open()
	if got, _ := h.replay(engine.StreamRows); fmt.Sprint(got) != "[row3 row4 row5]" {
		h.Fatalf("after release: %v", got)
	}
	if got, _ := h.replay(engine.StreamPending); len(got) != 5 {
		h.Fatalf("pending: %v", got)
	}
	stop := errors.New("stop")
	if err := h.Journal().Replay(engine.StreamRows, func(engine.Position, []byte) error { return stop }); !errors.Is(err, stop) {
		h.Fatalf("replay: %v, want the caller's error", err)
	}
}

func journalInterleaved(h *harness) {
	for round := range 3 {
		for i := range 10 {
			h.put(fmt.Sprint("o", i), clock.Timestamp(100*(round+1)+i), Data(i, 3000))
			h.append(engine.StreamRows, fmt.Sprint(round, "-", i))
		}
		h.close()
		h.open()
		if got, last := h.replay(engine.StreamRows); len(got) != 10 {
			h.Fatalf("round %d: %v", round, got)
		} else if err := h.Journal().Release(engine.StreamRows, last); err != nil {
			h.Fatal(err)
		}
	}
	h.close()
	h.open()
	if got, _ := h.replay(engine.StreamRows); len(got) != 0 {
		h.Fatalf("all was released: %v", got)
	}
}

func usage(h *harness) {
	h.put("a", 10, Data(1, 1000))
	h.put("b", 10, nil)
	h.put("b", 20, nil)
	h.put("c", 10, nil)
	h.accepted(h.commit(peerapi.Record{Key: Key("c"), Timestamp: 20, Deleted: true}, nil), nil)
	h.reopen(func() {
		u := h.Engine.Usage()
		if u.Objects != 2 || u.Size <= 0 || u.Free <= 0 || u.Used < 1000 || u.Full || u.Quarantine != 0 {
			h.Fatalf("usage %+v, want 2 objects", u)
		}
	})
}

func closed(h *harness) {
	h.put("a", 10, nil)
	e := h.Engine
	h.close()
	if _, err := e.Head(Key("a")); !errs.Is(err, errs.Unavailable) {
		h.Errorf("head: %v", err)
	}
	if _, err := e.Commit(h.Context(), engine.Write{Record: Record("a", 20)}, nil); !errs.Is(err, errs.Unavailable) {
		h.Errorf("commit: %v", err)
	}
	if _, err := e.Journal().Append(h.Context(), engine.StreamRows, nil); !errs.Is(err, errs.Unavailable) {
		h.Errorf("append: %v", err)
	}
	if err := e.Close(); err != nil {
		h.Errorf("second close: %v", err)
	}
	h.open()
	if _, err := h.disk.Open(); err == nil {
		h.Errorf("opened twice")
	}
	h.want("a", 10, nil)
}

func concurrentOneKey(h *harness) {
	const writers, rounds = 8, 20
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for round := range rounds {
				at := clock.Timestamp(1 + round*writers + i)
				out, err := h.Commit(h.Context(), engine.Write{Record: Record("a", at)}, Data(int(at), 500))
				if err != nil {
					h.Error(err)
					return
				}
				s, err := h.Head(Key("a"))
				if err != nil || s.Timestamp() < at || !out.Accepted && out.Newest < at {
					h.Errorf("at %d: %+v, then %d, %v", at, out, s.Timestamp(), err)
				}
			}
		})
	}
	wg.Wait()
	h.reopen(func() { h.want("a", writers*rounds, Data(writers*rounds, 500)) })
}

func concurrentMany(h *harness) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for round := range 10 {
				object, at := fmt.Sprint("o", i, "-", round%5), clock.Timestamp(round+1)
				data := Data(i+round, 100+round*20_000)
				w, err := h.Create(h.Context(), Key(object), int64(len(data)))
				if err != nil {
					h.Error(err)
					return
				}
				_, errWrite := w.Write(data)
				out, err := w.Commit(h.Context(), engine.Write{Record: Record(object, at)})
				if err := errors.Join(errWrite, err, w.Close()); err != nil || !out.Accepted {
					h.Errorf("commit %s: %+v, %v", object, out, err)
				}
				for range h.Walk(ring.Partition(i), 3) {
				}
			}
		})
	}
	wg.Wait()
	h.reopen(func() {
		for i := range 8 {
			for round := 5; round < 10; round++ {
				h.want(fmt.Sprint("o", i, "-", round%5), clock.Timestamp(round+1), Data(i+round, 100+round*20_000))
			}
		}
		if n := h.Engine.Usage().Objects; n != 40 {
			h.Fatalf("%d objects, want 40", n)
		}
	})
	h.put("o0-0", math.MaxInt64/2, nil)
}
