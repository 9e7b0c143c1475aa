package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/errs"
)

// circle is a cluster of a few peers in one process, each at an address of its own with the same two ports.
type circle struct {
	t      *testing.T
	dir    string
	net    int // 127.0.net.x
	rpc    int
	gossip int
	nodes  map[int]*Node
	adjust func(*Config)
}

func newCircle(t *testing.T) *circle {
	t.Helper()
	before := runtime.NumGoroutine()
	c := &circle{t: t, dir: t.TempDir(), net: os.Getpid()%250 + 1, nodes: map[int]*Node{}, adjust: func(*Config) {}}
	c.rpc, c.gossip = freePort(t), freePort(t)
	t.Cleanup(func() {
		for i := range c.nodes {
			c.kill(i)
		}
		if !t.Failed() {
			eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine()-unanswered() <= before })
		}
	})
	return c
}

// unanswered counts the waits for answers that Raft, once it was stopped, never gives (see agreement's await).
func unanswered() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "await.func1()")
}

// freePort is one that nobody uses at any loopback address.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (c *circle) address(i int) string { return fmt.Sprintf("127.0.%d.%d", c.net, i) }

func (c *circle) config(i int) Config {
	cfg := Config{Dir: filepath.Join(c.dir, strconv.Itoa(i)), ID: "p" + strconv.Itoa(i), Address: c.address(i), RPCPort: c.rpc, GossipPort: c.gossip,
		Zone: "z" + strconv.Itoa(i), Roles: []string{"proxy", "storage"}, Services: map[string]string{"object": c.address(i) + ":8080"},
		VoterDeadAfter: time.Second, Logger: slog.New(slog.DiscardHandler)}
	if testing.Verbose() && os.Getenv("HENGE_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("self", cfg.ID)
	}
	c.adjust(&cfg)
	return cfg
}

func (c *circle) start(i int, n *Node, err error) *Node {
	c.t.Helper()
	must(c.t, err)
	c.nodes[i] = n
	n.Mux().Handle("echo", echo)
	must(c.t, n.Start(c.t.Context()))
	return n
}

func echo(_ context.Context, s rpc.Stream) error {
	msg, err := s.Recv()
	if err != nil {
		return err
	}
	return s.Send(append([]byte(s.Peer()+": "), msg...))
}

// grow makes a cluster of so many peers.
func (c *circle) grow(peers int) {
	c.t.Helper()
	for i := 1; i <= peers; i++ {
		if i == 1 {
			n, err := Bootstrap(c.config(1))
			c.ready(c.start(1, n, err))
			continue
		}
		n, err := Join(c.t.Context(), c.config(i), c.token())
		c.ready(c.start(i, n, err))
	}
}

func (c *circle) token() string {
	c.t.Helper()
	token, err := c.nodes[1].CreateJoinToken(c.t.Context(), time.Minute)
	must(c.t, err)
	return token
}

func (c *circle) ready(n *Node) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	must(c.t, n.Ready(ctx))
}

func (c *circle) open(i int) *Node {
	c.t.Helper()
	n, err := Open(c.config(i))
	return c.start(i, n, err)
}

func (c *circle) kill(i int) {
	c.t.Helper()
	if n := c.nodes[i]; n != nil {
		must(c.t, n.Kill())
		delete(c.nodes, i)
	}
}

func (c *circle) voters(n int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d peers vote", n), func() bool {
		for _, node := range c.nodes {
			if len(node.Voters()) != n {
				return false
			}
		}
		return true
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(15 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("not in fifteen seconds: %s\n%.6000s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func put(t testing.TB, s state.Store, key, value string) {
	t.Helper()
	must(t, s.Update(t.Context(), func(w state.Writer) error { w.Put(key, []byte(value)); return nil }))
}

func get(t testing.TB, s state.Store, key string) (value string) {
	t.Helper()
	must(t, s.View(t.Context(), func(r state.Reader) error {
		v, _ := r.Get(key)
		value = string(v)
		return nil
	}))
	return value
}

func wantKind(t testing.TB, err error, kind errs.Kind, doing string) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Fatalf("%s: want %v, got %v", doing, kind, err)
	}
}
