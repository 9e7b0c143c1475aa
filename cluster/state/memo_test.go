package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func write(t testing.TB, s Store, changes map[string]string) {
	t.Helper()
	err := s.Update(t.Context(), func(w Writer) error {
		for key, value := range changes {
			if value == "" {
				w.Delete(key)
			} else {
				w.Put(key, []byte(value))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sum is something that is made of the state: one key, and all under a prefix.
func sum(key, prefix string) func(Reader) (string, error) {
	return func(r Reader) (string, error) {
		v, ok := r.Get(key)
		text := fmt.Sprintf("%s %v", v, ok)
		for k, v := range r.Scan(prefix) {
			text += " " + k + "=" + string(v)
		}
		return text, nil
	}
}

func TestMemo_RemembersUntilSomethingItReadChanges(t *testing.T) {
	store, memo, made := NewMemory(), NewMemo[string](8), 0
	look := func(want string, wantMade int) {
		t.Helper()
		err := store.View(t.Context(), func(r Reader) error {
			got, err := memo.Get(r, "x", func(r Reader) (string, error) { made++; return sum("a", "p/")(r) })
			if got != want || made != wantMade {
				t.Errorf("got %q, made %d times; want %q, %d times", got, made, want, wantMade)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	look(" false", 1)
	look(" false", 1)
	write(t, store, map[string]string{"a": "1"})
	look("1 true", 2)
	write(t, store, map[string]string{"p/x": "2"})
	look("1 true p/x=2", 3)
	write(t, store, map[string]string{"b": "1", "q/x": "2"})
	look("1 true p/x=2", 3)
	write(t, store, map[string]string{"a": "1"}) // the same value, written again
	look("1 true p/x=2", 4)
	write(t, store, map[string]string{"p/x": ""})
	look("1 true", 5)
	write(t, store, map[string]string{"a": ""})
	look(" false", 6)
}

func TestMemo_ErrorsAndUpdatesAreNotRemembered(t *testing.T) {
	store, memo, made := NewMemory(), NewMemo[int](8), 0
	broken := errors.New("broken")
	build := func(Reader) (int, error) { made++; return 0, broken }
	for range 2 {
		if err := store.View(t.Context(), func(r Reader) error { _, err := memo.Get(r, "x", build); return err }); !errors.Is(err, broken) {
			t.Fatal(err)
		}
	}
	err := store.Update(t.Context(), func(w Writer) error {
		w.Put("a", []byte("own"))
		got, err := NewMemo[string](8).Get(w, "x", sum("a", "p/"))
		if got != "own true" {
			t.Errorf("an update does not see its own write: %q", got)
		}
		return err
	})
	if err != nil || made != 2 || memo.Len() != 0 {
		t.Fatalf("%v, made %d times, %d remembered", err, made, memo.Len())
	}
}

func TestMemo_Bounded(t *testing.T) {
	store, memo := NewMemory(), NewMemo[int](3)
	err := store.View(t.Context(), func(r Reader) error {
		for i := range 100 {
			if got, err := memo.Get(r, strconv.Itoa(i), func(Reader) (int, error) { return i, nil }); got != i || err != nil {
				t.Errorf("%d: %d, %v", i, got, err)
			}
		}
		return nil
	})
	if err != nil || memo.Len() != 3 {
		t.Fatalf("%v, %d remembered", err, memo.Len())
	}
}

// TestMemo_Model: whatever is written, what a Memo gives, also one within another, is what would be made anew.
func TestMemo_Model(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		machine, memo, inner := NewMachine(), NewMemo[string](16), NewMemo[string](16)
		key := rapid.StringMatching(`[ab]{1,2}/?[ab]{0,3}`)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			writes := map[string]Change{}
			for range rapid.IntRange(1, 3).Draw(rt, "writes") {
				k := key.Draw(rt, "key")
				writes[k] = Change{Key: k, Value: []byte(rapid.StringMatching(`[xy]`).Draw(rt, "value")), Deleted: rapid.Bool().Draw(rt, "deleted")}
			}
			tx := &Transaction{Writes: slices.SortedFunc(maps.Values(writes), func(a, b Change) int { return strings.Compare(a.Key, b.Key) })}
			machine.Apply(machine.Snapshot().Index()+1, tx)
			s := machine.Snapshot()
			for _, prefix := range []string{"", "a", "a/", "ab/a", "b"} {
				want, _ := sum("a/a", prefix)(s)
				got, _ := memo.Get(s, prefix, func(r Reader) (string, error) { return inner.Get(r, prefix, sum("a/a", prefix)) })
				if got != want {
					rt.Fatalf("under %q: remembered %q, there is %q", prefix, got, want)
				}
			}
		}
	})
}

func TestMemo_Concurrent(t *testing.T) {
	store, memo := NewMemory(), NewMemo[string](4)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := range 500 {
				err := store.View(t.Context(), func(r Reader) error {
					key := strconv.Itoa(i % 8)
					want, _ := r.Get(key)
					got, err := memo.Get(r, key, func(r Reader) (string, error) { v, _ := r.Get(key); return string(v), nil })
					if got != string(want) {
						t.Errorf("%s is %q, remembered %q", key, want, got)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 500 {
		write(t, store, map[string]string{strconv.Itoa(i % 8): strconv.Itoa(i + 1)})
	}
	readers.Wait()
}

func TestRows_AreThoseOfTheTable(t *testing.T) {
	type row struct{ ID, Color string }
	table := NewTable[row]("rows").Index("color", false, func(r row) string { return r.Color })
	store, rows := NewMemory(), NewRows(table)
	put := func(id, color string) {
		if err := store.Update(t.Context(), func(w Writer) error { return table.Put(w, id, row{id, color}) }); err != nil {
			t.Fatal(err)
		}
	}
	var before []*row
	for step, want := range []string{"a c", "a c", "a b c", "b c"} {
		switch step {
		case 0:
			put("a", "red")
			put("b", "blue")
			put("c", "red")
		case 2:
			put("b", "red")
		case 3:
			put("a", "blue")
		}
		err := store.View(t.Context(), func(r Reader) error {
			var ids []string
			var found []*row
			for row, err := range rows.Where(r, "color", "red") {
				if err != nil {
					return err
				}
				ids, found = append(ids, row.ID), append(found, row)
			}
			if got := strings.Join(ids, " "); got != want {
				t.Errorf("step %d: %s, want %s", step, got, want)
			}
			if step == 1 && !slices.Equal(found, before) {
				t.Error("rows that did not change were decoded again")
			}
			before = found
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
