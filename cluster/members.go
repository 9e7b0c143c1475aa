package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"henge/cluster/gossip"
	"henge/cluster/rpc"
)

// Member is one peer of the cluster, as this peer sees it now.
type Member struct {
	ID           string            `json:"id"`
	Address      string            `json:"address"` // IP
	RPC          string            `json:"rpc"`     // host:port
	Region       string            `json:"region"`
	Zone         string            `json:"zone"`
	Roles        []string          `json:"roles,omitempty"`
	Services     map[string]string `json:"services,omitempty"`
	Capacity     Capacity          `json:"capacity"`
	RingVersions map[string]uint64 `json:"ring_versions,omitempty"`
	Alive        bool              `json:"alive"`
	Since        time.Time         `json:"since"` // when Alive became what it is; zero for one never heard of
	Voter        bool              `json:"voter"`
}

// Capacity is a short summary of a storage peer's devices.
type Capacity struct {
	Devices    int    `json:"devices"`
	BytesTotal uint64 `json:"bytes_total"`
	BytesUsed  uint64 `json:"bytes_used"`
}

// Announcement is what a peer says of itself and may change while it runs.
type Announcement struct {
	Roles        []string
	Services     map[string]string
	Capacity     Capacity
	RingVersions map[string]uint64
}

// Announce changes what this peer says of itself. errs.TooLarge when it is more than gossip carries (512 bytes in all). Before Start it does
// nothing.
func (n *Node) Announce(change func(*Announcement)) error {
	g := n.gossip.Load()
	if g == nil {
		return nil
	}
	return g.Announce(func(m *gossip.Meta) {
		a := Announcement{m.Roles, m.Services, Capacity(m.Capacity), m.Rings}
		if a.RingVersions == nil {
			a.RingVersions = map[string]uint64{}
		}
		change(&a)
		m.Roles, m.Services, m.Capacity, m.Rings = a.Roles, a.Services, gossip.Capacity(a.Capacity), a.RingVersions
	})
}

// Members are all peers of the cluster, this one included, by id: those of the state, with what gossip says of them.
func (n *Node) Members() []Member {
	all := map[string]Member{}
	for id, p := range n.known() {
		all[id] = Member{ID: id, Address: p.Address, RPC: p.rpc(), Region: p.Region, Zone: p.Zone}
	}
	if g := n.gossip.Load(); g != nil {
		for _, m := range g.Members() {
			if n.refused(m.ID) {
				continue
			}
			all[m.ID] = Member{ID: m.ID, Address: m.Address, RPC: m.Meta.RPC, Region: m.Meta.Region, Zone: m.Meta.Zone, Roles: m.Meta.Roles,
				Services: m.Meta.Services, Capacity: Capacity(m.Meta.Capacity), RingVersions: m.Meta.Rings, Alive: m.Alive, Since: m.Since}
		}
	}
	voters := n.Voters()
	list := make([]Member, 0, len(all))
	for _, m := range all {
		m.Voter = slices.Contains(voters, m.ID)
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Alive tells whether gossip believes that a peer lives. This peer itself does.
func (n *Node) Alive(id string) bool {
	if id == n.self.ID {
		return true
	}
	g := n.gossip.Load()
	if g == nil {
		return false
	}
	m, ok := g.Find(id)
	return ok && m.Alive
}

// Changes yields Members, at once and again whenever something of it may have changed, until ctx or the node ends. Changes in quick
// succession come as one.
func (n *Node) Changes(ctx context.Context) iter.Seq[[]Member] {
	return func(yield func([]Member) bool) {
		for ctx.Err() == nil && n.ctx.Err() == nil {
			n.mu.Lock()
			changed := n.changed
			n.mu.Unlock()
			if !yield(n.Members()) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			case <-n.ctx.Done():
			}
		}
	}
}

// memberChanged wakes who waits for changes, and makes peers that came back reachable at once.
func (n *Node) memberChanged() {
	n.mu.Lock()
	close(n.changed)
	n.changed = make(chan struct{})
	n.mu.Unlock()
	if g := n.gossip.Load(); g != nil {
		for _, m := range g.Members() {
			if m.Alive {
				n.client.Wake(m.ID)
			}
		}
	}
	n.group.Review()
}

func (n *Node) serveMembers(_ context.Context, s rpc.Stream) error {
	raw, err := json.Marshal(n.Members())
	if err != nil {
		return fmt.Errorf("encode members: %w", err)
	}
	return s.Send(raw)
}
