package iscsi

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// instant is a store that does nothing, so that what is counted is the target's own.
type instant struct{ Store }

func (instant) ReadAt(context.Context, []byte, int64) error  { return nil }
func (instant) WriteAt(context.Context, []byte, int64) error { return nil }

// pump keeps depth commands of one session in flight until n are answered. The initiator's side allocates nothing.
func pump(b *testing.B, c *client, n, depth int, write bool) {
	b.Helper()
	var h, got header
	h[0], h[1] = opCommand, finalBit|readBit
	copy(h[32:], read10(0, 8))
	size := headerBytes
	if write {
		h[1] = finalBit | writeBit
		copy(h[32:], write10(0, 8))
		h.setDataBytes(4096)
		size += 4096
	}
	h.setWord(20, 4096)
	out := make([]byte, size)
	// Commands go out together when there is nothing to read, as with any initiator that waits for events.
	wire := bufio.NewWriterSize(c.conn, 256<<10)
	send := func() {
		c.itt++
		h.setWord(16, c.itt)
		h.setWord(24, c.number)
		c.number++
		copy(out, h[:])
		if _, err := wire.Write(out); err != nil {
			b.Fatal(err)
		}
	}
	for range min(depth, n) {
		send()
	}
	for i := range n {
		if c.in.Buffered() == 0 {
			if err := wire.Flush(); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := io.ReadFull(c.in, got[:]); err != nil {
			b.Fatal(err)
		}
		if _, err := c.in.Discard(got.dataBytes()); err != nil {
			b.Fatal(err)
		}
		if got[3] != 0 {
			b.Fatalf("opcode %#x status %#x", got.opcode(), got[3])
		}
		if i+depth < n {
			send()
		}
	}
}

func benchRig(b *testing.B, store Store) *client {
	b.Helper()
	r := newRig(b, Config{Log: slog.New(slog.DiscardHandler)})
	r.open(b, store)
	c := r.login(b).ready()
	if err := c.conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		b.Fatal(err)
	}
	return c
}

// mallocs counts allocations of the whole process.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func BenchmarkCommand(b *testing.B) {
	for name, write := range map[string]bool{"read": false, "write": true} {
		b.Run(name, func(b *testing.B) {
			c := benchRig(b, instant{memory()})
			pump(b, c, 1000, 32, write)
			b.ResetTimer()
			before := mallocs()
			pump(b, c, b.N, 32, write)
			b.ReportMetric(float64(mallocs()-before)/float64(b.N), "mallocs/op")
		})
	}
}

// slow is a store that takes a millisecond for each call, in a system call as a disk does: Go's own timers are coarser than that.
type slow struct{ Store }

func (slow) ReadAt(context.Context, []byte, int64) error {
	left := unix.Timespec{Nsec: int64(time.Millisecond)}
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
	return nil
}

// BenchmarkSlowStore has 32 commands in flight on such a store.
func BenchmarkSlowStore(b *testing.B) {
	c := benchRig(b, slow{memory()})
	pump(b, c, 100, 32, false)
	b.ResetTimer()
	pump(b, c, b.N, 32, false)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}
