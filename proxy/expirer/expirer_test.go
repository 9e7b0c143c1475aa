package expirer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
)

// bed is three replicas of one container, each with an expirer of its own, over objects that only note what is asked of them.
type bed struct {
	clock *clock.Manual
	rows  []peerapi.DueRow
	down  map[string]bool

	mu      sync.Mutex // guards the fields below
	removed []string
	fail    error
}

type replica struct {
	bed  *bed
	name string
}

func (r replica) Self() peerapi.Target { return peerapi.Target{Peer: r.name, Device: "d"} }

// Due pages by index.
func (r replica) Due(_ context.Context, now int64, after []byte, limit int) (due []peerapi.DueRow, next []byte, err error) {
	from := 0
	if after != nil {
		from = int(after[0])<<8 | int(after[1])
	}
	for i := from; i < len(r.bed.rows) && r.bed.rows[i].Row.DeleteAt <= now; i++ {
		if len(due) == min(limit, 3) {
			return due, []byte{byte(i >> 8), byte(i)}, nil
		}
		due = append(due, r.bed.rows[i])
	}
	return due, nil, nil
}

// Expire is Objects'.
func (b *bed) Expire(_ context.Context, _, _ string, row peerapi.Row) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return false, b.fail
	}
	b.removed = append(b.removed, row.Name)
	return true, nil
}

func (b *bed) Expired() {}
func (b *bed) Stale()   {}
func (b *bed) Failed()  {}

var targets = []peerapi.Target{{Peer: "a", Device: "d"}, {Peer: "b", Device: "d"}, {Peer: "c", Device: "d"}}

func (b *bed) at(peer string) *Expirer {
	return New(Config{
		Devices: func() []Device { return []Device{replica{b, peer}} }, Objects: b, Counters: b, Clock: b.clock, Logger: slog.New(slog.DiscardHandler),
		Replicas: func(peerapi.Key) []peerapi.Target { return targets }, Up: func(t peerapi.Target) bool { return !b.down[t.Peer] },
	})
}

func (b *bed) sweep(t *testing.T, e *Expirer) int {
	t.Helper()
	b.removed = nil
	if err := e.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	return len(b.removed)
}

const rows = 40

func newBed() *bed {
	b := &bed{clock: clock.NewManual(time.Unix(1000, 0)), down: map[string]bool{}}
	for i := range rows {
		b.rows = append(b.rows, peerapi.DueRow{Container: peerapi.Key{Account: "a", Container: "c", Hash: ring.Hash{1}}, Row: peerapi.Row{Name: fmt.Sprint("o", i), DeleteAt: 1001}})
	}
	return b
}

func TestSweep_EachRowHasOneWhoActs(t *testing.T) {
	b := newBed()
	all := []*Expirer{b.at("a"), b.at("b"), b.at("c")}
	if n := b.sweep(t, all[0]); n != 0 {
		t.Fatalf("%d rows were removed before their time", n)
	}
	b.clock.Advance(time.Second)
	var removed []string
	for _, e := range all {
		if n := b.sweep(t, e); n == 0 || n == rows {
			t.Errorf("one of three removed %d of %d", n, rows)
		}
		removed = append(removed, b.removed...)
	}
	slices.Sort(removed)
	if n := len(slices.Compact(removed)); n != rows || len(removed) != rows {
		t.Fatalf("%d rows were removed %d times", n, len(removed))
	}
}

func TestSweep_OthersActForOneThatIsDownOrIdle(t *testing.T) {
	b := newBed()
	b.clock.Advance(time.Second)
	b.down["a"] = true
	if n := b.sweep(t, b.at("b")) + b.sweep(t, b.at("c")); n != rows {
		t.Fatalf("with one down two removed %d of %d", n, rows)
	}
	b.down["a"] = false
	b.clock.Advance(2 * yield)
	if n := b.sweep(t, b.at("c")); n != rows {
		t.Fatalf("when all were idle for long one removed %d of %d", n, rows)
	}
	stranger := New(Config{
		Devices: func() []Device { return []Device{replica{b, "x"}} }, Objects: b, Counters: b, Clock: b.clock, Logger: slog.New(slog.DiscardHandler),
		Replicas: func(peerapi.Key) []peerapi.Target { return targets }, Up: func(peerapi.Target) bool { return true },
	})
	if n := b.sweep(t, stranger); n != 0 {
		t.Fatalf("a device that is no replica removed %d", n)
	}
}

func TestSweep_WaitsBeforeItTriesAgain(t *testing.T) {
	b := newBed()
	b.clock.Advance(2*yield + time.Second)
	e := b.at("a")
	b.fail = errs.New(errs.Unavailable, "no quorum")
	if err := e.Sweep(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("a sweep in which all failed ends with %v", err)
	}
	b.fail = nil
	if n := b.sweep(t, e); n != 0 {
		t.Fatalf("%d were tried again at once", n)
	}
	b.clock.Advance(settle)
	if n := b.sweep(t, e); n != rows {
		t.Fatalf("%d of %d were tried again later", n, rows)
	}
	if behind := e.Behind()["d"]; behind != 2*yield+settle {
		t.Errorf("it says that it is %v behind", behind)
	}
}

func TestSweep_EndsWithItsContext(t *testing.T) {
	b := newBed()
	b.clock.Advance(2*yield + time.Second)
	e := b.at("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Sweep(ctx); err == nil {
		t.Fatal("a sweep that was ended says that it did all")
	}
}
