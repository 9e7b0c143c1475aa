package rpc

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// script is a connection whose other end says what it says and then hangs up.
type script struct {
	net.Conn
	rest []byte
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func frame(t frameType, stream uint32, payload []byte) []byte {
	return append(appendHeader(nil, t, stream, len(payload)), payload...)
}

// Whatever the other end sends, a session ends with an error, and every handler that it started ends too.
func FuzzSession(f *testing.F) {
	call := (&opening{method: "echo", call: true, message: []byte("hi"), timeout: time.Second}).append(nil)
	stream := (&opening{method: "echo"}).append(nil)
	f.Add(frame(frameOpen, 1, call), true)
	f.Add(append(append(frame(frameOpen, 1, stream), frame(frameData, 1, []byte("hi"))...), frame(frameEnd, 1, nil)...), true)
	f.Add(append(frame(frameOpen, 1, stream), frame(frameReset, 1, nil)...), true)
	f.Add(append(frame(frameOpen, 1, stream), frame(frameCredit, 1, []byte{0, 0, 1, 0})...), true)
	f.Add(append(frame(frameData, 1, []byte("answer")), frame(frameFinish, 1, []byte("\x01gone"))...), false)
	f.Fuzz(func(t *testing.T, raw []byte, server bool) {
		s := NewServer("self", slog.New(slog.DiscardHandler))
		s.Handle("echo", func(_ context.Context, s Stream) error {
			for {
				msg, err := s.Recv()
				if err == io.EOF {
					return nil
				}
				if err == nil {
					err = s.Send(msg)
				}
				if err != nil {
					return err
				}
			}
		})
		session := newSession(&script{rest: raw}, "other", s.pool)
		if server {
			session.serve = s.serve
		} else if _, err := session.open(newEndpoint("other", s.pool), &opening{method: "echo", call: true}); err != nil {
			t.Fatal(err)
		}
		session.run()
		if session.err == nil {
			t.Fatal("the session ended without an error")
		}
		s.Close()
	})
}
