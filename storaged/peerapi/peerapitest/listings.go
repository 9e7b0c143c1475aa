package peerapitest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"henge/internal/errs"
	"henge/storaged/peerapi"
)

func row(name string, n int, size int64) peerapi.Row {
	return peerapi.Row{Name: name, Timestamp: at(n), Size: size, ETag: "d41d8cd98f00b204e9800998ecf8427e", ContentType: "text/plain"}
}

func names(p peerapi.ListPage) string {
	var all []string
	for _, r := range p.Rows {
		if r.Deleted {
			all = append(all, "-"+r.Name)
		} else {
			all = append(all, r.Name)
		}
	}
	return strings.Join(all, " ")
}

func testListing(_ *testing.T, s *suite) {
	c := containerKey("c")
	s.change(peerapi.IndexChange{Key: c, Timestamp: at(1), Create: true})
	r := record("o", 10, []byte("hello"))
	r.DeleteAt, r.Kind = 77, peerapi.KindSLO
	out := s.commit(peerapi.Commit{Record: r, ContainerKey: c, Listing: []peerapi.Target{s.Self}}, []byte("hello"))
	if !out.Accepted || out.Listed != 1 || out.Queued != 0 || out.Gone {
		s.Fatalf("put: %+v", out)
	}
	want := peerapi.Row{Name: "o", Timestamp: at(10), Size: 5, ETag: r.ETag, ContentType: "text/plain", DeleteAt: 77, Kind: peerapi.KindSLO}
	if p := s.list(peerapi.ListQuery{Key: c, Limit: 5}); len(p.Rows) != 1 || p.Rows[0] != want || p.Info.Count != 1 || p.Info.Bytes != 5 {
		s.Fatalf("listed: %+v, want %+v", p, want)
	}
	refused := s.commit(peerapi.Commit{Record: record("o", 9, nil), ContainerKey: c, Listing: []peerapi.Target{s.Self}}, nil)
	if refused.Accepted || refused.Listed != 0 {
		s.Fatalf("a refused put: %+v", refused)
	}
	out = s.commit(peerapi.Commit{Record: peerapi.Record{Key: key("o"), Timestamp: at(20), Deleted: true}, ContainerKey: c,
		Listing: []peerapi.Target{s.Self, s.Lost}}, nil)
	if !out.Accepted || out.Listed != 1 || out.Queued != 1 {
		s.Fatalf("delete with a replica lost: %+v", out)
	}
	if p := s.list(peerapi.ListQuery{Key: c, Limit: 5}); names(p) != "-o" || p.Info.Count != 0 || p.Info.Bytes != 0 {
		s.Fatalf("after the delete: %+v", p)
	}
	if u, err := s.Device.Usage(s.ctx); err != nil || u.Pending < 1 {
		s.Fatalf("usage: %+v %v", u, err)
	}
}

func testListingGone(_ *testing.T, s *suite) {
	c := containerKey("c")
	out := s.commit(peerapi.Commit{Record: record("o", 10, nil), ContainerKey: c, Listing: []peerapi.Target{s.Self}}, nil)
	if !out.Accepted || !out.Gone || out.Listed != 0 {
		s.Fatalf("put into no container: %+v", out)
	}
	out = s.commit(peerapi.Commit{Record: record("o", 20, nil), ContainerKey: c, Listing: []peerapi.Target{s.Self}, ContainerCreated: at(5), ContainerPolicy: 3}, nil)
	if !out.Accepted || out.Gone || out.Listed != 1 {
		s.Fatalf("put that brings its container: %+v", out)
	}
	if i := s.index(c); !i.Exists() || i.First != at(5) || i.Policy != 3 || i.Count != 1 {
		s.Fatalf("the container: %+v", i)
	}
}

