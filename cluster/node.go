package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"henge/cluster/agreement"
	"henge/cluster/gossip"
	"henge/cluster/pki"
	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/limits"
)

// protocolRaft is the ALPN name of Raft's connections.
const protocolRaft = "henge-raft/1"

// methodMembers answers the members as JSON, for tools.
const methodMembers = "cluster.members"

// Node is this process as a peer. Safe for concurrent use; doc.go tells its life.
type Node struct {
	cfg    Config
	self   selfFile
	creds  *pki.Credentials
	server *rpc.Server
	client *rpc.Client
	group  *agreement.Group
	joins  chan struct{} // one token for each join under way
	whole  chan struct{} // closed when the fields above are set

	ctx    context.Context // ends with Shutdown
	cancel context.CancelFunc
	work   sync.WaitGroup

	gossip  atomic.Pointer[gossip.Gossip] // nil before Start
	removed atomic.Pointer[map[string]bool]
	opened  time.Time // no other peer counts as dead since before it

	mu      sync.Mutex // guards the fields below
	cached  map[string]peerRecord
	called  map[string]string // where each peer that was ever called was last
	changed chan struct{}     // closed, and made anew, when Members may answer something else
	started bool
	stopped bool
}

// Open makes a Node of what cfg.Dir holds: errs.NotFound when no peer lives there, errs.Conflict when another process has it. The state can be
// read at once, as far as this peer knew it.
func Open(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	self, identity, err := readSelf(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if cfg.ID != "" && cfg.ID != self.ID {
		return nil, errs.New(errs.Invalid, "%s is the directory of peer %q, not of %q", cfg.Dir, self.ID, cfg.ID)
	}
	n := &Node{cfg: cfg, self: self, joins: make(chan struct{}, joinsMax), whole: make(chan struct{}), changed: make(chan struct{}), cached: map[string]peerRecord{}, called: map[string]string{}, opened: cfg.Clock.Now()}
	n.removed.Store(&map[string]bool{})
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.readCachedPeers(); err != nil {
		return nil, err
	}
	n.creds = pki.NewCredentials(identity, cfg.Clock, n.refusedFor)
	n.server = rpc.NewServer(self.ID, cfg.Logger)
	n.client = rpc.NewClient(rpc.Config{Self: self.ID, Local: n.server, Address: n.addressOf, TLS: n.creds.Client, Logger: cfg.Logger})
	n.group, err = agreement.Open(agreement.Config{Self: self.ID, Dir: filepath.Join(cfg.Dir, dirAgreement), Caller: n.client, Mux: n.server,
		Dial: n.dialRaft, Peers: n.candidates, Voters: cfg.Voters, VoterDeadAfter: cfg.VoterDeadAfter,
		SnapshotEntries: cfg.SnapshotEntries, TrailingEntries: cfg.SnapshotEntries / 8, Clock: cfg.Clock, Logger: cfg.Logger})
	if err != nil {
		n.cancel()
		n.client.Close()
		return nil, err
	}
	close(n.whole)
	n.server.HandleProtocol(protocolRaft, n.acceptRaft)
	n.server.HandleProtocol(protocolJoin, n.welcome)
	n.server.Handle(methodMembers, n.serveMembers)
	return n, nil
}

// dialRaft may be called while Open is still putting the node together.
func (n *Node) dialRaft(ctx context.Context, peer string) (net.Conn, error) {
	select {
	case <-n.whole:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := n.client.DialProtocol(ctx, peer, protocolRaft)
	if err != nil {
		return nil, err // not a nil *tls.Conn in an interface
	}
	return conn, nil
}

func (n *Node) acceptRaft(peer string, conn *tls.Conn) {
	if peer == pki.AdminID {
		_ = conn.Close() // tools do not vote
		return
	}
	n.group.Accept(conn)
}

// Start listens, gossips and takes part in the agreement; it returns when this peer can be reached, which may be before there is a leader. Every
// method must be registered before. errs.Conflict when a port is taken. After an error only Shutdown may be called.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	twice := n.started || n.stopped
	n.started = true
	n.mu.Unlock()
	if twice {
		return errs.New(errs.Internal, "start a peer twice")
	}
	n.learn() // who was removed, before anybody can knock
	address := n.record().rpc()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return errs.New(errs.Conflict, "listen for peers on %s: %w", address, err)
	}
	n.work.Go(func() {
		if err := n.server.Serve(listener, n.creds.Server([]string{rpc.Protocol, protocolRaft}, protocolJoin)); err != nil {
			n.cfg.Logger.Error("serve peers", "err", err)
		}
	})
	if err := n.startGossip(); err != nil {
		return err
	}
	if err := n.genesis(); err != nil {
		return err
	}
	n.work.Go(n.follow)
	n.work.Go(n.maintain)
	return ctx.Err()
}

