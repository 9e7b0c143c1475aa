// Package servertest makes storage peers for tests: real devices, listings and the real peer protocol within one process, over engines in memory. Peers can be killed
// and revived, and calls made to fail by predicate.
package servertest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/engine/memory"
	"henge/storaged/peerapi"
	"henge/storaged/server"
)

// Cluster is some storage peers. It is a peerapi.Devices, as a proxy that stores nothing sees them.
type Cluster struct {
	t     testing.TB
	dir   string
	log   *slog.Logger
	names []string

	mu    sync.Mutex // guards the fields below
	peers map[string]*Peer
	fault func(Call) error
	clock clock.Clock
	empty map[peerapi.Target]bool // devices whose disk was replaced
}

// Peer is one storage peer of a Cluster.
type Peer struct {
	Name    string
	Targets []peerapi.Target
	disks   map[string]*memory.Disk
	server  *server.Server // nil while it is killed
}

// Call is what a fault predicate decides on: a call under way to a device.
type Call struct {
	From   string // the calling peer; "" is the proxy
	To     peerapi.Target
	Method string // as of peerapi.Device: "Head", "Commit", ...; "Write" and "WriterCommit" of a Writer
	Key    peerapi.Key
	// After: the call has been made and answered; the fault loses the answer. Otherwise the call is not made at all.
	After bool
}

// NewCluster starts peers "p1", "p2", ... with devices "d1", "d2", ... each. It is closed with the test.
func NewCluster(t testing.TB, peers, devicesPerPeer int) *Cluster {
	t.Helper()
	c := &Cluster{t: t, dir: t.TempDir(), log: slog.New(slog.DiscardHandler), peers: map[string]*Peer{}, fault: func(Call) error { return nil }, clock: clock.System{}, empty: map[peerapi.Target]bool{}}
	for i := range peers {
		p := &Peer{Name: fmt.Sprintf("p%d", i+1), disks: map[string]*memory.Disk{}}
		for j := range devicesPerPeer {
			d := fmt.Sprintf("d%d", j+1)
			p.disks[d] = memory.NewDisk()
			p.Targets = append(p.Targets, peerapi.Target{Peer: p.Name, Device: d})
		}
		c.peers[p.Name] = p
		c.names = append(c.names, p.Name)
		c.start(p)
	}
	t.Cleanup(func() {
		for _, name := range c.names {
			c.Kill(name)
		}
	})
	return c
}

// Targets are all devices: the first of each peer, then the second of each, and so on.
func (c *Cluster) Targets() []peerapi.Target {
	var all []peerapi.Target
	for j := range c.peers[c.names[0]].Targets {
		for _, name := range c.names {
			all = append(all, c.peers[name].Targets[j])
		}
	}
	return all
}

// Replicas are three devices (fewer if there are not as many) for a hash, on different peers if possible; the others follow, as handoffs.
func (c *Cluster) Replicas(h ring.Hash) (primaries, handoffs []peerapi.Target) {
	all := c.Targets()
	n := len(c.names)
	turn := int(h[0]) % n
	row := int(h[1]) % (len(all) / n)
	var order []peerapi.Target
	for j := range len(all) / n {
		line := all[(row+j)%(len(all)/n)*n:][:n]
		order = append(order, append(append([]peerapi.Target(nil), line[turn:]...), line[:turn]...)...)
	}
	k := min(3, len(order))
	return order[:k], order[k:]
}

// secret is the cluster's, for ring.HashPath.
var secret = ring.Secret{7}

// Key makes the key of an object, container or account, as the ring would.
func (c *Cluster) Key(account, container, object string) peerapi.Key {
	h := ring.HashPath(secret, account, container, object)
	return peerapi.Key{Account: account, Container: container, Object: object, Hash: h, Partition: ring.Partition(h[0])}
}

