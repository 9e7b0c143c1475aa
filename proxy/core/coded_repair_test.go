package core_test

import (
	"bytes"
	"fmt"
	"iter"
	"log/slog"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/job"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/repair"
	"henge/storaged/server/servertest"
)

// codedRepairRings show repair the rings of codedRings.
type codedRepairRings struct{ repairRings }

func (r codedRepairRings) Objects() iter.Seq2[uint8, repair.Ring] {
	return func(yield func(uint8, repair.Ring) bool) { yield(0, codedRepairRing{r.repairRings, 3}) }
}

func (r codedRepairRings) Account() repair.Ring   { return codedRepairRing{r.repairRings, 2} }
func (r codedRepairRings) Container() repair.Ring { return codedRepairRing{r.repairRings, 2} }

type codedRepairRing struct {
	repairRings
	more int // replicas than three
}

func (r codedRepairRing) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, handoffs := r.c.Replicas(ring.Hash{byte(p)})
	return append(append(dst, primaries...), handoffs[:r.more]...)
}

func codedRepair(c *servertest.Cluster, peer string, now clock.Clock) *repair.Repair {
	return repair.New(repair.Config{Devices: c.Seen(peer), Rings: codedRepairRings{repairRings{c}}, Clock: now, Logger: slog.New(slog.DiscardHandler),
		Counters: repair.NoCounters{}, Settle: time.Nanosecond})
}

// repairAll passes over every device until nothing is left to be done.
func repairAll(t *testing.T, c *servertest.Cluster, now clock.Clock) (pulled, pushed, dropped int) {
	t.Helper()
	for range 10 {
		done := 0
		for _, target := range c.Targets() {
			for _, l := range c.Locals(target.Peer) {
				rep := codedRepair(c, target.Peer, now).Pass(t.Context(), l)
				pulled, pushed, dropped = pulled+rep.Pulled, pushed+rep.Pushed, dropped+rep.Dropped
				done += rep.Pulled + rep.Pushed + rep.Dropped + rep.Missing
			}
		}
		if done == 0 {
			return pulled, pushed, dropped
		}
	}
	t.Error("repair comes to no end")
	return pulled, pushed, dropped
}

func TestCoded_LostDisksAreRebuilt(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	now := &shiftedClock{}
	c.SetClock(now)
	s := codedProxy(t, c, 1, now, "")
	mustMake(t, s, "c")
	for _, n := range codedSizes {
		putBytes(t, s, fmt.Sprint(n), noise(n), int64(n))
	}
	for round, lost := range [][2]int{{1, 4}, {0, 2}, {3, 5}} {
		for _, i := range lost {
			c.ReplaceDisk(c.Targets()[i])
		}
		for _, n := range codedSizes {
			wantBody(t, s, fmt.Sprint(n), string(noise(n)))
		}
		now.by.Add(int64(time.Minute))
		if pulled, _, _ := repairAll(t, c, now); pulled < 2*len(codedSizes) {
			t.Errorf("round %d: %d versions pulled", round, pulled)
		}
		now.by.Add(int64(time.Minute))
		repairAll(t, c, now)
	}
	if want := 6 * (len(codedSizes) - 1); fragmentsHeld(t, c) != want {
		t.Errorf("%d fragments, want %d", fragmentsHeld(t, c), want)
	}
}

func TestCoded_HandoffsGoHome(t *testing.T) {
	c := servertest.NewCluster(t, 8, 1)
	now := &shiftedClock{}
	s := codedProxy(t, c, 1, now, "")
	mustMake(t, s, "c")
	c.Kill("p2")
	c.Kill("p5")
	for _, n := range codedSizes {
		putBytes(t, s, fmt.Sprint(n), noise(n), int64(n))
	}
	c.Revive("p2")
	c.Revive("p5")
	now.by.Add(int64(time.Minute))
	if _, _, dropped := repairAll(t, c, now); dropped == 0 {
		t.Error("no handoff gave anything up")
	}
	for _, pair := range [][2]string{{"p1", "p3"}, {"p4", "p6"}, {"p7", "p8"}} {
		c.Kill(pair[0])
		c.Kill(pair[1])
		for _, n := range codedSizes {
			wantBody(t, s, fmt.Sprint(n), string(noise(n)))
		}
		c.Revive(pair[0])
		c.Revive(pair[1])
	}
}

func TestCoded_LinearizableWhileRepairRuns(t *testing.T) {
	linearizableOver(t, 7, codedProxy, func(c *servertest.Cluster) {
		for _, target := range c.Targets() {
			for _, l := range c.Locals(target.Peer) {
				codedRepair(c, target.Peer, clock.System{}).Pass(t.Context(), l)
			}
		}
	})
}

// Fragments whose writer died before it wrote the record are collected, when they are old; those of an object that is there never are.
func TestCoded_OrphansAreCollected(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	now := &shiftedClock{}
	c.SetClock(now)
	s := codedProxy(t, c, 1, now, "")
	mustMake(t, s, "c")
	putBytes(t, s, "stays", noise(300_000), 300_000)
	c.SetFault(func(call servertest.Call) error {
		if call.Key.Object == "dies" {
			return errs.New(errs.Unavailable, "the writer is dead")
		}
		return nil
	})
	_, err := s.Put(t.Context(), ref("dies"), putOf(noise(300_000)))
	wantKind(t, err, errs.Unavailable)
	c.SetFault(func(servertest.Call) error { return nil })
	audit := func() {
		for _, target := range c.Targets() {
			for _, l := range c.Locals(target.Peer) {
				r := codedRepair(c, target.Peer, now)
				if err := r.AuditPart(t.Context(), l, 0, 0, job.NewThrottle(1<<40)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	audit()
	if n := fragmentsHeld(t, c); n != 12 {
		t.Fatalf("%d fragments are held, want 12", n)
	}
	now.by.Add(int64(8 * 24 * time.Hour))
	audit()
	if n := fragmentsHeld(t, c); n != 6 {
		t.Errorf("%d fragments are held, want 6", n)
	}
	wantBody(t, s, "stays", string(noise(300_000)))
}

func putOf(body []byte) core.PutRequest {
	return core.PutRequest{Body: bytes.NewReader(body), Size: int64(len(body))}
}