// Ready waits until there is a leader and this peer's state holds all that was committed before the call.
func (n *Node) Ready(ctx context.Context) error {
	for {
		err := n.group.Barrier(ctx)
		switch {
		case err == nil:
			return n.enrolled(ctx)
		case ctx.Err() != nil || n.ctx.Err() != nil || !errs.Is(err, errs.Unavailable):
			return fmt.Errorf("wait for the cluster: %w", err)
		}
	}
}

// enrolled checks that this peer is a member still.
func (n *Node) enrolled(ctx context.Context) error {
	return n.group.View(ctx, func(r state.Reader) error {
		if _, err := removedTable.Get(r, n.self.ID); err == nil {
			return errs.New(errs.Denied, "peer %q was removed from the cluster; it may join again with an empty directory", n.self.ID)
		}
		return nil
	})
}

// ID is the peer's id.
func (n *Node) ID() string { return n.self.ID }

// ClusterID is the same for all peers of a cluster.
func (n *Node) ClusterID() string { return n.self.Cluster }

// WriterNumber is this peer's alone: for clock.NewHybrid.
func (n *Node) WriterNumber() uint16 { return n.self.Writer }

// State is the replicated state.
func (n *Node) State() state.Store { return n.group }

// Caller reaches the other peers, and this one without a network.
func (n *Node) Caller() rpc.Caller { return n.client }

// Mux is where methods are registered, before Start.
func (n *Node) Mux() rpc.Mux { return n.server }

// Leader is the id of the leader of the agreement, as far as this peer knows; "" when there is none.
func (n *Node) Leader() string { return n.group.Leader() }

// Voters are the ids of the peers that vote.
func (n *Node) Voters() []string { return n.group.Voters() }

// AdminFile is the administrator's certificate and key, for DialAdmin.
func (n *Node) AdminFile() string { return AdminFile(n.cfg.Dir) }

// Remove makes a peer no member any more, for good: nobody answers its certificate, and its vote and its gossip end. What it stores is not
// touched. errs.NotFound; errs.Conflict for the only peer.
func (n *Node) Remove(ctx context.Context, id string) error {
	if err := removePeer(ctx, n.group, id, n.cfg.Clock.Now()); err != nil {
		return fmt.Errorf("remove peer %s: %w", id, err)
	}
	n.group.Review()
	return nil
}

// Leave removes this peer itself, and shuts it down when the others need its vote no more.
func (n *Node) Leave(ctx context.Context) error {
	if err := n.Remove(ctx, n.self.ID); err != nil {
		return err
	}
	wait := time.NewTimer(limits.PeerCallTimeout) // it may not hear that it is out: then that has happened long since
	defer wait.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n.group.Serves(n.self.ID) {
		select {
		case <-tick.C:
			continue
		case <-wait.C:
		case <-ctx.Done():
		}
		break
	}
	return n.Shutdown(ctx)
}

// Shutdown stops, cleanly and in a second or so: others are told, the lead is handed over, handlers' contexts end and they are waited for.
// It may be called twice, and without Start.
func (n *Node) Shutdown(ctx context.Context) error {
	if !n.stop() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limits.DialTimeout)
	defer cancel()
	err := n.group.Close(ctx)
	if g := n.gossip.Load(); g != nil {
		err = errors.Join(err, g.Stop())
	}
	n.end()
	return err
}

