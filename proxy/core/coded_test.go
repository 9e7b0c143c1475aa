package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/erasure"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/server/servertest"
)

// codedRings place objects on six devices, for 4+2, and listings on five: as long as four devices are left, there is a majority of each.
type codedRings struct{ clusterRings }

func (r codedRings) Account() core.Ring   { return listingRing{r.ring} }
func (r codedRings) Container() core.Ring { return listingRing{r.ring} }

// listingRing has five replicas.
type listingRing struct{ clusterRing }

func (r listingRing) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, handoffs := r.find(p)
	return append(append(dst, primaries...), handoffs[:2]...)
}

func (r listingRing) Handoffs(p ring.Partition) iter.Seq[peerapi.Target] {
	_, handoffs := r.find(p)
	return slices.Values(handoffs[2:])
}

func (r codedRings) Object(uint8) core.Ring { return codedRing{r.ring} }
func (r codedRings) Policies() []core.Policy {
	return []core.Policy{{Name: "archive", Default: true, Replicas: 6, Coding: "4+2"}}
}

type codedRing struct{ clusterRing }

func (r codedRing) Shape() *erasure.Shape { return &erasure.Shape{Data: 4, Parity: 2} }

func (r codedRing) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, handoffs := r.find(p)
	return append(append(dst, primaries...), handoffs[:3]...)
}

func (r codedRing) Handoffs(p ring.Partition) iter.Seq[peerapi.Target] {
	_, handoffs := r.find(p)
	return slices.Values(handoffs[3:])
}

