package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/peerapi"
)

const childDir = "HENGE_ENGINE_TEST_DIR"

// TestMain runs the tests, or, as the child of TestKill, writes until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, work(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const killWriters = 4

// work writes objects of all sizes and says, after each was acknowledged, which.
func work(dir string) error {
	e, err := engine.Open(context.Background(), config(vfs.OS{}, dir))
	if err != nil {
		return err
	}
	first, err := newest(e)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i := range killWriters {
		wg.Go(func() {
			for at := first/killWriters*killWriters + killWriters + clock.Timestamp(i); ; at += killWriters {
				if err := workOne(e, fmt.Sprint("w", i, "-", at/killWriters%7), at); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return fmt.Errorf("all writers ended")
}

func workOne(e engine.Engine, object string, at clock.Timestamp) error {
	w := engine.Write{Record: enginetest.Record(object, at)}
	var data []byte
	switch at % 11 {
	case 0:
		w.Record = peerapi.Record{Key: w.Record.Key, Timestamp: at, Deleted: true}
	case 5:
		data = enginetest.Data(int(at), 150_000)
	default:
		data = enginetest.Data(int(at), int(at%5000))
	}
	out, err := e.Commit(context.Background(), w, data)
	if err != nil || !out.Accepted {
		return fmt.Errorf("%s at %d: %+v, %v", object, at, out, err)
	}
	_, err = fmt.Println(object, at)
	return err
}

func newest(e engine.Engine) (clock.Timestamp, error) {
	var last clock.Timestamp
	for held, err := range e.Walk(0, 0) {
		if err != nil {
			return 0, err
		}
		last = max(last, held.Record.Timestamp)
	}
	return last, nil
}

// TestKill kills a process that writes, at random points, and looks whether all that it said is there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]clock.Timestamp{}
	for round := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, stop := bufio.NewScanner(out), 50+rand.IntN(300)
		n := 0
		for lines.Scan() {
			var object string
			var at clock.Timestamp
			if _, err := fmt.Sscan(lines.Text(), &object, &at); err != nil {
				break // half a line, at the end
			}
			acknowledged[object] = at
			if n++; n == stop {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		if n < stop {
			t.Fatalf("round %d: the child ended by itself: %s", round, complaints.String())
		}
		lookAfterKill(t, dir, acknowledged)
	}
}

func lookAfterKill(t *testing.T, dir string, acknowledged map[string]clock.Timestamp) {
	t.Helper()
	e, err := engine.Open(t.Context(), config(vfs.OS{}, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for object, at := range acknowledged {
		got, _, err := read(e, object)
		if err != nil || got.at < at {
			t.Fatalf("%s: version %d, %v; %d was acknowledged", object, got.at, err, at)
		}
		size := int(got.at % 5000)
		if got.at%11 == 5 {
			size = 150_000
		}
		v := version{at: got.at, deleted: got.at%11 == 0}
		if !v.deleted {
			v.data = enginetest.Data(int(got.at), size)
		}
		if !got.equal(v) {
			t.Fatalf("%s: version %d has wrong bytes", object, got.at)
		}
	}
	if q := e.Usage().Quarantine; q != 0 {
		t.Fatalf("%d in quarantine", q)
	}
}
