package agreement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/cluster/state/statetest"
	"henge/internal/clock"
	"henge/internal/errs"
)

// hall is a few groups in one process, joined by pipes instead of a network; each can be killed and opened again.
type hall struct {
	t  *testing.T
	mu sync.Mutex // guards the fields below
	at map[string]*seat
	// adjust changes the configuration of groups opened from now on
	adjust func(*Config)
}

type seat struct {
	group  *Group
	server *rpc.Server // only its handlers are used, in the process
	client *rpc.Client
	alive  bool
	since  time.Time
}

func newHall(t *testing.T, peers int) *hall {
	h := &hall{t: t, at: map[string]*seat{}, adjust: func(*Config) {}}
	dir := t.TempDir()
	must(t, Bootstrap(filepath.Join(dir, "p1"), "p1"))
	if err := Bootstrap(filepath.Join(dir, "p1"), "p1"); !errs.Is(err, errs.Exists) {
		t.Fatalf("bootstrap twice: %v", err)
	}
	for i := range peers {
		h.open(dir, fmt.Sprintf("p%d", i+1))
	}
	t.Cleanup(func() {
		for id := range h.at {
			h.kill(id)
		}
	})
	return h
}

// reach is the Caller and the Mux of one seat: it finds the other seats in the hall.
type reach struct {
	h    *hall
	self string
}

func (r reach) client(peer string) (*rpc.Client, error) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if s := r.h.at[peer]; s != nil && s.alive {
		return s.client, nil
	}
	return nil, errs.New(errs.Unavailable, "%s is away", peer)
}

func (r reach) Call(ctx context.Context, peer, method string, request []byte) ([]byte, error) {
	c, err := r.client(peer)
	if err != nil {
		return nil, err
	}
	return c.Call(ctx, peer, method, request)
}

func (r reach) Stream(ctx context.Context, peer, method string) (rpc.Stream, error) {
	c, err := r.client(peer)
	if err != nil {
		return nil, err
	}
	return c.Stream(ctx, peer, method)
}

func (r reach) dial(_ context.Context, peer string) (net.Conn, error) {
	r.h.mu.Lock()
	s := r.h.at[peer]
	alive := s != nil && s.alive && s.group != nil
	r.h.mu.Unlock()
	if !alive {
		return nil, errs.New(errs.Unavailable, "%s is away", peer)
	}
	here, there := net.Pipe()
	go s.group.Accept(there)
	return here, nil
}

func (h *hall) open(dir, id string) {
	h.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	s := &seat{server: rpc.NewServer(id, logger), alive: true}
	s.client = rpc.NewClient(rpc.Config{Self: id, Local: s.server, Logger: logger})
	r := reach{h, id}
	cfg := Config{Self: id, Dir: filepath.Join(dir, id), Caller: r, Mux: s.server, Dial: r.dial, Peers: h.peers,
		Voters: 3, VoterDeadAfter: 100 * time.Millisecond, SnapshotEntries: 8192, TrailingEntries: 1024, Clock: clock.System{}, Logger: logger}
	h.adjust(&cfg)
	group, err := Open(cfg)
	must(h.t, err)
	h.mu.Lock()
	s.group = group
	h.at[id] = s
	h.mu.Unlock()
}

func (h *hall) peers() (all []Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, s := range h.at {
		all = append(all, Peer{ID: id, Zone: "zone-" + id, Alive: s.alive, DeadSince: s.since})
	}
	return all
}

// kill stops a peer as a crash would.
func (h *hall) kill(id string) {
	h.mu.Lock()
	s := h.at[id]
	was := s.alive
	s.alive, s.since = false, time.Now()
	h.mu.Unlock()
	if !was {
		return
	}
	must(h.t, s.group.Kill())
	s.client.Close()
	s.server.Close()
}

func (h *hall) group(id string) *Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[id].group
}

// leader waits until all living peers agree on a living leader.
func (h *hall) leader() string {
	h.t.Helper()
	var leader string
	eventually(h.t, "a leader is known to all", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		leader = ""
		for _, s := range h.at {
			switch {
			case !s.alive:
			case leader == "":
				leader = s.group.Leader()
			case s.group.Leader() != leader:
				return false
			}
		}
		return leader != "" && h.at[leader].alive
	})
	return leader
}

func (h *hall) voters(n int) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("%d peers vote", n), func() bool { return len(h.group(h.leader()).Voters()) == n })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in thirty seconds: %s", what)
		}
	}
}

