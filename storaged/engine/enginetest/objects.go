package enginetest

import (
	"bytes"
	"io"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

func headNothing(h *harness) {
	if s := h.head("nobody"); s.Record != nil || s.Promise != 0 {
		h.Fatalf("state %+v, want nothing", s)
	}
	h.wantGone("nobody", 0)
}

func commitThenRead(h *harness) {
	h.put("a", 10, Data(1, 4096))
	h.put("empty", 11, nil)
	h.put("b", 12, Data(2, 1))
	h.put("a", 20, Data(3, limits.InlineBytesMax))
	h.reopen(func() {
		h.want("a", 20, Data(3, limits.InlineBytesMax))
		h.want("empty", 11, nil)
		h.want("b", 12, Data(2, 1))
	})
}

func commitOrder(h *harness) {
	h.put("a", 20, Data(1, 10))
	h.refused(h.commit(Record("a", 10), Data(2, 10)), 20)
	different := Record("a", 20)
	different.ETag = "another"
	h.refused(h.commit(different, Data(2, 10)), 20)
	h.reopen(func() {
		h.refused(h.commit(Record("a", 10), Data(2, 10)), 20)
		h.want("a", 20, Data(1, 10))
	})
	h.put("a", 21, Data(2, 10))
}

func commitRetry(h *harness) {
	h.put("a", 20, Data(1, 10))
	h.reopen(func() {
		h.accepted(h.commit(Record("a", 20), Data(1, 10)), nil)
		h.want("a", 20, Data(1, 10))
	})
	h.stream("large", 20, Data(2, 100_000), 64<<10)
	h.reopen(func() {
		h.stream("large", 20, Data(2, 100_000), 64<<10)
		h.want("large", 20, Data(2, 100_000))
	})
}

func commitBad(h *harness) {
	bad := map[string]engine.Write{
		"no timestamp": {Record: Record("a", 0)},
		"negative":     {Record: Record("a", -5)},
		"no hash":      {Record: peerapi.Record{Key: peerapi.Key{Account: "a", Container: "c", Object: "o"}, Timestamp: 5}},
		"long name":    {Record: Record(strings.Repeat("x", 5000), 5)},
		"tombstone":    {Record: peerapi.Record{Key: Key("a"), Timestamp: 5, Deleted: true}},
	}
	for name, w := range bad {
		if _, err := h.Commit(h.Context(), w, []byte("data")); !errs.Is(err, errs.Invalid) {
			h.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if _, _, err := h.Prepare(h.Context(), Key("a"), 0); !errs.Is(err, errs.Invalid) {
		h.Errorf("prepare 0: %v, want invalid", err)
	}
	h.wantGone("a", 0)
}

func commitPolicies(h *harness) {
	h.put("a", 20, Data(1, 10))
	other := Record("a", 10)
	other.Key.Policy = 3
	h.accepted(h.commit(other, Data(2, 20)), nil)
	h.reopen(func() {
		h.want("a", 20, Data(1, 10))
		s, err := h.Head(other.Key)
		if err != nil || s.Timestamp() != 10 || s.Record.StoredSize != 20 {
			h.Fatalf("policy 3: %+v, %v", s.Record, err)
		}
	})
}

func tombstone(h *harness) {
	h.put("a", 10, Data(1, 100))
	h.accepted(h.commit(peerapi.Record{Key: Key("a"), Timestamp: 20, Deleted: true}, nil), nil)
	h.accepted(h.commit(peerapi.Record{Key: Key("never"), Timestamp: 21, Deleted: true}, nil), nil)
	h.reopen(func() {
		h.wantGone("a", 20)
		h.wantGone("never", 21)
		h.refused(h.commit(Record("a", 15), Data(1, 1)), 20)
	})
	h.put("a", 30, Data(2, 50))
	h.reopen(func() { h.want("a", 30, Data(2, 50)) })
}

func openVersions(h *harness) {
	h.put("a", 10, Data(1, 10))
	h.put("a", 20, Data(2, 10))
	s, rc, err := h.Open(Key("a"), 20, peerapi.Whole)
	if err != nil || s.Timestamp() != 20 {
		h.Fatalf("open at 20: %+v, %v", s, err)
	}
	rc.Close()
	if s, _, err := h.Open(Key("a"), 10, peerapi.Whole); !errs.Is(err, errs.NotFound) || s.Timestamp() != 20 {
		h.Fatalf("open at 10: %+v, %v", s, err)
	}
}

func openRanges(h *harness) {
	h.put("small", 10, Data(1, 1000))
	h.stream("large", 10, Data(2, 300_000), 4096)
	ranges := []peerapi.Range{{Offset: 0, Length: 0}, {Offset: 0, Length: 1}, {Offset: 999, Length: 1}, {Offset: 1000, Length: 5}, {Offset: 10, Length: -1}, {Offset: 500, Length: 10_000},
		{Offset: 65_535, Length: 2}, {Offset: 65_536, Length: 65_536}, {Offset: 100, Length: 250_000}, {Offset: 299_999, Length: -1}, {Offset: 300_000, Length: -1}}
	for _, object := range []struct {
		name string
		data []byte
	}{{"small", Data(1, 1000)}, {"large", Data(2, 300_000)}} {
		for _, r := range ranges {
			_, rc, err := h.Open(Key(object.name), 0, r)
			if r.Offset > int64(len(object.data)) {
				if !errs.Is(err, errs.Invalid) {
					h.Fatalf("%s %+v: %v, want invalid", object.name, r, err)
				}
				continue
			}
			if err != nil {
				h.Fatalf("%s %+v: %v", object.name, r, err)
			}
			got, err := io.ReadAll(io.MultiReader(io.LimitReader(rc, 7), rc))
			rc.Close()
			want := object.data[r.Offset:]
			if r.Length >= 0 && r.Length < int64(len(want)) {
				want = want[:r.Length]
			}
			if err != nil || !bytes.Equal(got, want) {
				h.Fatalf("%s %+v: %d bytes, %v, want %d", object.name, r, len(got), err, len(want))
			}
		}
		if _, _, err := h.Open(Key(object.name), 0, peerapi.Range{Offset: -1}); !errs.Is(err, errs.Invalid) {
			h.Errorf("negative offset: %v", err)
		}
	}
}

func replacedMultipart(h *harness) {
	upload := func(at int64, id string) peerapi.Record {
		r := Record("m", 0)
		r.Timestamp, r.Kind, r.Upload = 10+clockOf(at), peerapi.KindMultipart, id
		return r
	}
	h.accepted(h.commit(upload(1, "first"), Data(1, 10)), nil)
	h.reopen(func() {})
	out := h.commit(upload(2, "second"), Data(2, 10))
	if out.Replaced != "first" || out.ReplacedAt != 11 {
		h.Fatalf("outcome %+v, want the first upload at 11", out)
	}
	out, err := h.Restamp(h.Context(), 12, engine.Write{Record: upload(3, "second")})
	if err != nil || !out.Accepted || out.Replaced != "" {
		h.Fatalf("restamp: %+v, %v: it must keep the upload", out, err)
	}
	out = h.commit(peerapi.Record{Key: Key("m"), Timestamp: 20, Deleted: true}, nil)
	if !out.Accepted || out.Replaced != "second" || out.ReplacedAt != 13 {
		h.Fatalf("tombstone: %+v, want the second upload at 13", out)
	}
	out = h.commit(Record("m", 30), nil)
	if !out.Accepted || out.Replaced != "" {
		h.Fatalf("over the tombstone: %+v", out)
	}
}