func codedProxy(t testing.TB, c *servertest.Cluster, number uint16, now clock.Clock, local string) *core.Core {
	t.Helper()
	s, err := core.New(core.Config{Rings: codedRings{clusterRings{clusterRing{c}}}, Devices: c.Seen(local), Clock: clock.NewHybrid(now, number), Time: now, CodedBytesMin: -1,
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

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

func putBytes(t testing.TB, s core.Service, name string, body []byte, size int64) {
	t.Helper()
	if _, err := s.Put(t.Context(), ref(name), core.PutRequest{Body: bytes.NewReader(body), Size: size}); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func wantRange(t *testing.T, s core.Service, name string, want []byte, offset, length int64) {
	t.Helper()
	o, err := s.Open(t.Context(), ref(name), core.OpenOptions{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer o.Close()
	r, err := o.Read(t.Context(), offset, length)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want[offset:offset+length]) {
		t.Fatalf("%s: %d bytes at %d: got %d, %v", name, length, offset, len(got), err)
	}
}

var codedSizes = []int{0, 1, 5, 4096, 70_000, 300_000, 1 << 20, 1<<20 + 1, 3<<20 + 12_345}

func TestCoded_AnyTwoPeersDown(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	s := codedProxy(t, c, 1, clock.System{}, "")
	mustMake(t, s, "c")
	for _, n := range codedSizes {
		putBytes(t, s, fmt.Sprint(n), noise(n), int64(n))
		putBytes(t, s, fmt.Sprint("stream", n), noise(n), -1)
	}
	for a := range 6 {
		b := (a + 1 + rand.N(5)) % 6
		c.Kill(fmt.Sprintf("p%d", a+1))
		c.Kill(fmt.Sprintf("p%d", b+1))
		for _, n := range codedSizes {
			body := noise(n)
			wantBody(t, s, fmt.Sprint(n), string(body))
			wantBody(t, s, fmt.Sprint("stream", n), string(body))
			if n > 0 {
				from := rand.N(int64(n))
				wantRange(t, s, fmt.Sprint(n), body, from, rand.N(int64(n)-from+1))
			}
		}
		c.Revive(fmt.Sprintf("p%d", a+1))
		c.Revive(fmt.Sprintf("p%d", b+1))
	}
}

func TestCoded_WritesGoOnWithHandoffs(t *testing.T) {
	c := servertest.NewCluster(t, 8, 1)
	s := codedProxy(t, c, 1, clock.System{}, "")
	mustMake(t, s, "c")
	c.Kill("p2")
	c.Kill("p5")
	for _, n := range codedSizes {
		putBytes(t, s, fmt.Sprint(n), noise(n), int64(n))
	}
	for _, n := range codedSizes {
		wantBody(t, s, fmt.Sprint(n), string(noise(n)))
		if err := s.Delete(t.Context(), ref(fmt.Sprint(n)), nil); err != nil {
			t.Fatal(err)
		}
	}
	wantList(t, s, core.ListOptions{}, "")
}

// A write that dies anywhere leaves the version before it readable, whole, or is there itself.
func TestCoded_AWriteThatDiesHalfWayLosesNothing(t *testing.T) {
	old, next := noise(600_000), noise(700_001)
	for after := range 14 {
		c := servertest.NewCluster(t, 6, 1)
		s := codedProxy(t, c, 1, clock.System{}, "")
		mustMake(t, s, "c")
		putBytes(t, s, "o", old, int64(len(old)))
		var left atomic.Int64
		left.Store(int64(after))
		c.SetFault(func(call servertest.Call) error {
			if call.After || call.Key.Object == "" || !strings.HasSuffix(call.Method, "Commit") && call.Method != "Prepare" {
				return nil
			}
			if left.Add(-1) < 0 {
				return errs.New(errs.Unavailable, "the writer is dead")
			}
			return nil
		})
		_, err := s.Put(t.Context(), ref("o"), core.PutRequest{Body: bytes.NewReader(next), Size: int64(len(next))})
		c.SetFault(func(servertest.Call) error { return nil })
		other := codedProxy(t, c, 2, skewed(time.Hour/10), "")
		got, readErr := read(t.Context(), other, ref("o"))
		switch {
		case readErr != nil:
			t.Fatalf("after %d commits: %v", after, readErr)
		case bytes.Equal(got, next):
		case err == nil || !bytes.Equal(got, old):
			t.Fatalf("after %d commits the write ended with %v, and another version is read", after, err)
		}
	}
}

func TestCoded_LinearizableWhilePeersAreKilled(t *testing.T) {
	linearizableOver(t, 6, codedProxy, func(*servertest.Cluster) {})
}

func TestCoded_ReadGoesOnWhenFragmentsFail(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	s := codedProxy(t, c, 1, clock.System{}, "")
	mustMake(t, s, "c")
	body := noise(5 << 20)
	putBytes(t, s, "o", body, int64(len(body)))
	o, err := s.Open(t.Context(), ref("o"), core.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	r, err := o.Read(t.Context(), 0, int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, 1<<20)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	c.Kill("p1")
	c.Kill("p4")
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(got, rest...), body) {
		t.Fatalf("read %d of %d bytes: %v", len(got)+len(rest), len(body), err)
	}
	for i := range 3 {
		c.Kill(fmt.Sprintf("p%d", i+1))
	}
	_, err = read(t.Context(), s, ref("o"))
	wantKind(t, err, errs.Unavailable)
}

// A device that does not answer is not waited for.
func TestCoded_ReadIsHedged(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	s := codedProxy(t, c, 1, clock.System{}, "")
	mustMake(t, s, "c")
	body := noise(2 << 20)
	putBytes(t, s, "o", body, int64(len(body)))
	hang, end := context.WithCancel(t.Context())
	defer end()
	c.SetFault(func(call servertest.Call) error {
		if call.Method == "Open" && !call.After && (call.To.Peer == "p3" || call.To.Peer == "p6") {
			<-hang.Done()
			return hang.Err()
		}
		return nil
	})
	began := time.Now()
	wantBody(t, s, "o", string(body))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the read took %v", took)
	}
}

func TestCoded_ReplacedFragmentsAreGivenUp(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	now := &shiftedClock{}
	s := codedProxy(t, c, 1, now, "")
	mustMake(t, s, "c")
	body, other := noise(900_000), noise(800_000)
	putBytes(t, s, "o", body, int64(len(body)))
	o, err := s.Open(t.Context(), ref("o"), core.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	putBytes(t, s, "o", other, int64(len(other)))
	r, err := o.Read(t.Context(), 0, int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("a reader of the version before: %v", err)
	}
	now.by.Store(int64(2 * time.Hour))
	if n, err := s.Sweep(t.Context()); err != nil || n == 0 {
		t.Fatalf("sweep: %d, %v", n, err)
	}
	if n := fragmentsHeld(t, c); n != 6 {
		t.Errorf("%d fragments are held, want the 6 of the version that is there", n)
	}
	wantBody(t, s, "o", string(other))
	if err := s.Delete(t.Context(), ref("o"), nil); err != nil {
		t.Fatal(err)
	}
	now.by.Store(int64(4 * time.Hour))
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := fragmentsHeld(t, c); n != 0 {
		t.Errorf("%d fragments are held of an object that was deleted", n)
	}
}

func TestCoded_ARefusedWriteLeavesNoFragments(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	s := codedProxy(t, c, 1, clock.System{}, "")
	mustMake(t, s, "c")
	body := noise(400_000)
	asked := 0
	_, err := s.Put(t.Context(), ref("o"), core.PutRequest{Body: bytes.NewReader(body), Size: int64(len(body)), Check: func(*core.Info) error {
		if asked++; asked > 1 {
			return errs.New(errs.Precondition, "no")
		}
		return nil
	}})
	wantKind(t, err, errs.Precondition)
	deadline := time.Now().Add(20 * time.Second)
	for fragmentsHeld(t, c) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("fragments are left")
		}
		wait(t.Context(), 5*time.Millisecond)
	}
}

// fragmentsHeld counts what lives on all devices.
func fragmentsHeld(t *testing.T, c *servertest.Cluster) int {
	t.Helper()
	n := 0
	for _, target := range c.Targets() {
		for _, l := range c.Locals(target.Peer) {
			for p := range 256 {
				page, err := l.Marks(t.Context(), peerapi.MarksQuery{Power: 8, Partition: ring.Partition(p), Limit: peerapi.MarksMax})
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range page.Marks {
					st, err := l.Holds(peerapi.Key{Hash: m.Hash, Partition: ring.Partition(p)})
					if err != nil {
						t.Fatal(err)
					}
					if st.Exists() && st.Record.Fragment != nil {
						n++
					}
				}
			}
		}
	}
	return n
}

// shiftedClock is the machine's, set forward.
type shiftedClock struct{ by atomic.Int64 }

func (s *shiftedClock) Now() time.Time { return time.Now().Add(time.Duration(s.by.Load())) }
