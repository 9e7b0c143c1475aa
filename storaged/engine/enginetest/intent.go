package enginetest

import (
	"bytes"
	"fmt"

	"henge/internal/limits"
	"henge/storaged/engine"
)

// intent: what goes with a record is in the journal when the record is accepted, however it was written, and not when it is refused.
func intent(h *harness) {
	var last engine.Position
	write := func(text string, do func(w engine.Write) (accepted bool, err error), w engine.Write, want bool) {
		h.Helper()
		w.Intent = &engine.Intent{Entry: []byte(text)}
		accepted, err := do(w)
		if err != nil || accepted != want || (w.Intent.Position > last) != want {
			h.Fatalf("%s: accepted %v, position %d after %d, %v", text, accepted, w.Intent.Position, last, err)
		}
		last = max(last, w.Intent.Position)
	}
	commit := func(data []byte) func(engine.Write) (bool, error) {
		return func(w engine.Write) (bool, error) {
			out, err := h.Commit(h.Context(), w, data)
			return out.Accepted, err
		}
	}
	large := bytes.Repeat([]byte("x"), 2*limits.InlineBytesMax)
	write("small", commit([]byte("hello")), engine.Write{Record: Record("o", 10)}, true)
	write("late", commit([]byte("hello")), engine.Write{Record: Record("o", 9)}, false)
	write("large", commit(large), engine.Write{Record: Record("p", 10)}, true)
	write("restamped", func(w engine.Write) (bool, error) {
		out, err := h.Restamp(h.Context(), 10, w)
		return out.Accepted, err
	}, engine.Write{Record: Record("o", 20)}, true)
	write("streamed", func(w engine.Write) (bool, error) {
		stream, err := h.Create(h.Context(), w.Record.Key, -1)
		if err != nil {
			return false, err
		}
		if _, err := stream.Write(large); err != nil {
			return false, err
		}
		out, err := stream.Commit(h.Context(), w)
		if closeErr := stream.Close(); err == nil {
			err = closeErr
		}
		return out.Accepted, err
	}, engine.Write{Record: Record("q", 10)}, true)
	h.close()
	h.open()
	if got, at := h.replay(engine.StreamPending); fmt.Sprint(got) != "[small large restamped streamed]" || at != last {
		h.Fatalf("replayed %v up to %d, want up to %d", got, at, last)
	}
	if err := h.Journal().Release(engine.StreamPending, last); err != nil {
		h.Fatal(err)
	}
	h.close()
	h.open()
	if got, _ := h.replay(engine.StreamPending); len(got) != 0 {
		h.Fatalf("after the release: %v", got)
	}
}
