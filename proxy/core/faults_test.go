package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
)

func objectHash(name string) ring.Hash {
	return ring.HashPath(ring.Secret{1, 2, 3}, "acc", "c", name)
}

// holders gives the peers that hold the object as a primary or handoff, with what they hold.
func (m *memory) holders(name string) map[string]memObject {
	out := map[string]memObject{}
	for t, d := range m.devices {
		d.mu.Lock()
		if o := d.objects[objectHash(name)]; o != nil && o.record != nil {
			out[t.Peer] = *o
		}
		d.mu.Unlock()
	}
	return out
}

func TestRead_GoesOnAtAnotherReplica(t *testing.T) {
	m, c := one(t, 3)
	mustMake(t, c, "c")
	body := strings.Repeat("0123456789", 50_000)
	put(t, c, "o", body)
	for _, bad := range [][]string{{"a"}, {"b"}, {"a", "b"}, {"a", "c"}} {
		for i, peer := range bad {
			m.devices[peerapi.Target{Peer: peer, Device: "d"}].corrupt[objectHash("o")] = 100_000 * (i + 1)
		}
		for range 4 { // the order of the replicas is left to chance
			wantBody(t, c, "o", body)
			if got, err := readRange(t, c, "o", 99_990, 200_020); err != nil || got != body[99_990:300_010] {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
		for _, d := range m.devices {
			clear(d.corrupt)
		}
	}
	for _, d := range m.devices {
		d.corrupt[objectHash("o")] = 1000
	}
	got, err := readRange(t, c, "o", 0, 500_000)
	if !errs.Is(err, errs.Unavailable) || got != body[:1000] {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestRead_VersionStaysReadableWhileItIsReplaced(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	put(t, c, "o", strings.Repeat("old", 100_000))
	o, err := c.Open(t.Context(), ref("o"), core.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	r, err := o.Read(t.Context(), 0, o.Info.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, c, "o", "new")
	if got, err := io.ReadAll(r); err != nil || string(got) != strings.Repeat("old", 100_000) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestRead_UndecidedWriteIsSettled(t *testing.T) {
	for _, large := range []int{1, 100_000} {
		for _, verb := range []string{"put", "delete"} {
			t.Run(fmt.Sprint(verb, large), func(t *testing.T) {
				m, c := one(t, 3)
				mustMake(t, c, "c")
				put(t, c, "o", "old")
				m.faults(func(k call) error { // only peer a gets it
					if (k.method == "Commit" || k.method == "Create") && k.key.Object == "o" && k.peer != "a" {
						return errs.New(errs.Unavailable, "lost")
					}
					return nil
				}, nil)
				body := strings.Repeat("n", large)
				var err error
				if verb == "put" {
					_, err = c.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader(body), Size: int64(large)})
				} else {
					err = c.Delete(t.Context(), ref("o"), nil)
				}
				wantKind(t, err, errs.Unavailable)
				m.faults(nil, nil)
				if large > 1 && verb == "put" {
					wantBody(t, c, "o", "old") // the stream ended when too few took it
					return
				}
				m.set("c", true) // a and b differ now, and must come to one answer that holds
				first, firstErr := read(t.Context(), c, ref("o"))
				m.set("c", false)
				m.set("a", true)
				second, secondErr := read(t.Context(), c, ref("o"))
				if string(first) != string(second) || errs.Is(firstErr, errs.NotFound) != errs.Is(secondErr, errs.NotFound) {
					t.Fatalf("first %q, %v; then %q, %v", first, firstErr, second, secondErr)
				}
				if verb == "put" && string(first) != body {
					t.Fatalf("%q, %v", first, firstErr)
				}
				wantList(t, c, core.ListOptions{}, map[string]string{"put": "o", "delete": ""}[verb])
			})
		}
	}
}

// One primary missed the write and another finds its copy corrupt: the third alone has it, and it is still what there is.
func TestRead_OneMissedItAndOneLostIt(t *testing.T) {
	for _, size := range []int{10, 300_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			m, c := one(t, 3)
			mustMake(t, c, "c")
			m.set("c", true)
			body := strings.Repeat("b", size)
			put(t, c, "o", body)
			m.set("c", false)
			m.faults(func(k call) error { // until it is written anew, peer a can only say that it had something
				switch k.method {
				case "Head", "Open", "Prepare":
					if k.key.Object == "o" && k.peer == "a" {
						return errs.New(errs.Corrupt, "set aside")
					}
				}
				return nil
			}, nil)
			for range 2 {
				wantBody(t, c, "o", body)
			}
			// What the first read settled holds without the one that had it.
			m.faults(nil, nil)
			m.set("b", true)
			wantBody(t, c, "o", body)
		})
	}
}

func TestRead_NewestAsksAll(t *testing.T) {
	m, c := one(t, 3)
	mustMake(t, c, "c")
	put(t, c, "o", "x")
	m.mu.Lock()
	clear(m.calls)
	m.mu.Unlock()
	if _, err := c.Open(t.Context(), ref("o"), core.OpenOptions{HeadOnly: true, Newest: true}); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls["Head"] != 3 {
		t.Fatalf("%v", m.calls)
	}
}

func TestPut_ThirdCopyAtAHandoff(t *testing.T) {
	for _, size := range []int{10, 100_000} {
		for _, hidden := range []bool{false, true} {
			m, c := one(t, 5)
			m.hidden = hidden
			mustMake(t, c, "c")
			primaries := m.rings(3).ring.Primaries(m.rings(3).ring.Partition(objectHash("o")), nil)
			m.set(primaries[1].Peer, true)
			put(t, c, "o", strings.Repeat("x", size))
			held := m.holders("o")
			handoffs := 0
			for _, o := range held {
				if o.handoff != nil {
					handoffs++
					if *o.handoff != primaries[1] {
						t.Errorf("kept for %v", o.handoff)
					}
				}
			}
			if len(held) != 3 || handoffs != 1 {
				t.Errorf("size %d, hidden %v: %d copies, %d at handoffs", size, hidden, len(held), handoffs)
			}
		}
	}
}

func TestPut_HandoffsNeverMakeAQuorum(t *testing.T) {
	m, c := one(t, 6)
	mustMake(t, c, "c")
	primaries := m.rings(3).ring.Primaries(m.rings(3).ring.Partition(objectHash("o")), nil)
	m.faults(func(k call) error {
		if k.key.Object != "" && (k.peer == primaries[0].Peer || k.peer == primaries[1].Peer) {
			return errs.New(errs.Unavailable, "gone")
		}
		return nil
	}, nil)
	for _, size := range []int{10, 100_000} {
		_, err := c.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader(strings.Repeat("x", size)), Size: int64(size)})
		wantKind(t, err, errs.Unavailable)
	}
}

