package rpc

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// recorder is a connection that remembers what was written to it, and in how many calls.
type recorder struct {
	net.Conn
	got   bytes.Buffer
	calls int
	err   error
}

func (r *recorder) Write(p []byte) (int, error) {
	r.calls++
	if r.err != nil {
		return 0, r.err
	}
	return r.got.Write(p)
}

func TestGatherer(t *testing.T) {
	conn := &recorder{}
	g := &gatherer{Conn: conn}
	var want bytes.Buffer
	write := func(n, times int) {
		t.Helper()
		for i := range times {
			piece := bytes.Repeat([]byte{byte(want.Len()), byte(i)}, n/2)
			want.Write(piece)
			if wrote, err := g.Write(piece); err != nil || wrote != len(piece) {
				t.Fatalf("wrote %d of %d: %v", wrote, len(piece), err)
			}
		}
	}
	write(100, 3)
	if conn.calls != 3 {
		t.Fatalf("%d calls for 3 writes that are not held back", conn.calls)
	}
	const record = 16<<10 + 22
	for range 2 { // the second time with memory that was used before
		before := conn.calls
		g.hold()
		write(record, 20)
		if err := g.flush(); err != nil {
			t.Fatal(err)
		}
		if calls := conn.calls - before; calls != 3 { // 8 records fill 128 KiB
			t.Fatalf("%d calls for 20 records, want 3", calls)
		}
	}
	g.hold()
	if err := g.flush(); err != nil {
		t.Fatalf("nothing held back: %v", err)
	}
	if write(100, 1); !bytes.Equal(conn.got.Bytes(), want.Bytes()) {
		t.Fatalf("%d bytes, not the %d that were written in their order", conn.got.Len(), want.Len())
	}
	conn.err = errors.New("broken")
	g.hold()
	if _, err := g.Write(make([]byte, record)); err != nil {
		t.Fatalf("held back: %v", err)
	}
	if err := g.flush(); !errors.Is(err, conn.err) {
		t.Fatalf("flush: %v, want what broke", err)
	}
}
