package listing

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/storaged/peerapi"
)

// filled is a container with n names in the tree.
func filled(b *testing.B, n int) *bed {
	b.Helper()
	d := newBed(b, func(c *Config) { c.FlushAfter = time.Second })
	k := containerKey("c")
	d.make(k, 1)
	rows := make([]peerapi.Row, 0, 10000)
	for i := range n {
		rows = append(rows, live(fmt.Sprintf("photos/2030/%08d.jpg", i), 10, 4096))
		if len(rows) == cap(rows) || i == n-1 {
			d.merge(k, rows...)
			rows = rows[:0]
		}
	}
	if err := d.Flush(); err != nil {
		b.Fatal(err)
	}
	return d
}

// BenchmarkMerge: 16 writers of one row each, journal in memory.
func BenchmarkMerge(b *testing.B) {
	d := newBed(b, func(c *Config) { c.FlushAfter = time.Second })
	k := containerKey("c")
	d.make(k, 1)
	var n atomic.Int64
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			r := live(fmt.Sprintf("photos/2030/%08d.jpg", i*7919%10_000_000), clock.Timestamp(10+i), 4096)
			if err := d.Merge(b.Context(), peerapi.Merge{Key: k, Rows: []peerapi.Row{r}}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkList: pages of 1000 anywhere among a million names.
func BenchmarkList(b *testing.B) {
	d := filled(b, 1_000_000)
	k := containerKey("c")
	b.ReportAllocs()
	b.ResetTimer()
	rows := 0
	for i := range b.N {
		p, err := d.List(peerapi.ListQuery{Key: k, Marker: fmt.Sprintf("photos/2030/%08d.jpg", i*7919%999_000), Limit: 1000})
		if err != nil {
			b.Fatal(err)
		}
		rows += len(p.Rows)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}

// BenchmarkOpen: a restart with a million names in the tree and ten thousand changes in the journal.
func BenchmarkOpen(b *testing.B) {
	d := filled(b, 1_000_000)
	d.cfg.FlushAfter = time.Hour
	for i := range 10_000 {
		d.merge(containerKey("c"), live(fmt.Sprintf("photos/2030/%08d.jpg", i*97), 20, 1))
	}
	b.ResetTimer()
	for range b.N {
		d.crash()
	}
}