func TestPut_FullDevices(t *testing.T) {
	m, c := one(t, 3)
	mustMake(t, c, "c")
	put(t, c, "o", "x")
	fill := func(peers string, full bool) {
		for _, p := range peers {
			d := m.devices[peerapi.Target{Peer: string(p), Device: "d"}]
			d.mu.Lock()
			d.full = full
			d.mu.Unlock()
		}
	}
	fill("a", true)
	put(t, c, "o", "one is full")
	put(t, c, "o", strings.Repeat("one is full", 10_000))
	fill("b", true)
	for _, body := range []string{"two are full", strings.Repeat("two are full", 10_000)} {
		_, err := c.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader(body), Size: int64(len(body))})
		wantKind(t, err, errs.NoSpace)
	}
	if err := c.Delete(t.Context(), ref("o"), nil); err != nil {
		t.Fatalf("deletes go on: %v", err)
	}
}

// Each call to one peer fails in turn, before it has its effect or after: nothing acknowledged is lost, whatever it was.
func TestQuorum_AnyOneCallLost(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, method := range []string{"Head", "Open", "Create", "Write", "Commit", "Prepare", "Restamp", "Merge", "List", "Index", "ChangeIndex"} {
			for _, peer := range []string{"a", "b", "c"} {
				m, c := one(t, 3)
				fault := func(k call) error {
					if k.method == method && k.peer == peer {
						return errs.New(errs.Timeout, "%s of %s is lost", method, peer)
					}
					return nil
				}
				if after {
					m.faults(nil, fault)
				} else {
					m.faults(fault, nil)
				}
				story(t, c, fmt.Sprintf("%s of %s lost, after %v", method, peer, after))
			}
		}
	}
}

