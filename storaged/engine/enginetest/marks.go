package enginetest

import (
	"bytes"
	"fmt"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// marks: sums and marks say the same as the records, at any size of the ring, in pages of any length.
func marks(h *harness) {
	const objects = 50
	for i := range objects {
		h.put(fmt.Sprint("o", i), 10, Data(i, i*3000))
	}
	gone := peerapi.Record{Key: Key("o0"), Timestamp: 20, Deleted: true}
	h.accepted(h.Commit(h.Context(), engine.Write{Record: gone}, nil))
	other := Record("other policy", 10)
	other.Key.Policy = 3
	h.accepted(h.Commit(h.Context(), engine.Write{Record: other}, nil))
	if _, err := h.Sums(peerapi.SumsQuery{Power: 3, First: 7, Count: 2}); !errs.Is(err, errs.Invalid) {
		h.Fatalf("sums beyond the ring: %v", err)
	}
	if _, err := h.Marks(peerapi.MarksQuery{Power: 3, Partition: 8}); !errs.Is(err, errs.Invalid) {
		h.Fatalf("marks beyond the ring: %v", err)
	}
	h.reopen(func() {
		for _, power := range []uint8{0, 3, 8, 12} {
			h.marksAt(power, objects)
		}
	})
}

func (h *harness) marksAt(power uint8, objects int) {
	h.Helper()
	count := 1 << power
	sums, err := h.Sums(peerapi.SumsQuery{Power: power, Count: count})
	if err != nil {
		h.Fatal(err)
	}
	upper, err := h.Sums(peerapi.SumsQuery{Power: power, First: ring.Partition(count / 2), Count: count - count/2})
	if err != nil || upper[0] != sums[count/2] || upper[len(upper)-1] != sums[count-1] {
		h.Fatalf("power %d: the sums of the upper half differ, %v", power, err)
	}
	seen := 0
	for p := range ring.Partition(count) {
		var sum uint64
		q := peerapi.MarksQuery{Power: power, Partition: p, Limit: 3}
		for {
			page, err := h.Marks(q)
			if err != nil {
				h.Fatal(err)
			}
			for _, m := range page.Marks {
				if bytes.Compare(m.Hash[:], q.After[:]) <= 0 || !engine.In(m.Hash, p, power) || m.Deleted != (m.Timestamp == 20) || m.Lost {
					h.Fatalf("power %d, partition %d: %+v after %x", power, p, m, q.After)
				}
				q.After = m.Hash
				sum += engine.MarkSum(m)
				seen++
			}
			if !page.More {
				break
			}
		}
		if sum != sums[p] {
			h.Fatalf("power %d, partition %d: the marks sum to %x, and not %x", power, p, sum, sums[p])
		}
	}
	if seen != objects {
		h.Fatalf("power %d: %d marks, want %d", power, seen, objects)
	}
}

// drop: what is dropped is held no more, also after a restart; nothing older is taken, the same and newer are.
func drop(h *harness) {
	dropped := func(object string, at clock.Timestamp, want bool) {
		h.Helper()
		got, err := h.Drop(h.Context(), Key(object), at)
		if err != nil || got != want {
			h.Fatalf("drop %s at %d: %v, %v", object, at, got, err)
		}
	}
	dropped("nothing", 10, false)
	h.put("small", 10, Data(1, 100))
	h.put("large", 10, Data(2, 300_000))
	h.put("replaced", 10, nil)
	h.put("replaced", 20, nil)
	dropped("small", 9, false)
	dropped("replaced", 10, false)
	dropped("small", 10, true)
	dropped("small", 10, false)
	dropped("large", 10, true)
	h.reopen(func() {
		h.wantGone("small", 0)
		h.wantGone("large", 0)
		h.want("replaced", 20, nil)
		if u := h.Usage(); u.Objects != 1 {
			h.Fatalf("%d objects", u.Objects)
		}
		sums, err := h.Sums(peerapi.SumsQuery{Count: 1})
		if want := engine.MarkSum(peerapi.Mark{Hash: Key("replaced").Hash, Timestamp: 20}); err != nil || sums[0] != want {
			h.Fatalf("sums %x, want %x, %v", sums, want, err)
		}
		for held, err := range h.Walk(0, 0) {
			if err != nil || held.Record.Key.Object != "replaced" {
				h.Fatalf("walk: %+v, %v", held, err)
			}
		}
	})
	h.refused(h.commit(Record("small", 9), nil), 10)
	h.put("small", 10, Data(1, 100))
	h.want("small", 10, Data(1, 100))
	h.put("large", 11, Data(3, 200_000))
	h.reopen(func() {
		h.want("small", 10, Data(1, 100))
		h.want("large", 11, Data(3, 200_000))
	})
}
