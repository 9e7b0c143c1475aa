package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"henge/cluster"
	"henge/cluster/rings"
	"henge/computed"
	"henge/identity"
	"henge/imaged"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/internal/metrics"
	"henge/proxy/core"
	"henge/scheduler"
	"henge/storaged/repair"
	"henge/storaged/server"
)

// peerStart says how a peer comes into a cluster, if it is in none yet.
type peerStart struct {
	create bool   // it makes one
	token  string // it joins one
	logger *slog.Logger
	clock  clock.Clock // nil: the machine's
}

// peer is one running peer: everything wired together.
type peer struct {
	cfg     config
	logger  *slog.Logger
	clock   clock.Clock // for the object store, identity and the cluster
	metrics *metrics.Registry
	started time.Time

	node     *cluster.Node
	storage  *server.Server
	devices  *server.Devices
	placed   atomic.Pointer[placement] // nil until the rings are known
	repair   *repair.Repair
	repairs  atomic.Pointer[repair.Repair] // the same, for who may ask before it is there
	core     *core.Core
	identity *identity.Identity
	images   *imaged.Service    // nil unless the peer plays the role
	placing  *scheduler.Service // nil unless the peer plays the role

	compute       atomic.Pointer[computed.Service] // nil unless the peer plays the role
	more          []listener                       // ports that a service opens beside its own
	guestMetadata metadataDoor                     // that the network agent knocks at
	lacks         lacks

	servers []*httpapi.Server
	tasks   sync.WaitGroup
	cancel  context.CancelFunc
	failed  chan error // the first thing that broke for good
}

// readyWait is how long a start waits for the cluster to agree on a leader. After it the peer serves what it can without one.
const readyWait = 15 * time.Second

// startPeer brings a peer up: when it returns, every service of it listens.
func startPeer(ctx context.Context, cfg config, start peerStart) (p *peer, err error) {
	if start.clock == nil {
		start.clock = clock.System{}
	}
	p = &peer{cfg: cfg, logger: start.logger, clock: start.clock, metrics: metrics.New(), started: time.Now(), failed: make(chan error, 1)}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	if p.node, err = openNode(ctx, cfg, start); err != nil {
		return p, err
	}
	if err := p.openStorage(ctx); err != nil {
		return p, err
	}
	p.node.Mux().Handle(methodStatus, p.serveStatus)
	p.node.Mux().Handle(methodProfile, serveProfile)
	p.node.Mux().Handle(methodDispersion, p.serveDispersion)
	p.node.Mux().Handle(methodConsole, p.serveConsole)
	if err := p.node.Start(ctx); err != nil {
		return p, fmt.Errorf("start the peer: %w", err)
	}
	wait, done := context.WithTimeout(ctx, readyWait)
	defer done()
	if err := p.node.Ready(wait); err != nil {
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		p.logger.Warn("no leader yet; serving what needs none", "error", err)
	}
	if err := p.wire(life); err != nil {
		return p, err
	}
	return p, p.listen(life)
}

// openNode makes, joins or reopens the cluster.
func openNode(ctx context.Context, cfg config, start peerStart) (*cluster.Node, error) {
	c := clusterConfig(cfg, start.logger)
	c.Clock = start.clock
	node, err := cluster.Open(c)
	if !errs.Is(err, errs.NotFound) {
		return node, err
	}
	switch {
	case start.create:
		return cluster.Bootstrap(c)
	case start.token != "":
		return cluster.Join(ctx, c, start.token)
	}
	return nil, fmt.Errorf("%s holds no peer yet: make a cluster with henge init, or come into one with henge join", cfg.DataDir)
}

// wire builds what stands on the cluster and the devices.
func (p *peer) wire(life context.Context) (err error) {
	secret, err := rings.Secret(life, p.node.State(), rand.Reader)
	if err != nil {
		return fmt.Errorf("read the secret of the hashes: %w", err)
	}
	book, err := rings.Open(life, p.node.State(), p.logger)
	if err != nil {
		return err
	}
	placed := placement{book, secret}
	p.placed.Store(&placed)
	p.run(life, "rings", book.Run)
	if err := p.startRepair(life, placed); err != nil {
		return fmt.Errorf("start repair: %w", err)
	}
	p.run(life, "members", p.follow)
	p.run(life, "announcements", p.announce)
	if p.identity, err = identity.New(identity.Config{
		Store: p.node.State(), Clock: p.clock, Logger: p.logger,
	}); err != nil {
		return fmt.Errorf("start identity: %w", err)
	}
	p.run(life, "identity", p.identity.Run)
	hybrid := clock.NewHybrid(p.clock, p.node.WriterNumber())
	if p.core, err = core.New(core.Config{Rings: placed, Devices: p.devices, Clock: hybrid, Distance: p.distance, Logger: p.logger}); err != nil {
		return fmt.Errorf("start the proxy: %w", err)
	}
	p.run(life, "proxy", p.core.Run)
	p.startExpirer(life, placed)
	p.startReaper(life)
	return p.wireNetworks(life)
}

