package cluster

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/cluster/state/statetest"
	"henge/internal/errs"
)

func TestDialAdmin(t *testing.T) {
	c := newCircle(t)
	c.grow(2)
	address := fmt.Sprintf("%s:%d", c.address(2), c.rpc)
	file := c.nodes[2].AdminFile()
	eventually(t, "each peer makes an administrator's certificate", func() bool { _, err := readIdentity(file); return err == nil })
	a, err := DialAdmin(t.Context(), file, address)
	must(t, err)
	defer a.Close()
	if a.Peer() != "p2" {
		t.Fatalf("connected to %q", a.Peer())
	}
	for _, peer := range []string{"p1", "p2"} {
		answer, err := a.Caller().Call(t.Context(), peer, "echo", []byte("x"))
		if err != nil || string(answer) != "admin: x" {
			t.Fatalf("a call to %s: %q, %v", peer, answer, err)
		}
	}
	statetest.Run(t, func(t *testing.T) state.Store {
		must(t, a.State().Update(t.Context(), func(w state.Writer) error {
			for key := range w.Scan("case/") {
				w.Delete(key)
			}
			return nil
		}))
		return a.State()
	})
	token, err := a.CreateJoinToken(t.Context(), time.Minute)
	must(t, err)
	n, err := Join(t.Context(), c.config(3), token)
	c.ready(c.start(3, n, err))
	must(t, a.Remove(t.Context(), "p3"))
	eventually(t, "p3 is gone", func() bool {
		members, err := a.Members(t.Context())
		return err == nil && len(members) == 2
	})

	_, err = DialAdmin(t.Context(), file+"-no", address)
	wantKind(t, err, errs.NotFound, "without a certificate")
	_, err = DialAdmin(t.Context(), file, c.address(9)+":1")
	wantKind(t, err, errs.Unavailable, "nobody there")
	stranger := newCircle(t)
	stranger.net++
	stranger.grow(1)
	if _, err = DialAdmin(t.Context(), stranger.nodes[1].AdminFile(), address); err == nil {
		t.Fatal("an administrator of another cluster was let in")
	}
	stranger.kill(1)
}

// Without a certificate of the cluster (or its gossip key) no port answers anything.
func TestPorts_AnswerNoStranger(t *testing.T) {
	c := newCircle(t)
	c.grow(1)
	peers, gossip := fmt.Sprintf("%s:%d", c.address(1), c.rpc), fmt.Sprintf("%s:%d", c.address(1), c.gossip)
	deadline := time.Now().Add(300 * time.Millisecond) // silence is proven only so far
	for _, protocol := range []string{rpc.Protocol, protocolRaft, protocolJoin, "h2", ""} {
		t.Run("peers port, "+protocol, func(t *testing.T) {
			config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
			if protocol != "" {
				config.NextProtos = []string{protocol}
			}
			conn, err := rpc.Dial(t.Context(), peers, config)
			if err != nil {
				return // refused in the handshake
			}
			defer conn.Close()
			must(t, conn.SetDeadline(deadline))
			if protocol == protocolJoin { // takes strangers, and answers a token only
				must(t, writeMessage(conn, joinRequest{Secret: []byte("guess")}))
				var answer joinAnswer
				if err := readMessage(conn, &answer); err == nil && (answer.Error == "" || answer.Certificate != nil || answer.GossipKeys != nil) {
					t.Fatalf("a stranger got %+v", answer)
				}
				return
			}
			_, _ = conn.Write(make([]byte, 100)) // the server may have closed it already
			if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Fatalf("answered %d bytes, %v", n, err)
			}
		})
	}
	t.Run("gossip port, TCP", func(t *testing.T) {
		conn, err := net.Dial("tcp", gossip)
		must(t, err)
		defer conn.Close()
		must(t, conn.SetDeadline(deadline))
		_, err = conn.Write([]byte{6, 0x83}) // a push-pull in clear
		must(t, err)
		// memberlist answers that it does not understand, encrypted with the key that a stranger lacks (message type 10).
		if answer, _ := io.ReadAll(conn); len(answer) > 0 && answer[0] != 10 {
			t.Fatalf("answered %x", answer)
		}
	})
	t.Run("gossip port, UDP", func(t *testing.T) {
		conn, err := net.Dial("udp", gossip)
		must(t, err)
		defer conn.Close()
		must(t, conn.SetDeadline(deadline))
		_, err = conn.Write([]byte{0, 0x82, 0xa5, 'S', 'e', 'q', 'N', 'o', 1, 0xa4, 'N', 'o', 'd', 'e', 0xa2, 'p', '1'}) // a ping in clear
		must(t, err)
		if n, err := conn.Read(make([]byte, 100)); err == nil {
			t.Fatalf("answered %d bytes", n)
		}
	})
}
