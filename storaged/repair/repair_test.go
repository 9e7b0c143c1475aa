package repair_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/repair"
	"henge/storaged/server/servertest"
)

// rings place by the cluster's rule: 2^8 partitions, all rings alike.
type rings struct{ c *servertest.Cluster }

func (r rings) Account() repair.Ring   { return r }
func (r rings) Container() repair.Ring { return r }
func (r rings) Objects() iter.Seq2[uint8, repair.Ring] {
	return func(yield func(uint8, repair.Ring) bool) { yield(0, r) }
}
func (r rings) Power() uint8                         { return 8 }
func (r rings) Partition(h ring.Hash) ring.Partition { return ring.Partition(h[0]) }
func (r rings) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, _ := r.c.Replicas(ring.Hash{byte(p)})
	return append(dst, primaries...)
}

// story is a cluster of four peers with a device each, and what is told of it.
type story struct {
	*testing.T
	*servertest.Cluster
	clock *clock.Manual
	now   clock.Timestamp
}

func newStory(t *testing.T) *story {
	start := time.Now()
	s := &story{T: t, Cluster: servertest.NewCluster(t, 4, 1), clock: clock.NewManual(start), now: clock.FromTime(start.Add(-time.Hour))}
	return s
}

// next is the next write's timestamp.
func (s *story) next() clock.Timestamp {
	s.now = clock.FromTime(s.now.Time().Add(time.Millisecond))
	return s.now
}

// pass repairs one device.
func (s *story) pass(t peerapi.Target) repair.Report {
	s.Helper()
	r := repair.New(repair.Config{Devices: s.Seen(t.Peer), Rings: rings{s.Cluster}, Clock: s.clock, Logger: slog.New(slog.DiscardHandler), Counters: repair.NoCounters{}})
	return r.Pass(s.Context(), s.Locals(t.Peer)[0])
}

// primaries of an object's name, and the first handoff.
func (s *story) primaries(object string) ([]peerapi.Target, peerapi.Target) {
	all, handoffs := s.Replicas(s.Key("a", "c", object).Hash)
	return all, handoffs[0]
}

func (s *story) record(object string, at clock.Timestamp, data []byte) peerapi.Record {
	return peerapi.Record{Key: s.Key("a", "c", object), Timestamp: at, Size: int64(len(data)), ETag: fmt.Sprint(len(data)), ContentType: "text/plain",
		Meta: map[string]string{"x-object-meta-color": "blue"}}
}

// put writes an object at some devices.
func (s *story) put(object string, at clock.Timestamp, data []byte, where ...peerapi.Target) {
	s.Helper()
	for _, t := range where {
		out, err := s.Device(t).Commit(s.Context(), peerapi.Commit{Record: s.record(object, at, data)}, data)
		if err != nil || !out.Accepted {
			s.Fatalf("put %s at %v: %+v, %v", object, t, out, err)
		}
	}
}

func (s *story) delete(object string, at clock.Timestamp, where ...peerapi.Target) {
	s.Helper()
	for _, t := range where {
		out, err := s.Device(t).Commit(s.Context(), peerapi.Commit{Record: peerapi.Record{Key: s.Key("a", "c", object), Timestamp: at, Deleted: true}}, nil)
		if err != nil || !out.Accepted {
			s.Fatalf("delete %s at %v: %+v, %v", object, t, out, err)
		}
	}
}

