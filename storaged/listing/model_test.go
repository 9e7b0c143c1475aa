package listing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// model is a container as a plain map.
type model struct {
	rows             map[string]peerapi.Row
	created, deleted clock.Timestamp
}

func (m *model) exists() bool { return m.created > m.deleted }

func (m *model) merge(r peerapi.Row) {
	if old, had := m.rows[r.Name]; r.Timestamp > m.deleted && (!had || r.Supersedes(old)) {
		m.rows[r.Name] = r
	}
}

func (m *model) count() (n, bytes int64) {
	for _, r := range m.rows {
		if !r.Deleted {
			n++
			bytes += r.Size
		}
	}
	return n, bytes
}

// checkDue: all that expires is in the order of it, and nothing else.
func (m *model) checkDue(rt *rapid.T, b *bed) {
	want := 0
	for _, r := range m.rows {
		if expires(r) {
			want++
		}
	}
	if due, _, err := b.Due(1000, nil, 1000); err != nil || len(due) != want {
		rt.Fatalf("%d rows expire, want %d (%v)", len(due), want, err)
	}
}

// page is what ListQuery and ListPage promise, said in the plainest way.
func (m *model) page(q peerapi.ListQuery) (rows []peerapi.Row, more bool, end string) {
	names := slices.Sorted(maps.Keys(m.rows))
	if q.Reverse {
		slices.Reverse(names)
	}
	after := func(a, b string) bool { return a > b } // a comes later in the walk than b
	if q.Reverse {
		after = func(a, b string) bool { return a < b }
	}
	live, folderDone := 0, ""
	for _, name := range names {
		switch {
		case q.Marker != "" && !after(name, q.Marker), q.From != "" && after(q.From, name),
			q.EndMarker != "" && !after(q.EndMarker, name), !strings.HasPrefix(name, q.Prefix),
			folderDone != "" && strings.HasPrefix(name, folderDone), m.rows[name].Timestamp <= m.deleted:
			continue
		}
		if live == q.Limit {
			return rows, true, end
		}
		rows, end = append(rows, m.rows[name]), name
		if m.rows[name].Deleted {
			continue
		}
		live++
		if rest, ok := strings.CutPrefix(name, q.Prefix); ok && q.Delimiter != "" {
			if i := strings.Index(rest, q.Delimiter); i >= 0 {
				folderDone = q.Prefix + rest[:i+len(q.Delimiter)]
			}
		}
	}
	return rows, false, ""
}

var (
	names = rapid.StringOfN(rapid.SampledFrom([]rune("ab/é")), 1, 5, -1)
	marks = rapid.OneOf(rapid.Just(""), rapid.StringOfN(rapid.SampledFrom([]rune("ab/é\xff")), 0, 4, -1))
)

var queries = rapid.Custom(func(t *rapid.T) peerapi.ListQuery {
	return peerapi.ListQuery{
		Marker: marks.Draw(t, "marker"), From: marks.Draw(t, "from"), EndMarker: marks.Draw(t, "end"), Prefix: marks.Draw(t, "prefix"),
		Delimiter: rapid.SampledFrom([]string{"", "/", "a", "/a"}).Draw(t, "delimiter"),
		Limit:     rapid.IntRange(1, 12).Draw(t, "limit"), Reverse: rapid.Bool().Draw(t, "reverse"),
	}
})

var rows = rapid.Custom(func(t *rapid.T) peerapi.Row {
	r := peerapi.Row{Name: names.Draw(t, "name"), Timestamp: clock.Timestamp(rapid.IntRange(1, 200).Draw(t, "at")), Deleted: rapid.IntRange(0, 2).Draw(t, "dead") == 0}
	if !r.Deleted {
		r.Size = int64(rapid.IntRange(0, 1000).Draw(t, "size"))
		r.ETag = rapid.SampledFrom([]string{"", "d41d8cd98f00b204e9800998ecf8427e", "D41d8cd98f00b204e9800998ecf8427e", "x-3"}).Draw(t, "etag")
		r.ContentType = rapid.SampledFrom([]string{"", "text/plain", "x/y"}).Draw(t, "type")
		r.DeleteAt = int64(rapid.SampledFrom([]int{0, 0, 7, 8, 300}).Draw(t, "expires"))
	}
	return r
})

