package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"henge/cluster/pki"
	"henge/cluster/rpc"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
)

// pair is two peers, a and b, of which b serves; a reaches b, and itself.
type pair struct {
	ca       *pki.Authority
	a, b     *rpc.Server
	client   *rpc.Client
	address  string // of b
	creds    *pki.Credentials
	listener net.Listener
}

func newPair(t testing.TB, register func(rpc.Mux)) *pair {
	t.Helper()
	before := runtime.NumGoroutine()
	ca, err := pki.NewAuthority("test", time.Now())
	must(t, err)
	logger := slog.New(slog.DiscardHandler)
	p := &pair{ca: ca, a: rpc.NewServer("a", logger), b: rpc.NewServer("b", logger)}
	register(p.a)
	register(p.b)
	p.listener, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p.address = p.listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- p.b.Serve(p.listener, credentials(t, ca, "b").Server([]string{rpc.Protocol})) }()
	p.creds = credentials(t, ca, "a")
	p.client = rpc.NewClient(rpc.Config{Self: "a", Local: p.a, TLS: p.creds.Client, Logger: logger,
		Address: func(peer string) (string, error) {
			if peer != "b" {
				return "", errs.New(errs.NotFound, "no peer %q", peer)
			}
			return p.address, nil
		}})
	t.Cleanup(func() {
		p.client.Close()
		p.b.Close()
		p.a.Close()
		must(t, <-served)
		eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
	})
	return p
}

