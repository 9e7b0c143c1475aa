package peerapitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"sync"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

func testRegister(_ *testing.T, s *suite) {
	if st := s.head("o"); st.Record != nil || st.Promise != 0 || st.Exists() {
		s.Fatalf("before the first write: %+v", st)
	}
	_, _, err := s.Device.Open(s.ctx, key("o"), 0, peerapi.Whole)
	s.kind(err, errs.NotFound)
	s.accepted(s.put("o", 10, "first"))
	s.refused(s.put("o", 10, "again"), at(10))
	s.refused(s.put("o", 9, "older"), at(10))
	s.holds("o", "first")
	s.accepted(s.put("o", 11, "second"))
	s.holds("o", "second")
	want := record("o", 11, []byte("second"))
	if st := s.head("o"); !reflect.DeepEqual(*st.Record, want) {
		s.Fatalf("the record came back as %+v, want %+v", *st.Record, want)
	}
	s.accepted(s.put("empty", 12, ""))
	s.holds("empty", "")
}

func testBallots(_ *testing.T, s *suite) {
	s.accepted(s.put("o", 10, "first"))
	out, st := s.prepare("o", 10)
	s.refused(out, at(10))
	if st.Timestamp() != at(10) {
		s.Fatalf("a refused prepare says %+v", st)
	}
	out, st = s.prepare("o", 20)
	s.accepted(out)
	if st.Timestamp() != at(10) {
		s.Fatalf("prepare says %+v", st)
	}
	out, _ = s.prepare("o", 15)
	s.refused(out, at(20))
	s.refused(s.put("o", 20, "plain, of the ballot's age"), at(20))
	s.refused(s.put("o", 19, "plain, older"), at(20))
	s.refused(s.commit(peerapi.Commit{Record: record("o", 21, nil), Accept: true}, nil), at(20))
	s.accepted(s.commit(peerapi.Commit{Record: record("o", 20, []byte("voted")), Accept: true}, []byte("voted")))
	s.holds("o", "voted")
	s.refused(s.commit(peerapi.Commit{Record: record("o", 20, []byte("twice")), Accept: true}, []byte("twice")), at(20))
	out, _ = s.prepare("o", 30)
	s.accepted(out)
	s.accepted(s.put("o", 31, "plain, newer than the promise"))
	s.refused(s.commit(peerapi.Commit{Record: record("o", 30, nil), Accept: true}, nil), at(31))
	if st := s.head("o"); st.Timestamp() != at(31) {
		s.Fatalf("in the end: %+v", st)
	}
}

func testRefusedWrite(_ *testing.T, s *suite) {
	s.accepted(s.put("o", 10, "first"))
	data := pattern(limits.InlineBytesMax * 2)
	w, err := s.Device.Create(s.ctx, key("o"), int64(len(data)))
	if err != nil {
		s.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		s.Fatal(err)
	}
	out, err := w.Commit(s.ctx, peerapi.Commit{Record: record("o", 5, data)})
	if err != nil {
		s.Fatal(err)
	}
	s.refused(out, at(10))
	if out, err = w.Commit(s.ctx, peerapi.Commit{Record: record("o", 15, data)}); err != nil {
		s.Fatal(err)
	}
	s.accepted(out)
	s.holds("o", string(data))
}

func testTombstone(_ *testing.T, s *suite) {
	s.accepted(s.put("o", 10, "first"))
	s.accepted(s.commit(peerapi.Commit{Record: peerapi.Record{Key: key("o"), Timestamp: at(20), Deleted: true}}, nil))
	st, _, err := s.Device.Open(s.ctx, key("o"), 0, peerapi.Whole)
	s.kind(err, errs.NotFound)
	if st.Exists() || st.Timestamp() != at(20) {
		s.Fatalf("open of a tombstone says %+v", st)
	}
	s.refused(s.put("o", 15, "late"), at(20))
	s.accepted(s.put("o", 25, "new life"))
	s.holds("o", "new life")
}

