package core_test

import (
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/repair"
	"henge/storaged/server/servertest"
)

// clusterRing places names as servertest does. Its partition is too small to hold a whole hash, so that it keeps the two bytes that count there.
type clusterRing struct{ cluster *servertest.Cluster }

func (r clusterRing) Partition(h ring.Hash) ring.Partition {
	return ring.Partition(h[0])<<8 | ring.Partition(h[1])
}

func (r clusterRing) find(p ring.Partition) (primaries, handoffs []peerapi.Target) {
	return r.cluster.Replicas(ring.Hash{byte(p >> 8), byte(p)})
}

func (r clusterRing) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, _ := r.find(p)
	return append(dst, primaries...)
}

func (r clusterRing) Handoffs(p ring.Partition) iter.Seq[peerapi.Target] {
	return func(yield func(peerapi.Target) bool) {
		_, handoffs := r.find(p)
		for _, t := range handoffs {
			if !yield(t) {
				return
			}
		}
	}
}

type clusterRings struct{ ring clusterRing }

func (r clusterRings) Account() core.Ring     { return r.ring }
func (r clusterRings) Container() core.Ring   { return r.ring }
func (r clusterRings) Object(uint8) core.Ring { return r.ring }
func (r clusterRings) Policies() []core.Policy {
	return []core.Policy{{Name: "gold", Default: true, Replicas: 3}}
}
func (r clusterRings) Secret() ring.Secret { return ring.Secret{7} }

// overCluster is a proxy that stores nothing, or that sits in the process of the named peer.
func overCluster(t testing.TB, c *servertest.Cluster, number uint16, now clock.Clock, local string) *core.Core {
	t.Helper()
	s, err := core.New(core.Config{Rings: clusterRings{clusterRing{c}}, Devices: c.Seen(local), Clock: clock.NewHybrid(now, number), Time: now,
		Distance: func(target peerapi.Target) int {
			if target.Peer == local {
				return 0
			}
			return 1
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestCluster_OneOfEverything(t *testing.T) {
	for _, shape := range [][2]int{{1, 4}, {3, 1}, {4, 1}} {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			c := servertest.NewCluster(t, shape[0], shape[1])
			story(t, overCluster(t, c, 1, clock.System{}, "p1"), "all well")
		})
	}
}

func TestCluster_EachPeerKilledInTurn(t *testing.T) {
	c := servertest.NewCluster(t, 4, 1)
	s := overCluster(t, c, 1, clock.System{}, "")
	mustMake(t, s, "c")
	var want []string
	for i := range 4 {
		peer := fmt.Sprintf("p%d", i+1)
		c.Kill(peer)
		for k := range 5 {
			name := fmt.Sprintf("o%d%d", i, k)
			put(t, s, name, "while "+peer+" is down")
			want = append(want, name)
		}
		put(t, s, "large", strings.Repeat(peer, 100_000))
		wantBody(t, s, "large", strings.Repeat(peer, 100_000))
		wantList(t, s, core.ListOptions{}, "large "+strings.Join(want, " "))
		put(t, s, "gone", "x")
		if err := s.Delete(t.Context(), ref("gone"), nil); err != nil {
			t.Fatal(err)
		}
		c.Revive(peer)
	}
	for i := range 4 {
		c.Kill(fmt.Sprintf("p%d", i+1))
		for j := range 4 {
			for k := range 5 {
				wantBody(t, s, fmt.Sprintf("o%d%d", j, k), fmt.Sprintf("while p%d is down", j+1))
			}
		}
		wantList(t, s, core.ListOptions{}, "large "+strings.Join(want, " "))
		_, err := s.Open(t.Context(), ref("gone"), core.OpenOptions{HeadOnly: true})
		wantKind(t, err, errs.NotFound)
		c.Revive(fmt.Sprintf("p%d", i+1))
	}
}

func TestCluster_LinearizableWhilePeersAreKilled(t *testing.T) {
	linearizableWhilePeersAreKilled(t, func(*servertest.Cluster) {})
}

// TestCluster_LinearizableWhileRepairRuns is the same while every device is repaired all the time: whatever versions repair spreads, it is as if their writers had come late.
func TestCluster_LinearizableWhileRepairRuns(t *testing.T) {
	var mu sync.Mutex
	pulled, dropped := 0, 0
	linearizableWhilePeersAreKilled(t, func(c *servertest.Cluster) {
		for _, target := range c.Targets() {
			r := repair.New(repair.Config{Devices: c.Seen(target.Peer), Rings: repairRings{c}, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler),
				Counters: repair.NoCounters{}, Settle: time.Nanosecond})
			for _, l := range c.Locals(target.Peer) {
				rep := r.Pass(t.Context(), l)
				mu.Lock()
				pulled += rep.Pulled
				dropped += rep.Dropped
				mu.Unlock()
			}
		}
	})
	t.Logf("%d versions pulled, %d copies brought home", pulled, dropped)
	if pulled == 0 { // whether copies are left with others, on a machine that is busy, is a matter of chance
		t.Error("nothing was repaired")
	}
}

// repairRings shows the rings of a test cluster to repair.
type repairRings struct{ c *servertest.Cluster }

func (r repairRings) Account() repair.Ring   { return r }
func (r repairRings) Container() repair.Ring { return r }
func (r repairRings) Objects() iter.Seq2[uint8, repair.Ring] {
	return func(yield func(uint8, repair.Ring) bool) { yield(0, r) }
}
func (r repairRings) Power() uint8                         { return 8 }
func (r repairRings) Partition(h ring.Hash) ring.Partition { return ring.Partition(h[0]) }
func (r repairRings) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, _ := r.c.Replicas(ring.Hash{byte(p)})
	return append(dst, primaries...)
}