// holds checks that a device has an object, whole.
func (s *story) holds(t peerapi.Target, object string, at clock.Timestamp, data []byte) {
	s.Helper()
	st, body, err := s.Device(t).Open(s.Context(), s.Key("a", "c", object), at, peerapi.Whole)
	if err != nil {
		s.Fatalf("%s at %v: %v", object, t, err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, data) || st.Record.Meta["x-object-meta-color"] != "blue" {
		s.Fatalf("%s at %v: %d bytes, %+v, %v", object, t, len(got), st.Record, err)
	}
}

// nothing checks that a device holds nothing for an object.
func (s *story) nothing(t peerapi.Target, object string) {
	s.Helper()
	if st, err := s.Device(t).Head(s.Context(), s.Key("a", "c", object)); err != nil || st.Record != nil {
		s.Fatalf("%s at %v: %+v, %v", object, t, st.Record, err)
	}
}

func TestPass_TakesWhatTheDeviceMissed(t *testing.T) {
	s := newStory(t)
	small, large := []byte("small"), bytes.Repeat([]byte("large "), 50_000)
	const objects = 40
	at := map[string]clock.Timestamp{}
	for i := range objects {
		name := fmt.Sprint("o", i)
		all, _ := s.primaries(name)
		at[name] = s.next()
		s.put(name, at[name], []byte("old"), all...)
		at[name] = s.next()
		switch i % 4 {
		case 0: // the third slept
			s.put(name, at[name], small, all[0], all[1])
		case 1:
			s.put(name, at[name], large, all[1], all[2])
		case 2:
			s.delete(name, at[name], all[0], all[2])
		case 3: // only one heard of it: a write that failed for its client, or is under way
			s.put(name, at[name], small, all[1])
		}
	}
	for _, target := range s.Targets() {
		if rep := s.pass(target); !rep.Complete {
			t.Fatalf("%v: %+v", target, rep)
		}
	}
	for i := range objects {
		name := fmt.Sprint("o", i)
		all, _ := s.primaries(name)
		for _, target := range all {
			switch i % 4 {
			case 0, 3:
				s.holds(target, name, at[name], small)
			case 1:
				s.holds(target, name, at[name], large)
			case 2:
				if st, err := s.Device(target).Head(t.Context(), s.Key("a", "c", name)); err != nil || st.Timestamp() != at[name] || st.Exists() {
					t.Fatalf("%s at %v: %+v, %v", name, target, st.Record, err)
				}
			}
		}
	}
	for _, target := range s.Targets() {
		if rep := s.pass(target); rep.Pulled+rep.Pushed+rep.Dropped+rep.Missing != 0 || !rep.Complete {
			t.Fatalf("there is more to do at %v: %+v", target, rep)
		}
	}
}

func TestPass_LeavesWritesUnderWayAlone(t *testing.T) {
	s := newStory(t)
	all, _ := s.primaries("o")
	s.put("o", clock.FromTime(s.clock.Now()), []byte("x"), all[0], all[1])
	if rep := s.pass(all[2]); rep.Pulled != 0 {
		t.Fatalf("%+v", rep)
	}
	s.clock.Advance(time.Minute)
	if rep := s.pass(all[2]); rep.Pulled != 1 {
		t.Fatalf("%+v", rep)
	}
}

func TestPass_APromiseStandsInTheWay(t *testing.T) {
	s := newStory(t)
	all, _ := s.primaries("o")
	at := s.next()
	s.put("o", at, []byte("x"), all[0], all[1])
	if out, _, err := s.Device(all[2]).Prepare(t.Context(), s.Key("a", "c", "o"), s.next()); err != nil || !out.Accepted {
		t.Fatal(out, err)
	}
	s.pass(all[2])
	s.nothing(all[2], "o")
}

func TestPass_BringsHandoffsHome(t *testing.T) {
	s := newStory(t)
	large := bytes.Repeat([]byte("large "), 50_000)
	all, handoff := s.primaries("o")
	s.Kill(all[2].Peer)
	at := s.next()
	s.put("o", at, large, all[0], all[1], handoff)
	if rep := s.pass(handoff); rep.Complete || rep.Pushed != 0 || rep.Dropped != 0 {
		t.Fatalf("while the primary is down: %+v", rep)
	}
	s.holds(handoff, "o", at, large)
	s.Revive(all[2].Peer)
	if rep := s.pass(handoff); rep.Pushed != 1 || rep.Dropped != 1 || !rep.Complete {
		t.Fatalf("%+v", rep)
	}
	s.holds(all[2], "o", at, large)
	s.nothing(handoff, "o")
}

// TestPass_AForgottenDeleteStaysForgotten: a copy kept for a primary that was down for longer than deletes are remembered does not come back.
func TestPass_AForgottenDeleteStaysForgotten(t *testing.T) {
	s := newStory(t)
	all, handoff := s.primaries("o")
	at := s.next()
	cm := peerapi.Commit{Record: s.record("o", at, nil), Handoff: &all[2]}
	if out, err := s.Device(handoff).Commit(t.Context(), cm, nil); err != nil || !out.Accepted {
		t.Fatal(out, err)
	}
	s.clock.Advance(8 * 24 * time.Hour)
	if rep := s.pass(handoff); rep.Pushed != 0 || rep.Dropped != 1 {
		t.Fatalf("%+v", rep)
	}
	for _, target := range all {
		s.nothing(target, "o")
	}
	// What lies at the wrong place because the ring changed is old, too, and must not be lost.
	s.put("moved", s.next(), []byte("x"), s.misplaced("moved"))
	if rep := s.pass(s.misplaced("moved")); rep.Pushed != 3 || rep.Dropped != 1 {
		t.Fatalf("%+v", rep)
	}
}

func (s *story) misplaced(object string) peerapi.Target {
	_, handoff := s.primaries(object)
	return handoff
}

func TestReplacedDisk_SpeaksForNothingBeforeItIsFilled(t *testing.T) {
	s := newStory(t)
	all, _ := s.primaries("o")
	at := s.next()
	s.put("o", at, []byte("x"), all[1], all[2])
	s.ReplaceDisk(all[2])
	if rep := s.pass(all[2]); !rep.Complete {
		t.Fatalf("%+v", rep)
	}
	d := s.Device(all[2])
	key := s.Key("a", "c", "o")
	for name, call := range map[string]func() error{
		"head":    func() error { _, err := d.Head(t.Context(), key); return err },
		"prepare": func() error { _, _, err := d.Prepare(t.Context(), key, s.next()); return err },
		"commit": func() error {
			_, err := d.Commit(t.Context(), peerapi.Commit{Record: s.record("o", s.next(), nil)}, nil)
			return err
		},
		"list": func() error {
			_, err := d.List(t.Context(), peerapi.ListQuery{Key: s.Key("a", "c", ""), Limit: 1})
			return err
		},
	} {
		if err := call(); !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s before it is filled: %v", name, err)
		}
	}
	s.clock.Advance(time.Minute) // rounds that counted on its promises are over
	s.Kill(all[1].Peer)
	if rep := s.pass(all[2]); rep.Complete {
		t.Fatalf("complete without all fellows: %+v", rep)
	}
	if _, err := s.Device(all[2]).Head(t.Context(), key); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("it speaks, and has not heard all: %v", err)
	}
	s.Revive(all[1].Peer)
	if rep := s.pass(all[2]); !rep.Complete {
		t.Fatalf("%+v", rep)
	}
	s.holds(all[2], "o", at, []byte("x"))
	s.Kill(all[2].Peer)
	s.Revive(all[2].Peer)
	s.holds(all[2], "o", at, []byte("x"))
}