// story does one of everything.
func story(t *testing.T, c *core.Core, name string) {
	t.Helper()
	mustMake(t, c, "c")
	put(t, c, "small", "small")
	large := strings.Repeat("large", 20_000)
	put(t, c, "large", large)
	wantBody(t, c, "small", "small")
	wantBody(t, c, "large", large)
	if _, err := c.UpdateMeta(t.Context(), ref("large"), func(core.Info) (core.Metadata, error) {
		return core.Metadata{ContentType: "new/type"}, nil
	}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	o, err := c.Open(t.Context(), ref("large"), core.OpenOptions{HeadOnly: true})
	if err != nil || o.Info.ContentType != "new/type" {
		t.Fatalf("%s: %+v, %v", name, o, err)
	}
	absent := func(now *core.Info) error {
		if now != nil {
			return errs.New(errs.Precondition, "there is one")
		}
		return nil
	}
	request := func() core.PutRequest {
		return core.PutRequest{Body: strings.NewReader("if absent"), Size: -1, Check: absent}
	}
	if _, err := c.Put(t.Context(), ref("once"), request()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	_, err = c.Put(t.Context(), ref("once"), request())
	wantKind(t, err, errs.Precondition)
	wantBody(t, c, "once", "if absent")
	wantList(t, c, core.ListOptions{}, "large once small")
	id, parts := upload(t, c, "multi", "1", "2")
	complete(t, c, "multi", id, parts)
	wantBody(t, c, "multi", "12")
	for _, n := range []string{"large", "small", "once", "multi"} {
		if err := c.Delete(t.Context(), ref(n), nil); err != nil {
			t.Fatalf("%s: delete %s: %v", name, n, err)
		}
	}
	wantList(t, c, core.ListOptions{}, "")
	if err := c.DeleteContainer(t.Context(), "acc", "c"); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	_, err = c.Container(t.Context(), "acc", "c", true)
	wantKind(t, err, errs.NotFound)
}

func TestPut_ContainerDeletedMeanwhile(t *testing.T) {
	m := newMemory(3)
	stale, other := m.proxy(t, 1, clock.System{}), m.proxy(t, 2, clock.System{})
	mustMake(t, stale, "c")
	put(t, stale, "o", "x")
	if err := stale.Delete(t.Context(), ref("o"), nil); err != nil {
		t.Fatal(err)
	}
	put(t, stale, "o", "x") // so that its cache knows the container
	if err := other.Delete(t.Context(), ref("o"), nil); err != nil {
		t.Fatal(err)
	}
	if err := other.DeleteContainer(t.Context(), "acc", "c"); err != nil {
		t.Fatal(err)
	}
	_, err := stale.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader("late"), Size: 4})
	if !errs.Is(err, errs.NotFound) || !core.IsNoContainer(err) {
		t.Fatalf("%v", err)
	}
	mustMake(t, other, "c")
	_, err = other.Open(t.Context(), ref("o"), core.OpenOptions{HeadOnly: true})
	wantKind(t, err, errs.NotFound)
	// A cache that knows only the container's earlier life does no harm.
	put(t, stale, "o", "x")
	wantBody(t, other, "o", "x")
	wantList(t, other, core.ListOptions{}, "o")
}

func TestConditional_OneOfManyWins(t *testing.T) {
	m := newMemory(3)
	proxies := []*core.Core{m.proxy(t, 1, skewed(-time.Second)), m.proxy(t, 2, skewed(time.Second))}
	mustMake(t, proxies[0], "c")
	var wins, losses, others int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			_, err := proxies[i%2].Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader(fmt.Sprint(i)), Size: -1, Check: func(now *core.Info) error {
				if now != nil {
					return errs.New(errs.Precondition, "taken")
				}
				return nil
			}})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case errs.Is(err, errs.Precondition):
				losses++
			default:
				others++
			}
		})
	}
	all.Wait()
	if wins > 1 || wins+losses+others != 12 || wins == 0 && others == 0 {
		t.Fatalf("%d won, %d lost, %d do not know", wins, losses, others)
	}
	own := errors.New("the caller's own")
	_, err := proxies[0].Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader("x"), Size: 1, Check: func(*core.Info) error { return own }})
	if !errors.Is(err, own) {
		t.Fatalf("%v", err)
	}
}