func credentials(t testing.TB, ca *pki.Authority, id string) *pki.Credentials {
	t.Helper()
	identity, err := ca.Peer(id, nil, time.Now())
	must(t, err)
	return pki.NewCredentials(identity, clock.System{}, pki.AllMembers)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("not in ten seconds: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// both runs a test against the other peer, over the network, and against the peer itself.
func both(t *testing.T, register func(rpc.Mux), run func(t *testing.T, p *pair, peer string)) {
	for _, peer := range []string{"b", "a"} {
		t.Run(map[string]string{"a": "local", "b": "remote"}[peer], func(t *testing.T) { run(t, newPair(t, register), peer) })
	}
}

func echo(m rpc.Mux) {
	m.Handle("echo", func(ctx context.Context, s rpc.Stream) error {
		for {
			msg, err := s.Recv()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.Send(msg); err != nil {
				return err
			}
		}
	})
	m.Handle("who", func(ctx context.Context, s rpc.Stream) error { return s.Send([]byte(s.Peer())) })
	m.Handle("fail", func(context.Context, rpc.Stream) error {
		return fmt.Errorf("look: %w", errs.New(errs.Quota, "over by %d", 7))
	})
	m.Handle("nothing", func(context.Context, rpc.Stream) error { return nil })
	m.Handle("late", func(_ context.Context, s rpc.Stream) error {
		if err := s.Send([]byte("half")); err != nil {
			return err
		}
		return errs.New(errs.NoSpace, "the rest did not fit")
	})
}

func TestCall(t *testing.T) {
	both(t, echo, func(t *testing.T, p *pair, peer string) {
		for _, n := range []int{0, 1, 1000, 100_000, limits.RPCMessageBytesMax} {
			msg := bytes.Repeat([]byte("m"), n)
			got, err := p.client.Call(t.Context(), peer, "echo", msg)
			if err != nil || !bytes.Equal(got, msg) {
				t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
			}
		}
		if got, err := p.client.Call(t.Context(), peer, "who", nil); err != nil || string(got) != "a" {
			t.Fatalf("the server takes us for %q, %v", got, err)
		}
		if got, err := p.client.Call(t.Context(), peer, "nothing", nil); err != nil || len(got) != 0 {
			t.Fatalf("a handler without an answer: %q, %v", got, err)
		}
	})
}

func TestCall_Errors(t *testing.T) {
	both(t, echo, func(t *testing.T, p *pair, peer string) {
		for _, c := range []struct {
			method string
			size   int
			kind   errs.Kind
			text   string
		}{
			{"fail", 0, errs.Quota, "look: over by 7"},
			{"late", 0, errs.NoSpace, "did not fit"},
			{"unknown", 0, errs.Unsupported, `no method "unknown"`},
			{"echo", limits.RPCMessageBytesMax + 1, errs.TooLarge, "at most"},
		} {
			_, err := p.client.Call(t.Context(), peer, c.method, make([]byte, c.size))
			if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v: %v", c.method, errs.KindOf(err), err)
			}
		}
		if _, err := p.client.Call(t.Context(), "z", "echo", nil); !errs.Is(err, errs.Unavailable) {
			t.Errorf("a peer that nobody knows: %v", err)
		}
	})
}

// Much data both ways: far more than the windows, so that credit must flow.
func TestStream_BothWays(t *testing.T) {
	both(t, echo, func(t *testing.T, p *pair, peer string) {
		s, err := p.client.Stream(t.Context(), peer, "echo")
		must(t, err)
		defer s.Close()
		const count = 200
		go func() {
			msg := make([]byte, 64<<10)
			for i := range count {
				msg[0] = byte(i)
				if err := s.Send(msg); err != nil {
					t.Error(err)
				}
			}
			if err := s.CloseSend(); err != nil {
				t.Error(err)
			}
		}()
		for i := range count {
			msg, err := s.Recv()
			if err != nil || len(msg) != 64<<10 || msg[0] != byte(i) {
				t.Fatalf("message %d: %d bytes, %v", i, len(msg), err)
			}
		}
		if _, err := s.Recv(); err != io.EOF {
			t.Fatalf("after the last message: %v", err)
		}
		if err := s.Send(nil); err == nil {
			t.Fatal("a call that is over takes messages")
		}
	})
}

// waiting registers "wait": it reports when it was entered and when its context has ended.
func waiting(entered, left chan struct{}) func(rpc.Mux) {
	return func(m rpc.Mux) {
		echo(m)
		m.Handle("wait", func(ctx context.Context, s rpc.Stream) error {
			entered <- struct{}{}
			<-ctx.Done()
			left <- struct{}{}
			return ctx.Err()
		})
	}
}

func TestCancel_EndsTheHandler(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	both(t, waiting(entered, left), func(t *testing.T, p *pair, peer string) {
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := p.client.Call(ctx, peer, "wait", nil)
			failed <- err
		}()
		<-entered
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Fatalf("a call given up: %v", err)
		}
		<-left

		s, err := p.client.Stream(t.Context(), peer, "wait")
		must(t, err)
		<-entered
		must(t, s.Close())
		must(t, s.Close())
		<-left
		if _, err := s.Recv(); !errs.Is(err, errs.Unavailable) {
			t.Fatalf("Recv after Close: %v", err)
		}
	})
}

func TestDeadline(t *testing.T) {
	entered, left := make(chan struct{}, 1), make(chan struct{}, 1)
	both(t, waiting(entered, left), func(t *testing.T, p *pair, peer string) {
		_, err := p.client.Call(t.Context(), peer, "echo", nil) // connected
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := p.client.Call(ctx, peer, "wait", nil); !errs.Is(err, errs.Timeout) {
			t.Fatalf("after the deadline: %v", err)
		}
		<-entered
		<-left
		if _, err := p.client.Call(ctx, peer, "echo", nil); !errs.Is(err, errs.Timeout) {
			t.Fatalf("a deadline long past: %v", err)
		}
	})
}

