package server_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/engine"
	"henge/storaged/engine/memory"
	"henge/storaged/listing"
	"henge/storaged/peerapi"
	"henge/storaged/server"
	"henge/storaged/server/servertest"
)

// eventually waits until ok, which something under way is to bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

func TestNew_OneDeviceBroken(t *testing.T) {
	broken := errors.New("input/output error")
	cfg := server.Config{
		Self: "p1", Devices: map[string]string{"d1": t.TempDir(), "d2": t.TempDir()}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Open: func(name, _ string) (engine.Engine, error) {
			if name == "d2" {
				return nil, broken
			}
			return memory.New(), nil
		},
		Connect: func(s *server.Server) peerapi.Devices {
			return server.NewDevices("p1", s.Local, nil, func(string) bool { return true })
		},
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	health := s.Health(t.Context())
	if len(health) != 2 || health[0].Error != nil || !errors.Is(health[1].Error, broken) {
		t.Fatalf("health: %+v", health)
	}
	devices := server.NewDevices("p1", s.Local, nil, func(string) bool { return true })
	bad := peerapi.Target{Peer: "p1", Device: "d2"}
	if _, err := devices.Device(bad).Usage(t.Context()); !errs.Is(err, errs.Unavailable) || devices.Up(bad) {
		t.Fatalf("the broken device answers %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if devices.Up(peerapi.Target{Peer: "p1", Device: "d1"}) {
		t.Fatal("a closed server's device is up")
	}
	cfg.Devices = map[string]string{"d2": t.TempDir()}
	if _, err := server.New(cfg); !errors.Is(err, broken) {
		t.Fatalf("a peer without a device opens: %v", err)
	}
}

// intend is the journal entry that goes with an object, as a crash leaves it behind.
func intend(t *testing.T, d *memory.Disk, c *servertest.Cluster, object string, at clock.Timestamp, to peerapi.Target) {
	t.Helper()
	e, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	store, err := listing.Open(listing.Config{Path: t.TempDir() + "/listing.db", Journal: e.Journal(), Clock: clock.System{}})
	if err != nil {
		t.Fatal(err)
	}
	key := c.Key("a", "c", object)
	i, err := store.Intend(t.Context(), listing.Update{Targets: []peerapi.Target{to}, Object: &key,
		Merge: peerapi.Merge{Key: c.Key("a", "c", ""), Rows: []peerapi.Row{{Name: object, Timestamp: at, Size: 3}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Journal().Append(t.Context(), engine.StreamPending, i.Intent.Entry); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Close(), e.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestIntent_AfterCrash: the process died after the object was durable and before anybody was told. The row comes; one whose object never came to be does not.
func TestIntent_AfterCrash(t *testing.T) {
	c := servertest.NewCluster(t, 2, 1)
	ctx := t.Context()
	ts := clock.NewHybrid(clock.System{}, 1)
	container, at := c.Key("a", "c", ""), peerapi.Target{Peer: "p2", Device: "d1"}
	if _, err := c.Device(at).ChangeIndex(ctx, peerapi.IndexChange{Key: container, Timestamp: ts.Next(), Create: true}); err != nil {
		t.Fatal(err)
	}
	here := peerapi.Target{Peer: "p1", Device: "d1"}
	written := ts.Next()
	if out, err := c.Device(here).Commit(ctx, peerapi.Commit{Record: peerapi.Record{Key: c.Key("a", "c", "written"), Timestamp: written}}, []byte("abc")); err != nil || !out.Accepted {
		t.Fatalf("%+v %v", out, err)
	}
	c.Kill("p1")
	intend(t, c.Disk(here), c, "never", ts.Next(), at)
	intend(t, c.Disk(here), c, "written", written, at)
	c.Revive("p1")
	eventually(t, "the queue is empty", func() bool {
		u, err := c.Device(here).Usage(ctx)
		return err == nil && u.Pending == 0
	})
	page, err := c.Device(at).List(ctx, peerapi.ListQuery{Key: container, Limit: 10})
	if err != nil || len(page.Rows) != 1 || page.Rows[0].Name != "written" {
		t.Fatalf("%+v %v", page, err)
	}
}

// TestCommit_CallerGoesAway: once the object is durable, its row is listed or queued, whoever waits for the answer.
func TestCommit_CallerGoesAway(t *testing.T) {
	c := servertest.NewCluster(t, 2, 1)
	ts := clock.NewHybrid(clock.System{}, 1)
	container, at := c.Key("a", "c", ""), peerapi.Target{Peer: "p2", Device: "d1"}
	if _, err := c.Device(at).ChangeIndex(t.Context(), peerapi.IndexChange{Key: container, Timestamp: ts.Next(), Create: true}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.SetFault(func(call servertest.Call) error {
		if call.Method == "Merge" {
			cancel()
		}
		return nil
	})
	here := peerapi.Target{Peer: "p1", Device: "d1"}
	out, err := c.Device(here).Commit(ctx, peerapi.Commit{Record: peerapi.Record{Key: c.Key("a", "c", "o"), Timestamp: ts.Next()},
		ContainerKey: container, Listing: []peerapi.Target{at}}, nil)
	if err != nil || out.Listed != 1 {
		t.Fatalf("%+v %v", out, err)
	}
}

// TestUpdater_BacksOff: a replica that is away for long is asked ever more rarely, and told at once when it is back.
func TestUpdater_BacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := servertest.NewCluster(t, 2, 1)
		ts := clock.NewHybrid(clock.System{}, 1)
		container, at := c.Key("a", "c", ""), peerapi.Target{Peer: "p2", Device: "d1"}
		if _, err := c.Device(at).ChangeIndex(t.Context(), peerapi.IndexChange{Key: container, Timestamp: ts.Next(), Create: true}); err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int64
		c.SetFault(func(call servertest.Call) error {
			if call.Method != "Merge" || call.To != at || call.After || call.Key.Container == "" {
				return nil
			}
			asked.Add(1)
			return peerapi.Unavailable(at, "it is away")
		})
		here := peerapi.Target{Peer: "p1", Device: "d1"}
		out, err := c.Device(here).Commit(t.Context(), peerapi.Commit{Record: peerapi.Record{Key: c.Key("a", "c", "o"), Timestamp: ts.Next()},
			ContainerKey: container, Listing: []peerapi.Target{at}}, nil)
		if err != nil || !out.Accepted || out.Queued != 1 {
			t.Fatalf("%+v %v", out, err)
		}
		<-time.After(30 * time.Minute) // of the bubble's time
		synctest.Wait()
		if n := asked.Load(); n < 10 || n > 30 {
			t.Fatalf("asked %d times in half an hour", n)
		}
		c.SetFault(nil)
		c.Server("p1").PeerUp("p2")
		<-time.After(time.Second)
		synctest.Wait()
		page, err := c.Device(at).List(t.Context(), peerapi.ListQuery{Key: container, Limit: 10})
		if err != nil || len(page.Rows) != 1 {
			t.Fatalf("%+v %v", page, err)
		}
		if u, err := c.Device(here).Usage(t.Context()); err != nil || u.Pending != 0 {
			t.Fatalf("%+v %v", u, err)
		}
	})
}

// TestReporter_AfterRestart: a container peer that dies before its account knows the counts tells it when it is back.
func TestReporter_AfterRestart(t *testing.T) {
	c := servertest.NewCluster(t, 1, 1)
	ctx := t.Context()
	here := peerapi.Target{Peer: "p1", Device: "d1"}
	account, container := c.Key("a", "", ""), c.Key("a", "c", "")
	c.SetFault(func(call servertest.Call) error {
		if call.Method == "Merge" && call.Key.Container == "" {
			return errs.New(errs.Unavailable, "the account is away")
		}
		return nil
	})
	if _, err := c.Device(here).ChangeIndex(ctx, peerapi.IndexChange{Key: container, Timestamp: clock.FromTime(time.Now()), Create: true}); err != nil {
		t.Fatal(err)
	}
	row := peerapi.Row{Name: "o", Timestamp: clock.FromTime(time.Now()), Size: 9}
	if err := c.Device(here).Merge(ctx, peerapi.Merge{Key: container, Rows: []peerapi.Row{row}}); err != nil {
		t.Fatal(err)
	}
	c.Kill("p1")
	c.SetFault(nil)
	c.Revive("p1")
	eventually(t, "the account knows", func() bool {
		i, err := c.Device(here).Index(ctx, account)
		return err == nil && i.Count == 1 && i.Objects == 1 && i.Bytes == 9
	})
}

// TestReporter_RingsNotKnownYet: counts that changed before the peer knew where accounts are listed are told once it does.
func TestReporter_RingsNotKnownYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var known atomic.Bool
		account := peerapi.Key{Account: "a", Hash: [16]byte{1}}
		s, err := server.New(server.Config{
			Self: "p1", Devices: map[string]string{"d1": t.TempDir()}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
			Open: func(string, string) (engine.Engine, error) { return memory.New(), nil },
			Accounts: func(string) (peerapi.Key, []peerapi.Target) {
				if !known.Load() {
					return peerapi.Key{}, nil
				}
				return account, []peerapi.Target{self}
			},
			Connect: func(s *server.Server) peerapi.Devices {
				return server.NewDevices("p1", s.Local, nil, func(string) bool { return false })
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		d, _ := s.Local("d1")
		container := peerapi.Key{Account: "a", Container: "c", Hash: [16]byte{2}}
		if _, err := d.ChangeIndex(t.Context(), peerapi.IndexChange{Key: container, Timestamp: clock.FromTime(time.Now()), Create: true}); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		known.Store(true)
		<-time.After(2 * reportWithin)
		if i, err := d.Index(t.Context(), account); err != nil || i.Count != 1 {
			t.Fatalf("%+v %v", i, err)
		}
	})
}

// reportWithin is how long a report may take to be tried again.
const reportWithin = 12 * time.Second
