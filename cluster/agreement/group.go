package agreement

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
)

// Config is what a Group is opened with.
type Config struct {
	Self   string
	Dir    string // for the log and the snapshots; made if it is not there
	Caller rpc.Caller
	Mux    rpc.Mux
	// Dial opens a connection to a peer that arrives at its Group.Accept.
	Dial func(ctx context.Context, peer string) (net.Conn, error)
	// Peers tells who belongs to the cluster, for the leader's choice of voters. Nil: the set of voters stays as it is.
	Peers func() []Peer

	Voters          int           // how many are wanted
	VoterDeadAfter  time.Duration // how long a voter is dead before it is replaced
	SnapshotEntries uint64        // log entries between two snapshots
	TrailingEntries uint64        // log entries kept behind a snapshot, for peers that are a little behind

	Clock  clock.Clock
	Logger *slog.Logger
}

// Times of the agreement. A leader's death is noticed after heartbeatTimeout to twice that; an election takes a few round trips more.
const (
	heartbeatTimeout = time.Second
	electionTimeout  = time.Second
	leaseTimeout     = 750 * time.Millisecond
	// Followers learn what is committed by the next entry (see nudge), so this only guards against a nudge that got lost.
	commitTimeout = 250 * time.Millisecond
	dialTimeout   = 2 * time.Second
	raftTimeout   = 5 * time.Second // one Raft message; snapshots take more in proportion
)

// Group is one peer's part in the agreement. It is a state.Store. Safe for concurrent use.
type Group struct {
	cfg    Config
	raft   *raft.Raft
	fsm    *fsm
	store  *logStore
	layer  *layer
	trans  *raft.NetworkTransport
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	nudges chan struct{} // a token: followers may not know yet what is committed
	quiet  atomic.Uint64 // the end of the log when the last update was found committed: a later entry carries the news
	review chan struct{} // a token: look at the voters

	mu         sync.Mutex    // guards the fields below
	changed    chan struct{} // closed, and made anew, when the leader changes
	provenTerm uint64        // the term in which this peer, as leader, has applied all earlier entries
	closed     bool
}

var _ state.Store = (*Group)(nil)

// Open starts this peer's part from what Dir holds. The first peer of a new cluster calls Bootstrap before.
func Open(cfg Config) (*Group, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open agreement: %w", err)
	}
	store, err := openLogStore(filepath.Join(cfg.Dir, "log.db"))
	if err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg, store: store, fsm: newFSM(cfg.Logger, store.stage), changed: make(chan struct{}),
		nudges: make(chan struct{}, 1), review: make(chan struct{}, 1)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if err := g.open(); err != nil {
		g.cancel()
		return nil, errors.Join(fmt.Errorf("open agreement: %w", err), store.close())
	}
	g.serve(cfg.Mux)
	observations := make(chan raft.Observation, 16)
	g.raft.RegisterObserver(raft.NewObserver(observations, false, func(o *raft.Observation) bool {
		_, leader := o.Data.(raft.LeaderObservation)
		return leader
	}))
	g.work.Go(func() { g.watchLeader(observations) })
	g.work.Go(g.nudgeLoop)
	g.work.Go(g.snapshotLoop)
	g.work.Go(g.leadAlone)
	if cfg.Peers != nil {
		g.work.Go(g.reviewLoop)
	}
	return g, nil
}

func (g *Group) open() error {
	logger := raftLogger(g.cfg.Logger)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(g.cfg.Dir, 2, logger)
	if err != nil {
		return err
	}
	g.layer = &layer{self: g.cfg.Self, dial: g.cfg.Dial, ctx: g.ctx, arrived: make(chan net.Conn), open: map[*tracked]struct{}{}}
	g.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: g.layer, MaxPool: 3, Timeout: raftTimeout, Logger: logger})
	err = g.preload(snapshots)
	if err == nil {
		g.raft, err = raft.NewRaft(g.raftConfig(logger), g.fsm, g.store, g.store, snapshots, g.trans)
	}
	if err != nil {
		return errors.Join(err, g.trans.Close())
	}
	return nil
}