func testRestamp(_ *testing.T, s *suite) {
	for _, size := range []int{100, 3 * limits.InlineBytesMax} {
		name := fmt.Sprint("o", size)
		data := pattern(size)
		s.accepted(s.commit(peerapi.Commit{Record: record(name, 10, data)}, data))
		r := record(name, 20, data)
		r.Meta, r.Created = map[string]string{"x-object-meta-color": "red"}, at(10)
		out, err := s.Device.Restamp(s.ctx, at(11), peerapi.Commit{Record: r})
		if err != nil || out.Accepted || !out.Missing {
			s.Fatalf("restamp of what is not there: %+v %v", out, err)
		}
		if out, err = s.Device.Restamp(s.ctx, at(10), peerapi.Commit{Record: r}); err != nil {
			s.Fatal(err)
		}
		s.accepted(out)
		st, got := s.read(name, peerapi.Whole)
		if st.Timestamp() != at(20) || st.Record.Meta["x-object-meta-color"] != "red" || !bytes.Equal(got, data) {
			s.Fatalf("restamped: %+v, %d bytes", st, len(got))
		}
	}
}

func testReplaced(_ *testing.T, s *suite) {
	r := record("o", 10, nil)
	r.Kind, r.Upload = peerapi.KindMultipart, "u1"
	if out := s.commit(peerapi.Commit{Record: r}, nil); out.Replaced != "" {
		s.Fatalf("the first write replaced %+v", out)
	}
	if out := s.put("o", 20, "plain"); out.Replaced != "u1" || out.ReplacedAt != at(10) {
		s.Fatalf("a plain write over an upload: %+v", out)
	}
	if out := s.put("o", 30, "plain"); out.Replaced != "" {
		s.Fatalf("a plain write over a plain one: %+v", out)
	}
}

func testRanges(_ *testing.T, s *suite) {
	for _, size := range []int{1000, limits.InlineBytesMax, limits.InlineBytesMax + 1, 1<<20 + 77} {
		name := fmt.Sprint("o", size)
		data := pattern(size)
		s.accepted(s.commit(peerapi.Commit{Record: record(name, 10, data)}, data))
		n := int64(size)
		for _, pair := range [][2]int64{{0, -1}, {0, 1}, {1, 10}, {n - 1, 1}, {n - 5, -1}, {n / 2, n / 3}, {0, n}, {n, -1}, {3, 0}} {
			r := peerapi.Range{Offset: pair[0], Length: pair[1]}
			end := n
			if r.Length >= 0 {
				end = r.Offset + r.Length
			}
			if _, got := s.read(name, r); !bytes.Equal(got, data[r.Offset:end]) {
				s.Fatalf("range %+v of %d: %d bytes, or others", r, size, len(got))
			}
		}
	}
}

func testOpenExactly(_ *testing.T, s *suite) {
	s.accepted(s.put("o", 10, "first"))
	st, _, err := s.Device.Open(s.ctx, key("o"), at(9), peerapi.Whole)
	s.kind(err, errs.NotFound)
	if st.Timestamp() != at(10) {
		s.Fatalf("open of another version says %+v", st)
	}
	_, body, err := s.Device.Open(s.ctx, key("o"), at(10), peerapi.Whole)
	if err != nil {
		s.Fatal(err)
	}
	if err := body.Close(); err != nil {
		s.Fatal(err)
	}
}

func testStream(_ *testing.T, s *suite) {
	for _, size := range []int{0, 1, limits.InlineBytesMax, 256<<10 - 1, 256 << 10, 256<<10 + 1, 5<<20 + 3} {
		name := fmt.Sprint("o", size)
		data := pattern(size)
		w, err := s.Device.Create(s.ctx, key(name), -1)
		if err != nil {
			s.Fatal(err)
		}
		for rest := data; len(rest) > 0; {
			n, err := w.Write(rest[:min(len(rest), 100_001)])
			if err != nil {
				s.Fatal(err)
			}
			rest = rest[n:]
		}
		if st := s.head(name); st.Record != nil {
			s.Fatalf("visible before the commit: %+v", st)
		}
		out, err := w.Commit(s.ctx, peerapi.Commit{Record: record(name, 10, data)})
		if err != nil {
			s.Fatal(err)
		}
		s.accepted(out)
		for range 2 {
			if err := w.Close(); err != nil {
				s.Fatalf("close: %v", err)
			}
		}
		if _, got := s.read(name, peerapi.Whole); !bytes.Equal(got, data) {
			s.Fatalf("%d bytes went in, %d came out, or others", size, len(got))
		}
	}
}