func TestLongAbsence_BringsNoDeadBack(t *testing.T) {
	s := newStory(t)
	all, _ := s.primaries("dead")
	away := all[0]
	s.put("dead", s.next(), []byte("x"), away) // deleted since, and forgotten by the others
	kept := s.now
	s.put("dead too", s.next(), []byte("x"), away)
	alive := s.sameDevice(away)
	s.put(alive, kept, []byte("y"), away)
	others, _ := s.primaries(alive)
	s.put(alive, kept, []byte("y"), slices.DeleteFunc(others, func(t peerapi.Target) bool { return t == away })...)
	s.Kill(away.Peer)
	s.clock.Advance(8 * 24 * time.Hour)
	s.SetClock(s.clock)
	s.Revive(away.Peer)
	if _, err := s.Device(away).Head(t.Context(), s.Key("a", "c", "dead")); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("it speaks for a past that is over: %v", err)
	}
	for _, other := range s.Targets() {
		if other != away {
			s.pass(other)
		}
	}
	if rep := s.pass(away); !rep.Complete {
		t.Fatalf("%+v", rep)
	}
	s.clock.Advance(time.Minute)
	s.pass(away)
	for _, target := range all {
		s.nothing(target, "dead")
	}
	s.holds(away, alive, kept, []byte("y"))
}

// sameDevice finds a name of which a device is a primary.
func (s *story) sameDevice(t peerapi.Target) string {
	for i := range 1000 {
		name := fmt.Sprint("alive-", i)
		if all, _ := s.primaries(name); slices.Contains(all, t) {
			return name
		}
	}
	s.Fatal("no name")
	return ""
}

