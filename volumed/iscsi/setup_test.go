package iscsi

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"henge/volumed/iscsi/iscsitest"
)

const (
	testIQN       = "iqn.2026-11.cloud.henge:volume-1"
	testInitiator = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test"
	otherName     = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test-2"
)

// rig is a server on a loopback port.
type rig struct {
	*Server
	addr string
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s := NewServer(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &rig{s, l.Addr().String()}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// open exports a store without CHAP.
func (r *rig) open(t testing.TB, store Store, initiators ...string) {
	t.Helper()
	r.export(t, Target{IQN: testIQN, Store: store, Serial: "3f1e2a52-0000-4000-8000-000000000001", Open: true, Initiators: append(initiators, testInitiator, otherName)})
}

func (r *rig) export(t testing.TB, target Target) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Export(ctx, target); err != nil {
		t.Fatal(err)
	}
}

func memory() *iscsitest.Memory { return iscsitest.NewMemory(128 << 20) }
