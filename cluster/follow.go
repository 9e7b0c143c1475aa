package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"henge/cluster/agreement"
	"henge/cluster/gossip"
	"henge/cluster/pki"
	"henge/cluster/state"
	"henge/internal/errs"
)

// follow keeps this peer in step with what the state says of the cluster.
func (n *Node) follow() {
	after := n.learn()
	for n.ctx.Err() == nil {
		for e, err := range n.group.Watch(n.ctx, statePrefix, after) {
			if err != nil {
				return // closed
			}
			after = e.Index
			n.learn()
			n.group.Review()
			n.memberChanged()
		}
	}
}

// learn takes over what the state says: who was removed, the gossip keys, and where the others are, for the next start.
func (n *Node) learn() state.Index {
	var index state.Index
	removed := map[string]bool{}
	peers := map[string]peerRecord{}
	var keys gossipKeys
	err := n.group.View(context.Background(), func(r state.Reader) error {
		index = r.Index()
		for p, err := range removedTable.All(r) {
			if err != nil {
				return err
			}
			removed[p.ID] = true
		}
		for p, err := range peersTable.All(r) {
			if err != nil {
				return err
			}
			peers[p.ID] = p
		}
		var err error
		if keys, err = readGossipKeys(r); errs.Is(err, errs.NotFound) {
			return nil // nothing has arrived yet
		}
		return err
	})
	if err != nil {
		n.cfg.Logger.Error("read the cluster's own tables", "err", err)
		return index
	}
	before := *n.removed.Swap(&removed)
	for id := range removed {
		if !before[id] {
			n.dismiss(id)
		}
	}
	if len(keys.Keys) > 0 {
		n.remember(peers, keys)
	}
	return index
}

// dismiss cuts off a peer that is no member any more.
func (n *Node) dismiss(id string) {
	n.server.Disconnect(id)
	n.client.Disconnect(id)
	if g := n.gossip.Load(); g != nil {
		g.Forget(id)
	}
}

// remember uses the present keys, and writes down what the next start needs before it hears from anybody.
func (n *Node) remember(peers map[string]peerRecord, keys gossipKeys) {
	if g := n.gossip.Load(); g != nil {
		if err := g.SetKeys(keys.Keys); err != nil {
			n.cfg.Logger.Error("change the gossip keys", "err", err)
		}
	}
	n.mu.Lock()
	samePeers := len(peers) == len(n.cached)
	for id, p := range peers {
		samePeers = samePeers && p == n.cached[id]
	}
	sameKeys := slices.EqualFunc(keys.Keys, n.self.GossipKeys, func(a, b []byte) bool { return string(a) == string(b) })
	n.cached, n.self.GossipKeys = peers, keys.Keys
	self := n.self
	n.mu.Unlock()
	var err error
	if !samePeers {
		list := make([]peerRecord, 0, len(peers))
		for _, p := range peers {
			list = append(list, p)
		}
		err = writeJSON(n.cfg.Dir, filePeers, list)
	}
	if !sameKeys {
		err = errors.Join(err, writeJSON(n.cfg.Dir, fileSelf, self))
	}
	if err != nil {
		n.cfg.Logger.Error("write down the other peers", "err", err)
	}
}

func (n *Node) readCachedPeers() error {
	var list []peerRecord
	err := readJSON(n.cfg.Dir, filePeers, &list)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, p := range list {
		n.cached[p.ID] = p
	}
	return nil
}

func (n *Node) refused(id string) bool { return (*n.removed.Load())[id] }

// refusedFor is refused for a protocol. A peer that was removed speaks Raft until Raft has let it go: without its vote, two peers could never
// become one.
func (n *Node) refusedFor(id, protocol string) bool {
	return n.refused(id) && !(protocol == protocolRaft && n.group.Serves(id))
}

// candidates tells the agreement who belongs to the cluster.
func (n *Node) candidates() []agreement.Peer {
	g := n.gossip.Load()
	if g == nil {
		return nil
	}
	var all []agreement.Peer
	_ = n.group.View(context.Background(), func(r state.Reader) error {
		for p, err := range peersTable.All(r) {
			if err != nil {
				all = nil // a set that may lack somebody would remove him
				return err
			}
			m, heard := g.Find(p.ID)
			c := agreement.Peer{ID: p.ID, Zone: p.Region + "/" + p.Zone, Alive: heard && m.Alive || p.ID == n.self.ID, DeadSince: n.opened}
			if heard && m.Since.After(n.opened) {
				c.DeadSince = m.Since
			}
			all = append(all, c)
		}
		return nil
	})
	return all
}