func TestPut_CanceledClientLeavesNothing(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	before := runtime.NumGoroutine()
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		failed := make(chan error)
		go func() {
			_, err := c.Put(ctx, ref("o"), core.PutRequest{Body: r, Size: -1})
			failed <- err
		}()
		if _, err := w.Write(bytes.Repeat([]byte("x"), 300_000)); err != nil {
			t.Fatal(err)
		}
		cancel()
		w.CloseWithError(context.Canceled)
		if err := <-failed; err == nil {
			t.Fatal("it was put")
		}
	}
	_, err := c.Open(t.Context(), ref("o"), core.OpenOptions{HeadOnly: true})
	wantKind(t, err, errs.NotFound)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestAccount_CountsAndLists(t *testing.T) {
	_, c := one(t, 3)
	for _, n := range []string{"b", "a", "c"} {
		mustMake(t, c, n)
	}
	info, err := c.Account(t.Context(), "acc")
	if err != nil || !info.Exists || info.Containers != 3 {
		t.Fatalf("%+v, %v", info, err)
	}
	if err := c.UpdateAccount(t.Context(), "acc", map[string]string{"x-account-meta-a": "1", "x-account-meta-b": "2"}); err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateAccount(t.Context(), "acc", map[string]string{"x-account-meta-a": ""}); err != nil {
		t.Fatal(err)
	}
	if info, err = c.Account(t.Context(), "acc"); err != nil || len(info.Meta) != 1 || info.Meta["x-account-meta-b"] != "2" {
		t.Fatalf("%+v, %v", info, err)
	}
	l, err := c.ListContainers(t.Context(), "acc", core.ListOptions{Limit: 2})
	if err != nil || names(l) != "a b" || !l.More {
		t.Fatalf("%+v, %v", l, err)
	}
	made, err := c.PutContainer(t.Context(), "acc", "a", core.PutContainer{Meta: map[string]string{"x-container-meta-k": "v"}})
	if made || err != nil {
		t.Fatalf("%v, %v", made, err)
	}
	_, err = c.PutContainer(t.Context(), "acc", "a", core.PutContainer{MustMake: true})
	wantKind(t, err, errs.Exists)
	_, err = c.PutContainer(t.Context(), "acc", "a", core.PutContainer{Policy: "silver"})
	wantKind(t, err, errs.Conflict)
	_, err = c.PutContainer(t.Context(), "acc", "d", core.PutContainer{Policy: "lead"})
	wantKind(t, err, errs.Invalid)
	if made, err = c.PutContainer(t.Context(), "acc", "d", core.PutContainer{Policy: "silver"}); !made || err != nil {
		t.Fatalf("%v, %v", made, err)
	}
	got, err := c.Container(t.Context(), "acc", "a", false)
	if err != nil || got.Meta["x-container-meta-k"] != "v" || got.Policy.Name != "gold" {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := c.UpdateContainer(t.Context(), "acc", "a", map[string]string{"x-container-meta-k": ""}); err != nil {
		t.Fatal(err)
	}
	if got, err = c.Container(t.Context(), "acc", "a", false); err != nil || len(got.Meta) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	wantKind(t, c.UpdateContainer(t.Context(), "acc", "none", nil), errs.NotFound)
	for _, n := range []string{"a", "b", "c", "d"} {
		if err := c.DeleteContainer(t.Context(), "acc", n); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.DeleteAccount(t.Context(), "acc"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, c.DeleteAccount(t.Context(), "acc"), errs.NotFound)
}

// A peer that hangs, without being known to be down, delays what needs it not.
func TestQuorum_OneHangingPeer(t *testing.T) {
	m, c := one(t, 3)
	mustMake(t, c, "c")
	stuck := make(chan struct{})
	m.faults(func(k call) error {
		if k.peer != "b" {
			return nil
		}
		select { // as the time-out of a call between peers does, only sooner
		case <-stuck:
		case <-time.After(500 * time.Millisecond):
		}
		return errs.New(errs.Timeout, "%s of b hangs", k.method)
	}, nil)
	begin := time.Now()
	put(t, c, "small", "small")
	wantBody(t, c, "small", "small")
	put(t, c, "large", strings.Repeat("x", 100_000))
	wantBody(t, c, "large", strings.Repeat("x", 100_000))
	wantList(t, c, core.ListOptions{}, "large small")
	if err := c.Delete(t.Context(), ref("small"), nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Fatalf("it took %v", took)
	}
	close(stuck)
}

// A primary that hangs is not known to be dead for seconds: meanwhile a handoff gets the third copy, and nobody waits for it.
func TestPut_HandoffWhenAPrimaryHangs(t *testing.T) {
	m, c := one(t, 5)
	mustMake(t, c, "c")
	primaries := m.rings(3).ring.Primaries(m.rings(3).ring.Partition(objectHash("o")), nil)
	stuck := make(chan struct{})
	m.faults(func(k call) error {
		if k.method == "Commit" && k.peer == primaries[1].Peer {
			<-stuck
		}
		return nil
	}, nil)
	put(t, c, "o", "bytes") // answered while the primary hangs
	eventually(t, "a handoff has the copy", func() bool {
		for _, o := range m.holders("o") {
			if o.handoff != nil && *o.handoff == primaries[1] && string(o.data) == "bytes" {
				return true
			}
		}
		return false
	})
	close(stuck)
	eventually(t, "the primary has it, too", func() bool {
		o, ok := m.holders("o")[primaries[1].Peer]
		return ok && o.handoff == nil
	})
}

// eventually waits for what goes on behind an answer.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in half a minute: %s", what)
		}
	}
}
