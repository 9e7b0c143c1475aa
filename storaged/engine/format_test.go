package engine

import (
	"bytes"
	"testing"

	"henge/internal/vfs"
	"henge/ring"
	"henge/storaged/peerapi"
)

func FuzzEntry(f *testing.F) {
	var buf bytes.Buffer
	rec := peerapi.Record{Key: peerapi.Key{Account: "a", Container: "c", Object: "o", Hash: ring.Hash{1, 2}}, Timestamp: 77, Meta: map[string]string{"k": "v"}}
	e, err := begin(&buf, entryRecord, &stored{Record: rec}, []byte("some bytes"))
	if err != nil {
		f.Fatal(err)
	}
	e.seq, e.segment = 5, 9
	e.encode(buf.Bytes(), 42)
	f.Add(buf.Bytes(), uint32(42))
	f.Add(buf.Bytes()[:headerBytes], uint32(42))
	f.Fuzz(func(t *testing.T, b []byte, salt uint32) {
		e, ok := decodeEntry(b, salt)
		if !ok {
			return
		}
		again := make([]byte, headerBytes)
		e.encode(again, salt)
		if !bytes.Equal(again, b[:headerBytes]) {
			t.Fatalf("encoded again: %x, was %x", again, b[:headerBytes])
		}
		if e.payloadHolds(b) {
			_, _ = decodeMeta(&e, b)
		}
	})
}

func FuzzStored(f *testing.F) {
	b, err := canonical.Marshal(&stored{Record: peerapi.Record{ETag: "x", Meta: map[string]string{"a": "b"}}, Handoff: &peerapi.Target{Peer: "p"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeStored(b)
		if err != nil {
			return
		}
		if !Same(&s.Record, &s.Record) {
			t.Fatal("a record that was read cannot be written")
		}
	})
}

func FuzzHint(f *testing.F) {
	h := hint{segment: 7, end: 5000, damage: 1, sealed: true, entries: []entry{{kind: entryRecord, metaLen: 100, dataLen: 200, off: 64, seq: 1, ts: 5, segment: 7}}}
	f.Add(h.encode(), uint32(7))
	f.Fuzz(func(t *testing.T, b []byte, segment uint32) {
		h, err := decodeHint(b, segment)
		if err != nil {
			return
		}
		for _, e := range h.entries {
			if int64(e.off)+int64(e.length()) > h.end {
				t.Fatalf("entry at %d, %d long, in a segment of %d", e.off, e.length(), h.end)
			}
		}
		if _, err := decodeHint(h.encode(), segment); err != nil {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

func FuzzTrailer(f *testing.F) {
	tr := trailer{size: 100_000, sums: []uint32{1, 2}, meta: []byte("meta"), hash: ring.Hash{3}}
	f.Add(tr.encode(), int64(100_000))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		tr, err := decodeTrailer(b, size)
		if err != nil {
			return
		}
		if int64(len(tr.sums)) != blocksOf(size) || tr.size != size {
			t.Fatalf("%d blocks for %d bytes", len(tr.sums), size)
		}
	})
}

// FuzzScan puts anything behind a segment's header: scanning must end, and give only entries that hold.
func FuzzScan(f *testing.F) {
	var buf bytes.Buffer
	e, err := begin(&buf, entryJournal, nil, []byte("entry"))
	if err != nil {
		f.Fatal(err)
	}
	e.seq, e.segment, e.ts = 5, 1, 5
	e.encode(buf.Bytes(), 0)
	f.Add(buf.Bytes())
	f.Add(append(append([]byte("12345678"), buf.Bytes()...), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := vfs.NewSim()
		file, err := disk.Create("/s")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(b, segmentHeaderBytes); err != nil {
			t.Fatal(err)
		}
		all, end, err := scan(&segment{id: 1, file: file}, 0, segmentHeaderBytes, 0)
		if err != nil || end > segmentHeaderBytes+int64(len(b))+8 {
			t.Fatalf("end %d of %d, %v", end, len(b), err)
		}
		last := uint64(0)
		for _, found := range all {
			if !found.gap && found.seq <= last {
				t.Fatalf("sequence %d after %d", found.seq, last)
			}
			last = max(last, found.seq)
		}
		if kept, cut := tear(all, end); len(kept) > len(all) || cut > end {
			t.Fatalf("tear: %d of %d, %d of %d", len(kept), len(all), cut, end)
		}
	})
}

func TestIndex_AgainstAMap(t *testing.T) {
	var x index
	want := map[ID]slot{}
	h := func(i int) ring.Hash {
		return ring.Hash{byte(i % 3), 1, 2, 3, 0, 0, 0, 0, byte(i * 37), byte(i), byte(i >> 3), 9, 9, 9, 9, byte(i)}
	}
	for i := range 20_000 {
		s := slot{hash: h(i * 7 % 500), ts: 5, seg: uint32(i), policy: uint8(i % 2)}
		if i%3 == 0 {
			if old, ok := want[s.id()]; ok && !x.remove(old) {
				t.Fatalf("step %d: not removed", i)
			}
			delete(want, s.id())
			continue
		}
		x.set(s)
		s.flags |= flagUsed
		want[s.id()] = s
		if i%50 == 0 {
			for id, s := range want {
				if v := x.get(id); v.slot != s {
					t.Fatalf("step %d: %+v, want %+v", i, v.slot, s)
				}
			}
		}
	}
	if n := len(x.within(0, 0)); n != len(want) {
		t.Fatalf("%d slots, want %d", n, len(want))
	}
}
