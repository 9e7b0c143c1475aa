package cluster

import (
	"encoding/json"
	"iter"
	"net"
	"strconv"
	"time"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
)

// What the cluster keeps of itself in the replicated state: docs/formats/state.md. All keys begin with statePrefix.
const (
	statePrefix   = "cluster-"
	keyClusterID  = "cluster-self/id"
	keyAuthority  = "cluster-self/ca"          // certificate and key, PEM
	keyGossipKeys = "cluster-self/gossip-keys" // gossipKeys
)

// peerRecord is one member.
type peerRecord struct {
	ID         string    `json:"id"`
	Writer     uint16    `json:"writer"`
	Address    string    `json:"address"` // IP
	RPCPort    int       `json:"rpc_port"`
	GossipPort int       `json:"gossip_port"`
	Region     string    `json:"region"`
	Zone       string    `json:"zone"`
	Joined     time.Time `json:"joined"`
}

func (p peerRecord) rpc() string    { return net.JoinHostPort(p.Address, strconv.Itoa(p.RPCPort)) }
func (p peerRecord) gossip() string { return net.JoinHostPort(p.Address, strconv.Itoa(p.GossipPort)) }

// removedRecord is a peer that was one: its certificate counts no more, and its writer number is not given out again while it could be valid.
type removedRecord struct {
	ID      string    `json:"id"`
	Writer  uint16    `json:"writer"`
	Removed time.Time `json:"removed"`
}

// tokenRecord is a join token by the hash of its secret. Used by one key, it answers that key again, whose first answer may have been lost.
type tokenRecord struct {
	Expires time.Time `json:"expires"`
	Key     string    `json:"key,omitempty"`  // SHA-256 of the public key that used it
	Peer    string    `json:"peer,omitempty"` // and who that became
}

type gossipKeys struct {
	Keys    [][]byte  `json:"keys"` // the first encrypts
	Changed time.Time `json:"changed"`
}

var (
	peersTable   = state.NewTable[peerRecord]("cluster-peers")
	removedTable = state.NewTable[removedRecord]("cluster-removed")
	tokensTable  = state.NewTable[tokenRecord]("cluster-tokens")
)

// freeWriter is the lowest writer number that nobody has or had lately.
func freeWriter(r state.Reader) (uint16, error) {
	taken := map[uint16]bool{}
	for p, err := range peersTable.All(r) {
		if err != nil {
			return 0, err
		}
		taken[p.Writer] = true
	}
	for p, err := range removedTable.All(r) {
		if err != nil {
			return 0, err
		}
		taken[p.Writer] = true
	}
	for n := range uint16(clock.WritersMax) {
		if !taken[n] {
			return n, nil
		}
	}
	return 0, errs.New(errs.Quota, "all %d writer numbers are taken", clock.WritersMax)
}

// tableRows yields a table's rows with their keys, for rows that do not hold their id.
func tableRows(r state.Reader, prefix string) iter.Seq[state.Change] {
	return func(yield func(state.Change) bool) {
		for key, value := range r.Scan(prefix) {
			if !yield(state.Change{Key: key, Value: value}) {
				return
			}
		}
	}
}

func readGossipKeys(r state.Reader) (keys gossipKeys, err error) {
	raw, ok := r.Get(keyGossipKeys)
	if !ok {
		return keys, errs.New(errs.NotFound, "the state holds no gossip keys yet")
	}
	if err := json.Unmarshal(raw, &keys); err != nil || len(keys.Keys) == 0 {
		return keys, errs.New(errs.Corrupt, "read gossip keys: %v", err)
	}
	return keys, nil
}