func testStreamAbandoned(_ *testing.T, s *suite) {
	w, err := s.Device.Create(s.ctx, key("o"), 10)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := w.Write(pattern(1 << 20)); err != nil {
		s.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.Fatal(err)
	}
	if _, err := w.Commit(s.ctx, peerapi.Commit{Record: record("o", 10, nil)}); err == nil {
		s.Fatal("commit after close is no error")
	}
	if st := s.head("o"); st.Record != nil {
		s.Fatalf("an abandoned write shows: %+v", st)
	}
}

func testLargeInOne(_ *testing.T, s *suite) {
	data := pattern(3 << 20)
	s.accepted(s.commit(peerapi.Commit{Record: record("o", 10, data)}, data))
	s.holds("o", string(data))
}

func testReaderOutlivesWrite(_ *testing.T, s *suite) {
	data := pattern(2 << 20)
	s.accepted(s.commit(peerapi.Commit{Record: record("o", 10, data)}, data))
	_, body, err := s.Device.Open(s.ctx, key("o"), 0, peerapi.Whole)
	if err != nil {
		s.Fatal(err)
	}
	defer body.Close()
	s.accepted(s.put("o", 20, "new"))
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, data) {
		s.Fatalf("an open object changed under its reader: %d bytes, %v", len(got), err)
	}
}

func testCancel(_ *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.Device.Head(ctx, key("o")); err == nil {
		s.Error("head for nobody")
	}
	if _, err := s.Device.Commit(ctx, peerapi.Commit{Record: record("o", 10, nil)}, nil); err == nil {
		s.Error("commit for nobody")
	}
	if st := s.head("o"); st.Record != nil {
		s.Errorf("a write that was cancelled before it began shows: %+v", st)
	}
	if err := s.Device.Merge(ctx, peerapi.Merge{Key: accountKey, Rows: []peerapi.Row{{Name: "c", Timestamp: at(1)}}}); err == nil {
		s.Error("merge for nobody")
	}
	ctx, cancel = context.WithCancel(s.ctx)
	w, err := s.Device.Create(ctx, key("o"), -1)
	if err != nil {
		s.Fatal(err)
	}
	defer w.Close()
	cancel()
	if _, err := w.Commit(ctx, peerapi.Commit{Record: record("o", 10, nil)}); err == nil {
		s.Error("commit of a stream for nobody")
	}
}

func testConcurrency(_ *testing.T, s *suite) {
	var mu sync.Mutex // guards newest
	var newest clock.Timestamp
	var writers sync.WaitGroup
	for g := range 8 {
		writers.Go(func() {
			for i := range 20 {
				text := fmt.Sprint("writer ", g, " turn ", i)
				r := record("o", 100+i*8+g, []byte(text))
				out, err := s.Device.Commit(s.ctx, peerapi.Commit{Record: r}, []byte(text))
				if err != nil {
					s.Errorf("commit: %v", err)
					return
				}
				mu.Lock()
				if out.Accepted {
					newest = max(newest, r.Timestamp)
				}
				mu.Unlock()
				if st, body, err := s.Device.Open(s.ctx, key("o"), 0, peerapi.Whole); err != nil {
					s.Errorf("open: %v", err)
				} else {
					data, err := io.ReadAll(body)
					if want := record("o", 0, data).ETag; err != nil || st.Record.ETag != want {
						s.Errorf("a record with other bytes: %+v %q %v", st.Record, data, err)
					}
					if err := body.Close(); err != nil {
						s.Errorf("close: %v", err)
					}
				}
			}
		})
	}
	writers.Wait()
	if st := s.head("o"); st.Timestamp() != newest {
		s.Fatalf("the newest accepted was %s, there is %s", newest, st.Timestamp())
	}
}

func testUsage(_ *testing.T, s *suite) {
	s.accepted(s.put("o", 10, "first"))
	u, err := s.Device.Usage(s.ctx)
	if err != nil || u.Objects != 1 || u.Used <= 0 || u.Full {
		s.Fatalf("%+v %v", u, err)
	}
}
