package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"henge/cluster/pki"
	"henge/internal/clock"
	"henge/internal/errs"
)

func TestOnePeer(t *testing.T) {
	c := newCircle(t)
	_, err := Open(c.config(1))
	wantKind(t, err, errs.NotFound, "open an empty directory")
	c.grow(1)
	n := c.nodes[1]
	if n.ID() != "p1" || n.WriterNumber() != 0 || n.Leader() != "p1" || len(n.Voters()) != 1 {
		t.Fatalf("%s, writer %d, leader %q, voters %v", n.ID(), n.WriterNumber(), n.Leader(), n.Voters())
	}
	_, err = Bootstrap(c.config(1))
	wantKind(t, err, errs.Exists, "bootstrap twice")
	_, err = Open(c.config(1))
	wantKind(t, err, errs.Conflict, "open a directory in use")
	put(t, n.State(), "a", "1")
	answer, err := n.Caller().Call(t.Context(), "p1", "echo", []byte("x"))
	if err != nil || string(answer) != "p1: x" {
		t.Fatalf("a call to itself: %q, %v", answer, err)
	}
	must(t, n.Shutdown(t.Context()))
	must(t, n.Shutdown(t.Context()))
	n = c.open(1)
	if got := get(t, n.State(), "a"); got != "1" { // before Ready
		t.Fatalf("after a restart a is %q", got)
	}
	c.ready(n)
}

func TestPortTaken(t *testing.T) {
	c := newCircle(t)
	c.grow(1)
	cfg := c.config(1)
	cfg.Dir += "-other"
	n, err := Bootstrap(cfg)
	must(t, err)
	wantKind(t, n.Start(t.Context()), errs.Conflict, "start on a port in use")
	must(t, n.Shutdown(t.Context()))
}

func TestGrowToFour(t *testing.T) {
	c := newCircle(t)
	c.grow(4)
	c.voters(3)
	writers := map[uint16]bool{}
	for i, n := range c.nodes {
		writers[n.WriterNumber()] = true
		eventually(t, n.ID()+" knows all four", func() bool {
			for j := range c.nodes {
				if !n.Alive(fmt.Sprintf("p%d", j)) {
					return false
				}
			}
			return true
		})
		for j := range c.nodes {
			answer, err := n.Caller().Call(t.Context(), fmt.Sprintf("p%d", j), "echo", []byte("x"))
			if want := fmt.Sprintf("p%d: x", i); err != nil || string(answer) != want {
				t.Fatalf("p%d calls p%d: %q, %v", i, j, answer, err)
			}
		}
		put(t, n.State(), fmt.Sprintf("from/%d", i), "x")
	}
	if len(writers) != 4 {
		t.Fatalf("writer numbers %v", writers)
	}
	must(t, c.nodes[3].Announce(func(a *Announcement) {
		a.RingVersions["object"] = 7
		a.Capacity = Capacity{Devices: 4, BytesTotal: 100, BytesUsed: 1}
	}))
	for members := range c.nodes[1].Changes(t.Context()) {
		m := members[2]
		if m.ID != "p3" || m.Zone != "z3" || m.Services["object"] != c.address(3)+":8080" || len(m.Roles) != 2 {
			t.Fatalf("p1 knows of p3: %+v", m)
		}
		if m.RingVersions["object"] == 7 && m.Capacity.Devices == 4 {
			break
		}
	}
}

func TestRestartOfAll(t *testing.T) {
	c := newCircle(t)
	c.grow(3)
	c.voters(3)
	put(t, c.nodes[2].State(), "a", "1")
	for i := 1; i <= 3; i++ {
		c.kill(i)
	}
	for i := 1; i <= 3; i++ {
		c.open(i)
	}
	for _, n := range c.nodes {
		c.ready(n)
		if got := get(t, n.State(), "a"); got != "1" {
			t.Fatalf("%s: a is %q", n.ID(), got)
		}
	}
}

func TestLeaderKilled_AnotherLeadsAndThePeerComesBack(t *testing.T) {
	c := newCircle(t)
	c.grow(3)
	c.voters(3)
	leader := 1
	for i, n := range c.nodes {
		if n.Leader() == n.ID() {
			leader = i
		}
	}
	c.kill(leader)
	start := time.Now()
	other := leader%3 + 1
	put(t, c.nodes[other].State(), "a", "1") // waits for the new leader
	t.Logf("an update went through %v after the leader's death", time.Since(start).Round(time.Millisecond))
	eventually(t, "gossip notices", func() bool { return !c.nodes[other].Alive(fmt.Sprintf("p%d", leader)) })
	c.ready(c.open(leader))
	if got := get(t, c.nodes[leader].State(), "a"); got != "1" {
		t.Fatalf("the peer that came back has %q", got)
	}
	eventually(t, "gossip hears it again", func() bool { return c.nodes[other].Alive(fmt.Sprintf("p%d", leader)) })
}

// TestMovedTogether stops every peer and starts all at other ports: none is where the others last knew it.
func TestMovedTogether(t *testing.T) {
	c := newCircle(t)
	c.grow(3)
	for i := range c.nodes {
		c.kill(i)
	}
	c.rpc, c.gossip = freePort(t), freePort(t)
	c.adjust = func(cfg *Config) { cfg.Seeds = []string{net.JoinHostPort(c.address(1), strconv.Itoa(c.gossip))} }
	for i := 1; i <= 3; i++ {
		n, err := Open(c.config(i))
		c.start(i, n, err)
	}
	for _, n := range c.nodes {
		c.ready(n)
	}
}

