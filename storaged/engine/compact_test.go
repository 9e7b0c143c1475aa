package engine_test

import (
	"fmt"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/peerapi"
)

// opened is a device of its own, closed with the test.
func opened(t *testing.T, cfg engine.Config) *engine.Store {
	t.Helper()
	e, err := engine.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func reopened(t *testing.T, e *engine.Store, cfg engine.Config) *engine.Store {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return opened(t, cfg)
}

func put(t *testing.T, e engine.Engine, object string, at clock.Timestamp, data []byte) {
	t.Helper()
	out, err := e.Commit(t.Context(), engine.Write{Record: enginetest.Record(object, at)}, data)
	if err != nil || !out.Accepted {
		t.Fatalf("put %s at %d: %+v, %v", object, at, out, err)
	}
}

func remove(t *testing.T, e engine.Engine, object string, at clock.Timestamp) {
	t.Helper()
	out, err := e.Commit(t.Context(), engine.Write{Record: peerapi.Record{Key: enginetest.Key(object), Timestamp: at, Deleted: true}}, nil)
	if err != nil || !out.Accepted {
		t.Fatalf("remove %s at %d: %+v, %v", object, at, out, err)
	}
}

func want(t *testing.T, e engine.Engine, object string, v version) {
	t.Helper()
	got, _, err := read(e, object)
	if err != nil || !got.equal(v) {
		t.Fatalf("%s: version %d (%d bytes), %v, want %d (%d bytes)", object, got.at, len(got.data), err, v.at, len(v.data))
	}
}

func logFiles(t *testing.T, fsys vfs.FS, dir string) (segments int) {
	t.Helper()
	names, err := fsys.List(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if len(n) == len("00000001.seg") {
			segments++
		}
	}
	return segments
}

func TestCompact_KeepsWhatCounts(t *testing.T) {
	disk := vfs.NewSim()
	cfg := config(disk, "/disk")
	e := opened(t, cfg)
	var rows []engine.Position
	for i := range 200 {
		put(t, e, fmt.Sprint("o", i%20), clock.Timestamp(100+i), enginetest.Data(i, 40_000))
		if i < 8 {
			p, err := e.Journal().Append(t.Context(), engine.StreamRows, fmt.Append(nil, "row", i))
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, p)
		}
	}
	for _, object := range []string{"o0", "promised"} {
		if out, _, err := e.Prepare(t.Context(), enginetest.Key(object), 1000); err != nil || !out.Accepted {
			t.Fatal(out, err)
		}
	}
	remove(t, e, "o19", 500)
	if err := e.Journal().Release(engine.StreamRows, rows[3]); err != nil {
		t.Fatal(err)
	}
	for i := range 60 { // what was written above becomes old
		put(t, e, "other", clock.Timestamp(1000+i), enginetest.Data(i, 60_000))
	}
	before := logFiles(t, disk, "/disk")
	for range 3 {
		if _, err := e.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if after := logFiles(t, disk, "/disk"); after > 4 || before < after {
		t.Fatalf("%d segments, then %d; about 0.8 MB are needed", before, after)
	}
	for range 2 {
		for i := range 19 {
			want(t, e, fmt.Sprint("o", i), version{at: clock.Timestamp(280 + i), data: enginetest.Data(180+i, 40_000)})
		}
		want(t, e, "o19", version{at: 500, deleted: true})
		for _, object := range []string{"o0", "promised"} {
			if s, err := e.Head(enginetest.Key(object)); err != nil || s.Promise != 1000 {
				t.Fatalf("%s: %+v, %v", object, s, err)
			}
		}
		e = reopened(t, e, cfg)
		got := ""
		err := e.Journal().Replay(engine.StreamRows, func(p engine.Position, b []byte) error {
			got += fmt.Sprintf("%d=%s ", p, b)
			return nil
		})
		if wanted := fmt.Sprintf("%d=row4 %d=row5 %d=row6 %d=row7 ", rows[4], rows[5], rows[6], rows[7]); err != nil || got != wanted {
			t.Fatalf("journal %s, %v, want %s", got, err, wanted)
		}
	}
}

func TestCompact_ForgetsOldTombstones(t *testing.T) {
	disk := vfs.NewSim()
	cfg := config(disk, "/disk")
	now := clock.NewManual(time.Unix(1_800_000_000, 0))
	cfg.Clock, cfg.ReclaimAge = now, time.Hour
	e := opened(t, cfg)
	stamp := func() clock.Timestamp { now.Advance(time.Millisecond); return clock.FromTime(now.Now()) }
	fill := func() {
		for i := range 40 {
			put(t, e, "filler", stamp(), enginetest.Data(i, 60_000))
		}
		for range 3 {
			if _, err := e.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := stamp()
	put(t, e, "a", first, enginetest.Data(1, 1000))
	gone := stamp()
	remove(t, e, "a", gone)
	fill()
	e = reopened(t, e, cfg)
	want(t, e, "a", version{at: gone, deleted: true})
	now.Advance(2 * time.Hour)
	fill()
	for range 2 {
		if s, err := e.Head(enginetest.Key("a")); err != nil || s.Record != nil {
			t.Fatalf("a: %+v, %v: an old tombstone is to be forgotten, and nothing to come back", s.Record, err)
		}
		e = reopened(t, e, cfg)
	}
}
