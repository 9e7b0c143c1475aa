package computed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/computed/agent"
	"henge/computed/api"
	"henge/computed/hypervisor/memory"
	"henge/computed/metadata"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/computed/neighbour/neighbourtest"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
)

// tokens knows three: admin, alice (member of p1) and bob (member of p2); eve reads p1.
type tokens struct{}

const (
	p1 = "11111111111111111111111111111111"
	p2 = "22222222222222222222222222222222"
)

func (tokens) Token(_ context.Context, token string) (*authn.Identity, error) {
	switch token {
	case "admin":
		return &authn.Identity{UserID: "u-admin", UserName: "admin", ProjectID: "a" + p1[1:], Roles: []string{"admin", "member", "reader"}}, nil
	case "alice":
		return &authn.Identity{UserID: "u-alice", UserName: "alice", ProjectID: p1, Roles: []string{"member", "reader"}}, nil
	case "bob":
		return &authn.Identity{UserID: "u-bob", UserName: "bob", ProjectID: p2, Roles: []string{"member", "reader"}}, nil
	case "eve":
		return &authn.Identity{UserID: "u-eve", UserName: "eve", ProjectID: p1, Roles: []string{"reader"}}, nil
	}
	return nil, errs.New(errs.Unauthenticated, "no such token")
}

// files stand for disks: the root "disk" is a name.
type files struct{}

func (files) Root(ctx context.Context, dir string, image model.Image, gib int, fetch neighbour.Fetch) (neighbour.Root, error) {
	from, err := fetch(ctx)
	if err != nil {
		return neighbour.Root{}, err
	}
	defer from.Close()
	if _, err := io.Copy(io.Discard, from); err != nil {
		return neighbour.Root{}, err
	}
	return neighbour.Root{Path: filepath.Join(dir, "disk"), Format: "qcow2"}, nil
}

func (files) Forget(string) error { return nil }

// cloud is compute in one process, over a hypervisor and neighbours in memory.
type cloud struct {
	t      testing.TB
	store  *state.Memory
	world  *neighbourtest.World
	driver *memory.Driver
	api    http.Handler
	stop   func()
	host   string
}

func newCloud(t testing.TB) *cloud {
	t.Helper()
	c := &cloud{t: t, store: state.NewMemory(), world: neighbourtest.New(), driver: memory.New(), host: "host-1"}
	c.world.AddImage("img", "qcow2", 0)
	c.world.AddNetwork("n1")
	c.api = api.New(api.Config{Store: c.store, Tokens: tokens{}, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Images: c.world.Images(), Networks: c.world.Networks(),
		Volumes: c.world.Volumes(), Scheduler: neighbourtest.Scheduler{}, Alive: func(string) bool { return true }, Peer: logs{}})
	if err := Seed(t.Context(), c.store, clock.System{}); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.await("the host", func() bool {
		return len(c.call("admin", "GET", "/os-services", "").list("services")) == 1
	})
	return c
}

type logs struct{}

func (logs) ConsoleLog(_ context.Context, _, _ string, _ int) ([]byte, error) {
	return []byte("one\ntwo\x00\nthree\nlogin: "), nil
}

// start runs the agent, until stop or the end of the test.
func (c *cloud) start() {
	c.t.Helper()
	dir := c.t.TempDir()
	a := agent.New(agent.Config{Store: c.store, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Host: model.Host{ID: c.host, Name: c.host, Zone: "nova", Address: "127.0.0.1",
		ConsoleURL: "http://127.0.0.1:6080", Booted: time.Now().Add(-26*time.Hour - time.Minute).Unix()}, Dir: dir, Driver: c.driver, Disks: files{}, Images: c.world.Images(), Networks: c.world.Networks(), Volumes: c.world.Volumes(),
		Scheduler: neighbourtest.Scheduler{}, Space: func() (int, int) { return 1000, 900 }, Metadata: metadata.New(metadata.Config{Store: c.store, Floating: noFloating}).Files, Tick: 300 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		c.stop = func() {}
	}
	c.t.Cleanup(func() { c.stop() })
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (a answer) at(path string) any {
	var v any = a.json
	for _, key := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func (a answer) text(path string) string { s, _ := a.at(path).(string); return s }

func (a answer) list(path string) []any { l, _ := a.at(path).([]any); return l }

// call makes a request below /v2.1; the token may carry a microversion: "alice 2.90".
func (c *cloud) call(token, method, path, body string) answer {
	c.t.Helper()
	r := httptest.NewRequest(method, "/v2.1"+path, strings.NewReader(body))
	who, micro, _ := strings.Cut(token, " ")
	r.Header.Set("X-Auth-Token", who)
	if micro != "" {
		r.Header.Set("OpenStack-API-Version", "compute "+micro)
	}
	w := httptest.NewRecorder()
	c.api.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &a.json); err != nil {
			c.t.Fatalf("%s %s: %d, not JSON: %s", method, path, a.status, a.body)
		}
	}
	return a
}

func (c *cloud) want(status int, a answer) answer {
	c.t.Helper()
	if a.status != status {
		c.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// await waits for a condition.
func (c *cloud) await(what string, done func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: did not come", what)
		}
		timer := time.NewTimer(5 * time.Millisecond)
		<-timer.C
	}
}

const plain = `{"server": {"name": "web", "flavorRef": "42", "imageRef": "img", "networks": [{"uuid": "n1"}]}}`

// create asks for a server and gives its id.
func (c *cloud) create(body string) string {
	c.t.Helper()
	return c.want(http.StatusAccepted, c.call("alice 2.90", "POST", "/servers", body)).text("server.id")
}

func (c *cloud) status(id string) string {
	c.t.Helper()
	a := c.call("alice 2.90", "GET", "/servers/"+id, "")
	if a.status == http.StatusNotFound {
		return "GONE"
	}
	if s := a.text("server.OS-EXT-STS:task_state"); s != "" {
		return s
	}
	return a.text("server.status")
}

func (c *cloud) until(id, status string) {
	c.t.Helper()
	last := ""
	defer func() {
		if c.t.Failed() {
			c.t.Logf("server %s was last %s: %s", id, last, c.call("admin 2.90", "GET", "/servers/"+id, "").body)
		}
	}()
	c.await(fmt.Sprintf("server %s %s", id, status), func() bool { last = c.status(id); return last == status })
}

// empty checks that nothing is left of any server.
func (c *cloud) empty() {
	c.t.Helper()
	if left := c.world.Left(); len(left) > 0 {
		c.t.Errorf("left behind: %v", left)
	}
	guests, err := c.driver.Guests(c.t.Context())
	if err != nil || len(guests) > 0 {
		c.t.Errorf("guests left: %v, %v", guests, err)
	}
	err = c.store.View(c.t.Context(), func(r state.Reader) error {
		if n := neighbourtest.Claims(r); n > 0 {
			c.t.Errorf("%d claims left", n)
		}
		for key := range r.Scan(model.Prefix) {
			for _, table := range []string{model.Servers.Prefix(), model.UserDatas.Prefix(), model.Actions.Prefix(), model.Tokens.Prefix()} {
				if strings.HasPrefix(key, table) {
					c.t.Errorf("row left: %q", key)
				}
			}
		}
		return nil
	})
	if err != nil {
		c.t.Error(err)
	}
}

func noFloating(context.Context, []string) (string, error) { return "", nil }
