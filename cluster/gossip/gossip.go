package gossip

import (
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"henge/internal/clock"
	"henge/internal/errs"
)

// KeyBytes is the length of a gossip key: AES-256.
const KeyBytes = 32

// Config is what gossip is started with.
type Config struct {
	Self    string
	Address string // IP address for TCP and UDP; what other peers reach us at
	Port    int
	Keys    [][]byte // the first encrypts; all decrypt
	Meta    Meta
	Clock   clock.Clock
	Logger  *slog.Logger
	// Changed is called, soon and without locks, when Members would answer something else. It must not wait.
	Changed func()
	// Refused tells which ids are no members any more: they are not heard.
	Refused func(id string) bool
}

// Member is what is known of one peer by gossip.
type Member struct {
	ID      string
	Address string // IP
	Meta    Meta
	Alive   bool
	Since   time.Time // when Alive became what it is, as seen here
}

// Gossip is one peer's membership. Safe for concurrent use.
type Gossip struct {
	cfg     Config
	list    *memberlist.Memberlist
	keyring *memberlist.Keyring

	mu      sync.Mutex // guards the fields below
	meta    Meta
	encoded []byte
	members map[string]Member
}

// Tuning for a LAN: a dead peer is noticed in about three seconds, and an idle one does next to nothing.
const (
	probeInterval    = time.Second
	probeTimeout     = 500 * time.Millisecond
	gossipInterval   = 300 * time.Millisecond
	pushPullInterval = 60 * time.Second
	suspicionMult    = 3
	deadReclaim      = 30 * time.Second // a peer may come back with its name at another address after this
	leaveTimeout     = 500 * time.Millisecond
	announceTimeout  = 500 * time.Millisecond
	tcpTimeout       = 3 * time.Second // also the longest that a search for dead peers may hold up a shutdown
)

// Start listens and announces this peer to nobody yet: see Join.
func Start(cfg Config) (*Gossip, error) {
	g := &Gossip{cfg: cfg, meta: cfg.Meta, members: map[string]Member{}}
	var err error
	if g.encoded, err = g.meta.encode(cfg.Address); err != nil {
		return nil, err
	}
	if g.keyring, err = memberlist.NewKeyring(cfg.Keys, cfg.Keys[0]); err != nil {
		return nil, fmt.Errorf("take the gossip keys: %w", err)
	}
	c := memberlist.DefaultLANConfig()
	c.Name, c.BindAddr, c.BindPort, c.AdvertiseAddr, c.AdvertisePort = cfg.Self, cfg.Address, cfg.Port, cfg.Address, cfg.Port
	c.ProbeInterval, c.ProbeTimeout, c.GossipInterval, c.PushPullInterval = probeInterval, probeTimeout, gossipInterval, pushPullInterval
	c.SuspicionMult, c.DeadNodeReclaimTime = suspicionMult, deadReclaim
	c.Keyring, c.Delegate, c.Events, c.Alive = g.keyring, g, events{g}, g
	c.TCPTimeout = tcpTimeout
	c.DNSConfigPath = "" // names are never looked up
	c.Logger = log.New(lines{cfg.Logger}, "", 0)
	if g.list, err = memberlist.Create(c); err != nil {
		return nil, errs.New(errs.KindOf(err), "listen for gossip on %s: %w", net.JoinHostPort(cfg.Address, strconv.Itoa(cfg.Port)), err)
	}
	return g, nil
}

// Join speaks to the peers at the addresses (host:port) and learns of all that they know. It answers how many were reached.
func (g *Gossip) Join(addresses []string) (reached int, err error) {
	if len(addresses) == 0 {
		return 0, nil
	}
	return g.list.Join(addresses)
}

// Members are all peers heard of, this one included, by id.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Member, 0, len(g.members))
	for _, m := range g.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Find is one peer.
func (g *Gossip) Find(id string) (Member, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.members[id]
	return m, ok
}

