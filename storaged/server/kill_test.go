package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"henge/internal/clock"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/listing"
	"henge/storaged/peerapi"
	"henge/storaged/server"
)

// childWord, as the first argument, makes the test binary a storage peer that writes until it is killed.
const childWord = "storage-peer-under-load"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == childWord {
		if err := child(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func diskServer(dir string) (*server.Server, error) {
	return server.New(server.Config{
		Self: "p1", Devices: map[string]string{"d1": dir}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Open:    func(_, dir string) (engine.Engine, error) { return onDisk(dir) },
		Listing: listing.Config{FlushRows: 100}, // many flushes, so that the kill meets some
		Connect: func(s *server.Server) peerapi.Devices {
			return server.NewDevices("p1", s.Local, nil, func(string) bool { return false })
		},
	})
}

func killKey(object string) peerapi.Key {
	return peerapi.Key{Account: "a", Container: "c", Object: object, Hash: ring.HashPath(ring.Secret{}, "a", "c", object)}
}

// child prints the name of each object that was acknowledged, as soon as it was.
func child(dir, round string) error {
	s, err := diskServer(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	d, _ := s.Local("d1")
	ts := clock.NewHybrid(clock.System{}, 1)
	if _, err := d.ChangeIndex(ctx, peerapi.IndexChange{Key: killKey(""), Timestamp: ts.Next(), Create: true}); err != nil {
		return err
	}
	failed := make(chan error, 8)
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s-%d-%06d", round, g, i)
				data := strings.Repeat(name, 100)
				r := peerapi.Record{Key: killKey(name), Timestamp: ts.Next(), Size: int64(len(data)), StoredSize: int64(len(data)), ETag: "e"}
				out, err := d.Commit(ctx, peerapi.Commit{Record: r, ContainerKey: killKey(""), Listing: []peerapi.Target{self}}, []byte(data))
				if err != nil || out.Listed != 1 {
					failed <- fmt.Errorf("put %s: %+v: %w", name, out, err)
					return
				}
				fmt.Println(name)
			}
		}()
	}
	return <-failed
}

// TestKill: a storage peer is killed under load, three times over. Each object that it acknowledged is there, whole, and listed.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var acked []string
	for round := range 3 {
		acked = append(acked, underLoad(t, dir, fmt.Sprint("r", round), 400+150*round)...)
		verify(t, dir, acked)
	}
}

// underLoad runs a child and kills it after so many objects; it gives the names that were acknowledged.
func underLoad(t *testing.T, dir, round string, objects int) (acked []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], childWord, dir, round)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line that was cut off was not read by anybody
		}
		acked = append(acked, strings.TrimSuffix(line, "\n"))
		if len(acked) == objects {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acked) < objects {
		t.Fatalf("the child ended by itself after %d objects: %v: %s", len(acked), err, complaint.String())
	}
	return acked
}

func verify(t *testing.T, dir string, acked []string) {
	t.Helper()
	s, err := diskServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	d, _ := s.Local("d1")
	var usage peerapi.Usage
	eventually(t, "what the killed process had begun to tell is told", func() bool {
		usage, err = d.Usage(t.Context())
		return err == nil && usage.Pending == 0
	})
	listed := map[string]bool{}
	var count int64
	for marker := ""; ; {
		page, err := d.List(t.Context(), peerapi.ListQuery{Key: killKey(""), Marker: marker, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rows {
			listed[r.Name] = true
			count++
		}
		if !page.More {
			if page.Info.Count != count {
				t.Fatalf("%d names, the info says %d", count, page.Info.Count)
			}
			break
		}
		marker = page.End
	}
	for _, name := range acked {
		if !listed[name] {
			t.Fatalf("%s was acknowledged and is not listed", name)
		}
	}
	for _, name := range acked {
		_, body, err := d.Open(t.Context(), killKey(name), 0, peerapi.Whole)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		data, err := io.ReadAll(body)
		if err != nil || string(data) != strings.Repeat(name, 100) {
			t.Fatalf("%s: %d bytes, %v", name, len(data), err)
		}
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if usage.Objects != count {
		t.Fatalf("%d objects are on the disk, acknowledged or not, and %d are listed", usage.Objects, count)
	}
	// What is listed exists: an update whose object was never written is not delivered.
	for name := range listed {
		if state, err := d.Head(t.Context(), killKey(name)); err != nil || !state.Exists() {
			t.Fatalf("%s is listed and does not exist: %v", name, err)
		}
	}
}