// One call whose user reads nothing must not hold up the others on the connection.
func TestStalledReader_StallsNobodyElse(t *testing.T) {
	flood := func(m rpc.Mux) {
		echo(m)
		m.Handle("flood", func(ctx context.Context, s rpc.Stream) error {
			for msg := make([]byte, 64<<10); ; {
				if err := s.Send(msg); err != nil {
					return err
				}
			}
		})
		m.Handle("deaf", func(ctx context.Context, s rpc.Stream) error { <-ctx.Done(); return nil })
	}
	both(t, flood, func(t *testing.T, p *pair, peer string) {
		ctx, cancel := context.WithCancel(t.Context())
		flooded, err := p.client.Stream(ctx, peer, "flood")
		must(t, err)
		deaf, err := p.client.Stream(ctx, peer, "deaf")
		must(t, err)
		var sender sync.WaitGroup
		sender.Go(func() {
			for deaf.Send(make([]byte, 64<<10)) == nil {
			}
		})
		for range 100 {
			_, err := p.client.Call(t.Context(), peer, "echo", make([]byte, 10_000))
			must(t, err)
		}
		cancel()
		sender.Wait()
		eventually(t, "the flood ends with an error", func() bool { _, err := flooded.Recv(); return err != nil })
	})
}

func TestStreamsPerPeer(t *testing.T) {
	both(t, func(m rpc.Mux) {
		m.Handle("wait", func(ctx context.Context, s rpc.Stream) error { <-ctx.Done(); return nil })
		echo(m)
	}, func(t *testing.T, p *pair, peer string) {
		ctx, cancel := context.WithCancel(t.Context())
		for range limits.RPCStreamsPerPeerMax {
			_, err := p.client.Stream(ctx, peer, "wait")
			must(t, err)
		}
		var last error
		eventually(t, "one call too many is refused", func() bool {
			_, last = p.client.Call(t.Context(), peer, "echo", nil)
			return last != nil
		})
		if !errs.Is(last, errs.Unavailable) {
			t.Fatalf("one call too many: %v", last)
		}
		cancel()
		eventually(t, "calls are possible again", func() bool {
			_, err := p.client.Call(t.Context(), peer, "echo", nil)
			return err == nil
		})
	})
}

func TestConnectionLost(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{}, 1)
	p := newPair(t, waiting(entered, left))
	failed := make(chan error, 1)
	go func() {
		_, err := p.client.Call(t.Context(), "b", "wait", nil)
		failed <- err
	}()
	<-entered
	p.b.Disconnect("a")
	if err := <-failed; !errs.Is(err, errs.Unavailable) {
		t.Fatalf("the connection broke: %v", err)
	}
	<-left // the handler's context ended too
	eventually(t, "a new connection is made", func() bool {
		_, err := p.client.Call(t.Context(), "b", "echo", nil)
		return err == nil
	})
}

// Without a valid certificate of the cluster nothing is answered.
func TestStrangers(t *testing.T) {
	p := newPair(t, echo)
	other, err := pki.NewAuthority("other", time.Now())
	must(t, err)
	expired, err := p.ca.Peer("a", nil, time.Now().Add(-2*pki.PeerLifetime))
	must(t, err)
	none := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	for _, c := range []struct {
		name   string
		config *tls.Config
	}{
		{"no certificate", none},
		{"another CA", insecure(credentials(t, other, "a"))},
		{"expired", insecure(pki.NewCredentials(expired, clock.System{}, pki.AllMembers))},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := c.config.Clone()
			config.NextProtos = []string{rpc.Protocol}
			conn, err := rpc.Dial(t.Context(), p.address, config)
			if err != nil {
				return // refused in the handshake
			}
			defer conn.Close()
			must(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
			if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 || errs.Is(err, errs.Timeout) {
				t.Fatalf("answered with %d bytes, %v", n, err)
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		conn, err := net.Dial("tcp", p.address)
		must(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
		answer, err := io.ReadAll(conn)
		if errs.Is(err, errs.Timeout) || len(answer) > 16 {
			t.Fatalf("answered %q, %v", answer, err) // a TLS alert is seven bytes
		}
	})
	t.Run("the wrong peer", func(t *testing.T) {
		config := p.creds.Client("c")
		config.NextProtos = []string{rpc.Protocol}
		if conn, err := rpc.Dial(t.Context(), p.address, config); err == nil {
			conn.Close()
			t.Fatal("b was taken for c")
		}
	})
}

func insecure(c *pki.Credentials) *tls.Config {
	config := c.Client("")
	config.VerifyConnection = nil
	return config
}