func (c *Cluster) start(p *Peer) {
	c.t.Helper()
	dirs := map[string]string{}
	for d := range p.disks {
		dirs[d] = filepath.Join(c.dir, p.Name+"-"+d)
	}
	s, err := server.New(server.Config{
		Self: p.Name, Devices: dirs, Clock: c.clock, Log: c.log, JudgeLater: true,
		Open: func(name, dir string) (engine.Engine, error) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return nil, err
			}
			return p.disks[name].Open()
		},
		Accounts: func(account string) (peerapi.Key, []peerapi.Target) {
			key := c.Key(account, "", "")
			primaries, _ := c.Replicas(key.Hash)
			return key, primaries
		},
		Connect: func(s *server.Server) peerapi.Devices { return view{cluster: c, from: p.Name} },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := s.Judge(func(device string) bool { return c.empty[peerapi.Target{Peer: p.Name, Device: device}] }); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	p.server = s
	c.mu.Unlock()
}

// SetClock gives the peers that start from now on another clock.
func (c *Cluster) SetClock(to clock.Clock) { c.clock = to }

// ReplaceDisk puts an empty disk in the place of a device's, as an operator does with a broken one: its peer is stopped for it.
func (c *Cluster) ReplaceDisk(t peerapi.Target) {
	c.t.Helper()
	c.Kill(t.Peer)
	c.peers[t.Peer].disks[t.Device] = memory.NewDisk()
	if err := os.RemoveAll(filepath.Join(c.dir, t.Peer+"-"+t.Device)); err != nil {
		c.t.Fatal(err)
	}
	c.empty[t] = true
	c.Revive(t.Peer)
}

// LoseListing removes a device's listings, as a file system check might; its peer is stopped for it. What the journal still has comes back by itself.
func (c *Cluster) LoseListing(t peerapi.Target) {
	c.t.Helper()
	c.Kill(t.Peer)
	if err := os.Remove(filepath.Join(c.dir, t.Peer+"-"+t.Device, "listing.db")); err != nil {
		c.t.Fatal(err)
	}
	c.Revive(t.Peer)
}

// Locals are a peer's devices; none while it is killed.
func (c *Cluster) Locals(peer string) []*server.Local {
	if s := c.Server(peer); s != nil {
		return s.Locals()
	}
	return nil
}

// Kill stops a peer: every call of it fails from now on. What it acknowledged is kept.
func (c *Cluster) Kill(peer string) {
	c.t.Helper()
	c.mu.Lock()
	p := c.peers[peer]
	s := p.server
	p.server = nil
	c.mu.Unlock()
	if s == nil {
		return
	}
	if err := s.Close(); err != nil {
		c.t.Errorf("close %s: %v", peer, err)
	}
}

// Revive starts a killed peer again; the others hear of it.
func (c *Cluster) Revive(peer string) {
	c.t.Helper()
	c.start(c.peers[peer])
	c.mu.Lock()
	var servers []*server.Server
	for _, p := range c.peers {
		if p.server != nil {
			servers = append(servers, p.server)
		}
	}
	c.mu.Unlock()
	for _, s := range servers {
		s.PeerUp(peer)
	}
}

// Disk is what a device of a peer keeps its objects on; SetFull of it makes the device full.
func (c *Cluster) Disk(t peerapi.Target) *memory.Disk { return c.peers[t.Peer].disks[t.Device] }

// Server is a peer's server, nil while it is killed.
func (c *Cluster) Server(peer string) *server.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers[peer].server
}

