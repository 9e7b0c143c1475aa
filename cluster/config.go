package cluster

import (
	"log/slog"
	"net"
	"strings"
	"time"

	"henge/cluster/pki"
	"henge/internal/clock"
	"henge/internal/errs"
)

// The ports of a peer, unless the configuration says otherwise.
const (
	DefaultRPCPort    = 7480
	DefaultGossipPort = 7946
)

// Config is what a Node is started with. Bootstrap and Join store what identifies the peer in Dir; Open reads it back, and then ID, when given,
// must be the same.
type Config struct {
	Dir string // the peer's own directory for the cluster; made if it is not there
	ID  string // "": one is made up by Bootstrap and Join

	Address    string // the IP address to listen on and to be reached at
	RPCPort    int    // 0: DefaultRPCPort
	GossipPort int    // TCP and UDP; 0: DefaultGossipPort

	Region string // "": "region1"
	Zone   string // "": "zone1"
	Roles  []string
	// Services are the addresses (host:port) of what runs on this peer, by name: identity, object, metrics, ...
	Services map[string]string

	// Seeds are addresses (IP:port) where other peers may gossip, tried besides those where they were last: for a cluster that moved while all of it was down.
	Seeds []string

	Voters          int           // how many peers vote: 3 (0 means that) or 5
	VoterDeadAfter  time.Duration // how long a voter is dead before another takes its place; 0: 30 s
	SnapshotEntries uint64        // log entries between two snapshots of the state; 0: 8192

	Logger *slog.Logger `json:"-"` // nil: none
	Clock  clock.Clock  `json:"-"` // nil: the system's
}

func (c Config) withDefaults() (Config, error) {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.Region, "region1")
	set(&c.Zone, "zone1")
	if c.RPCPort == 0 {
		c.RPCPort = DefaultRPCPort
	}
	if c.GossipPort == 0 {
		c.GossipPort = DefaultGossipPort
	}
	if c.Voters == 0 {
		c.Voters = 3
	}
	if c.VoterDeadAfter == 0 {
		c.VoterDeadAfter = 30 * time.Second
	}
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = 8192
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	return c, c.check()
}

func (c Config) check() error {
	switch ip := net.ParseIP(c.Address); {
	case c.Dir == "":
		return errs.New(errs.Invalid, "cluster configuration: no directory")
	case ip == nil || ip.IsUnspecified():
		return errs.New(errs.Invalid, "cluster configuration: address %q is not one that other peers can reach", c.Address)
	case c.Voters != 1 && c.Voters != 3 && c.Voters != 5:
		return errs.New(errs.Invalid, "cluster configuration: %d voters; 3 or 5 are possible", c.Voters)
	case strings.ContainsAny(c.Region+c.Zone, "/\x00"):
		return errs.New(errs.Invalid, "cluster configuration: region %q, zone %q: no slash is possible", c.Region, c.Zone)
	case c.ID != "":
		return pki.CheckID(c.ID)
	}
	return nil
}