// preload brings the machine to what was known here as committed, so that Views after a restart are not empty while there is no leader.
// Raft applies the same entries again once there is one. (Its own way of doing this, RestoreCommittedLogs, forgets the configurations among
// those entries in v1.8.0, and with them who votes.)
func (g *Group) preload(snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list state snapshots: %w", err)
	}
	from := uint64(0)
	for _, meta := range list { // newest first; one that is damaged is passed over, as Raft does
		_, content, err := snapshots.Open(meta.ID)
		if err == nil {
			err = errors.Join(g.fsm.Restore(content), content.Close())
		}
		if err == nil {
			from = meta.Index
			break
		}
		g.cfg.Logger.Warn("restore a state snapshot", "snapshot", meta.ID, "err", err)
	}
	committed, err := g.store.committed()
	if err != nil {
		return err
	}
	if len(list) > 0 && max(from, committed) < list[0].Index {
		return errs.New(errs.Corrupt, "state snapshot %s cannot be read, and the log does not reach as far", list[0].ID)
	}
	for index := from + 1; index <= committed; index++ {
		var entry raft.Log
		if err := g.store.GetLog(index, &entry); err != nil {
			return fmt.Errorf("read log entry %d: %w", index, err)
		}
		if entry.Type == raft.LogCommand {
			g.fsm.Apply(&entry)
		}
	}
	g.fsm.preloaded = max(from, committed)
	return nil
}

func (g *Group) raftConfig(logger hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.cfg.Self)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout, c.CommitTimeout = heartbeatTimeout, electionTimeout, leaseTimeout, commitTimeout
	c.SnapshotThreshold, c.TrailingLogs = g.cfg.SnapshotEntries, g.cfg.TrailingEntries
	c.BatchApplyCh = false // with a queue, what lies in it when Raft stops would never be answered
	c.NoLegacyTelemetry = true
	c.NoSnapshotRestoreOnStart = true // see preload
	c.Logger = logger
	return c
}

// Bootstrap prepares Dir for the first peer of a new cluster, which then is its only voter. errs.Exists if it holds an agreement already.
func Bootstrap(dir, self string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("bootstrap agreement: %w", err)
	}
	store, err := openLogStore(filepath.Join(dir, "log.db"))
	if err != nil {
		return err
	}
	logger := hclog.NewNullLogger()
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, logger)
	if err == nil {
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = raft.ServerID(self), logger
		_, trans := raft.NewInmemTransport(raft.ServerAddress(self))
		err = raft.BootstrapCluster(c, store, store, snapshots, trans, raft.Configuration{
			Servers: []raft.Server{{ID: raft.ServerID(self), Address: raft.ServerAddress(self)}}})
	}
	if errors.Is(err, raft.ErrCantBootstrap) {
		err = errs.New(errs.Exists, "%s holds an agreement already", dir)
	}
	return errors.Join(err, store.close())
}

// Accept takes a Raft connection from another peer.
func (g *Group) Accept(conn net.Conn) {
	select {
	case g.layer.arrived <- conn:
	case <-g.ctx.Done():
		_ = conn.Close()
	}
}

// Leader is the id of the peer that leads, as far as this one knows; "" when it knows of none.
func (g *Group) Leader() string {
	_, id := g.raft.LeaderWithID()
	return string(id)
}

// LeaderChanged gives a channel that is closed when Leader may have changed.
func (g *Group) LeaderChanged() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Voters are the ids of the peers that vote, as far as this one knows.
func (g *Group) Voters() []string {
	var ids []string
	for _, s := range g.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}

// Serves tells whether a peer has a part in the agreement, with a vote or without.
func (g *Group) Serves(peer string) bool {
	return slices.ContainsFunc(g.raft.GetConfiguration().Configuration().Servers, func(s raft.Server) bool { return string(s.ID) == peer })
}

// Review makes the leader look at the voters now, rather than within a second.
func (g *Group) Review() { notify(g.review) }

// Snapshot writes one now; the log before it is dropped, up to TrailingEntries.
func (g *Group) Snapshot() error {
	if err := g.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("write state snapshot: %w", err)
	}
	return nil
}

// View is Store.View.
func (g *Group) View(ctx context.Context, fn func(state.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(g.fsm.machine.Snapshot())
}

// Watch is Store.Watch.
func (g *Group) Watch(ctx context.Context, prefix string, after state.Index) iter.Seq2[state.Event, error] {
	return g.fsm.machine.Watch(ctx, prefix, after)
}

// leadAlone spares the only voter the wait for a leader that cannot be there: it tells itself, as a leader that hands over would, to stand now.
func (g *Group) leadAlone() {
	if voters := g.Voters(); len(voters) != 1 || voters[0] != g.cfg.Self {
		return
	}
	self := raft.ServerAddress(g.cfg.Self)
	request := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.cfg.Self), Addr: []byte(self)}}
	if err := g.trans.TimeoutNow(raft.ServerID(g.cfg.Self), self, &request, &raft.TimeoutNowResponse{}); err != nil {
		g.cfg.Logger.Debug("stand for election at once", "err", err) // it will, a second later
	}
}