// Kill stops at once, as a crash would: nobody is told, nothing is handed over. For tests.
func (n *Node) Kill() error {
	if !n.stop() {
		return nil
	}
	var err error
	if g := n.gossip.Load(); g != nil {
		err = g.Kill()
	}
	n.cancel()
	err = errors.Join(err, n.group.Kill())
	n.end()
	return err
}

func (n *Node) stop() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := !n.stopped
	n.stopped = true
	return first
}

func (n *Node) end() {
	n.cancel()
	n.client.Close()
	n.server.Close()
	n.work.Wait()
}

func (n *Node) startGossip() error {
	g, err := gossip.Start(gossip.Config{Self: n.self.ID, Address: n.cfg.Address, Port: n.cfg.GossipPort, Keys: n.gossipKeys(),
		Clock: n.cfg.Clock, Logger: n.cfg.Logger, Changed: n.memberChanged, Refused: n.refused,
		Meta: gossip.Meta{Region: n.cfg.Region, Zone: n.cfg.Zone, Roles: n.cfg.Roles, RPC: n.record().rpc(), Services: n.cfg.Services}})
	if err != nil {
		return err
	}
	n.gossip.Store(g)
	n.memberChanged()
	n.work.Go(func() { n.findOthers(g) })
	return nil
}

// findOthers joins the gossip of the peers known from earlier; as long as none was reached, it tries again.
func (n *Node) findOthers(g *gossip.Gossip) {
	for {
		var addresses []string
		for id, p := range n.known() {
			if m, heard := g.Find(id); id != n.self.ID && !(heard && m.Alive) {
				addresses = append(addresses, p.gossip())
			}
		}
		if len(addresses) > 0 {
			addresses = append(addresses, n.cfg.Seeds...)
		}
		if reached, err := g.Join(addresses); err != nil && reached == 0 {
			n.cfg.Logger.Debug("no other peer was reached by gossip", "err", err)
		}
		if !n.pause(searchInterval) {
			return
		}
	}
}

// searchInterval is how often peers that are dead, or were never heard, are looked for: two halves of a cluster that lost each other for
// longer than gossip remembers find each other again so.
const searchInterval = 5 * time.Second

func (n *Node) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

func (n *Node) gossipKeys() [][]byte {
	keys := n.self.GossipKeys
	_ = n.group.View(n.ctx, func(r state.Reader) error {
		if stored, err := readGossipKeys(r); err == nil {
			keys = stored.Keys
		}
		return nil
	})
	return keys
}

// addressOf finds where a peer listens: by gossip, by the state, or by what was known when all were last up. One that was removed is still found where it was last: of two
// voters, the one that stays needs the vote of the one that leaves, once more.
func (n *Node) addressOf(id string) (string, error) {
	address, found := n.find(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if found {
		n.called[id] = address
		return address, nil
	}
	if address, ok := n.called[id]; ok {
		return address, nil
	}
	return "", errs.New(errs.NotFound, "no peer %q", id)
}

func (n *Node) find(id string) (address string, found bool) {
	if g := n.gossip.Load(); g != nil {
		if m, ok := g.Find(id); ok && m.Alive && m.Meta.RPC != "" {
			return m.Meta.RPC, true
		}
	}
	if p, ok := n.known()[id]; ok {
		return p.rpc(), true
	}
	return "", false
}

// known are all peers of the state and of the cached file.
func (n *Node) known() map[string]peerRecord {
	all := map[string]peerRecord{}
	n.mu.Lock()
	for id, p := range n.cached {
		all[id] = p
	}
	n.mu.Unlock()
	_ = n.group.View(context.Background(), func(r state.Reader) error {
		first := true
		for p, err := range peersTable.All(r) {
			if err != nil {
				return err
			}
			if first {
				clear(all) // the state knows better
				first = false
			}
			all[p.ID] = p
		}
		return nil
	})
	return all
}