func TestPass_Listings(t *testing.T) {
	s := newStory(t)
	ctx := context.Background()
	key := s.Key("a", "c", "")
	all, _ := s.Replicas(key.Hash)
	made := s.next()
	change := func(target peerapi.Target, c peerapi.IndexChange) {
		t.Helper()
		if _, err := s.Device(target).ChangeIndex(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	merge := func(target peerapi.Target, key peerapi.Key, rows ...peerapi.Row) {
		t.Helper()
		if err := s.Device(target).Merge(ctx, peerapi.Merge{Key: key, Rows: rows, Created: made}); err != nil {
			t.Fatal(err)
		}
	}
	meta := map[string]peerapi.MetaValue{"x-container-meta-color": {Value: "blue", Timestamp: s.next()}}
	for _, target := range all[:2] {
		change(target, peerapi.IndexChange{Key: key, Timestamp: made, Create: true, Meta: meta})
	}
	for i := range 2500 { // more than a page; each row at two replicas, which two is different
		row := peerapi.Row{Name: fmt.Sprintf("o%05d", i), Timestamp: s.next(), Size: 10, ETag: "x"}
		merge(all[i%3], key, row)
		merge(all[(i+1)%3], key, row)
	}
	gone := peerapi.Row{Name: "o00003", Timestamp: s.next(), Deleted: true}
	merge(all[0], key, gone)
	merge(all[1], key, gone)
	for _, target := range all {
		if rep := s.pass(target); !rep.Complete {
			t.Fatalf("%+v", rep)
		}
	}
	for _, target := range all {
		info, err := s.Device(target).Index(ctx, key)
		if err != nil || info.Count != 2499 || info.Bytes != 24990 || info.Meta["x-container-meta-color"].Value != "blue" || info.First != made {
			t.Fatalf("%v: %+v, %v", target, info, err)
		}
	}
}

func TestPass_ContainersDeleted(t *testing.T) {
	for _, deletedAt := range []int{1, 2} {
		t.Run(fmt.Sprintf("at %d of 3", deletedAt), func(t *testing.T) {
			s := newStory(t)
			ctx := context.Background()
			key := s.Key("a", "c", "")
			all, _ := s.Replicas(key.Hash)
			made, row := s.next(), peerapi.Row{Name: "o", Timestamp: s.next(), Size: 1}
			for i, target := range all {
				if _, err := s.Device(target).ChangeIndex(ctx, peerapi.IndexChange{Key: key, Timestamp: made, Create: true}); err != nil {
					t.Fatal(err)
				}
				if i >= deletedAt { // those that the deletion does not reach hold a row that was deleted elsewhere
					if err := s.Device(target).Merge(ctx, peerapi.Merge{Key: key, Rows: []peerapi.Row{row}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			deleted := s.next()
			for _, target := range all[:deletedAt] {
				if _, err := s.Device(target).ChangeIndex(ctx, peerapi.IndexChange{Key: key, Timestamp: deleted, Delete: true}); err != nil {
					t.Fatal(err)
				}
			}
			s.pass(all[2])
			info, err := s.Device(all[2]).Index(ctx, key)
			if err != nil || info.Exists() == (deletedAt == 2) || info.Count != int64(2-deletedAt) {
				t.Fatalf("%+v, %v", info, err)
			}
		})
	}
}

// TestLostListing: a device whose listings are gone, and whose objects are there, lists nothing before it has them again.
func TestLostListing_IsFilled(t *testing.T) {
	s := newStory(t)
	key := s.Key("a", "c", "")
	all, _ := s.Replicas(key.Hash)
	object := s.sameDevice(all[2])
	s.put(object, s.next(), []byte("x"), all[2])
	made := s.next()
	for _, target := range all {
		row := peerapi.Row{Name: "o", Timestamp: made + 1<<20, Size: 1}
		if err := s.Device(target).Merge(t.Context(), peerapi.Merge{Key: key, Rows: []peerapi.Row{row}, Created: made}); err != nil {
			t.Fatal(err)
		}
	}
	s.LoseListing(all[2])
	if _, err := s.Device(all[2]).List(t.Context(), peerapi.ListQuery{Key: key, Limit: 10}); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("it lists what it does not know: %v", err)
	}
	s.clock.Advance(time.Minute)
	if rep := s.pass(all[2]); !rep.Complete {
		t.Fatalf("%+v", rep)
	}
	page, err := s.Device(all[2]).List(t.Context(), peerapi.ListQuery{Key: key, Limit: 10})
	if err != nil || len(page.Rows) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
}
