package enginetest

import (
	"bytes"
	"io"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

func (h *harness) wantReader(rc io.ReadCloser, data []byte) {
	h.Helper()
	got, err := io.ReadAll(rc)
	rc.Close()
	if err != nil || !bytes.Equal(got, data) {
		h.Fatalf("read %d bytes, %v, want %d", len(got), err, len(data))
	}
}

func (h *harness) restamp(object string, from, at clock.Timestamp) peerapi.Outcome {
	h.Helper()
	out, err := h.Restamp(h.Context(), from, engine.Write{Record: Record(object, at)})
	if err != nil {
		h.Fatalf("restamp %s from %d at %d: %v", object, from, at, err)
	}
	return out
}

func restamp(h *harness) {
	if out := h.restamp("a", 10, 20); out.Accepted || !out.Missing {
		h.Fatalf("nothing here: %+v, want missing", out)
	}
	h.put("a", 10, Data(1, 5000))
	if out := h.restamp("a", 15, 20); out.Accepted || !out.Missing {
		h.Fatalf("an older version here: %+v, want missing", out)
	}
	h.accepted(h.restamp("a", 10, 20), nil)
	h.reopen(func() { h.want("a", 20, Data(1, 5000)) })
	h.accepted(h.restamp("a", 10, 20), nil) // a retry
	h.refused(h.restamp("a", 10, 30), 20)
	h.refused(h.restamp("a", 20, 15), 20)
	h.want("a", 20, Data(1, 5000))
}

func restampLarge(h *harness) {
	h.stream("a", 10, Data(1, 500_000), 64<<10)
	for at := clock.Timestamp(20); at < 60; at += 10 {
		h.accepted(h.restamp("a", at-10, at), nil)
		h.reopen(func() { h.want("a", at, Data(1, 500_000)) })
	}
	h.stream("a", 100, Data(2, 100_000), 64<<10)
	h.reopen(func() { h.want("a", 100, Data(2, 100_000)) })
}

func restampTombstone(h *harness) {
	h.accepted(h.commit(peerapi.Record{Key: Key("a"), Timestamp: 10, Deleted: true}, nil), nil)
	if _, err := h.Restamp(h.Context(), 10, engine.Write{Record: Record("a", 20)}); !errs.Is(err, errs.Invalid) {
		h.Fatalf("an object out of a tombstone: %v, want invalid", err)
	}
	dead := engine.Write{Record: peerapi.Record{Key: Key("a"), Timestamp: 20, Deleted: true}}
	h.accepted(h.Restamp(h.Context(), 10, dead))
	h.reopen(func() { h.wantGone("a", 20) })
	h.stream("b", 10, Data(1, 100_000), 64<<10)
	dead.Record.Key = Key("b")
	h.accepted(h.Restamp(h.Context(), 10, dead))
	h.reopen(func() { h.wantGone("b", 20) })
}

func (h *harness) prepare(object string, ballot clock.Timestamp) (peerapi.Outcome, peerapi.State) {
	h.Helper()
	out, s, err := h.Prepare(h.Context(), Key(object), ballot)
	if err != nil {
		h.Fatalf("prepare %s at %d: %v", object, ballot, err)
	}
	return out, s
}

func (h *harness) accept(object string, ballot clock.Timestamp, data []byte) peerapi.Outcome {
	h.Helper()
	out, err := h.Commit(h.Context(), engine.Write{Record: Record(object, ballot), Accept: true}, data)
	if err != nil {
		h.Fatalf("accept %s at %d: %v", object, ballot, err)
	}
	return out
}

func prepareAccept(h *harness) {
	h.put("a", 10, Data(1, 10))
	out, s := h.prepare("a", 20)
	if h.accepted(out, nil); s.Timestamp() != 10 || s.Promise != 20 {
		h.Fatalf("state %+v, want the record at 10 and the promise", s)
	}
	h.accepted(h.accept("a", 20, Data(2, 10)), nil)
	h.reopen(func() { h.want("a", 20, Data(2, 10)) })
	h.accepted(h.accept("a", 20, Data(2, 10)), nil) // a retry
	// A version streamed or restamped may be a ballot's too.
	out, _ = h.prepare("a", 30)
	h.accepted(out, nil)
	h.accepted(h.Restamp(h.Context(), 20, engine.Write{Record: Record("a", 30), Accept: true}))
	out, _ = h.prepare("a", 40)
	h.accepted(out, nil)
	w := h.create("a", Data(3, 100_000), 64<<10, -1)
	h.accepted(w.Commit(h.Context(), engine.Write{Record: Record("a", 40), Accept: true}))
	w.Close()
	h.reopen(func() { h.want("a", 40, Data(3, 100_000)) })
}

func prepareRefused(h *harness) {
	h.refused(h.accept("a", 5, nil), 0) // never prepared here
	h.put("a", 10, Data(1, 10))
	out, s := h.prepare("a", 10)
	if h.refused(out, 10); s.Timestamp() != 10 {
		h.Fatalf("state %+v", s)
	}
	out, _ = h.prepare("a", 20)
	h.accepted(out, nil)
	out, _ = h.prepare("a", 20) // a retry
	h.accepted(out, nil)
	out, s = h.prepare("a", 15)
	if h.refused(out, 20); s.Promise != 20 {
		h.Fatalf("state %+v", s)
	}
	h.refused(h.commit(Record("a", 15), nil), 20) // a plain write older than the promise
	h.refused(h.commit(Record("a", 20), nil), 20) // a plain write as old as the promise
	h.refused(h.accept("a", 15, nil), 20)         // another's ballot
	h.refused(h.accept("a", 25, nil), 20)         // a ballot not prepared here
	h.put("a", 25, Data(2, 20))                   // a plain write newer than the promise
	h.refused(h.accept("a", 20, nil), 25)
	h.reopen(func() { h.want("a", 25, Data(2, 20)) })
}

func prepareSurvives(h *harness) {
	out, s := h.prepare("a", 20)
	if h.accepted(out, nil); s.Record != nil {
		h.Fatalf("state %+v", s)
	}
	h.put("b", 10, Data(1, 10))
	out, _ = h.prepare("b", 30)
	h.accepted(out, nil)
	out, _ = h.prepare("b", 40)
	h.accepted(out, nil)
	h.reopen(func() {
		if s := h.head("a"); s.Record != nil || s.Promise != 20 {
			h.Fatalf("a: %+v, want a promise of 20 alone", s)
		}
		if s := h.head("b"); s.Timestamp() != 10 || s.Promise != 40 {
			h.Fatalf("b: %+v, want 10 and a promise of 40", s)
		}
		h.refused(h.accept("b", 30, nil), 40)
		h.refused(h.commit(Record("a", 20), nil), 20)
	})
	h.accepted(h.accept("a", 20, Data(2, 7)), nil)
	h.accepted(h.accept("b", 40, Data(3, 7)), nil)
	h.reopen(func() {
		h.want("a", 20, Data(2, 7))
		h.want("b", 40, Data(3, 7))
	})
}
