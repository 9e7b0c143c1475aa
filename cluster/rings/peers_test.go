package rings

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"henge/cluster"
	"henge/internal/limits"
	"henge/ring"
)

// threePeers is a real cluster in one process.
func threePeers(t *testing.T) []*cluster.Node {
	t.Helper()
	dir, rpcPort, gossipPort := t.TempDir(), freePort(t), freePort(t)
	var nodes []*cluster.Node
	t.Cleanup(func() {
		for _, n := range nodes {
			if err := n.Kill(); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 3 {
		cfg := cluster.Config{
			Dir: filepath.Join(dir, fmt.Sprint(i)), ID: fmt.Sprint("p", i), Address: fmt.Sprintf("127.1.%d.%d", os.Getpid()%250+1, i+1), RPCPort: rpcPort, GossipPort: gossipPort,
			Zone: fmt.Sprint("z", i), Roles: []string{"storage"}, Logger: quiet(),
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var n *cluster.Node
		var err error
		if i == 0 {
			n, err = cluster.Bootstrap(cfg)
		} else {
			token, tokenErr := nodes[0].CreateJoinToken(ctx, time.Minute)
			if tokenErr != nil {
				t.Fatal(tokenErr)
			}
			n, err = cluster.Join(ctx, cfg, token)
		}
		if err == nil {
			nodes = append(nodes, n)
			err = n.Start(t.Context())
		}
		if err == nil {
			err = n.Ready(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// noise is a note that does not compress, so that the ring gets large with few partitions.
func noise() string {
	var b strings.Builder
	for b.Len() < 900 {
		b.WriteString(rand.Text())
	}
	return b.String()
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestBook_EveryPeerGetsTheNewRing: an operator's tool makes a ring larger than one message between peers; all peers use it.
func TestBook_EveryPeerGetsTheNewRing(t *testing.T) {
	nodes := threePeers(t)
	var books []*Book
	for _, n := range nodes {
		books = append(books, follow(t, n.State(), quiet()))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	store := nodes[2].State()
	b, err := ring.NewBuilder(ring.Config{Power: 8, Replicas: 3, MinPartHours: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if _, err := b.Add(ring.Device{Region: 1, Zone: i % 5, Peer: fmt.Sprint("host-", i%100), Name: fmt.Sprint("d", i/100), Weight: 100, Meta: noise()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := CreateBuilder(ctx, store, Object, b); err != nil {
		t.Fatal(err)
	}
	was := b.Version()
	if _, err := b.Rebalance(day, 1); err != nil {
		t.Fatal(err)
	}
	if err := SaveBuilder(ctx, store, Object, b, was, true); err != nil {
		t.Fatal(err)
	}
	want, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := encodeRing(Object, b); err != nil || 2*len(raw) <= limits.RPCMessageBytesMax {
		t.Fatalf("the ring has only %d bytes: %v", len(raw), err)
	}
	for i, book := range books {
		await(t, book, fmt.Sprintf("the ring at peer %d", i), func() bool { r := book.Object(0); return r != nil && r.Digest() == want.Digest() })
	}
	back, err := LoadBuilder(ctx, nodes[0].State(), Object)
	if err != nil || back.Version() != b.Version() {
		t.Fatalf("%v", err)
	}
}