// TestModel: random merges, deletes, new lives, flushes and crashes; every page and every count is as the plain map says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBed(t, nil)
		k := containerKey("c")
		m := &model{rows: map[string]peerapi.Row{}}
		change := func(c peerapi.IndexChange) error {
			c.Key = k
			_, _, err := b.Change(t.Context(), c)
			return err
		}
		rt.Repeat(map[string]func(*rapid.T){
			"merge": func(rt *rapid.T) {
				batch := rapid.SliceOfN(rows, 1, 8).Draw(rt, "rows")
				err := b.Merge(t.Context(), peerapi.Merge{Key: k, Rows: batch})
				late := slices.ContainsFunc(batch, func(r peerapi.Row) bool { return !r.Deleted && r.Timestamp <= m.deleted })
				if want := !m.exists() || late; errs.Is(err, errs.NotFound) != want || err != nil && !want {
					rt.Fatalf("merge: %v, want a refusal: %v", err, want)
				}
				if m.exists() {
					for _, r := range batch {
						m.merge(r)
					}
				}
			},
			"create": func(rt *rapid.T) {
				at := clock.Timestamp(rapid.IntRange(1, 200).Draw(rt, "at"))
				if err := change(peerapi.IndexChange{Timestamp: at, Create: true}); (err == nil) != (at > m.deleted) {
					rt.Fatalf("create at %s: %v", at, err)
				}
				if at > m.deleted {
					m.created = max(m.created, at)
				}
			},
			"delete": func(rt *rapid.T) {
				at := clock.Timestamp(rapid.IntRange(1, 200).Draw(rt, "at"))
				n, _ := m.count()
				err := change(peerapi.IndexChange{Timestamp: at, Delete: true})
				if done := m.exists() && n == 0 && at > m.created; (err == nil) != done {
					rt.Fatalf("delete at %s of %d names, created %s, deleted %s: %v", at, n, m.created, m.deleted, err)
				}
				if n == 0 || !m.exists() {
					m.deleted = max(m.deleted, at)
				}
			},
			"flush": func(rt *rapid.T) {
				if err := b.Flush(); err != nil {
					rt.Fatal(err)
				}
				m.checkDue(rt, b)
			},
			"crash": func(*rapid.T) { b.crash() },
			"": func(rt *rapid.T) {
				q := queries.Draw(rt, "query")
				q.Key = k
				p, err := b.List(q)
				if err != nil {
					rt.Fatal(err)
				}
				want, more, end := m.page(q)
				if !slices.Equal(p.Rows, want) || !m.oldLife() && (p.More != more || p.End != end) || more && !p.More {
					rt.Fatalf("%+v:\n got %v more %v end %q\nwant %v more %v end %q", q, p.Rows, p.More, p.End, want, more, end)
				}
				if n, bytes := m.count(); p.Info.Count != n || p.Info.Bytes != bytes || p.Info.Exists() != m.exists() {
					rt.Fatalf("info %+v, want %d names of %d bytes", p.Info, n, bytes)
				}
			},
		})
	})
}

// oldLife: there are rows of a life that is over. They are not given, but More and End may still speak of them.
func (m *model) oldLife() bool {
	for _, r := range m.rows {
		if r.Timestamp <= m.deleted {
			return true
		}
	}
	return false
}

// TestPaging_Whole: paging with any limit, either way, gives every name once.
func TestPaging_Whole(t *testing.T) {
	b := newBed(t, nil)
	k := containerKey("c")
	b.make(k, 1)
	for i := range 300 {
		b.merge(k, live(fmt.Sprintf("n%04d", i*7%300), clock.Timestamp(10+i), 1))
		if i == 100 || i == 200 {
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, reverse := range []bool{false, true} {
		for _, limit := range []int{1, 7, 299, 300, 301} {
			seen, marker := 0, ""
			for {
				p, err := b.List(peerapi.ListQuery{Key: k, Marker: marker, Limit: limit, Reverse: reverse})
				if err != nil {
					t.Fatal(err)
				}
				seen += len(p.Rows)
				if !p.More {
					break
				}
				marker = p.End
			}
			if seen != 300 {
				t.Errorf("limit %d, reverse %v: %d names", limit, reverse, seen)
			}
		}
	}
}

func FuzzRow(f *testing.F) {
	f.Add(appendRow(nil, live("x", 5, 10)))
	f.Add(appendRow(nil, peerapi.Row{Name: "c", Timestamp: 3, Count: 5, Counted: 9, Policy: 1, Checksum: "CRC32", Kind: peerapi.KindDLO}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow("x", b, nil)
		if err != nil {
			return
		}
		again, err := decodeRow("x", appendRow(nil, r), nil)
		if err != nil || again != r {
			t.Fatalf("%+v became %+v: %v", r, again, err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	k := containerKey("c")
	for _, e := range []entry{{Merge: &peerapi.Merge{Key: k, Rows: []peerapi.Row{live("x", 5, 10)}}}, {Change: &peerapi.IndexChange{Key: k, Timestamp: 5, Create: true}}} {
		b, err := encode(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e entry
		if decode(b, &e) != nil {
			return
		}
		if _, err := encode(e); err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
	})
}
