package core_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/proxy/expirer"
	"henge/storaged/peerapi"
	"henge/storaged/server/servertest"
)

// expiries counts what an expirer does.
type expiries struct{ expired, stale, failed atomic.Int64 }

func (e *expiries) Expired() { e.expired.Add(1) }
func (e *expiries) Stale()   { e.stale.Add(1) }
func (e *expiries) Failed()  { e.failed.Add(1) }

// expirerOf is the expirer of one peer.
func expirerOf(c *servertest.Cluster, s *core.Core, peer string, now clock.Clock, replicas core.Rings) (*expirer.Expirer, *expiries) {
	n := &expiries{}
	return expirer.New(expirer.Config{
		Devices: func() []expirer.Device {
			var all []expirer.Device
			for _, l := range c.Locals(peer) {
				all = append(all, l)
			}
			return all
		},
		Objects: s, Up: c.Up, Clock: now, Logger: slog.New(slog.DiscardHandler), Counters: n,
		Replicas: func(k peerapi.Key) []peerapi.Target {
			r := replicas.Container()
			return r.Primaries(r.Partition(k.Hash), nil)
		},
	}), n
}

// sweepExpired lets every peer that lives remove what has expired once, and gives how many objects they removed, and how many rows they put right.
func sweepExpired(t *testing.T, c *servertest.Cluster, s *core.Core, now clock.Clock, replicas core.Rings) (expired, stale int64) {
	t.Helper()
	for _, target := range c.Targets() {
		if !c.Up(target) {
			continue
		}
		for _, l := range c.Locals(target.Peer) {
			if err := l.Listing().Flush(); err != nil {
				t.Fatal(err)
			}
		}
		e, n := expirerOf(c, s, target.Peer, now, replicas)
		if err := e.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		expired, stale = expired+n.expired.Load(), stale+n.stale.Load()
	}
	return expired, stale
}

