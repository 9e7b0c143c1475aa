package peerapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"henge/cluster/rpc"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
)

// handlers is an rpc.Mux that keeps what is registered.
type handlers map[string]rpc.Handler

func (h handlers) Handle(method string, handler rpc.Handler) { h[method] = handler }

// script is a call whose messages are given beforehand.
type script struct {
	peer   string
	in     [][]byte
	out    [][]byte
	closed bool
}

func (s *script) Peer() string { return s.peer }
func (s *script) Send(parts ...[]byte) error {
	b := bytes.Join(parts, nil)
	s.out = append(s.out, bytes.Clone(b))
	return nil
}
func (s *script) Recv() ([]byte, error) {
	if len(s.in) == 0 {
		return nil, io.EOF
	}
	b := s.in[0]
	s.in = s.in[1:]
	return b, nil
}
func (s *script) CloseSend() error { return nil }
func (s *script) Close() error     { s.closed = true; return nil }

func message(t testing.TB, q ask, body string) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := pack(&buf, q); err != nil {
		t.Fatal(err)
	}
	buf.WriteString(body)
	return buf.Bytes()
}

func TestServe_OnlyPeers(t *testing.T) {
	h := handlers{}
	Serve(h, func(string) (Device, bool) { return Absent(errors.New("reached")), true })
	for _, peer := range []string{"", "admin"} {
		for method, handle := range h {
			s := &script{peer: peer, in: [][]byte{message(t, ask{Device: "d1", Key: &Key{Account: "a"}}, "")}}
			if err := handle(t.Context(), s); !errs.Is(err, errs.Denied) || len(s.out) != 0 {
				t.Errorf("%s by %q: %v", method, peer, err)
			}
		}
	}
}

func TestServe_MissingFields(t *testing.T) {
	h := handlers{}
	Serve(h, func(string) (Device, bool) { return Absent(errors.New("reached")), true })
	for method, handle := range h {
		if method == methodUsage {
			continue
		}
		s := &script{peer: "p2", in: [][]byte{message(t, ask{Device: "d1"}, "")}}
		err := handle(t.Context(), s)
		if err == nil {
			var a answer
			if _, err := unpack(s.out[0], &a); err != nil {
				t.Fatal(err)
			}
			err = a.err()
		}
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestAnswer_KeepsKindAndText(t *testing.T) {
	var a, b answer
	a.fail(errs.New(errs.NoSpace, "the disk is full"))
	var buf bytes.Buffer
	if err := pack(&buf, a); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(buf.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if err := b.err(); !errs.Is(err, errs.NoSpace) || err.Error() != "the disk is full" {
		t.Fatalf("%v", err)
	}
}

// silent is a caller whose calls are never answered.
type silent struct{ stream *hung }

func (s silent) Call(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (s silent) Stream(context.Context, string, string) (rpc.Stream, error) { return s.stream, nil }

// hung answers with what it is given, and then nothing more comes until it is closed.
type hung struct {
	script
	gone chan struct{}
}

func (h *hung) Recv() ([]byte, error) {
	if len(h.in) > 0 {
		return h.script.Recv()
	}
	<-h.gone
	return nil, errs.New(errs.Unavailable, "the call was closed")
}

func (h *hung) Close() error {
	if !h.closed {
		h.closed = true
		close(h.gone)
	}
	return nil
}

// TestRemote_Deadlines: a peer that is reached and does not answer costs a bounded time, whatever is asked of it.
func TestRemote_Deadlines(t *testing.T) {
	var first bytes.Buffer
	if err := pack(&first, answer{State: &State{}}); err != nil {
		t.Fatal(err)
	}
	within := func(name string, limit time.Duration, answers int, do func(d *Remote) error) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hung{gone: make(chan struct{})}
				for range answers {
					h.in = append(h.in, bytes.Clone(first.Bytes()))
				}
				start := time.Now()
				err := do(NewRemote(silent{h}, Target{"p2", "d1"}))
				if !errs.Is(err, errs.Timeout) || time.Since(start) > limit {
					t.Fatalf("after %v: %v", time.Since(start), err)
				}
			})
		})
	}
	ctx := context.Background()
	within("head", limits.PeerCallTimeout, 0, func(d *Remote) error { _, err := d.Head(ctx, Key{}); return err })
	within("commit", limits.PeerCommitTimeout, 0, func(d *Remote) error { _, err := d.Commit(ctx, Commit{}, nil); return err })
	within("open", limits.PeerCallTimeout, 0, func(d *Remote) error { _, _, err := d.Open(ctx, Key{}, 0, Whole); return err })
	within("read", limits.PeerIdleTimeout, 1, func(d *Remote) error {
		_, r, err := d.Open(ctx, Key{}, 0, Whole)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		return errors.Join(err, r.Close())
	})
	within("create", limits.PeerBeginTimeout, 0, func(d *Remote) error { _, err := d.Create(ctx, Key{}, 1); return err })
	within("commit of a stream", limits.PeerCommitTimeout, 1, func(d *Remote) error {
		w, err := d.Create(ctx, Key{}, 1)
		if err != nil {
			return err
		}
		_, err = w.Commit(ctx, Commit{})
		return errors.Join(err, w.Close())
	})
}