// TestJoin_AgainAfterACrash cuts a joiner off when the cluster has taken it in and it has not yet written that down.
func TestJoin_AgainAfterACrash(t *testing.T) {
	c := newCircle(t)
	c.grow(1)
	text := c.token()
	cfg, err := c.config(2).withDefaults()
	must(t, err)
	token, err := pki.ParseToken(text)
	must(t, err)
	key, err := joinKey(cfg.Dir)
	must(t, err)
	_, err = ask(t.Context(), cfg, token, key)
	must(t, err)
	n, err := Join(t.Context(), cfg, text)
	c.ready(c.start(2, n, err))
	if _, err := os.Stat(filepath.Join(cfg.Dir, fileJoinKey)); err == nil {
		t.Error("the key of the join was left behind")
	}
}

func TestJoin_Refused(t *testing.T) {
	c := newCircle(t)
	now := clock.NewManual(time.Now())
	c.adjust = func(cfg *Config) { cfg.Clock = now }
	c.grow(1)
	join := func(token string) error {
		_, err := Join(t.Context(), c.config(2), token)
		return err
	}
	wantKind(t, join("rubbish"), errs.Invalid, "a token that is none")
	good := c.token()
	wantKind(t, join(good[:len(good)-1]), errs.Invalid, "a token cut short")

	forged, err := pki.ParseToken(good)
	must(t, err)
	forged.Secret[0] ^= 1
	wantKind(t, join(forged.String()), errs.Denied, "a wrong secret")
	forged, _ = pki.ParseToken(good)
	forged.Fingerprint[0] ^= 1
	wantKind(t, join(forged.String()), errs.Unavailable, "a token of another cluster")

	now.Advance(2 * time.Minute)
	wantKind(t, join(good), errs.Denied, "an expired token")
	if _, err := os.Stat(c.config(2).Dir); err == nil {
		t.Fatal("a join that was refused left a directory behind")
	}
	good = c.token()
	n, err := Join(t.Context(), c.config(2), good)
	c.ready(c.start(2, n, err))
	_, err = Join(t.Context(), c.config(3), good)
	wantKind(t, err, errs.Denied, "a token that was used")
	cfg := c.config(3)
	cfg.ID = "p2"
	_, err = Join(t.Context(), cfg, c.token())
	wantKind(t, err, errs.Exists, "an id that is taken")
	_, err = c.nodes[1].CreateJoinToken(t.Context(), -time.Second)
	wantKind(t, err, errs.Invalid, "a token without a life")
}

func TestRemove(t *testing.T) {
	c := newCircle(t)
	c.grow(3)
	c.voters(3)
	wantKind(t, c.nodes[1].Remove(t.Context(), "p9"), errs.NotFound, "remove nobody")
	_, err := c.nodes[3].Caller().Call(t.Context(), "p2", "echo", nil)
	must(t, err)
	must(t, c.nodes[1].Remove(t.Context(), "p3"))
	gone := c.nodes[3]
	eventually(t, "nobody answers who was removed", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := gone.Caller().Call(ctx, "p2", "echo", nil)
		return err != nil
	})
	eventually(t, "it votes no more", func() bool { return len(c.nodes[1].Voters()) == 2 })
	eventually(t, "it is no member", func() bool { return len(c.nodes[1].Members()) == 2 && len(c.nodes[2].Members()) == 2 })
	put(t, c.nodes[2].State(), "a", "1")
}

func TestLeave_Leader(t *testing.T) {
	c := newCircle(t)
	c.grow(2)
	c.voters(2)
	must(t, c.nodes[1].Leave(t.Context()))
	delete(c.nodes, 1)
	eventually(t, "the other leads alone", func() bool { return c.nodes[2].Leader() == "p2" && len(c.nodes[2].Voters()) == 1 })
	put(t, c.nodes[2].State(), "a", "1")
	wantKind(t, c.nodes[2].Leave(t.Context()), errs.Conflict, "the only peer leaves")
}

func TestCertificatesAreRenewed(t *testing.T) {
	c := newCircle(t)
	now := clock.NewManual(time.Now())
	c.adjust = func(cfg *Config) { cfg.Clock = now }
	c.grow(2)
	n := c.nodes[2]
	before := n.creds.Identity().Expires()
	now.Advance(pki.PeerLifetime - pki.RenewBefore + time.Hour)
	for _, n := range c.nodes {
		must(t, n.renew(t.Context()))
	}
	if after := n.creds.Identity().Expires(); !after.After(before) {
		t.Fatalf("the certificate still ends at %v", after)
	}
	now.Advance(pki.RenewBefore)
	n.client.Disconnect("p1")
	_, err := n.Caller().Call(t.Context(), "p1", "echo", nil) // with the old one it would be refused
	must(t, err)
	_, identity, err := readSelf(n.cfg.Dir)
	if err != nil || !identity.Expires().After(before) {
		t.Fatalf("the new certificate is not on disk: %v", err)
	}
}
