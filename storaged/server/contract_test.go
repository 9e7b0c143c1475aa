package server_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"henge/cluster/pki"
	"henge/cluster/rpc"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/memory"
	"henge/storaged/listing"
	"henge/storaged/peerapi"
	"henge/storaged/peerapi/peerapitest"
	"henge/storaged/server"
)

// newServer makes a peer p1 with one device d1 over an engine.
func newServer(t testing.TB, open func(dir string) (engine.Engine, error)) *server.Server {
	t.Helper()
	s, err := server.New(server.Config{
		Self: "p1", Devices: map[string]string{"d1": t.TempDir()}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Open:    func(_, dir string) (engine.Engine, error) { return open(dir) },
		Listing: listing.Config{NoTreeSync: true},
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

// newCaller serves the devices of p1 on a real connection, and gives p2's way there.
func newCaller(t testing.TB, find func(string) (peerapi.Device, bool)) rpc.Caller {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	ca, err := pki.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	credentials := func(id string) *pki.Credentials {
		identity, err := ca.Peer(id, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return pki.NewCredentials(identity, clock.System{}, pki.AllMembers)
	}
	s := rpc.NewServer("p1", log)
	peerapi.Serve(s, find)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, credentials("p1").Server([]string{rpc.Protocol})) }()
	c := rpc.NewClient(rpc.Config{Self: "p2", Logger: log, TLS: credentials("p2").Client, Address: func(peer string) (string, error) {
		if peer != "p1" {
			return "", errs.New(errs.NotFound, "there is no peer %q", peer)
		}
		return l.Addr().String(), nil
	}})
	t.Cleanup(func() {
		c.Close()
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

func onDisk(dir string) (engine.Engine, error) {
	return engine.Open(context.Background(), engine.Config{FS: vfs.OS{}, Dir: dir, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Reserve: engine.Reserve{Bytes: 1}})
}

func TestLocal(t *testing.T)       { peerapitest.Run(t, localBed(inMemory)) }
func TestLocal_Disk(t *testing.T)  { peerapitest.Run(t, localBed(onDisk)) }
func TestRemote(t *testing.T)      { peerapitest.Run(t, remoteBed(inMemory)) }
func TestRemote_Disk(t *testing.T) { peerapitest.Run(t, remoteBed(onDisk)) }

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

// watched tells when its writers are closed.
type watched struct {
	peerapi.Device
	closed chan struct{}
}

type watchedWriter struct {
	peerapi.Writer
	closed chan struct{}
}

func (w watched) Create(ctx context.Context, key peerapi.Key, size int64) (peerapi.Writer, error) {
	inner, err := w.Device.Create(ctx, key, size)
	return &watchedWriter{inner, w.closed}, err
}

func (w *watchedWriter) Close() error {
	defer close(w.closed)
	return w.Writer.Close()
}

// TestRemote_CallerGoesAway: a writer whose caller leaves, in whatever way, is closed at the device at once.
func TestRemote_CallerGoesAway(t *testing.T) {
	for name, leave := range map[string]func(cancel func(), w peerapi.Writer){
		"cancels": func(cancel func(), _ peerapi.Writer) { cancel() },
		"closes":  func(_ func(), w peerapi.Writer) { _ = w.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			local, _ := newServer(t, inMemory).Local("d1")
			device := watched{local, make(chan struct{})}
			remote := peerapi.NewRemote(newCaller(t, func(string) (peerapi.Device, bool) { return device, true }), self)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w, err := remote.Create(ctx, peerapi.Key{Account: "a", Container: "c", Object: "o"}, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
			leave(cancel, w)
			select {
			case <-device.closed:
			case <-time.After(10 * time.Second):
				t.Fatal("the device's writer stays open")
			}
			if state, err := local.Head(t.Context(), peerapi.Key{Account: "a", Container: "c", Object: "o"}); err != nil || state.Record != nil {
				t.Fatalf("%+v %v", state, err)
			}
		})
	}
}
