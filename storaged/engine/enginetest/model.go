package enginetest

import (
	"fmt"
	"math/rand/v2"

	"henge/internal/clock"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// register is the model: the rules of peerapi's package comment, written down a second time as plainly as possible.
type register struct {
	at, promise clock.Timestamp
	deleted     bool
	data        []byte
}

func (r *register) write(at clock.Timestamp, accept bool) bool {
	if accept {
		return at == r.promise && r.at < at
	}
	return at > r.at && at > r.promise
}

func (r *register) set(at clock.Timestamp, deleted bool, data []byte) {
	r.at, r.deleted, r.data = at, deleted, data
	if r.promise <= at {
		r.promise = 0
	}
}

// model runs random histories, with restarts, against the model. Timestamps repeat seldom enough that a repetition is always another write.
func model(h *harness) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if h.Failed() {
			h.Logf("seed %d", seed)
		}
	}()
	keys := make([]register, 6)
	for step := range 400 {
		k := random.IntN(len(keys))
		m, object := &keys[k], fmt.Sprint("k", k)
		at := m.at + clock.Timestamp(random.IntN(400)) - 100
		if random.IntN(4) == 0 && m.promise != 0 {
			at = m.promise
		}
		if at <= 0 || at == m.at {
			continue
		}
		h.step(random, m, object, at)
		if random.IntN(60) == 0 {
			h.close()
			h.open()
		}
		for i := range keys {
			if step%20 == 0 || i == k {
				h.matches(fmt.Sprint("k", i), &keys[i])
			}
		}
		if h.Failed() {
			return
		}
	}
}

func (h *harness) step(random *rand.Rand, m *register, object string, at clock.Timestamp) {
	h.Helper()
	accept := at == m.promise
	w := engine.Write{Record: Record(object, at), Accept: accept}
	var out peerapi.Outcome
	var err error
	want := m.write(at, accept)
	switch random.IntN(5) {
	case 0: // prepare
		out, _, err = h.Prepare(h.Context(), Key(object), at)
		if want = at > m.at && at >= m.promise; want {
			m.promise = at
		}
	case 1: // delete
		w.Record = peerapi.Record{Key: Key(object), Timestamp: at, Deleted: true}
		if out, err = h.Commit(h.Context(), w, nil); want {
			m.set(at, true, nil)
		}
	case 2: // restamp
		if m.deleted || m.at == 0 {
			return
		}
		if out, err = h.Restamp(h.Context(), m.at, w); want {
			m.set(at, false, m.data)
		}
	case 3: // stream
		data := Data(int(at), random.IntN(200_000))
		stream := h.create(object, data, 70_000, -1)
		defer stream.Close()
		if out, err = stream.Commit(h.Context(), w); want {
			m.set(at, false, data)
		}
	case 4:
		data := Data(int(at), random.IntN(6000))
		if out, err = h.Commit(h.Context(), w, data); want {
			m.set(at, false, data)
		}
	}
	if err != nil || out.Accepted != want || !want && out.Newest != max(m.at, m.promise) {
		h.Fatalf("%s at %d (record %d, promise %d): %+v, %v; the model says %v", object, at, m.at, m.promise, out, err, want)
	}
}

func (h *harness) matches(object string, m *register) {
	h.Helper()
	if m.at == 0 || m.deleted {
		h.wantGone(object, m.at)
	} else {
		h.want(object, m.at, m.data)
	}
	if s := h.head(object); s.Promise != m.promise {
		h.Fatalf("%s: promise %d, want %d", object, s.Promise, m.promise)
	}
}