func testIndex(_ *testing.T, s *suite) {
	c := containerKey("c")
	if i := s.index(c); i.Exists() || i.Created != 0 {
		s.Fatalf("never made: %+v", i)
	}
	_, err := s.Device.ChangeIndex(s.ctx, peerapi.IndexChange{Key: c, Timestamp: at(1)})
	s.kind(err, errs.NotFound)
	meta := func(v string, n int) map[string]peerapi.MetaValue {
		return map[string]peerapi.MetaValue{"x-container-meta-m": {Value: v, Timestamp: at(n)}}
	}
	out := s.change(peerapi.IndexChange{Key: c, Timestamp: at(10), Create: true, Policy: 2, Meta: meta("a", 10), Listing: []peerapi.Target{s.Self}, AccountKey: accountKey})
	if out.Existed || out.Listed != 1 {
		s.Fatalf("made: %+v", out)
	}
	if i := s.index(accountKey); !i.Exists() || i.Count != 1 {
		s.Fatalf("the account: %+v", i)
	}
	if out = s.change(peerapi.IndexChange{Key: c, Timestamp: at(12), Meta: meta("b", 12)}); !out.Existed {
		s.Fatalf("changed: %+v", out)
	}
	s.change(peerapi.IndexChange{Key: c, Timestamp: at(11), Meta: meta("late", 11)})
	if i := s.index(c); i.Meta["x-container-meta-m"].Value != "b" || i.Policy != 2 || i.First != at(10) {
		s.Fatalf("%+v", i)
	}
	if err := s.Device.Merge(s.ctx, peerapi.Merge{Key: c, Rows: []peerapi.Row{row("o", 13, 4)}}); err != nil {
		s.Fatal(err)
	}
	_, err = s.Device.ChangeIndex(s.ctx, peerapi.IndexChange{Key: c, Timestamp: at(14), Delete: true})
	s.kind(err, errs.Conflict)
	if err := s.Device.Merge(s.ctx, peerapi.Merge{Key: c, Rows: []peerapi.Row{{Name: "o", Timestamp: at(15), Deleted: true}}}); err != nil {
		s.Fatal(err)
	}
	s.change(peerapi.IndexChange{Key: c, Timestamp: at(16), Delete: true, Listing: []peerapi.Target{s.Self}, AccountKey: accountKey})
	if i := s.index(accountKey); i.Count != 0 {
		s.Fatalf("the account after the delete: %+v", i)
	}
	s.kind(s.Device.Merge(s.ctx, peerapi.Merge{Key: c, Rows: []peerapi.Row{row("p", 17, 4)}}), errs.NotFound)
	late, err := s.Device.ChangeIndex(s.ctx, peerapi.IndexChange{Key: c, Timestamp: at(15), Create: true})
	s.kind(err, errs.Conflict)
	if late.Newest != at(16) {
		s.Fatalf("a late create learns %+v", late)
	}
	s.change(peerapi.IndexChange{Key: c, Timestamp: at(20), Create: true})
	if p := s.list(peerapi.ListQuery{Key: c, Limit: 9}); names(p) != "" || len(p.Info.Meta) != 0 || p.Info.First != at(20) {
		s.Fatalf("the new life shows %+v", p)
	}
	if _, err := s.Device.ChangeIndex(s.ctx, peerapi.IndexChange{Key: accountKey, Timestamp: at(30), Delete: true}); err == nil {
		s.Log("the account was empty on this device")
	}
}

// testIndexRace: a container is deleted while rows come. Whatever wins, no row is acknowledged into a container that is gone.
func testIndexRace(_ *testing.T, s *suite) {
	for turn := range 20 {
		c := containerKey(fmt.Sprint("c", turn))
		s.change(peerapi.IndexChange{Key: c, Timestamp: at(1), Create: true})
		var merged, deleted error
		var both sync.WaitGroup
		both.Go(func() { merged = s.Device.Merge(s.ctx, peerapi.Merge{Key: c, Rows: []peerapi.Row{row("o", 10, 1)}}) })
		both.Go(func() {
			_, deleted = s.Device.ChangeIndex(s.ctx, peerapi.IndexChange{Key: c, Timestamp: at(9), Delete: true})
		})
		both.Wait()
		i := s.index(c)
		switch {
		case merged == nil && errs.Is(deleted, errs.Conflict) && i.Exists() && i.Count == 1:
		case errs.Is(merged, errs.NotFound) && deleted == nil && !i.Exists() && i.Count == 0:
		default:
			s.Fatalf("turn %d: merge %v, delete %v, then %+v", turn, merged, deleted, i)
		}
	}
}

