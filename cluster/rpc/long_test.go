package rpc

import (
	"bytes"
	"context"
	"net"
	"testing"
	"unsafe"

	"henge/internal/errs"
	"henge/internal/vfs"
)

// ends is a session at each end of a connection in memory, without TLS.
func ends(t *testing.T, serve Handler) (caller *session, opened func() *endpoint) {
	t.Helper()
	here, there := net.Pipe()
	server := NewServer("b", nil)
	server.Handle("m", serve)
	pool := &buffers{}
	caller = newSession(here, "b", pool)
	served := newSession(there, "a", server.pool)
	served.serve = server.serve
	go caller.run()
	go served.run()
	t.Cleanup(func() {
		caller.fail(errClosed)
		served.fail(errClosed)
		server.Close()
	})
	return caller, func() *endpoint {
		e := newEndpoint("b", pool)
		if _, err := caller.open(e, &opening{method: "m"}); err != nil {
			t.Fatal(err)
		}
		return e
	}
}

// Short and long messages, in one part and in several, come whole and in their order.
func TestSend_Parts(t *testing.T) {
	_, open := ends(t, func(ctx context.Context, s Stream) error {
		for {
			msg, err := s.Recv()
			if err != nil {
				return nil
			}
			if err := s.Send(msg[:len(msg)/2], msg[len(msg)/2:]); err != nil {
				return err
			}
		}
	})
	e := open()
	defer e.Close()
	byteAt := 0
	fresh := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			byteAt++
			b[i] = byte(byteAt * 31 >> 3)
		}
		return b
	}
	for round, sizes := range [][]int{{}, {0}, {5}, {1, 2, 3}, {1, longBytes}, {longBytes, 1}, {1, 200 << 10}, {3, 100 << 10, 4, 100 << 10, 5}, {100}, {512 << 10}, {1, 512 << 10}} {
		var parts [][]byte
		for _, n := range sizes {
			parts = append(parts, fresh(n))
		}
		want := bytes.Join(parts, nil)
		if err := e.Send(parts...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, p := range parts {
			clear(p) // they are the sender's again
		}
		got, err := e.Recv()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: %v came back as %d bytes, %v", round, sizes, len(got), err)
		}
		if len(got) > classes[alignedFrom-1] && uintptr(unsafe.Pointer(&got[1]))%vfs.DirectBytes != 0 {
			t.Fatalf("round %d: what follows the first byte is not aligned", round)
		}
	}
}

// Who waits for his turn to send a long message stops waiting when his call ends; the connection goes on.
func TestSend_EndedWhileWaiting(t *testing.T) {
	s, open := ends(t, func(ctx context.Context, s Stream) error {
		msg, err := s.Recv()
		if err != nil {
			return err
		}
		return s.Send(msg)
	})
	s.turn <- struct{}{} // somebody writes, and goes on writing
	e, other := open(), open()
	sent := make(chan error, 1)
	go func() { sent <- e.Send(make([]byte, 2*longBytes)) }()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; !errs.Is(err, errs.Unavailable) {
		t.Fatalf("the call was closed: %v", err)
	}
	<-s.turn
	if err := other.Send(make([]byte, 2*longBytes)); err != nil {
		t.Fatal(err)
	}
	if msg, err := other.Recv(); err != nil || len(msg) != 2*longBytes {
		t.Fatalf("another call on the connection: %d bytes, %v", len(msg), err)
	}
}

// A connection that dies ends those who wait for their turn, with the reason.
func TestSend_ConnectionDies(t *testing.T) {
	s, open := ends(t, func(ctx context.Context, s Stream) error { <-ctx.Done(); return nil })
	s.turn <- struct{}{}
	e := open()
	sent := make(chan error, 1)
	go func() { sent <- e.Send(make([]byte, 2*longBytes)) }()
	s.fail(errs.New(errs.Unavailable, "the wire was cut"))
	if err := <-sent; !errs.Is(err, errs.Unavailable) {
		t.Fatalf("the connection died: %v", err)
	}
}
