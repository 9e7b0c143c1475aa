package state

import (
	"testing"

	"henge/internal/errs"
)

type user struct{ Name, Domain string }

var users = NewTable[user]("users").
	Index("name", true, func(u user) string { return u.Domain + "\x00" + u.Name }).
	Index("domain", false, func(u user) string { return u.Domain })

func update(t *testing.T, s Store, fn func(Writer) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestTable_PutGetDelete(t *testing.T) {
	s := NewMemory()
	update(t, s, func(w Writer) error { return users.Put(w, "1", user{"ann", "d"}) })
	update(t, s, func(w Writer) error {
		if got, err := users.Get(w, "1"); err != nil || got.Name != "ann" {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := users.Get(w, "2"); !errs.Is(err, errs.NotFound) {
			t.Errorf("a missing row: %v", err)
		}
		if err := users.Put(w, "a/b", user{}); !errs.Is(err, errs.Invalid) {
			t.Errorf("an id with a slash: %v", err)
		}
		if err := users.Delete(w, "2"); !errs.Is(err, errs.NotFound) {
			t.Errorf("delete of a missing row: %v", err)
		}
		return users.Delete(w, "1")
	})
	if n := s.machine.Snapshot().Len(); n != 0 {
		t.Fatalf("%d keys are left of a deleted row", n)
	}
}

func TestTable_Indexes(t *testing.T) {
	s := NewMemory()
	update(t, s, func(w Writer) error {
		for id, u := range map[string]user{"1": {"ann", "d"}, "2": {"bob", "d"}, "3": {"ann", "e"}, "4": {"eve", ""}} {
			if err := users.Put(w, id, u); err != nil {
				return err
			}
		}
		return users.Put(w, "2", user{"rob", "d"}) // the old name is free again
	})
	update(t, s, func(w Writer) error {
		if err := users.Put(w, "9", user{"ann", "d"}); !errs.Is(err, errs.Exists) {
			t.Errorf("a name taken: %v", err)
		}
		if err := users.Put(w, "1", user{"ann", "d"}); err != nil {
			t.Errorf("the same row again: %v", err)
		}
		if got, err := users.First(w, "name", "d\x00rob"); err != nil || got.Name != "rob" {
			t.Errorf("by name: %v, %v", got, err)
		}
		if _, err := users.First(w, "name", "d\x00bob"); !errs.Is(err, errs.NotFound) {
			t.Errorf("by a name given up: %v", err)
		}
		return nil
	})
	r := s.machine.Snapshot()
	var names []string
	for u, err := range users.Where(r, "domain", "d") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, u.Name)
	}
	if len(names) != 2 || names[0] != "ann" || names[1] != "rob" {
		t.Fatalf("domain d holds %q", names)
	}
	if n := users.Count(r, "domain", "d"); n != 2 {
		t.Fatalf("domain d counts %d", n)
	}
	count := 0
	for _, err := range users.All(r) {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	if count != 4 {
		t.Fatalf("%d rows of 4", count)
	}
}

func TestTable_WatchDecode(t *testing.T) {
	s := NewMemory()
	update(t, s, func(w Writer) error { return users.Put(w, "1", user{"ann", "d"}) })
	update(t, s, func(w Writer) error { return users.Delete(w, "1") })
	var seen []string
	for e, err := range s.Watch(t.Context(), users.Prefix(), 0) {
		if err != nil || len(e.Changes) != 1 {
			t.Fatalf("%+v, %v", e, err)
		}
		id, u, err := users.Decode(e.Changes[0])
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, id+u.Name); len(seen) == 2 {
			break
		}
	}
	if seen[0] != "1ann" || seen[1] != "1" {
		t.Fatalf("saw %q", seen)
	}
}

func TestTable_CorruptRow(t *testing.T) {
	s := NewMemory()
	update(t, s, func(w Writer) error { w.Put("users/1", []byte("{")); return nil })
	r := s.machine.Snapshot()
	if _, err := users.Get(r, "1"); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("get: %v", err)
	}
	for _, err := range users.All(r) {
		if !errs.Is(err, errs.Corrupt) {
			t.Fatalf("all: %v", err)
		}
	}
}