// run keeps a task going until the peer stops; if it ends before, the peer has failed.
func (p *peer) run(ctx context.Context, name string, task func(context.Context) error) {
	p.tasks.Go(func() {
		if err := task(ctx); err != nil && ctx.Err() == nil {
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

func (p *peer) fail(err error) {
	select {
	case p.failed <- err:
	default: // one reason is enough
	}
}

// listener is a port that a peer opens.
type listener struct {
	name    string
	port    int
	handler http.Handler
	on      bool
}

// listeners are the ports of the roles that the peer plays, and what answers there.
func (p *peer) listeners(life context.Context) ([]listener, error) {
	all := []listener{
		{"identity", p.cfg.Ports.Identity, p.identity.Handler(), p.cfg.has("identity")},
		{"object", p.cfg.Ports.Object, p.objectHandler(), p.cfg.has("proxy")},
		{"metrics", p.cfg.Ports.Metrics, p.metricsHandler(), true},
	}
	for _, s := range played(&p.cfg) {
		handler, err := s.start(p, life)
		if err != nil {
			return nil, fmt.Errorf("start the %s service: %w", s.role, err)
		}
		all = append(all, listener{s.role, *s.port(&p.cfg.Ports), handler, true})
	}
	return append(all, p.more...), nil
}

// listen opens the ports.
func (p *peer) listen(life context.Context) error {
	requests := p.metrics.Histogram("henge_request_seconds", "Time to answer a request, by service, method and status.", "service", "method", "status")
	sent := p.metrics.Counter("henge_sent_bytes_total", "Bytes of bodies sent to clients, by service.", "service")
	observe := func(r httpapi.Request) {
		requests.Observe(r.Duration.Seconds(), r.Service, knownMethod(r.Method), statusClass(r.Status))
		sent.Add(float64(r.Sent), r.Service)
	}
	open, err := p.listeners(life)
	if err != nil {
		return err
	}
	for _, s := range open {
		if !s.on {
			continue
		}
		ln, err := net.Listen("tcp", hostPort(p.cfg.Address, s.port))
		if err != nil {
			return fmt.Errorf("the %s port: %w", s.name, err)
		}
		srv := httpapi.NewServer(httpapi.Config{Name: s.name, Handler: s.handler, Logger: p.logger, Observe: observe})
		p.servers = append(p.servers, srv)
		p.tasks.Go(func() {
			if err := srv.Serve(ln); err != nil {
				p.fail(err)
			}
		})
	}
	return nil
}

// knownMethod keeps clients from making up labels.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions, http.MethodPatch, "COPY":
		return m
	}
	return "other"
}

func statusClass(status int) string { return fmt.Sprintf("%dxx", status/100) }

// drainWait is how long requests under way may go on after the peer was asked to stop.
const drainWait = 3 * time.Second

// stop ends the peer in order: no new requests, those under way, the tasks, the devices, the cluster. It may be called at any stage of a start.
func (p *peer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainWait)
	defer cancel()
	var drained sync.WaitGroup
	for _, s := range p.servers {
		drained.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				p.logger.Warn("stop serving", "error", err)
			}
		})
	}
	drained.Wait()
	p.cancel()
	p.tasks.Wait()
	if p.core != nil {
		p.report("stop the proxy", p.core.Close())
	}
	ctx, cancel = context.WithTimeout(context.Background(), stopWait/2)
	defer cancel()
	if p.node != nil {
		p.report("leave the cluster for now", p.node.Shutdown(ctx))
	}
	if p.storage != nil {
		p.report("close the devices", p.storage.Close())
	}
}

func (p *peer) report(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		p.logger.Warn(what, "error", err)
	}
}
