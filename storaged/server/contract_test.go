package server_test

import (
	"log/slog"
	"testing"

	"henge/cluster/rpc"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/engine"
	"henge/storaged/engine/memory"
	"henge/storaged/peerapi"
	"henge/storaged/peerapi/peerapitest"
	"henge/storaged/server"
)

// newServer makes a peer p1 with one device d1 over an engine.
func newServer(t testing.TB, open func(dir string) (engine.Engine, error)) *server.Server {
	t.Helper()
	s, err := server.New(server.Config{
		Self: "p1", Devices: map[string]string{"d1": t.TempDir()}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Open: func(_, dir string) (engine.Engine, error) { return open(dir) },
		Connect: func(s *server.Server) peerapi.Devices {
			return server.NewDevices("p1", s.Local, nil, func(string) bool { return false })
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func inMemory(string) (engine.Engine, error) { return memory.New(), nil }

var self, lost = peerapi.Target{Peer: "p1", Device: "d1"}, peerapi.Target{Peer: "p9", Device: "d1"}

func localBed(open func(dir string) (engine.Engine, error)) func(*testing.T) peerapitest.Bed {
	return func(t *testing.T) peerapitest.Bed {
		d, ok := newServer(t, open).Local("d1")
		if !ok {
			t.Fatal("there is no device d1")
		}
		return peerapitest.Bed{Device: d, Self: self, Lost: lost}
	}
}

// remoteBed speaks the peer protocol to the device.
func remoteBed(open func(dir string) (engine.Engine, error)) func(*testing.T) peerapitest.Bed {
	return func(t *testing.T) peerapitest.Bed {
		return peerapitest.Bed{Device: peerapi.NewRemote(newCaller(t, newServer(t, open).Local), self), Self: self, Lost: lost}
	}
}

func newCaller(t testing.TB, find func(string) (peerapi.Device, bool)) rpc.Caller {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s := rpc.NewServer("p1", log)
	peerapi.Serve(s, find)
	c := rpc.NewClient(rpc.Config{Self: "p1", Local: s, Logger: log})
	t.Cleanup(func() { c.Close(); s.Close() })
	return c
}

func TestLocal(t *testing.T)  { peerapitest.Run(t, localBed(inMemory)) }
func TestRemote(t *testing.T) { peerapitest.Run(t, remoteBed(inMemory)) }

func TestRemote_NoSuchDevice(t *testing.T) {
	d := peerapi.NewRemote(newCaller(t, func(string) (peerapi.Device, bool) { return nil, false }), self)
	if _, err := d.Usage(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("usage: %v", err)
	}
	if _, err := d.Create(t.Context(), peerapi.Key{}, 1); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("create: %v", err)
	}
	if _, _, err := d.Open(t.Context(), peerapi.Key{}, 0, peerapi.Whole); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("open: %v", err)
	}
	if _, err := d.List(t.Context(), peerapi.ListQuery{}); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("list: %v", err)
	}
}
