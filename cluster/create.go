package cluster

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"henge/cluster/agreement"
	"henge/cluster/gossip"
	"henge/cluster/pki"
	"henge/cluster/state"
	"henge/internal/errs"
)

// Bootstrap makes the first peer of a new cluster in cfg.Dir. errs.Exists if a peer lives there.
func Bootstrap(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.ID == "" {
		cfg.ID = newID()
	}
	if err := vacant(cfg.Dir); err != nil {
		return nil, err
	}
	if err := found(cfg); err != nil {
		return nil, fmt.Errorf("make a cluster: %w", err)
	}
	return Open(cfg)
}

func newID() string { return "peer-" + strings.ToLower(rand.Text()[:8]) }

// found writes all that a new cluster begins with. What an earlier try left, that was cut short, is overwritten: nobody has seen it.
func found(cfg Config) error {
	self := selfFile{Cluster: strings.ToLower(rand.Text()), ID: cfg.ID, Writer: 0}
	key := make([]byte, gossip.KeyBytes)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("make a gossip key: %w", err)
	}
	self.GossipKeys = [][]byte{key}
	now := cfg.Clock.Now()
	ca, err := pki.NewAuthority(self.Cluster, now)
	if err != nil {
		return err
	}
	text, err := ca.PEM()
	if err != nil {
		return err
	}
	identity, err := ca.Peer(cfg.ID, net.ParseIP(cfg.Address), now)
	if err != nil {
		return err
	}
	admin, err := ca.Admin(now)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, dirAgreement)); err != nil {
		return err
	}
	return errors.Join(
		writeJSON(cfg.Dir, fileGenesis, genesisFile{Version: filesVersion, Authority: string(text)}),
		writeIdentity(cfg.Dir, fileAdmin, admin),
		agreement.Bootstrap(filepath.Join(cfg.Dir, dirAgreement), cfg.ID),
		writePeer(cfg.Dir, self, identity))
}

// genesis makes the cluster's first update, from what Bootstrap left for it. The CA's key is in the state alone afterwards.
func (n *Node) genesis() error {
	var g genesisFile
	err := readJSON(n.cfg.Dir, fileGenesis, &g)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	err = n.group.Update(n.ctx, func(w state.Writer) error {
		if _, done := w.Get(keyClusterID); done {
			return nil
		}
		w.Put(keyClusterID, []byte(n.self.Cluster))
		w.Put(keyAuthority, []byte(g.Authority))
		keys, err := json.Marshal(gossipKeys{Keys: n.self.GossipKeys, Changed: n.cfg.Clock.Now()})
		if err != nil {
			return fmt.Errorf("encode gossip keys: %w", err)
		}
		w.Put(keyGossipKeys, keys)
		return peersTable.Put(w, n.self.ID, n.record())
	})
	if err != nil {
		return fmt.Errorf("make the cluster's first update: %w", err)
	}
	if err := os.Remove(filepath.Join(n.cfg.Dir, fileGenesis)); err != nil {
		return fmt.Errorf("make the cluster's first update: %w", err)
	}
	return nil
}

// record is what this peer's row should say.
func (n *Node) record() peerRecord {
	return peerRecord{ID: n.self.ID, Writer: n.self.Writer, Address: n.cfg.Address, RPCPort: n.cfg.RPCPort, GossipPort: n.cfg.GossipPort,
		Region: n.cfg.Region, Zone: n.cfg.Zone, Joined: n.cfg.Clock.Now()}
}
