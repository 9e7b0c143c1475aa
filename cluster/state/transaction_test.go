package state

import (
	"reflect"
	"testing"

	"henge/internal/errs"

	"pgregory.net/rapid"
)

func TestTransaction_RoundTrip(t *testing.T) {
	tx := &Transaction{Base: 1 << 40, Reads: []Read{{"a", 0}, {"b\x00", 7}}, Ranges: []Range{{"p/", "p/x", 3}, {"", "", 0}},
		Writes: []Change{{Key: "a", Value: []byte("v")}, {Key: "b", Deleted: true}, {Key: "c", Value: []byte{}}}}
	raw, _ := tx.AppendBinary(nil)
	back, err := DecodeTransaction(raw)
	if err != nil || !reflect.DeepEqual(back, tx) {
		t.Fatalf("got %+v, %v", back, err)
	}
	for n := range raw {
		if _, err := DecodeTransaction(raw[:n]); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(raw), err)
		}
	}
}

func FuzzDecodeTransaction(f *testing.F) {
	raw, _ := (&Transaction{Base: 9, Reads: []Read{{"k", 3}}, Writes: []Change{{Key: "k", Value: []byte("v")}}}).AppendBinary(nil)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, err := DecodeTransaction(raw)
		if err != nil {
			return
		}
		again, _ := tx.AppendBinary(nil)
		back, err := DecodeTransaction(again)
		if err != nil || !reflect.DeepEqual(back, tx) {
			t.Fatalf("%+v became %+v, %v", tx, back, err)
		}
	})
}

// The check of a transaction's reads must find exactly the updates that changed what was read.
func TestValid_AgainstModel(t *testing.T) {
	key := rapid.StringMatching(`[ab]{1,3}`)
	rapid.Check(t, func(t *rapid.T) {
		m := NewMachine()
		index := Index(0)
		write := func() {
			a := m.Snapshot().Begin()
			for range rapid.IntRange(1, 3).Draw(t, "writes") {
				if k := key.Draw(t, "key"); rapid.Bool().Draw(t, "delete") {
					a.Delete(k)
				} else {
					a.Put(k, []byte(k))
				}
			}
			index++
			m.Apply(index, a.Transaction())
		}
		for range rapid.IntRange(0, 5).Draw(t, "before") {
			write()
		}
		old := m.Snapshot()
		a := old.Begin()
		prefix, stop, point := key.Draw(t, "prefix"), rapid.IntRange(0, 4).Draw(t, "stop"), key.Draw(t, "point")
		a.Get(point)
		seen := 0
		last := ""
		for k := range a.Scan(prefix) {
			if last = k; seen == stop {
				break
			}
			seen++
			last = ""
		}
		for range rapid.IntRange(0, 3).Draw(t, "after") {
			write()
		}
		same := entryOf(old, point) == entryOf(m.Snapshot(), point) && reflect.DeepEqual(under(old, prefix, last), under(m.Snapshot(), prefix, last))
		if got := m.Snapshot().Valid(a.Transaction()); got != same {
			t.Fatalf("valid is %v, but unchanged is %v", got, same)
		}
	})
}

func entryOf(s *Snapshot, key string) Index {
	e, _ := s.tree.Get([]byte(key))
	return e.mod
}

func under(s *Snapshot, prefix, last string) (found []Read) {
	for e := range entries(s.tree, prefix) {
		if last != "" && e.key > last {
			break
		}
		found = append(found, Read{e.key, e.mod})
	}
	return found
}

func TestMachine_Restore(t *testing.T) {
	m := NewMachine()
	a := m.Snapshot().Begin()
	a.Put("x", []byte("1"))
	m.Apply(5, a.Transaction())
	n := NewMachine()
	n.Restore(5, m.Snapshot().Entries())
	if v, ok := n.Snapshot().Get("x"); !ok || string(v) != "1" || n.Snapshot().Index() != 5 {
		t.Fatalf("restored %q, %v at %d", v, ok, n.Snapshot().Index())
	}
	for e, err := range n.Watch(t.Context(), "", 4) {
		if err != nil || !e.Reset || e.Index != 5 || len(e.Changes) != 1 {
			t.Fatalf("a watch from before a restore got %+v, %v", e, err)
		}
		break
	}
	n.Close()
	for _, err := range n.Watch(t.Context(), "", 5) {
		if !errs.Is(err, errs.Unavailable) {
			t.Fatalf("a watch on a closed machine got %v", err)
		}
	}
}
