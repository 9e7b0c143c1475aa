// Package e2e drives the built binary with the clients that people use, unpatched, and breaks it while they do.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"henge/e2e/henged"
)

// binary is the henge that is tested.
func binary(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../bin/henge")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: `make e2e` builds it first", err)
	}
	return path
}

// shared are the clouds that tests use together, by their number of peers: starting one for each test would take longer than the tests.
var shared struct {
	mu     sync.Mutex
	clouds map[int]*henged.Cloud
	dir    string
}

func TestMain(m *testing.M) {
	status := 1
	dir, err := os.MkdirTemp("", "henge-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(status)
	}
	shared.clouds, shared.dir = map[int]*henged.Cloud{}, dir
	status = m.Run()
	for peers, c := range shared.clouds {
		if err := c.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "stop the cloud of %d peers: %v\n", peers, err)
			status = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// sharedCloud is a cloud that nobody breaks. Tests keep apart by the names of their containers.
func sharedCloud(t *testing.T, peers int) *henged.Cloud {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c := shared.clouds[peers]; c != nil {
		return c
	}
	c, err := henged.Start(context.Background(), henged.Options{Binary: binary(t), Dir: filepath.Join(shared.dir, fmt.Sprintf("peers-%d", peers)), Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	shared.clouds[peers] = c
	return c
}

// ownCloud is a cloud for one test, which may break it.
func ownCloud(t *testing.T, o henged.Options) *henged.Cloud {
	t.Helper()
	o.Binary = binary(t)
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "d")
	}
	c, err := henged.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	showTroubles(t, c)
	return c
}

// firstCloud is a cloud that the test itself stops, in order to start it again. Should the test fail before that, it ends all the same.
func firstCloud(t *testing.T, o henged.Options) (*henged.Cloud, error) {
	t.Helper()
	o.Binary = binary(t)
	c, err := henged.Start(context.Background(), o)
	if err == nil {
		t.Cleanup(func() {
			if !c.Ended() {
				c.Kill()
			}
		})
		showTroubles(t, c)
	}
	return c, err
}

// showTroubles prints what the peers had to say if the test fails.
func showTroubles(t *testing.T, c *henged.Cloud) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Troubles())
		}
	})
}

// clientWait bounds one run of a client: Python ones take seconds on a loaded machine.
const clientWait = 4 * time.Minute

// client runs a client and returns what it printed on standard output; a status other than 0 fails the test.
func client(t *testing.T, c *henged.Cloud, dir string, args ...string) string {
	t.Helper()
	out, err := tryClient(c, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryClient is client for runs that may fail.
func tryClient(c *henged.Cloud, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), clientWait)
	defer cancel()
	// Debian's own programs, also where something else stands before them in PATH.
	name := args[0]
	if path := "/usr/bin/" + name; !strings.Contains(name, "/") {
		if _, err := os.Stat(path); err == nil {
			name = path
		}
	}
	cmd := exec.CommandContext(ctx, name, args[1:]...)
	cmd.Dir, cmd.Env = dir, c.Env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// awkwardNames are names that have broken object stores.
var awkwardNames = []string{
	"plain.txt", "with space.txt", "deep/er/and/deeper.txt", "plus+and&and=and%41.txt", "Grüße aus Köln.txt", "日本語/ファイル.txt", "emoji 🪨.txt", "quote'and\"double.txt",
	"semi;colon,comma.txt", "tilde~hash#question?.txt", "UPPER and lower.TXT", "..dots..txt", "percent%20encoded.txt",
}

// tree makes a directory with awkward names and with files of many sizes.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range awkwardNames {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, pattern(i*7919))
	}
	for _, size := range []int{0, 1, 4096, 65535, 65536, 65537, 1<<20 + 3} {
		writeFile(t, filepath.Join(dir, fmt.Sprintf("size-%d", size)), pattern(size))
	}
	return dir
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// pattern is size bytes that differ everywhere, so that a byte out of place shows.
func pattern(size int) []byte {
	data := make([]byte, size)
	x := uint32(size)*2654435761 + 1
	for i := range data {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		data[i] = byte(x)
	}
	return data
}

// sameTrees fails the test unless both directories hold the same files with the same bytes.
func sameTrees(t *testing.T, want, got string) {
	t.Helper()
	list := func(root string) map[string][]byte {
		files := map[string][]byte{}
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			files[rel], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	a, b := list(want), list(got)
	for name, data := range a {
		if other, ok := b[name]; !ok {
			t.Errorf("%q did not come back", name)
		} else if !bytes.Equal(data, other) {
			t.Errorf("%q came back with %d bytes that differ from the %d written", name, len(other), len(data))
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			t.Errorf("%q came back, but was never written", name)
		}
	}
}