// Announce changes what this peer says of itself, and tells the others.
func (g *Gossip) Announce(change func(*Meta)) error {
	g.mu.Lock()
	next := g.meta
	next.Services, next.Rings = maps.Clone(next.Services), maps.Clone(next.Rings)
	change(&next)
	encoded, err := next.encode(g.cfg.Address)
	same := err == nil && string(encoded) == string(g.encoded)
	if err == nil {
		g.meta, g.encoded = next, encoded
	}
	g.mu.Unlock()
	if err != nil || same {
		return err
	}
	// Whoever has not heard it when the time is over will, by the next full exchange.
	if err := g.list.UpdateNode(announceTimeout); err != nil {
		g.cfg.Logger.Debug("announce", "err", err)
	}
	return nil
}

// SetKeys replaces the keys: the first encrypts from now on, all decrypt.
func (g *Gossip) SetKeys(keys [][]byte) error {
	for _, key := range keys {
		if err := g.keyring.AddKey(key); err != nil {
			return fmt.Errorf("take a gossip key: %w", err)
		}
	}
	if err := g.keyring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("use a gossip key: %w", err)
	}
	for _, old := range g.keyring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return string(k) == string(old) }) {
			if err := g.keyring.RemoveKey(old); err != nil {
				return fmt.Errorf("drop a gossip key: %w", err)
			}
		}
	}
	return nil
}

// Forget drops a peer that is no member any more.
func (g *Gossip) Forget(id string) {
	g.mu.Lock()
	_, had := g.members[id]
	delete(g.members, id)
	g.mu.Unlock()
	if had {
		g.cfg.Changed()
	}
}

// Stop tells the others that this peer goes, so that they need not find out, and stops listening.
func (g *Gossip) Stop() error {
	if err := g.list.Leave(leaveTimeout); err != nil {
		g.cfg.Logger.Debug("say goodbye", "err", err) // whoever has not heard it will notice
	}
	return g.list.Shutdown()
}

// Kill stops at once, as a crash would.
func (g *Gossip) Kill() error { return g.list.Shutdown() }

func (g *Gossip) note(n *memberlist.Node, alive bool) {
	if g.cfg.Refused(n.Name) {
		return
	}
	host := n.Addr.String()
	meta, err := decodeMeta(n.Meta, host)
	if err != nil {
		g.cfg.Logger.Warn("a peer's gossip cannot be read", "peer", n.Name, "err", err)
		meta = &Meta{}
	}
	g.mu.Lock()
	before, known := g.members[n.Name]
	m := Member{ID: n.Name, Address: host, Meta: *meta, Alive: alive, Since: before.Since}
	if !known || before.Alive != alive {
		m.Since = g.cfg.Clock.Now()
	}
	if !alive {
		m.Meta = before.Meta // memberlist drops what the dead said
	}
	g.members[n.Name] = m
	g.mu.Unlock()
	if n.Name != g.cfg.Self && before.Alive != alive {
		g.cfg.Logger.Info("a peer came or went", "peer", n.Name, "address", host, "alive", alive)
	}
	g.cfg.Changed()
}

// events is what memberlist tells.
type events struct{ g *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.g.note(n, true) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.g.note(n, true) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.g.note(n, false) }

// NotifyAlive is memberlist's AliveDelegate: who was removed is not heard.
func (g *Gossip) NotifyAlive(n *memberlist.Node) error {
	if g.cfg.Refused(n.Name) {
		return errs.New(errs.Denied, "%s is no member any more", n.Name)
	}
	return nil
}

// NodeMeta is memberlist's Delegate, as are the methods below; only this one has something to say.
func (g *Gossip) NodeMeta(int) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.encoded
}

// NotifyMsg takes messages of users; there are none.
func (g *Gossip) NotifyMsg([]byte) {}

// GetBroadcasts gives messages of users; there are none.
func (g *Gossip) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState gives what a full exchange carries beside the members: nothing.
func (g *Gossip) LocalState(bool) []byte { return nil }

// MergeRemoteState takes it.
func (g *Gossip) MergeRemoteState([]byte, bool) {}

// lines passes memberlist's log on.
type lines struct{ to *slog.Logger }

func (l lines) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	l.to.Debug("gossip: " + text) // memberlist repeats itself; note says what matters
	return len(p), nil
}