// maintainInterval is how often slow things are looked after: certificates and keys.
const maintainInterval = time.Hour

// keyOverlap is how long an old gossip key is still understood.
const keyOverlap = time.Hour

func (n *Node) maintain() {
	for {
		// What does not succeed now (there may be no leader) is tried again.
		if err := errors.Join(n.correct(n.ctx), n.renew(n.ctx), n.dropOldKeys(n.ctx)); err != nil && n.ctx.Err() == nil {
			n.cfg.Logger.Warn("look after the peer's own records", "err", err)
			if !n.pause(time.Minute) {
				return
			}
			continue
		}
		if !n.pause(maintainInterval) {
			return
		}
	}
}

// correct writes this peer's address down anew when it was started with another.
func (n *Node) correct(ctx context.Context) error {
	if err := n.Ready(ctx); err != nil {
		return err
	}
	want := n.record()
	return n.group.Update(ctx, func(w state.Writer) error {
		have, err := peersTable.Get(w, n.self.ID)
		if err != nil {
			return err
		}
		want.Joined = have.Joined
		if have == want {
			return nil
		}
		return peersTable.Put(w, want.ID, want)
	})
}

// renew makes new certificates well before the old ones end.
func (n *Node) renew(ctx context.Context) error {
	now, ip := n.cfg.Clock.Now(), net.ParseIP(n.cfg.Address)
	if n.creds.Identity().RenewalDue(ip, now) {
		ca, err := n.authority(ctx)
		if err != nil {
			return err
		}
		identity, err := ca.Peer(n.self.ID, ip, now)
		if err != nil {
			return err
		}
		if err := writeIdentity(n.cfg.Dir, fileIdentity, identity); err != nil {
			return err
		}
		n.creds.Replace(identity)
		n.cfg.Logger.Info("renewed the peer's certificate", "expires", identity.Expires())
	}
	admin, err := readIdentity(n.AdminFile())
	if err == nil && !admin.RenewalDue(nil, now) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.cfg.Logger.Warn("the administrator's certificate cannot be read; a new one is made", "err", err)
	}
	ca, err := n.authority(ctx)
	if err != nil {
		return err
	}
	if admin, err = ca.Admin(now); err != nil {
		return err
	}
	return writeIdentity(n.cfg.Dir, fileAdmin, admin)
}

// authority is the cluster's CA, from the state.
func (n *Node) authority(ctx context.Context) (ca *pki.Authority, err error) {
	err = n.group.View(ctx, func(r state.Reader) error {
		text, ok := r.Get(keyAuthority)
		if !ok {
			return errs.New(errs.Unavailable, "the state has not arrived at this peer yet")
		}
		ca, err = pki.ParseAuthority(text)
		return err
	})
	return ca, err
}

func (n *Node) dropOldKeys(ctx context.Context) error {
	if n.Leader() != n.self.ID {
		return nil
	}
	now := n.cfg.Clock.Now()
	return n.group.Update(ctx, func(w state.Writer) error {
		keys, err := readGossipKeys(w)
		if err != nil || len(keys.Keys) == 1 || now.Sub(keys.Changed) < keyOverlap {
			return err
		}
		keys.Keys = keys.Keys[:1]
		return putGossipKeys(w, keys)
	})
}

func putGossipKeys(w state.Writer, keys gossipKeys) error {
	raw, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("encode gossip keys: %w", err)
	}
	w.Put(keyGossipKeys, raw)
	return nil
}

// removePeer writes down that a peer is no member any more. It knows the gossip key, so there is a new one.
func removePeer(ctx context.Context, store state.Store, id string, now time.Time) error {
	fresh := make([]byte, gossip.KeyBytes)
	if _, err := rand.Read(fresh); err != nil {
		return fmt.Errorf("make a gossip key: %w", err)
	}
	return store.Update(ctx, func(w state.Writer) error {
		p, err := peersTable.Get(w, id)
		if err != nil {
			return err
		}
		count := 0
		for _, err := range peersTable.All(w) {
			if err != nil {
				return err
			}
			count++
		}
		if count == 1 {
			return errs.New(errs.Conflict, "it is the only peer")
		}
		keys, err := readGossipKeys(w)
		if err != nil {
			return err
		}
		keys = gossipKeys{Keys: [][]byte{fresh, keys.Keys[0]}, Changed: now}
		return errors.Join(peersTable.Delete(w, id), putGossipKeys(w, keys),
			removedTable.Put(w, id, removedRecord{ID: id, Writer: p.Writer, Removed: now}))
	})
}
