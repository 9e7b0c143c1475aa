package rpc_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"henge/cluster/rpc"
)

// cpu is the processor time of this process so far, in both modes: both ends of the calls are in it.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func measure(b *testing.B, run func()) {
	start := cpu(b)
	run()
	b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(b.N), "cpu-µs/op")
}

func BenchmarkCall(b *testing.B) {
	for _, peer := range []string{"b", "a"} {
		for _, parallel := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/parallel=%d", map[string]string{"a": "local", "b": "remote"}[peer], parallel), func(b *testing.B) {
				p := newPair(b, echo)
				request := make([]byte, 200)
				_, err := p.client.Call(b.Context(), peer, "echo", request)
				must(b, err)
				b.ReportAllocs()
				b.ResetTimer()
				measure(b, func() {
					b.SetParallelism(parallel)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if _, err := p.client.Call(b.Context(), peer, "echo", request); err != nil {
								b.Error(err)
							}
						}
					})
				})
			})
		}
	}
}

func BenchmarkStream64KiB(b *testing.B) {
	for _, peer := range []string{"b", "a"} {
		b.Run(map[string]string{"a": "local", "b": "remote"}[peer], func(b *testing.B) {
			const size = 64 << 10
			p := newPair(b, func(m rpc.Mux) {
				m.Handle("sink", func(ctx context.Context, s rpc.Stream) error {
					for {
						if _, err := s.Recv(); err != nil {
							return nil
						}
					}
				})
			})
			s, err := p.client.Stream(b.Context(), peer, "sink")
			must(b, err)
			b.SetBytes(size)
			b.ReportAllocs()
			b.ResetTimer()
			measure(b, func() {
				msg := make([]byte, size)
				for b.Loop() {
					must(b, s.Send(msg))
				}
				must(b, s.CloseSend())
				if _, err := s.Recv(); err == nil {
					b.Fatal("the sink answered")
				}
			})
		})
	}
}