func (g *Group) watchLeader(observations <-chan raft.Observation) {
	said := ""
	for {
		select {
		case <-observations:
			if leader := g.Leader(); leader != said {
				g.cfg.Logger.Info("the leader of the replicated state", "leader", leader, "before", said)
				said = leader
			}
			g.mu.Lock()
			close(g.changed)
			g.changed = make(chan struct{})
			g.mu.Unlock()
			g.Review()
		case <-g.ctx.Done():
			return
		}
	}
}

// nudgeLoop gives followers the news at once that the last update is committed. Raft tells them with the next entry, or after a timer;
// one entry that means nothing is cheaper than a timer fast enough for people who wait. Under load the next update does it.
func (g *Group) nudgeLoop() {
	for {
		select {
		case <-g.nudges:
		case <-g.ctx.Done():
			return
		}
		alone := len(g.raft.GetConfiguration().Configuration().Servers) < 2
		if !alone && g.raft.LastIndex() <= g.quiet.Load() && g.raft.State() == raft.Leader {
			_ = g.await(g.ctx, g.raft.Barrier(raftTimeout)) // only a leader that is one no more fails, and then it matters no more
		}
	}
}

func (g *Group) snapshotLoop() {
	for {
		select {
		case <-g.fsm.full:
			if err := g.Snapshot(); err != nil {
				g.cfg.Logger.Warn("snapshot of the replicated state", "err", err)
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// Close hands the lead over, if this peer has it and another can take it within ctx, and stops. Everything acknowledged is on disk long since.
// It may be called twice.
func (g *Group) Close(ctx context.Context) error {
	if g.raft.State() == raft.Leader && len(g.Voters()) > 1 {
		handedOver := make(chan struct{})
		go func() {
			_ = g.await(ctx, g.raft.LeadershipTransfer()) // a cluster whose leader just goes elects another, a second later
			close(handedOver)
		}()
		select {
		case <-handedOver:
		case <-ctx.Done():
		}
	}
	return g.Kill()
}

// Kill stops at once, as a crash would: nothing is handed over or told to anybody.
func (g *Group) Kill() error {
	g.mu.Lock()
	twice := g.closed
	g.closed = true
	g.mu.Unlock()
	if twice {
		return nil
	}
	g.cancel()
	g.fsm.machine.Close()
	err := errors.Join(g.trans.Close(), g.raft.Shutdown().Error())
	g.layer.closeAll()
	g.work.Wait()
	return errors.Join(err, g.store.close())
}

// layer carries Raft's connections over the peers' one TLS port. Addresses are peers' ids.
type layer struct {
	self    string
	dial    func(context.Context, string) (net.Conn, error)
	ctx     context.Context
	arrived chan net.Conn

	mu   sync.Mutex // guards open
	open map[*tracked]struct{}
}

// tracked is a connection that is closed with the layer: Raft leaves those that others made to it open.
type tracked struct {
	net.Conn
	of *layer
}

func (l *layer) track(conn net.Conn) net.Conn {
	t := &tracked{conn, l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[t] = struct{}{}
	return t
}

func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.open, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}

func (l *layer) closeAll() {
	l.mu.Lock()
	open := l.open
	l.open = map[*tracked]struct{}{}
	l.mu.Unlock()
	for t := range open {
		_ = t.Conn.Close() // Raft has stopped: nobody misses what was under way
	}
}

func (l *layer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.arrived:
		return l.track(conn), nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l *layer) Close() error   { return nil } // the group's context is what ends Accept
func (l *layer) Addr() net.Addr { return peerAddr(l.self) }

func (l *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, min(timeout, dialTimeout))
	defer cancel()
	if string(address) == l.self {
		here, there := net.Pipe()
		select {
		case l.arrived <- there:
			return l.track(here), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	conn, err := l.dial(ctx, string(address))
	if err != nil {
		return nil, err
	}
	return l.track(conn), nil
}

type peerAddr string

func (peerAddr) Network() string  { return "henge" }
func (a peerAddr) String() string { return string(a) }

// raftLogger passes Raft's log lines on.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Info, Output: io.Discard})
	l.RegisterSink(sink{to})
	return l
}

type sink struct{ to *slog.Logger }

// Accept is hclog.SinkAdapter's. All of it is for debugging: while a peer is away Raft says so several times a second. What an operator
// needs to know the group says itself.
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	s.to.Debug("raft: "+msg, append(args, "raft_level", level.String())...)
}
