package enginetest

import (
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

func clockOf(n int64) clock.Timestamp { return clock.Timestamp(n) }

// create begins a stream and writes all of data in pieces.
func (h *harness) create(object string, data []byte, piece int, size int64) engine.Writer {
	h.Helper()
	w, err := h.Create(h.Context(), Key(object), size)
	if err != nil {
		h.Fatalf("create %s: %v", object, err)
	}
	for len(data) > 0 {
		n := min(piece, len(data))
		if m, err := w.Write(data[:n]); err != nil || m != n {
			h.Fatalf("write %s: %d of %d: %v", object, m, n, err)
		}
		data = data[n:]
	}
	return w
}

func (h *harness) stream(object string, at clock.Timestamp, data []byte, piece int) {
	h.Helper()
	w := h.create(object, data, piece, int64(len(data)))
	h.accepted(w.Commit(h.Context(), engine.Write{Record: Record(object, at)}))
	if err := w.Close(); err != nil {
		h.Fatalf("close %s: %v", object, err)
	}
}

func writerSizes(h *harness) {
	sizes := []int{0, 1, 4096, limits.InlineBytesMax - 1, limits.InlineBytesMax, limits.InlineBytesMax + 1, 100_000, 262_144, 262_145, 1_000_000}
	for i, size := range sizes {
		expected := int64(size)
		if i%2 == 1 {
			expected = -1
		}
		w := h.create(string(rune('a'+i)), Data(i, size), 10_000, expected)
		if s := h.head(string(rune('a' + i))); s.Record != nil {
			h.Fatalf("size %d: visible before Commit", size)
		}
		h.accepted(w.Commit(h.Context(), engine.Write{Record: Record(string(rune('a'+i)), 10)}))
		if err := w.Close(); err != nil {
			h.Fatal(err)
		}
	}
	h.reopen(func() {
		for i, size := range sizes {
			h.want(string(rune('a'+i)), 10, Data(i, size))
		}
	})
}

func writerGivenUp(h *harness) {
	for _, size := range []int{10, 500_000} {
		w := h.create("a", Data(1, size), 50_000, -1)
		if err := w.Close(); err != nil {
			h.Fatal(err)
		}
		if err := w.Close(); err != nil {
			h.Fatalf("second close: %v", err)
		}
		if _, err := w.Commit(h.Context(), engine.Write{Record: Record("a", 10)}); !errs.Is(err, errs.Invalid) {
			h.Fatalf("commit after close: %v", err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			h.Fatal("write after close: no error")
		}
	}
	h.reopen(func() { h.wantGone("a", 0) })
}

func writerCommitAgain(h *harness) {
	for _, size := range []int{10, 500_000} {
		object := "a" + string(rune('0'+size%7))
		h.put(object, 50, Data(1, 10))
		w := h.create(object, Data(2, size), 50_000, int64(size))
		out, err := w.Commit(h.Context(), engine.Write{Record: Record(object, 40)})
		if err != nil {
			h.Fatal(err)
		}
		h.refused(out, 50)
		h.want(object, 50, Data(1, 10))
		h.accepted(w.Commit(h.Context(), engine.Write{Record: Record(object, 60)}))
		if err := w.Close(); err != nil {
			h.Fatal(err)
		}
		h.reopen(func() { h.want(object, 60, Data(2, size)) })
	}
}

func writerReplaces(h *harness) {
	h.stream("a", 10, Data(1, 200_000), 64<<10)
	_, rc, err := h.Open(Key("a"), 0, peerapi.Whole)
	if err != nil {
		h.Fatal(err)
	}
	h.stream("a", 20, Data(2, 300_000), 64<<10)
	h.wantReader(rc, Data(1, 200_000)) // an open reader keeps what it opened
	h.reopen(func() { h.want("a", 20, Data(2, 300_000)) })
	h.put("a", 30, Data(3, 5))
	h.reopen(func() { h.want("a", 30, Data(3, 5)) })
	h.stream("a", 40, Data(4, 400_000), 64<<10)
	h.accepted(h.commit(peerapi.Record{Key: Key("a"), Timestamp: 50, Deleted: true}, nil), nil)
	h.reopen(func() { h.wantGone("a", 50) })
}