func testPages(_ *testing.T, s *suite) {
	c := containerKey("c")
	s.change(peerapi.IndexChange{Key: c, Timestamp: at(1), Create: true})
	rows := []peerapi.Row{row("a", 10, 1), row("b/1", 10, 1), row("b/2", 10, 1), row("b/3", 10, 1), row("c", 10, 1), row("d/x/1", 10, 1), row("e", 10, 1)}
	rows[1].Deleted = true
	if err := s.Device.Merge(s.ctx, peerapi.Merge{Key: c, Rows: rows}); err != nil {
		s.Fatal(err)
	}
	for _, v := range []struct {
		q    peerapi.ListQuery
		want string
		end  string
	}{
		{peerapi.ListQuery{Limit: 100}, "a -b/1 b/2 b/3 c d/x/1 e", ""},
		{peerapi.ListQuery{Limit: 2}, "a -b/1 b/2", "b/2"},
		{peerapi.ListQuery{Limit: 6}, "a -b/1 b/2 b/3 c d/x/1 e", ""},
		{peerapi.ListQuery{Limit: 100, Marker: "b/2"}, "b/3 c d/x/1 e", ""},
		{peerapi.ListQuery{Limit: 100, From: "b/2"}, "b/2 b/3 c d/x/1 e", ""},
		{peerapi.ListQuery{Limit: 100, From: "b/2", Marker: "b/2"}, "b/3 c d/x/1 e", ""},
		{peerapi.ListQuery{Limit: 100, Marker: "a", EndMarker: "c"}, "-b/1 b/2 b/3", ""},
		{peerapi.ListQuery{Limit: 100, Prefix: "b/"}, "-b/1 b/2 b/3", ""},
		{peerapi.ListQuery{Limit: 100, Delimiter: "/"}, "a -b/1 b/2 c d/x/1 e", ""},
		{peerapi.ListQuery{Limit: 2, Delimiter: "/"}, "a -b/1 b/2", "b/2"},
		{peerapi.ListQuery{Limit: 100, Prefix: "d/", Delimiter: "/"}, "d/x/1", ""},
		{peerapi.ListQuery{Limit: 100, Reverse: true}, "e d/x/1 c b/3 b/2 -b/1 a", ""},
		{peerapi.ListQuery{Limit: 100, Reverse: true, Delimiter: "/"}, "e d/x/1 c b/3 a", ""},
		{peerapi.ListQuery{Limit: 2, Reverse: true, Marker: "e"}, "d/x/1 c", "c"},
		{peerapi.ListQuery{Limit: 100, Reverse: true, Marker: "c", EndMarker: "a"}, "b/3 b/2 -b/1", ""},
		{peerapi.ListQuery{Limit: 100, Reverse: true, From: "c"}, "c b/3 b/2 -b/1 a", ""},
		{peerapi.ListQuery{Limit: 100, Reverse: true, Prefix: "b/"}, "b/3 b/2 -b/1", ""},
	} {
		v.q.Key = c
		p := s.list(v.q)
		if names(p) != v.want || p.End != v.end || p.More != (v.end != "") {
			s.Errorf("%+v: %s, more %v, end %q; want %s, end %q", v.q, names(p), p.More, p.End, v.want, v.end)
		}
	}
}

// testLargePage: a page larger than one message comes whole, and so do many rows at once.
func testLargePage(_ *testing.T, s *suite) {
	c := containerKey("c")
	s.change(peerapi.IndexChange{Key: c, Timestamp: at(1), Create: true})
	rows := make([]peerapi.Row, 2500)
	for i := range rows {
		rows[i] = row(fmt.Sprintf("%05d", i)+strings.Repeat("x", 1000), 10, int64(i))
	}
	if err := s.Device.Merge(s.ctx, peerapi.Merge{Key: c, Rows: rows}); err != nil {
		s.Fatal(err)
	}
	p := s.list(peerapi.ListQuery{Key: c, Limit: 2400})
	if len(p.Rows) != 2400 || !p.More || p.End != rows[2399].Name || p.Info.Count != 2500 {
		s.Fatalf("%d rows, more %v, info %+v", len(p.Rows), p.More, p.Info)
	}
	for i, r := range p.Rows {
		if r != rows[i] {
			s.Fatalf("row %d is %+v", i, r)
		}
	}
}
