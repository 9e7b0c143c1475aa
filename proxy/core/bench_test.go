package core_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"henge/internal/clock"
	"henge/proxy/core"
	"henge/storaged/server/servertest"
)

// zeros is a body of so many bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func streamOnce(t testing.TB, size int64) (allocated uint64) {
	m, c := one(t, 3)
	for _, d := range m.devices {
		d.discard = true
	}
	mustMake(t, c, "c")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	info, err := c.Put(t.Context(), ref("o"), core.PutRequest{Body: zeros(size), Size: size})
	if err != nil || info.Size != size {
		t.Fatalf("%+v, %v", info, err)
	}
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestPut_StreamTakesBoundedMemory(t *testing.T) {
	if got := streamOnce(t, 128<<20); got > 64<<20 {
		t.Fatalf("%d bytes were allocated for a stream of 128 MiB", got)
	}
}

func BenchmarkPut1GiB(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(streamOnce(b, 1<<30))/(1<<20), "MiB-allocated")
	}
}

func benchCluster(b *testing.B) *core.Core {
	b.Helper()
	c := overCluster(b, servertest.NewCluster(b, 1, 4), 1, clock.System{}, "p1")
	mustMake(b, c, "c")
	return c
}

func BenchmarkPut4KiB(b *testing.B) {
	c := benchCluster(b)
	body := bytes.Repeat([]byte("x"), 4096)
	r := bytes.NewReader(body)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(body)
		if _, err := c.Put(b.Context(), ref(fmt.Sprint(i%1000)), core.PutRequest{Body: r, Size: 4096}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkGet4KiB(b *testing.B) {
	c := benchCluster(b)
	put(b, c, "o", string(bytes.Repeat([]byte("x"), 4096)))
	buf := make([]byte, 8192)
	b.ReportAllocs()
	for b.Loop() {
		o, err := c.Open(b.Context(), ref("o"), core.OpenOptions{})
		if err != nil {
			b.Fatal(err)
		}
		r, err := o.Read(b.Context(), 0, o.Info.Size)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.ReadFull(r, buf[:4096]); err != nil {
			b.Fatal(n, err)
		}
		_ = r.Close() // it was read
		_ = o.Close() // it was read
	}
}

func BenchmarkHead(b *testing.B) {
	c := benchCluster(b)
	put(b, c, "o", "x")
	b.ReportAllocs()
	for b.Loop() {
		o, err := c.Open(b.Context(), ref("o"), core.OpenOptions{HeadOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		_ = o.Close() // nothing was read
	}
}

func BenchmarkList1000(b *testing.B) {
	c := benchCluster(b)
	for i := range 1000 {
		put(b, c, fmt.Sprintf("object-%06d", i), "x")
	}
	b.ReportAllocs()
	for b.Loop() {
		l, err := c.ListObjects(b.Context(), "acc", "c", core.ListOptions{Limit: 1000})
		if err != nil || len(l.Entries) != 1000 {
			b.Fatal(len(l.Entries), err)
		}
	}
}