func TestRowSupersedes(t *testing.T) {
	order := []Row{
		{Timestamp: 1, Size: 9}, {Timestamp: 2}, {Timestamp: 2, Size: 1}, {Timestamp: 2, Size: 1, ETag: "e"}, {Timestamp: 2, Counted: 5},
		{Timestamp: 2, Deleted: true}, {Timestamp: 3},
	}
	for i, a := range order {
		for j, b := range order {
			if a.Supersedes(b) != (i > j) {
				t.Errorf("%+v over %+v: %v", a, b, a.Supersedes(b))
			}
		}
	}
}

// Headers are bytes. What one peer took and kept, the others must be able to read.
func TestMessage_TextNeedNotBeUTF8(t *testing.T) {
	var got ask
	want := ask{Commit: &Commit{Record: Record{Meta: map[string]string{"x-object-meta-latin-1": "gr\xfcn"}}}}
	if _, err := unpack(message(t, want, ""), &got); err != nil || !same(got, want) {
		t.Fatalf("%+v became %+v: %v", want, got, err)
	}
}

func FuzzMessage(f *testing.F) {
	q := ask{Device: "d1", Key: &Key{Account: "a", Container: "c", Object: "o"}, At: 5, Range: &Range{1, 2}, Size: 7,
		Commit: &Commit{Record: Record{Meta: map[string]string{"a": "b"}, Timestamp: 9}, Listing: []Target{{"p", "d"}}, Handoff: &Target{"p", "d"}},
		Change: &IndexChange{Meta: map[string]MetaValue{"m": {"v", 3}}}, Merge: &Merge{Rows: []Row{{Name: "n", Timestamp: clock.Timestamp(4)}}}, Query: &ListQuery{Limit: 3}}
	f.Add(message(f, q, "body"))
	f.Add([]byte{0, 0, 0, 1, 0xa0})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q ask
		body, err := unpack(msg, &q)
		if err == nil {
			var again ask
			if back, err := unpack(message(t, q, string(body)), &again); err != nil || !bytes.Equal(back, body) || !same(q, again) {
				t.Fatalf("%+v became %+v: %v", q, again, err)
			}
		}
		var a answer
		if _, err := unpack(msg, &a); err == nil && a.Failed && a.err() == nil {
			t.Fatal("an error without an error")
		}
		h := handlers{}
		Serve(h, func(string) (Device, bool) { return Absent(errs.New(errs.Unavailable, "away")), true })
		for method, handle := range h {
			if err := handle(t.Context(), &script{peer: "p2", in: [][]byte{msg, msg}}); err != nil && strings.Contains(err.Error(), "panic") {
				t.Fatalf("%s: %v", method, err)
			}
		}
	})
}

// same compares two asks as they look on the wire, where empty and absent are one.
func same(a, b ask) bool {
	var x, y bytes.Buffer
	if pack(&x, a) != nil || pack(&y, b) != nil {
		return false
	}
	var u, v ask
	_, errU := unpack(x.Bytes(), &u)
	_, errV := unpack(y.Bytes(), &v)
	return errU == nil && errV == nil && reflect.DeepEqual(u, v)
}