func put(t *testing.T, g *Group, key, value string) {
	t.Helper()
	must(t, g.Update(t.Context(), func(w state.Writer) error { w.Put(key, []byte(value)); return nil }))
}

func get(t *testing.T, g *Group, key string) (value string) {
	t.Helper()
	must(t, g.View(t.Context(), func(r state.Reader) error {
		v, _ := r.Get(key)
		value = string(v)
		return nil
	}))
	return value
}

// clearing empties the store between the cases of a suite.
func clearing(t *testing.T, g *Group) state.Store {
	must(t, g.Update(t.Context(), func(w state.Writer) error {
		for key := range w.Scan("") {
			w.Delete(key)
		}
		return nil
	}))
	return g
}

func TestContract_Leader(t *testing.T) {
	t.Parallel()
	h := newHall(t, 1)
	statetest.Run(t, func(t *testing.T) state.Store { return clearing(t, h.group("p1")) })
}

func TestContract_Follower(t *testing.T) {
	t.Parallel()
	h := newHall(t, 3)
	h.voters(3)
	follower := "p2"
	if h.leader() == follower {
		follower = "p3"
	}
	statetest.Run(t, func(t *testing.T) state.Store { return clearing(t, h.group(follower)) })
}

func TestGrowAndReplaceVoters(t *testing.T) {
	t.Parallel()
	h := newHall(t, 4)
	h.voters(3)
	put(t, h.group("p4"), "a", "1") // a follower's update is forwarded
	var victim string
	for _, id := range h.group("p1").Voters() {
		if id != h.leader() {
			victim = id
		}
	}
	h.kill(victim)
	eventually(t, "another votes for the dead", func() bool {
		voters := h.group(h.leader()).Voters()
		for _, id := range voters {
			if id == victim {
				return false
			}
		}
		return len(voters) == 3
	})
	put(t, h.group(h.leader()), "a", "2")
}

