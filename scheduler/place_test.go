package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"henge/cluster/agreement"
	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

// newService makes a scheduler with so many equal hosts.
func newService(t testing.TB, hosts int, each Host, chain ChainConfig) (*Service, state.Store) {
	t.Helper()
	store := state.NewMemory()
	if chain.Random == nil {
		chain.Random = rand.IntN
	}
	s, err := New(Config{Store: store, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Chain: chain, Ratios: Ratios{CPU: 1, RAM: 1, Disk: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		h := each
		h.ID, h.Name, h.UUID = fmt.Sprintf("peer%d", i), fmt.Sprintf("host%d", i), placement.NewUUID()
		update(t, store, func(w state.Writer) error { return s.Report(w, h) })
	}
	return s, store
}

func update(t testing.TB, store state.Store, fn func(w state.Writer) error) {
	t.Helper()
	if err := store.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func place(store state.Store, s *Service, r Request) (host string, err error) {
	err = store.Update(context.Background(), func(w state.Writer) (err error) {
		host, err = s.Place(context.Background(), w, r)
		return err
	})
	return host, err
}

var plain = Host{Zone: "nova", Hypervisor: "QEMU", VirtType: "kvm", Version: 7002000, Arch: "x86_64", VCPUs: 9, MemoryMiB: 9 * 1024, DiskGiB: 1000}

func TestPlace_AHundredAtOnceOnRoomForNinety(t *testing.T) {
	first, store := newService(t, 10, plain, ChainConfig{})
	// A second scheduler, as another peer has it, with what it remembers of its own.
	second, err := New(Config{Store: store, Logger: first.cfg.Logger, Chain: ChainConfig{Random: rand.IntN}, Ratios: first.cfg.Ratios})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go second.Run(ctx) // one that follows, and one that reads for itself
	var wg sync.WaitGroup
	failures := make(chan error, 100)
	for i := range 100 {
		wg.Go(func() {
			s := first
			if i%2 == 1 {
				s = second
			}
			if _, err := place(store, s, Request{ServerID: placement.NewUUID(), ProjectID: "p", VCPUs: 1, RAMMiB: 1024, DiskGiB: 1, Zone: "nova"}); err != nil {
				failures <- err
			}
		})
	}
	wg.Wait()
	close(failures)
	count := 0
	for err := range failures {
		count++
		var none *NoValidHostError
		if !errs.Is(err, errs.Unavailable) || !errors.As(err, &none) || none.Hosts != 10 || none.Removed("Ram")+none.Removed("Core") != 10 {
			t.Errorf("a failure says %v", err)
		}
		if !strings.Contains(err.Error(), "No valid host was found. There are not enough hosts available: of 10, Ram removed 10.") {
			t.Errorf("a failure says %v", err)
		}
	}
	if count != 10 {
		t.Errorf("%d placements failed, not 10", count)
	}
	update(t, store, func(w state.Writer) error {
		for p, err := range placement.Providers.All(w) {
			if err != nil {
				return err
			}
			if p.Used[placement.VCPU] != 9 || p.Used[placement.Memory] != 9*1024 || p.Used[placement.Disk] != 9 {
				t.Errorf("%s has given %v", p.Name, p.Used)
			}
		}
		return nil
	})
}

func TestPlace_ReleaseGivesBackAndAnotherTryMoves(t *testing.T) {
	s, store := newService(t, 2, plain, ChainConfig{})
	r := Request{ServerID: placement.NewUUID(), VCPUs: 9, RAMMiB: 1024}
	one, err := place(store, s, r)
	if err != nil {
		t.Fatal(err)
	}
	r.Without = []string{strings.Replace(one, "peer", "host", 1)}
	two, err := place(store, s, r)
	if err != nil || two == one {
		t.Fatalf("the second try went to %s after %s: %v", two, one, err)
	}
	r2 := Request{ServerID: placement.NewUUID(), VCPUs: 9}
	if again, err := place(store, s, r2); err != nil || again != one {
		t.Fatalf("what was moved away from was not free: %s, %v", again, err)
	}
	r3 := Request{ServerID: placement.NewUUID(), VCPUs: 1}
	if _, err := place(store, s, r3); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "Core removed 2") {
		t.Fatalf("no room, but: %v", err)
	}
	for range 2 { // safe to repeat
		update(t, store, func(w state.Writer) error { return s.Release(w, r.ServerID) })
	}
	if host, err := place(store, s, r3); err != nil || host != two {
		t.Fatalf("what was given back is not free: %s, %v", host, err)
	}
}

func TestPlace_SeveralInOneTransaction(t *testing.T) {
	s, store := newService(t, 3, plain, ChainConfig{})
	seen := map[string]int{}
	update(t, store, func(w state.Writer) error {
		clear(seen)
		for range 9 {
			host, err := s.Place(context.Background(), w, Request{ServerID: placement.NewUUID(), VCPUs: 3, RAMMiB: 1024})
			if err != nil {
				return err
			}
			seen[host]++
		}
		_, err := s.Place(context.Background(), w, Request{ServerID: placement.NewUUID(), VCPUs: 3})
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("a tenth had room: %v", err)
		}
		return nil
	})
	for host, n := range seen {
		if n != 3 {
			t.Errorf("%s got %d servers", host, n)
		}
	}
}

func TestPlace_GroupsAndHints(t *testing.T) {
	s, store := newService(t, 3, plain, ChainConfig{})
	var members []string
	at := map[string]string{}
	put := func(r Request) (string, error) {
		r.ServerID, r.VCPUs = placement.NewUUID(), 1
		host, err := place(store, s, r)
		if err == nil {
			members = append(members, r.ServerID)
			at[r.ServerID] = host
		}
		return host, err
	}
	apart := func() Request {
		return Request{Group: &Group{Policy: "anti-affinity", Members: members}}
	}
	used := map[string]bool{}
	for range 3 {
		host, err := put(apart())
		if err != nil || used[host] {
			t.Fatalf("%s: %v", host, err)
		}
		used[host] = true
	}
	if _, err := put(apart()); err == nil || !strings.Contains(err.Error(), "ServerGroupAntiAffinity removed 3") {
		t.Errorf("a fourth apart: %v", err)
	}
	first := members[0]
	if host, err := put(Request{Group: &Group{Policy: "affinity", Members: []string{first}}}); err != nil || host != at[first] {
		t.Errorf("together with %s: %s, %v", at[first], host, err)
	}
	if host, err := put(Request{SameHost: []string{first}}); err != nil || host != at[first] {
		t.Errorf("same host as %s: %s, %v", at[first], host, err)
	}
	if host, err := put(Request{DifferentHost: []string{members[0], members[1]}}); err != nil || host != at[members[2]] {
		t.Errorf("different host: %s, %v", host, err)
	}
	if host, err := put(Request{Host: "host1"}); err != nil || host != "peer1" {
		t.Errorf("a host by name: %s, %v", host, err)
	}
	if _, err := put(Request{Host: "nobody"}); err == nil || !strings.Contains(err.Error(), "RequestedHost removed 3") {
		t.Errorf("an unknown host: %v", err)
	}
}

func TestPlace_HostsThatAreDown(t *testing.T) {
	s, store := newService(t, 2, plain, ChainConfig{})
	s.cfg.Alive = func(peer string) bool { return peer != "peer0" }
	if host, err := place(store, s, Request{ServerID: "a", VCPUs: 1}); err != nil || host != "peer1" {
		t.Fatalf("%s, %v", host, err)
	}
	down := plain
	update(t, store, func(w state.Writer) error {
		old, err := Hosts.Get(w, "peer1")
		down = old
		down.Down = "disabled: maintenance"
		return errors.Join(err, s.Report(w, down))
	})
	if _, err := place(store, s, Request{ServerID: "b", VCPUs: 1}); err == nil || !strings.Contains(err.Error(), "of 2, Compute removed 2") {
		t.Fatalf("both are down: %v", err)
	}
	update(t, store, func(w state.Writer) error {
		if err := s.Forget(w, "peer1"); !errs.Is(err, errs.Conflict) {
			t.Errorf("a host with a server was forgotten: %v", err)
		}
		return errors.Join(s.Release(w, "a"), s.Forget(w, "peer1"), s.Forget(w, "peer1"))
	})
}

func TestReport_WritesNothingWhenNothingChanged(t *testing.T) {
	s, store := newService(t, 1, plain, ChainConfig{})
	for range 3 {
		update(t, store, func(w state.Writer) error {
			h, err := Hosts.Get(w, "peer0")
			return errors.Join(err, s.Report(w, h))
		})
	}
	update(t, store, func(w state.Writer) error {
		p, err := placement.Providers.First(w, "name", "host0")
		if p.Generation != 1 {
			t.Errorf("the provider was written again: generation %d", p.Generation)
		}
		return err
	})
}

// huge never fills up.
func huge() Host {
	h := plain
	h.VCPUs, h.MemoryMiB, h.DiskGiB = 100_000, 100_000_000, 10_000_000
	return h
}

var hostCounts = []int{100, 1000, 10_000}

// BenchmarkSelect is the choice alone: filters, weighers and order over hosts in memory.
func BenchmarkSelect(b *testing.B) {
	for _, n := range hostCounts {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			chain, err := NewChain(ChainConfig{SubsetSize: 10, Random: rand.IntN})
			if err != nil {
				b.Fatal(err)
			}
			var hosts []*HostState
			for i := range n {
				room := Room{Capacity: 1 << 20, OneMax: 1 << 20, Used: int64(i % 1000)}
				hosts = append(hosts, &HostState{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Zone: "nova", Hypervisor: "QEMU", VirtType: "kvm", Arch: "x86_64", RAM: room, CPU: room, Disk: room})
			}
			r := &Request{ServerID: "s", VCPUs: 1, RAMMiB: 512, DiskGiB: 1, Zone: "nova"}
			for b.Loop() {
				if chain.best(hosts, r) == nil {
					b.Fatal("no host")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "choices/s")
		})
	}
}

