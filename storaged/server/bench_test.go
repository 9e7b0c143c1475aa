package server_test

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"henge/internal/clock"
	"henge/ring"
	"henge/storaged/peerapi"
)

func benchDevices(b *testing.B, run func(b *testing.B, d peerapi.Device)) {
	s := newServer(b, inMemory)
	local, ok := s.Local("d1")
	if !ok {
		b.Fatal("there is no device")
	}
	c := peerapi.Key{Account: "a", Container: "c", Hash: ring.Hash{1}}
	if _, err := local.ChangeIndex(b.Context(), peerapi.IndexChange{Key: c, Timestamp: 1, Create: true}); err != nil {
		b.Fatal(err)
	}
	b.Run("local", func(b *testing.B) { run(b, local) })
	b.Run("remote", func(b *testing.B) { run(b, peerapi.NewRemote(newCaller(b, s.Local), self)) })
}

// BenchmarkCommit4K: an object of 4 KiB and its row, 16 at once, the log in memory.
func BenchmarkCommit4K(b *testing.B) {
	var n atomic.Int64
	data := make([]byte, 4096)
	benchDevices(b, func(b *testing.B, d peerapi.Device) {
		b.SetParallelism(8)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := n.Add(1)
				name := fmt.Sprintf("photos/%08d", i)
				r := peerapi.Record{Key: peerapi.Key{Account: "a", Container: "c", Object: name, Hash: ring.HashPath(ring.Secret{}, "a", "c", name)},
					Timestamp: clock.Timestamp(1e18 + i), Size: 4096, StoredSize: 4096, ETag: "d41d8cd98f00b204e9800998ecf8427e", ContentType: "image/jpeg"}
				out, err := d.Commit(b.Context(), peerapi.Commit{Record: r, Listing: []peerapi.Target{self}, ContainerKey: peerapi.Key{Account: "a", Container: "c", Hash: ring.Hash{1}}}, data)
				if err != nil || out.Listed != 1 {
					b.Errorf("%+v %v", out, err)
				}
			}
		})
	})
}

// BenchmarkOpen4K reads objects of 4 KiB.
func BenchmarkOpen4K(b *testing.B) {
	key := peerapi.Key{Account: "a", Container: "c", Object: "o", Hash: ring.Hash{2}}
	benchDevices(b, func(b *testing.B, d peerapi.Device) {
		r := peerapi.Record{Key: key, Timestamp: 1e18, Size: 4096, StoredSize: 4096, ETag: "d41d8cd98f00b204e9800998ecf8427e"}
		if _, err := d.Commit(b.Context(), peerapi.Commit{Record: r}, make([]byte, 4096)); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			buf := make([]byte, 8192)
			for pb.Next() {
				_, body, err := d.Open(b.Context(), key, 0, peerapi.Whole)
				if err != nil {
					b.Error(err)
					return
				}
				if n, err := io.ReadFull(body, buf); n != 4096 || err != io.ErrUnexpectedEOF {
					b.Errorf("%d bytes, %v", n, err)
				}
				if err := body.Close(); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkList1000 reads pages of 1000 names.
func BenchmarkList1000(b *testing.B) {
	c := peerapi.Key{Account: "a", Container: "c", Hash: ring.Hash{1}}
	benchDevices(b, func(b *testing.B, d peerapi.Device) {
		rows := make([]peerapi.Row, 5000)
		for i := range rows {
			rows[i] = peerapi.Row{Name: fmt.Sprintf("photos/2030/%08d.jpg", i), Timestamp: 10, Size: 4096, ETag: "d41d8cd98f00b204e9800998ecf8427e", ContentType: "image/jpeg"}
		}
		if err := d.Merge(b.Context(), peerapi.Merge{Key: c, Rows: rows}); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			p, err := d.List(b.Context(), peerapi.ListQuery{Key: c, Marker: rows[i%4000].Name, Limit: 999})
			if err != nil || len(p.Rows) != 999 {
				b.Fatalf("%d rows, %v", len(p.Rows), err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/999, "ns/row")
	})
}
