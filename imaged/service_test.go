package imaged_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/imaged"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core/coretest"
)

func newService(t *testing.T) *imaged.Service {
	t.Helper()
	c := clock.NewManual(time.Unix(1_700_000_000, 0))
	s, err := imaged.New(imaged.Config{Store: state.NewMemory(), Objects: coretest.New(c), Tokens: people{}, Clock: c, Logger: slog.New(slog.DiscardHandler), Peer: "peer-1"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What other parts of the cloud do in the same process.
func TestService_InProcess(t *testing.T) {
	if _, err := imaged.New(imaged.Config{}); err == nil {
		t.Fatal("a service out of nothing")
	}
	s := newService(t)
	ctx, ann, bob := t.Context(), person("ann", "p1", "member"), person("bob", "p2", "member")
	name := "snapshot"
	image, err := s.Create(ctx, ann, imaged.Image{Name: &name, DiskFormat: "raw", ContainerFormat: "bare", MinDisk: 1})
	if err != nil || image.Owner != "p1" || image.Status != "queued" || image.Visibility != "private" {
		t.Fatalf("created %+v, %v", image, err)
	}
	if _, err := s.Open(ctx, ann, image.ID); !errs.Is(err, errs.Conflict) {
		t.Fatalf("open without data: %v", err)
	}
	data := pattern(200_000)
	if image, err = s.Upload(ctx, ann, image.ID, bytes.NewReader(data), int64(len(data))); err != nil || image.Status != "active" || image.Data.VirtualSize != 200_000 {
		t.Fatalf("uploaded %+v, %v", image, err)
	}
	if _, err := s.Image(ctx, bob, image.ID); !errs.Is(err, errs.NotFound) {
		t.Fatalf("another project's: %v", err)
	}
	content, err := s.Open(ctx, ann, image.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, 200_000}, {199_999, 1}, {65_000, 70_000}, {200_000, 0}} {
		body, err := content.Read(ctx, r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Fatalf("%v: %d bytes, %v", r, len(got), err)
		}
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, 200_001}, {200_001, 0}, {1, -1}} {
		if _, err := content.Read(ctx, r[0], r[1]); !errs.Is(err, errs.Invalid) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if err := s.Delete(ctx, ann, image.ID); err != nil {
		t.Fatal(err)
	}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(run) }()
	eventually(t, "gone", func() bool {
		_, err := content.Read(ctx, 0, 1)
		return errs.Is(err, errs.NotFound)
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Of many uploads at once one wins, and nothing of the others is left.
func TestUpload_ManyAtOnce(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann")
	data := pattern(2*segment + 1)
	var won, lost atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			switch _, err := c.library.Upload(context.Background(), person("ann", "p1", "member"), id, bytes.NewReader(data), -1); {
			case err == nil:
				won.Add(1)
			case errs.Is(err, errs.Conflict):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 15 {
		t.Fatalf("%d won, %d lost", won.Load(), lost.Load())
	}
	if n := len(c.segments()); n != 3 || len(c.uploads()) != 0 {
		t.Fatalf("%d segments, uploads %+v", n, c.uploads())
	}
	if got := c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(200); !bytes.Equal(got.raw, data) {
		t.Fatal("other bytes")
	}
}