func putExpiring(t *testing.T, s core.Service, name, body string, at int64) {
	t.Helper()
	if _, err := s.Put(t.Context(), ref(name), core.PutRequest{Body: strings.NewReader(body), Size: int64(len(body)), Metadata: core.Metadata{DeleteAt: at}}); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

// wantGone: the object is a tombstone at every primary, and not only hidden.
func wantGone(t *testing.T, c *servertest.Cluster, s core.Service, name string) {
	t.Helper()
	_, err := s.Open(t.Context(), ref(name), core.OpenOptions{HeadOnly: true})
	wantKind(t, err, errs.NotFound)
	key := c.Key("acc", "c", name)
	primaries, _ := c.Replicas(key.Hash)
	for _, p := range primaries {
		if st, err := c.Device(p).Head(t.Context(), key); err != nil || st.Record == nil || !st.Record.Deleted {
			t.Errorf("%s at %s: %+v, %v; want a tombstone", name, p.Peer, st.Record, err)
		}
	}
}

func TestExpire_OnlyWhatIsStillToExpire(t *testing.T) {
	c := servertest.NewCluster(t, 4, 1)
	now := clock.NewManual(time.Now())
	s := overCluster(t, c, 1, now, "")
	mustMake(t, s, "c")
	at := now.Now().Unix() + 100
	for _, name := range []string{"due", "again", "moved", "kept"} {
		putExpiring(t, s, name, name, at)
	}
	putExpiring(t, s, "large", strings.Repeat("x", 300_000), at)
	putExpiring(t, s, "later", "later", at+1000)
	put(t, s, "never", "never")
	put(t, s, "again", "written again")
	for name, to := range map[string]int64{"moved": at + 1000, "kept": 0} {
		if _, err := s.UpdateMeta(t.Context(), ref(name), func(core.Info) (core.Metadata, error) { return core.Metadata{DeleteAt: to}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	now.Advance(50 * time.Second)
	if expired, _ := sweepExpired(t, c, s, now, clusterRings{clusterRing{c}}); expired != 0 {
		t.Fatalf("%d objects were removed before their time", expired)
	}
	now.Advance(51 * time.Second)
	wantList(t, s, core.ListOptions{}, "again due kept large later moved never")
	if expired, stale := sweepExpired(t, c, s, now, clusterRings{clusterRing{c}}); expired != 2 || stale != 0 {
		t.Fatalf("%d objects were removed, %d rows put right; want 2 and 0", expired, stale)
	}
	wantGone(t, c, s, "due")
	wantGone(t, c, s, "large")
	wantBody(t, s, "again", "written again")
	wantBody(t, s, "moved", "moved")
	wantBody(t, s, "kept", "kept")
	wantList(t, s, core.ListOptions{}, "again kept later moved never")
	info, err := s.Container(t.Context(), "acc", "c", true)
	if err != nil || info.Objects != 5 {
		t.Fatalf("the container counts %d objects, want 5 (%v)", info.Objects, err)
	}
}

// TestExpire_ARowThatSleptThroughAWrite: a replica of the listing that was down says of an object that it has expired. It was written anew.
func TestExpire_ARowThatSleptThroughAWrite(t *testing.T) {
	c := servertest.NewCluster(t, 4, 1)
	now := clock.NewManual(time.Now())
	s := overCluster(t, c, 1, now, "")
	mustMake(t, s, "c")
	at := now.Now().Unix() + 10
	for _, name := range []string{"o1", "o2", "o3", "o4", "o5", "o6"} {
		putExpiring(t, s, name, "old", at)
	}
	replicas, _ := c.Replicas(c.Key("acc", "c", "").Hash)
	sleeper := replicas[0].Peer
	c.Kill(sleeper)
	for _, name := range []string{"o1", "o2", "o3", "o4", "o5", "o6"} {
		put(t, s, name, "new")
	}
	// What waits for the sleeper does not reach it.
	c.SetFault(func(call servertest.Call) error {
		if call.From != "" && call.To.Peer == sleeper && call.Method == "Merge" {
			return errs.New(errs.Unavailable, "cut off")
		}
		return nil
	})
	c.Revive(sleeper)
	now.Advance(time.Hour) // the others have left the sleeper's rows undone for long, and the sleeper theirs
	if expired, stale := sweepExpired(t, c, s, now, clusterRings{clusterRing{c}}); expired != 0 || stale != 6 {
		t.Fatalf("%d objects were removed, %d rows put right; want 0 and 6", expired, stale)
	}
	for _, name := range []string{"o1", "o2", "o3", "o4", "o5", "o6"} {
		wantBody(t, s, name, "new")
	}
	page, err := c.Device(replicas[0]).List(t.Context(), peerapi.ListQuery{Key: c.Key("acc", "c", ""), Limit: 10})
	if err != nil || len(page.Rows) != 6 || page.Rows[0].DeleteAt != 0 {
		t.Fatalf("the sleeper lists %+v (%v)", page.Rows, err)
	}
}

func TestExpire_WithReplicasDown(t *testing.T) {
	c := servertest.NewCluster(t, 4, 1)
	now := clock.NewManual(time.Now())
	s := overCluster(t, c, 1, now, "")
	mustMake(t, s, "c")
	at := now.Now().Unix() + 10
	for _, name := range []string{"o1", "o2", "o3", "o4", "o5", "o6"} {
		putExpiring(t, s, name, "x", at)
	}
	now.Advance(11 * time.Second)
	c.Kill("p2")
	if expired, _ := sweepExpired(t, c, s, now, clusterRings{clusterRing{c}}); expired != 6 {
		t.Fatalf("%d of 6 objects were removed while a peer is down", expired)
	}
	wantList(t, s, core.ListOptions{}, "")
	c.Revive("p2")
	wantList(t, s, core.ListOptions{}, "")
}

func TestExpire_ErasureCoded(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	now := clock.NewManual(time.Now())
	s := codedProxy(t, c, 1, now, "")
	mustMake(t, s, "c")
	at := now.Now().Unix() + 10
	putExpiring(t, s, "o", string(noise(300_000)), at)
	now.Advance(11 * time.Second)
	if expired, _ := sweepExpired(t, c, s, now, codedRings{clusterRings{clusterRing{c}}}); expired != 1 {
		t.Fatalf("%d objects were removed", expired)
	}
	_, err := s.Open(t.Context(), ref("o"), core.OpenOptions{})
	wantKind(t, err, errs.NotFound)
	wantList(t, s, core.ListOptions{}, "")
	// Readers have an hour; then the fragments go.
	now.Advance(2 * time.Hour)
	if n, err := s.Sweep(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d sets of fragments were given up (%v)", n, err)
	}
}