// BenchmarkPlace chooses, and claims in a transaction: in a state in memory, and in one that Raft keeps on disk.
func BenchmarkPlace(b *testing.B) {
	for _, n := range hostCounts {
		b.Run(fmt.Sprintf("memory/hosts=%d", n), func(b *testing.B) { benchmarkPlace(b, n, 1, state.NewMemory()) })
	}
	for _, n := range hostCounts {
		for _, parallel := range []int{1, 16} {
			b.Run(fmt.Sprintf("raft/hosts=%d/requests=%d", n, parallel), func(b *testing.B) { benchmarkPlace(b, n, parallel, newAgreement(b)) })
		}
	}
}

func benchmarkPlace(b *testing.B, hosts, parallel int, store state.Store) {
	s, err := New(Config{Store: store, Logger: slog.New(slog.DiscardHandler), Chain: ChainConfig{SubsetSize: 10, Random: rand.IntN}, Ratios: DefaultRatios()})
	if err != nil {
		b.Fatal(err)
	}
	for first := 0; first < hosts; first += 100 {
		update(b, store, func(w state.Writer) error {
			for i := first; i < min(hosts, first+100); i++ {
				h := huge()
				h.ID, h.Name, h.UUID = fmt.Sprintf("peer%d", i), fmt.Sprintf("host%d", i), placement.NewUUID()
				if err := s.Report(w, h); err != nil {
					return err
				}
			}
			return nil
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go s.Run(ctx)
	for ready := false; !ready; _, ready = s.view.current() {
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	limit := make(chan struct{}, parallel)
	for b.Loop() {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			if _, err := place(store, s, Request{ServerID: fmt.Sprintf("server%d", next.Add(1)), VCPUs: 1, RAMMiB: 512, DiskGiB: 1, Zone: "nova"}); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "placements/s")
}

// newAgreement is the state of a cluster of one peer, with its log on disk.
func newAgreement(b *testing.B) state.Store {
	b.Helper()
	dir, logger := filepath.Join(b.TempDir(), "p1"), slog.New(slog.DiscardHandler)
	if err := agreement.Bootstrap(dir, "p1"); err != nil {
		b.Fatal(err)
	}
	server := rpc.NewServer("p1", logger)
	client := rpc.NewClient(rpc.Config{Self: "p1", Local: server, Logger: logger})
	group, err := agreement.Open(agreement.Config{Self: "p1", Dir: dir, Caller: client, Mux: server, Voters: 1, VoterDeadAfter: time.Hour, SnapshotEntries: 8192, TrailingEntries: 1024,
		Dial: func(context.Context, string) (net.Conn, error) {
			return nil, errs.New(errs.Unavailable, "there is no other peer")
		}, Clock: clock.System{}, Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := group.Kill(); err != nil {
			b.Error(err)
		}
		client.Close()
		server.Close()
	})
	return group
}