func TestRestartOfAll(t *testing.T) {
	t.Parallel()
	h := newHall(t, 3)
	h.voters(3)
	dir := filepath.Dir(h.group("p1").cfg.Dir)
	for i := range 20 {
		put(t, h.group("p2"), "k"+strconv.Itoa(i), "v")
	}
	put(t, h.group("p1"), "last", "word")
	all := []string{"p1", "p2", "p3"}
	for _, id := range all {
		must(t, h.group(id).Barrier(t.Context()))
	}
	for _, id := range all {
		h.kill(id)
	}
	h.open(dir, "p1") // alone it cannot lead, yet it can be read
	if got := get(t, h.group("p1"), "k19"); got != "v" {
		t.Fatalf("after a restart without a leader k19 is %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := h.group("p1").Update(ctx, func(w state.Writer) error { w.Put("x", nil); return nil })
	if !errs.Is(err, errs.Unavailable) {
		t.Fatalf("an update without a leader: %v", err)
	}
	h.open(dir, "p2")
	h.open(dir, "p3")
	must(t, h.group("p3").Barrier(t.Context()))
	if got := get(t, h.group("p3"), "last"); got != "word" {
		t.Fatalf("after the restart of all the last word is %q", got)
	}
}

func TestLongAway_CatchesUpBySnapshot(t *testing.T) {
	t.Parallel()
	h := newHall(t, 0)
	h.adjust = func(c *Config) { c.TrailingEntries = 4 }
	dir := t.TempDir()
	must(t, Bootstrap(filepath.Join(dir, "p1"), "p1"))
	for _, id := range []string{"p1", "p2", "p3"} {
		h.open(dir, id)
	}
	h.voters(3)
	leader := h.leader()
	away := "p3"
	if leader == away {
		away = "p2"
	}
	put(t, h.group(leader), "before", "1")
	must(t, h.group(away).Barrier(t.Context()))
	seen := h.group(away).fsm.machine.Snapshot().Index()
	h.kill(away)
	for i := range 50 {
		put(t, h.group(leader), "k"+strconv.Itoa(i), "v")
	}
	must(t, h.group(leader).Update(t.Context(), func(w state.Writer) error { w.Delete("before"); return nil }))
	must(t, h.group(leader).Snapshot())
	if first, err := h.group(leader).store.FirstIndex(); err != nil || state.Index(first) <= seen+1 {
		t.Fatalf("the log begins at %d, %v: the entries since %d would do without a snapshot", first, err, seen)
	}
	h.open(dir, away)
	must(t, h.group(away).Barrier(t.Context()))
	if get(t, h.group(away), "k49") != "v" || get(t, h.group(away), "before") != "" {
		t.Fatal("the peer that was long away does not know the present state")
	}
	// A watch from before the gap must learn that it cannot know what happened in it.
	for e, err := range h.group(away).Watch(t.Context(), "", seen) {
		must(t, err)
		if !e.Reset || len(e.Changes) != 50 {
			t.Fatalf("the watch got %d changes, reset %v", len(e.Changes), e.Reset)
		}
		break
	}
}

// A thousand updates from all peers, and the leader dies in their midst: what was acknowledged is there, once.
func TestLeaderDies_NothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	h := newHall(t, 3)
	h.voters(3)
	leader := h.leader()
	const each = 334
	acknowledged := map[string]int{} // by peer: how many of its updates in a row
	unknown := map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, id := range []string{"p1", "p2", "p3"} {
		g := h.group(id)
		all.Go(func() {
			for i := range each {
				err := g.Update(t.Context(), func(w state.Writer) error {
					v, _ := w.Get("sum/" + id)
					n, _ := strconv.Atoi(string(v))
					w.Put("sum/"+id, []byte(strconv.Itoa(n+1)))
					w.Put(fmt.Sprintf("done/%s/%d", id, i), nil)
					return nil
				})
				mu.Lock()
				if err != nil {
					unknown[id] = true
					mu.Unlock()
					if id != leader {
						t.Errorf("an update on %s, which lives: %v", id, err)
					}
					return
				}
				acknowledged[id]++
				total := acknowledged["p1"] + acknowledged["p2"] + acknowledged["p3"]
				mu.Unlock()
				if total == 300 {
					go h.kill(leader)
				}
			}
		})
	}
	all.Wait()
	survivor := "p1"
	if leader == survivor {
		survivor = "p2"
	}
	must(t, h.group(survivor).Barrier(t.Context()))
	for id, n := range acknowledged {
		sum, _ := strconv.Atoi(get(t, h.group(survivor), "sum/"+id))
		if sum != n && !(unknown[id] && sum == n+1) {
			t.Errorf("%s: %d acknowledged, %d counted", id, n, sum)
		}
	}
}

// Watchers on a follower see each index once, in order, across the death of a leader and their own reconnects.
func TestWatch_NeitherSkipsNorRepeats(t *testing.T) {
	t.Parallel()
	h := newHall(t, 3)
	h.voters(3)
	leader := h.leader()
	watcher := "p3"
	if leader == watcher {
		watcher = "p2"
	}
	const last = 60
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range last + 1 {
			if i == last/2 {
				h.kill(leader)
			}
			err := h.group(watcher).Update(ctx, func(w state.Writer) error { w.Put("n", []byte(strconv.Itoa(i))); return nil })
			if err != nil {
				t.Error(err)
				cancel()
			}
		}
	})
	next, after := 0, state.Index(0)
	for next <= last && ctx.Err() == nil {
		for e, err := range h.group(watcher).Watch(ctx, "n", after) {
			must(t, err)
			if e.Reset || len(e.Changes) != 1 || string(e.Changes[0].Value) != strconv.Itoa(next) || e.Index <= after {
				t.Fatalf("expected %d, got %+v after %d", next, e, after)
			}
			after = e.Index
			if next++; next%7 == 0 {
				break // and watch again from there
			}
			if next > last {
				break
			}
		}
	}
	writer.Wait()
	if next != last+1 {
		t.Fatalf("the watch ended at %d of %d", next, last)
	}
}

func TestUpdate_ErrorsAreUpToDate(t *testing.T) {
	t.Parallel()
	h := newHall(t, 3)
	h.voters(3)
	follower := "p2"
	if h.leader() == follower {
		follower = "p3"
	}
	missing := errors.New("missing")
	for i := range 30 {
		key := "fresh" + strconv.Itoa(i)
		put(t, h.group(h.leader()), key, "1")
		err := h.group(follower).Update(t.Context(), func(w state.Writer) error {
			if _, ok := w.Get(key); !ok {
				return missing
			}
			return nil
		})
		if err != nil {
			t.Fatalf("round %d: a follower decided on old knowledge: %v", i, err)
		}
	}
}