// linearizableWhilePeersAreKilled calls also all the time.
func linearizableWhilePeersAreKilled(t *testing.T, also func(*servertest.Cluster)) {
	t.Helper()
	linearizableOver(t, 4, overCluster, also)
}

// linearizableOver does it with proxies of that make.
func linearizableOver(t *testing.T, peers int, proxy func(testing.TB, *servertest.Cluster, uint16, clock.Clock, string) *core.Core, also func(*servertest.Cluster)) {
	t.Helper()
	c := servertest.NewCluster(t, peers, 1)
	proxies := []*core.Core{
		proxy(t, c, 1, skewed(-30*time.Millisecond), "p1"), proxy(t, c, 2, skewed(0), "p2"), proxy(t, c, 3, skewed(50*time.Millisecond), ""),
	}
	mustMake(t, proxies[0], "c")
	c.SetFault(func(call servertest.Call) error {
		if call.Key.Object != "" && !call.After {
			wait(t.Context(), rand.N(2*time.Millisecond))
		}
		return nil
	})
	verbs := []string{"get", "get", "get", "put", "put", "delete", "create", "replace", "remove"}
	var histories [3]history
	var clients, killer sync.WaitGroup
	done := make(chan struct{})
	killer.Go(func() {
		for i := 0; ; i++ {
			peer := fmt.Sprintf("p%d", i%peers+1)
			c.Kill(peer)
			wait(t.Context(), rand.N(40*time.Millisecond))
			c.Revive(peer)
			select {
			case <-done:
				return
			case <-time.After(rand.N(10 * time.Millisecond)):
			}
		}
	})
	killer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				also(c)
				wait(t.Context(), time.Millisecond)
			}
		}
	})
	for id := range 6 {
		clients.Go(func() {
			h := &histories[id%len(histories)]
			key := ref(fmt.Sprintf("key %d", id%len(histories)))
			seen := &lastSeen{}
			for i := range 60 {
				op := seen.next(verbs, id, i)
				r := h.run(id, op, func() result { return do(t.Context(), proxies[(id+i)%len(proxies)], key, op) })
				seen.learn(op, r)
			}
		})
	}
	clients.Wait()
	close(done)
	killer.Wait()
	for i := range histories {
		histories[i].check(t)
	}
}

// Rings of fewer and of more replicas than three.
func TestCore_OtherReplicaCounts(t *testing.T) {
	for _, replicas := range []int{1, 2, 4, 5} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			m := newMemory(6)
			c, err := core.New(core.Config{Rings: m.rings(replicas), Devices: m, Clock: clock.NewHybrid(clock.System{}, 1)})
			if err != nil {
				t.Fatal(err)
			}
			story(t, c, "all well")
			if replicas >= 4 {
				m.set("c", true)
				story(t, c, "one down")
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