// SetFault makes calls for which fault gives an error fail with it. nil ends all faults. It may block, for as long as the call's caller is to wait.
func (c *Cluster) SetFault(fault func(Call) error) {
	if fault == nil {
		fault = func(Call) error { return nil }
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// Device is peerapi.Devices'.
func (c *Cluster) Device(t peerapi.Target) peerapi.Device { return view{cluster: c}.Device(t) }

// Up is peerapi.Devices'.
func (c *Cluster) Up(t peerapi.Target) bool { return view{cluster: c}.Up(t) }

// Seen is the cluster as the peer from sees it.
func (c *Cluster) Seen(from string) peerapi.Devices { return view{cluster: c, from: from} }

type view struct {
	cluster *Cluster
	from    string
}

func (v view) Up(t peerapi.Target) bool {
	v.cluster.mu.Lock()
	defer v.cluster.mu.Unlock()
	p := v.cluster.peers[t.Peer]
	return p != nil && p.server != nil
}

func (v view) Device(t peerapi.Target) peerapi.Device {
	return &faulty{cluster: v.cluster, from: v.from, to: t}
}

func (c *Cluster) find(t peerapi.Target) peerapi.Device {
	c.mu.Lock()
	p := c.peers[t.Peer]
	var s *server.Server
	if p != nil {
		s = p.server
	}
	c.mu.Unlock()
	if s == nil {
		return peerapi.Absent(peerapi.Unavailable(t, "the peer is down"))
	}
	if d, ok := s.Local(t.Device); ok {
		return d
	}
	return peerapi.Absent(peerapi.Unavailable(t, "there is no such device"))
}

func (c *Cluster) check(call Call) error {
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	return fault(call)
}

// faulty is a device behind the fault predicate. Between the call and its end, the peer may be killed.
type faulty struct {
	cluster *Cluster
	from    string
	to      peerapi.Target
}

func through[T any](ctx context.Context, f *faulty, method string, key peerapi.Key, do func(peerapi.Device) (T, error)) (T, error) {
	var none T
	call := Call{From: f.from, To: f.to, Method: method, Key: key}
	if err := f.cluster.check(call); err != nil {
		return none, err
	}
	if err := ctx.Err(); err != nil {
		return none, errs.New(errs.KindOf(err), "%s: %w", method, err)
	}
	v, err := do(f.cluster.find(f.to))
	call.After = true
	if lost := f.cluster.check(call); lost != nil {
		return none, lost
	}
	return v, err
}

type opened struct {
	state peerapi.State
	body  io.ReadCloser
}

func (f *faulty) Head(ctx context.Context, key peerapi.Key) (peerapi.State, error) {
	return through(ctx, f, "Head", key, func(d peerapi.Device) (peerapi.State, error) { return d.Head(ctx, key) })
}

func (f *faulty) Open(ctx context.Context, key peerapi.Key, at clock.Timestamp, r peerapi.Range) (peerapi.State, io.ReadCloser, error) {
	o, err := through(ctx, f, "Open", key, func(d peerapi.Device) (o opened, err error) {
		o.state, o.body, err = d.Open(ctx, key, at, r)
		return o, err
	})
	if err == nil {
		o.body = &faultyReader{ReadCloser: o.body, device: f, key: key}
	}
	return o.state, o.body, err
}

type faultyReader struct {
	io.ReadCloser
	device *faulty
	key    peerapi.Key
}

func (r *faultyReader) Read(b []byte) (int, error) {
	f := r.device
	if err := f.cluster.check(Call{From: f.from, To: f.to, Method: "Read", Key: r.key}); err != nil {
		return 0, err
	}
	if !(view{cluster: f.cluster}).Up(f.to) {
		return 0, peerapi.Unavailable(f.to, "the peer went down")
	}
	return r.ReadCloser.Read(b)
}

func (f *faulty) Create(ctx context.Context, key peerapi.Key, size int64) (peerapi.Writer, error) {
	w, err := through(ctx, f, "Create", key, func(d peerapi.Device) (peerapi.Writer, error) { return d.Create(ctx, key, size) })
	if err != nil {
		return nil, err
	}
	return &faultyWriter{Writer: w, device: f, key: key}, nil
}

type faultyWriter struct {
	peerapi.Writer
	device *faulty
	key    peerapi.Key
}

func (w *faultyWriter) Write(b []byte) (int, error) {
	f := w.device
	if err := f.cluster.check(Call{From: f.from, To: f.to, Method: "Write", Key: w.key}); err != nil {
		return 0, err
	}
	if !(view{cluster: f.cluster}).Up(f.to) {
		return 0, peerapi.Unavailable(f.to, "the peer went down")
	}
	return w.Writer.Write(b)
}

func (w *faultyWriter) Commit(ctx context.Context, c peerapi.Commit) (peerapi.Outcome, error) {
	return through(ctx, w.device, "WriterCommit", w.key, func(peerapi.Device) (peerapi.Outcome, error) { return w.Writer.Commit(ctx, c) })
}

func (f *faulty) Commit(ctx context.Context, c peerapi.Commit, data []byte) (peerapi.Outcome, error) {
	return through(ctx, f, "Commit", c.Record.Key, func(d peerapi.Device) (peerapi.Outcome, error) { return d.Commit(ctx, c, data) })
}

func (f *faulty) Restamp(ctx context.Context, from clock.Timestamp, c peerapi.Commit) (peerapi.Outcome, error) {
	return through(ctx, f, "Restamp", c.Record.Key, func(d peerapi.Device) (peerapi.Outcome, error) { return d.Restamp(ctx, from, c) })
}

func (f *faulty) Prepare(ctx context.Context, key peerapi.Key, ballot clock.Timestamp) (out peerapi.Outcome, state peerapi.State, err error) {
	out, err = through(ctx, f, "Prepare", key, func(d peerapi.Device) (o peerapi.Outcome, err error) {
		o, state, err = d.Prepare(ctx, key, ballot)
		return o, err
	})
	return out, state, err
}

func (f *faulty) Index(ctx context.Context, key peerapi.Key) (peerapi.IndexInfo, error) {
	return through(ctx, f, "Index", key, func(d peerapi.Device) (peerapi.IndexInfo, error) { return d.Index(ctx, key) })
}

func (f *faulty) ChangeIndex(ctx context.Context, c peerapi.IndexChange) (peerapi.IndexOutcome, error) {
	return through(ctx, f, "ChangeIndex", c.Key, func(d peerapi.Device) (peerapi.IndexOutcome, error) { return d.ChangeIndex(ctx, c) })
}

func (f *faulty) Merge(ctx context.Context, m peerapi.Merge) error {
	_, err := through(ctx, f, "Merge", m.Key, func(d peerapi.Device) (struct{}, error) { return struct{}{}, d.Merge(ctx, m) })
	return err
}

func (f *faulty) List(ctx context.Context, q peerapi.ListQuery) (peerapi.ListPage, error) {
	return through(ctx, f, "List", q.Key, func(d peerapi.Device) (peerapi.ListPage, error) { return d.List(ctx, q) })
}

func (f *faulty) Sums(ctx context.Context, q peerapi.SumsQuery) (peerapi.Sums, error) {
	return through(ctx, f, "Sums", peerapi.Key{}, func(d peerapi.Device) (peerapi.Sums, error) { return d.Sums(ctx, q) })
}

func (f *faulty) Marks(ctx context.Context, q peerapi.MarksQuery) (peerapi.Marks, error) {
	return through(ctx, f, "Marks", peerapi.Key{}, func(d peerapi.Device) (peerapi.Marks, error) { return d.Marks(ctx, q) })
}

func (f *faulty) Indexes(ctx context.Context, q peerapi.IndexesQuery) (peerapi.Indexes, error) {
	return through(ctx, f, "Indexes", peerapi.Key{}, func(d peerapi.Device) (peerapi.Indexes, error) { return d.Indexes(ctx, q) })
}

func (f *faulty) Usage(ctx context.Context) (peerapi.Usage, error) {
	return through(ctx, f, "Usage", peerapi.Key{}, func(d peerapi.Device) (peerapi.Usage, error) { return d.Usage(ctx) })
}
