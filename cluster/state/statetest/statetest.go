// Package statetest is the contract of state.Store as a test suite: every implementation passes it.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/limits"
)

// Run checks a Store. open is called once for each case and gives a store whose keys under "case/" are empty; it cleans up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) state.Store) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, state.Store)
	}{
		{"read your writes", readYourWrites},
		{"a failed update writes nothing", failedUpdate},
		{"scan", scan},
		{"snapshots do not change", snapshotStands},
		{"values are copied", valuesAreCopied},
		{"lost updates", lostUpdates},
		{"phantoms", phantoms},
		{"watch", watch},
		{"watch from the past", watchReset},
		{"watch ends", watchEnds},
		{"barrier", barrier},
		{"limits", overLimits},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s state.Store, pairs ...string) {
	t.Helper()
	must(t, s.Update(deadline(t), func(w state.Writer) error {
		for i := 0; i < len(pairs); i += 2 {
			w.Put(pairs[i], []byte(pairs[i+1]))
		}
		return nil
	}))
}

func keys(r state.Reader, prefix string) (found []string) {
	for key, value := range r.Scan(prefix) {
		found = append(found, key+"="+string(value))
	}
	return found
}

func expect(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func readYourWrites(t *testing.T, s state.Store) {
	var before state.Index
	must(t, s.View(deadline(t), func(r state.Reader) error { before = r.Index(); return nil }))
	must(t, s.Update(deadline(t), func(w state.Writer) error {
		w.Put("case/a", []byte("1"))
		w.Put("case/b", []byte("2"))
		w.Delete("case/b")
		if v, ok := w.Get("case/a"); !ok || string(v) != "1" {
			t.Errorf("the writer does not see its own write: %q, %v", v, ok)
		}
		if _, ok := w.Get("case/b"); ok {
			t.Error("the writer sees what it deleted")
		}
		expect(t, keys(w, "case/"), []string{"case/a=1"})
		return nil
	}))
	must(t, s.View(deadline(t), func(r state.Reader) error {
		expect(t, keys(r, "case/"), []string{"case/a=1"})
		if _, ok := r.Get("case/nothing"); ok {
			t.Error("a key that nobody wrote is there")
		}
		if r.Index() <= before {
			t.Errorf("index %d after an update, %d before", r.Index(), before)
		}
		return nil
	}))
	must(t, s.Update(deadline(t), func(w state.Writer) error { w.Delete("case/a"); w.Delete("case/never"); return nil }))
	must(t, s.View(deadline(t), func(r state.Reader) error { expect(t, keys(r, "case/"), nil); return nil }))
}

func failedUpdate(t *testing.T, s state.Store) {
	wanted := errs.New(errs.Quota, "enough")
	err := s.Update(deadline(t), func(w state.Writer) error { w.Put("case/a", nil); return wanted })
	if !errors.Is(err, wanted) {
		t.Fatalf("the function's own error became %v", err)
	}
	must(t, s.View(deadline(t), func(r state.Reader) error { expect(t, keys(r, "case/"), nil); return nil }))
	if err := s.View(deadline(t), func(state.Reader) error { return wanted }); !errors.Is(err, wanted) {
		t.Fatalf("a View's error became %v", err)
	}
}

func scan(t *testing.T, s state.Store) {
	put(t, s, "case/b/2", "y", "case/b/10", "x", "case/b", "p", "case/c", "z", "case/a\x00\xff", "bin", "case/a", "")
	must(t, s.View(deadline(t), func(r state.Reader) error {
		expect(t, keys(r, "case/b/"), []string{"case/b/10=x", "case/b/2=y"})
		expect(t, keys(r, "case/"), []string{"case/a=", "case/a\x00\xff=bin", "case/b=p", "case/b/10=x", "case/b/2=y", "case/c=z"})
		expect(t, keys(r, "case/d"), nil)
		for key := range r.Scan("case/") {
			if key != "case/a" {
				t.Errorf("the first key is %q", key)
			}
			break
		}
		return nil
	}))
	must(t, s.Update(deadline(t), func(w state.Writer) error {
		for key := range w.Scan("case/b") { // writes in the loop do not disturb it
			w.Delete(key)
			w.Put(key+"!", nil)
		}
		return nil
	}))
	must(t, s.View(deadline(t), func(r state.Reader) error {
		expect(t, keys(r, "case/b"), []string{"case/b!=", "case/b/10!=", "case/b/2!="})
		return nil
	}))
}

func snapshotStands(t *testing.T, s state.Store) {
	put(t, s, "case/a", "1")
	must(t, s.View(deadline(t), func(r state.Reader) error {
		put(t, s, "case/a", "2", "case/b", "3")
		expect(t, keys(r, "case/"), []string{"case/a=1"})
		return nil
	}))
}

func valuesAreCopied(t *testing.T, s state.Store) {
	value := []byte("whole")
	must(t, s.Update(deadline(t), func(w state.Writer) error { w.Put("case/a", value); return nil }))
	copy(value, "WRONG")
	must(t, s.View(deadline(t), func(r state.Reader) error { expect(t, keys(r, "case/"), []string{"case/a=whole"}); return nil }))
}

// lostUpdates counts up from many goroutines: every one must be seen in the sum.
func lostUpdates(t *testing.T, s state.Store) {
	const writers, rounds = 8, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range rounds {
				err := s.Update(deadline(t), func(w state.Writer) error {
					v, _ := w.Get("case/n")
					n, _ := strconv.Atoi(string(v))
					w.Put("case/n", []byte(strconv.Itoa(n+1)))
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, s.View(deadline(t), func(r state.Reader) error {
		expect(t, keys(r, "case/n"), []string{"case/n=" + strconv.Itoa(writers*rounds)})
		return nil
	}))
}

// phantoms: each update writes a key of its own, but only while it sees fewer than five under the prefix.
func phantoms(t *testing.T, s state.Store) {
	full := errs.New(errs.Quota, "full")
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			err := s.Update(deadline(t), func(w state.Writer) error {
				if len(keys(w, "case/seat/")) >= 5 {
					return full
				}
				w.Put(fmt.Sprintf("case/seat/%02d", i), nil)
				return nil
			})
			if err != nil && !errors.Is(err, full) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	must(t, s.View(deadline(t), func(r state.Reader) error {
		if n := len(keys(r, "case/seat/")); n != 5 {
			t.Errorf("%d seats were taken of 5", n)
		}
		return nil
	}))
}

func watch(t *testing.T, s state.Store) {
	put(t, s, "case/old", "0")
	var after state.Index
	must(t, s.View(deadline(t), func(r state.Reader) error { after = r.Index(); return nil }))
	var writer sync.WaitGroup
	defer writer.Wait()
	ctx := deadline(t)
	writer.Go(func() {
		for _, fn := range []func(w state.Writer){
			func(w state.Writer) { w.Put("case/a", []byte("1")); w.Put("case/b", []byte("2")) },
			func(w state.Writer) { w.Put("elsewhere/x", []byte("9")) },
			func(w state.Writer) { w.Delete("case/a"); w.Put("case/c", []byte("3")) },
		} {
			if err := s.Update(ctx, func(w state.Writer) error { fn(w); return nil }); err != nil {
				t.Error(err)
			}
		}
	})
	var got []string
	last := after
	for e, err := range s.Watch(deadline(t), "case/", after) {
		must(t, err)
		if e.Index <= last || e.Reset {
			t.Fatalf("event %+v after index %d", e, last)
		}
		last = e.Index
		for _, c := range e.Changes {
			got = append(got, fmt.Sprintf("%s=%s %v", c.Key, c.Value, c.Deleted))
		}
		if len(got) >= 4 {
			break
		}
	}
	expect(t, got, []string{"case/a=1 false", "case/b=2 false", "case/a= true", "case/c=3 false"})
}

// watchReset writes more than any history keeps, then watches from before it.
func watchReset(t *testing.T, s state.Store) {
	put(t, s, "case/gone", "x")
	var after state.Index
	must(t, s.View(deadline(t), func(r state.Reader) error { after = r.Index(); return nil }))
	must(t, s.Update(deadline(t), func(w state.Writer) error { w.Delete("case/gone"); return nil }))
	big := make([]byte, limits.StateValueBytesMax)
	for range 4 {
		must(t, s.Update(deadline(t), func(w state.Writer) error { w.Put("case/big", big); return nil }))
	}
	must(t, s.Update(deadline(t), func(w state.Writer) error { w.Put("case/big", []byte("small")); return nil }))
	var reset bool
	for e, err := range s.Watch(deadline(t), "case/", after) {
		must(t, err)
		if !reset && !e.Reset {
			t.Fatalf("history was lost without a word: first came index %d after %d", e.Index, after)
		}
		if e.Reset {
			reset = true
		}
		if n := len(e.Changes); n == 1 && string(e.Changes[0].Value) == "small" {
			break
		}
	}
}

func watchEnds(t *testing.T, s state.Store) {
	ctx, cancel := context.WithCancel(deadline(t))
	ended := make(chan error, 1)
	go func() {
		var last error
		for _, err := range s.Watch(ctx, "case/nothing/", 1<<62) {
			last = err
		}
		ended <- last
	}()
	cancel()
	select {
	case err := <-ended:
		must(t, err)
	case <-deadline(t).Done():
		t.Fatal("a watch went on after its context had ended")
	}
}

func barrier(t *testing.T, s state.Store) {
	put(t, s, "case/a", "1")
	must(t, s.Barrier(deadline(t)))
	must(t, s.View(deadline(t), func(r state.Reader) error { expect(t, keys(r, "case/"), []string{"case/a=1"}); return nil }))
}

func overLimits(t *testing.T, s state.Store) {
	err := s.Update(deadline(t), func(w state.Writer) error {
		w.Put("case/big", make([]byte, limits.StateValueBytesMax+1))
		return nil
	})
	if !errs.Is(err, errs.TooLarge) {
		t.Fatalf("a value over the limit: %v", err)
	}
	err = s.Update(deadline(t), func(w state.Writer) error { w.Put("", []byte("x")); return nil })
	if !errs.Is(err, errs.Invalid) {
		t.Fatalf("an empty key: %v", err)
	}
}
