package rings

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/ring"
)

var day = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func builder(t *testing.T, devices int) *ring.Builder {
	t.Helper()
	b, err := ring.NewBuilder(ring.Config{Power: 6, Replicas: 3, MinPartHours: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		if _, err := b.Add(ring.Device{Region: 1, Zone: i, Peer: fmt.Sprintf("p%d", i), Name: "d1", Weight: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Rebalance(day, 1); err != nil {
		t.Fatal(err)
	}
	return b
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// follow opens a Book and runs it until the test ends.
func follow(t *testing.T, store state.Store, log *slog.Logger) *Book {
	t.Helper()
	book, err := Open(t.Context(), store, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- book.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return book
}

// await waits until ok holds of the book.
func await(t *testing.T, book *Book, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for {
		changed := book.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestBook_FollowsPublishedRings(t *testing.T) {
	store := state.NewMemory()
	b := builder(t, 4)
	if err := store.Update(t.Context(), func(w state.Writer) error { return Put(w, Account, b) }); err != nil {
		t.Fatal(err)
	}
	book := follow(t, store, quiet())
	first := book.Ring(Account)
	if first == nil || len(first.Devices()) != 4 || book.Version(Account) != b.Version() {
		t.Fatalf("what was there before is not in the book: %v", first)
	}
	if book.Ring(Container) != nil || book.Object(0) != nil || book.Version(Object) != 0 {
		t.Fatal("a ring that is not there")
	}

	object := builder(t, 5)
	if err := CreateBuilder(t.Context(), store, ObjectName(2), object); err != nil {
		t.Fatal(err)
	}
	if err := SaveBuilder(t.Context(), store, ObjectName(2), object, object.Version(), true); err != nil {
		t.Fatal(err)
	}
	await(t, book, "the object-2 ring", func() bool { return book.Object(2) != nil })
	if book.Object(1) != nil || book.Object(3) != nil || book.Object(-1) != nil || book.Ring("object-2") != book.Object(2) {
		t.Fatal("policies mixed up")
	}
	want, err := object.Ring()
	if err != nil {
		t.Fatal(err)
	}
	if book.Object(2).Digest() != want.Digest() || book.Versions()["object-2"] != want.Version() {
		t.Fatal("the published ring is not the builder's")
	}
	if book.Ring(Account) != first {
		t.Fatal("an untouched ring was replaced")
	}
}

func TestBook_KeepsTheRingWhenTheNewOneIsDamaged(t *testing.T) {
	store := state.NewMemory()
	if err := store.Update(t.Context(), func(w state.Writer) error { return Put(w, Account, builder(t, 4)) }); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var logged bytes.Buffer
	book := follow(t, store, slog.New(slog.NewTextHandler(lockedWriter{&mu, &logged}, nil)))
	before := book.Ring(Account)
	err := store.Update(t.Context(), func(w state.Writer) error {
		w.Put(ringPrefix+Account, []byte("hengring\x01nonsense"))
		return Put(w, Container, builder(t, 3))
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, book, "the container ring", func() bool { return book.Ring(Container) != nil })
	if book.Ring(Account) != before {
		t.Fatal("the good ring is gone")
	}
	mu.Lock()
	defer mu.Unlock()
	if !bytes.Contains(logged.Bytes(), []byte("cannot be read")) {
		t.Fatalf("nothing was said: %s", logged.Bytes())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestBook_ForgetsWhatAResetDoesNotName(t *testing.T) {
	store := state.NewMemory()
	err := store.Update(t.Context(), func(w state.Writer) error {
		if err := PutPolicy(w, Policy{Index: 0, Name: "three"}); err != nil {
			return err
		}
		return Put(w, Account, builder(t, 4))
	})
	if err != nil {
		t.Fatal(err)
	}
	book, err := Open(t.Context(), store, quiet())
	if err != nil {
		t.Fatal(err)
	}
	changed := book.Changed()
	book.turn(state.Event{Index: 99, Reset: true})
	<-changed
	if book.Ring(Account) != nil || len(book.Policies()) != 0 {
		t.Fatal("something survived")
	}
}

func TestSaveBuilder_RefusesWhenSomebodyWasFaster(t *testing.T) {
	store := state.NewMemory()
	ctx := t.Context()
	if err := CreateBuilder(ctx, store, Object, builder(t, 4)); err != nil {
		t.Fatal(err)
	}
	if err := CreateBuilder(ctx, store, Object, builder(t, 4)); !errs.Is(err, errs.Exists) {
		t.Fatalf("made twice: %v", err)
	}
	mine, err := LoadBuilder(ctx, store, Object)
	if err != nil {
		t.Fatal(err)
	}
	was := mine.Version()
	if err := ChangeBuilder(ctx, store, Object, func(b *ring.Builder) error { return b.SetWeight(1, 7) }); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Rebalance(day, 2); err != nil {
		t.Fatal(err)
	}
	if err := SaveBuilder(ctx, store, Object, mine, was, true); !errs.Is(err, errs.Conflict) {
		t.Fatalf("want a conflict: %v", err)
	}
	now, err := LoadBuilder(ctx, store, Object)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := now.Device(1); err != nil || d.Weight != 7 {
		t.Fatalf("the other's change is lost: %+v %v", d, err)
	}
	err = store.View(ctx, func(r state.Reader) error { _, err := PublishedRing(r, Object); return err })
	if !errs.Is(err, errs.NotFound) {
		t.Fatalf("published in spite of the conflict: %v", err)
	}
}

func TestChangeBuilder_NothingIsLostBetweenWriters(t *testing.T) {
	store := state.NewMemory()
	if err := CreateBuilder(t.Context(), store, Object, builder(t, 8)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for id := range 8 {
		wg.Go(func() {
			err := ChangeBuilder(t.Context(), store, Object, func(b *ring.Builder) error { return b.SetWeight(id, float64(100+id)) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, err := LoadBuilder(t.Context(), store, Object)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range b.Devices() {
		if d.Weight != float64(100+d.ID) {
			t.Errorf("%s has weight %g", &d, d.Weight)
		}
	}
}

func TestSecret_IsMadeOnce(t *testing.T) {
	store := state.NewMemory()
	got := make([]ring.Secret, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = Secret(t.Context(), store, rand.Reader); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range got {
		if s != got[0] || s == (ring.Secret{}) {
			t.Fatalf("different secrets: %x", got)
		}
	}
}

func TestPolicies_OneDefaultAndNoNameTwice(t *testing.T) {
	store := state.NewMemory()
	put := func(p Policy) error {
		return store.Update(t.Context(), func(w state.Writer) error { return PutPolicy(w, p) })
	}
	book := follow(t, store, quiet())
	steps := []struct {
		p    Policy
		kind errs.Kind // Internal: no error
	}{
		{Policy{Index: 0, Name: "three-copies", Aliases: []string{"gold"}}, errs.Internal},
		{Policy{Index: 0, Name: "three-copies", Deprecated: true}, errs.Invalid},
		{Policy{Index: 3, Name: "Gold"}, errs.Exists}, // the alias is taken, in any case
		{Policy{Index: 3, Name: "bad name"}, errs.Invalid},
		{Policy{Index: 3, Name: "x", Aliases: []string{"X"}}, errs.Invalid},
		{Policy{Index: 256, Name: "far"}, errs.Invalid},
		{Policy{Index: 4, Name: "policy-0"}, errs.Invalid},
		{Policy{Index: 10, Name: "ten", Default: true}, errs.Internal},
		{Policy{Index: 10, Name: "ten"}, errs.Invalid},
		{Policy{Index: 2, Name: "two", Deprecated: true}, errs.Internal},
	}
	for _, s := range steps {
		err := put(s.p)
		if s.kind == errs.Internal && err != nil || s.kind != errs.Internal && !errs.Is(err, s.kind) {
			t.Errorf("%+v: %v", s.p, err)
		}
	}
	await(t, book, "three policies", func() bool { return len(book.Policies()) == 3 })
	all := book.Policies()
	if all[0].Index != 0 || all[1].Index != 2 || all[2].Index != 10 || all[0].Default || !all[2].Default || !all[0].Named("GOLD") {
		t.Fatalf("%+v", all)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"account", "container", "object", "object-1", "object-255"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "object-0", "object-01", "object-256", "object-x", "object--1", "Account", "accounts"} {
		if err := CheckName(name); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if n, ok := PolicyOf(ObjectName(17)); n != 17 || !ok {
		t.Error(n, ok)
	}
}
