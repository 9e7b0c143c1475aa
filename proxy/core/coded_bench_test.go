package core_test

import (
	"bytes"
	"io"
	"syscall"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/proxy/core"
	"henge/storaged/server/servertest"
)

// cpu is the processor time that this process has taken.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// used is what all devices hold.
func used(b *testing.B, c *servertest.Cluster) (bytes int64) {
	b.Helper()
	for _, t := range c.Targets() {
		u, err := c.Device(t).Usage(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		bytes += u.Used
	}
	return bytes
}

// BenchmarkPolicies: an object of 10 MiB in three replicas and in 4+2, over six peers whose disks are memory, one request at a time: what the bytes cost beside the disks.
func BenchmarkPolicies(b *testing.B) {
	for _, policy := range []struct {
		name  string
		proxy func(testing.TB, *servertest.Cluster, uint16, clock.Clock, string) *core.Core
	}{{"three", overCluster}, {"4+2", codedProxy}} {
		c := servertest.NewCluster(b, 6, 1)
		s := policy.proxy(b, c, 1, clock.System{}, "")
		mustMake(b, s, "c")
		body := noise(10 << 20)
		before := used(b, c)
		putBytes(b, s, "space", body, int64(len(body)))
		space := float64(used(b, c)-before) / float64(len(body))
		b.Run(policy.name+"/put", func(b *testing.B) {
			began := cpu(b)
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				putBytes(b, s, "o", body, int64(len(body)))
			}
			b.ReportMetric((cpu(b)-began).Seconds()*1000/float64(b.N), "cpu-ms/op")
			b.ReportMetric(space, "space")
		})
		b.Run(policy.name+"/get", func(b *testing.B) {
			putBytes(b, s, "o", body, int64(len(body)))
			began := cpu(b)
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				benchRead(b, s, body)
			}
			b.ReportMetric((cpu(b)-began).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

func benchRead(b *testing.B, s core.Service, want []byte) {
	o, err := s.Open(b.Context(), ref("o"), core.OpenOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	r, err := o.Read(b.Context(), 0, o.Info.Size)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	got.Grow(len(want))
	if _, err := io.Copy(&got, r); err != nil || !bytes.Equal(got.Bytes(), want) {
		b.Fatalf("%d bytes, %v", got.Len(), err)
	}
}
