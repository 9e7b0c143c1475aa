package agreement

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Peer is what the choice of voters knows about a member of the cluster.
type Peer struct {
	ID        string
	Zone      string
	Alive     bool
	DeadSince time.Time // when not Alive; zero if it was never heard of
}

// change is one step from the present set of servers towards the wanted one. Only one is made at a time.
type change struct {
	what what
	id   string
}

type what string

const (
	nothing what = ""
	follow  what = "take in as a follower"
	promote what = "make a voter"
	demote  what = "make a follower"
	remove  what = "remove"
)

// plan chooses the next change. It is pure: peers are the cluster's members, servers what Raft has now, and leader is never demoted or removed.
func plan(servers []raft.Server, peers []Peer, leader string, wanted int, dead func(Peer) bool) change {
	byID := map[string]Peer{}
	for _, p := range peers {
		byID[p.ID] = p
	}
	var living, gone, followers []Peer // voters that live, voters long dead, others that live
	known := map[string]bool{}
	for _, s := range servers {
		id := string(s.ID)
		known[id] = true
		p, member := byID[id]
		switch {
		case !member && id != leader:
			return change{remove, id}
		case s.Suffrage == raft.Voter && member && dead(p) && id != leader:
			gone = append(gone, p)
		case s.Suffrage == raft.Voter:
			living = append(living, p)
		case p.Alive:
			followers = append(followers, p)
		}
	}
	for _, p := range peers {
		if !known[p.ID] {
			return change{follow, p.ID}
		}
	}
	return planVoters(living, gone, followers, leader, wanted)
}

func planVoters(living, gone, followers []Peer, leader string, wanted int) change {
	zones := map[string]int{}
	for _, p := range living {
		zones[p.Zone]++
	}
	fresh := slices.IndexFunc(followers, func(p Peer) bool { return zones[p.Zone] == 0 })
	crowded := slices.IndexFunc(living, func(p Peer) bool { return zones[p.Zone] > 1 && p.ID != leader })
	switch {
	case len(living) < wanted && fresh >= 0:
		return change{promote, followers[fresh].ID}
	case len(living) < wanted && len(followers) > 0:
		return change{promote, followers[0].ID}
	case len(gone) > 0 && len(living) >= wanted:
		return change{demote, gone[0].ID}
	case len(living) > wanted && crowded >= 0:
		return change{demote, living[crowded].ID}
	case len(living) > wanted:
		return change{demote, living[slices.IndexFunc(living, func(p Peer) bool { return p.ID != leader })].ID}
	case len(living) == wanted && fresh >= 0 && crowded >= 0:
		return change{promote, followers[fresh].ID} // the crowded one goes in the next step
	}
	return change{}
}

// reviewInterval is how often the leader looks whether the voters are right. It costs a walk over a few records.
const reviewInterval = time.Second

func (g *Group) reviewLoop() {
	tick := time.NewTicker(reviewInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-g.review:
		case <-g.ctx.Done():
			return
		}
		for g.raft.State() == raft.Leader && g.ctx.Err() == nil && g.step() {
		}
	}
}

// step makes one change; false when there is none to make, or it did not succeed.
func (g *Group) step() bool {
	if g.prove(g.ctx) != nil { // until then the members may not all be known
		return false
	}
	now, peers := g.cfg.Clock.Now(), g.cfg.Peers()
	if len(peers) > 0 && !slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == g.cfg.Self }) {
		_ = g.await(g.ctx, g.raft.LeadershipTransfer()) // this peer was removed; when nobody can take over, the next review tries again
		return false
	}
	servers := g.raft.GetConfiguration().Configuration().Servers
	next := plan(servers, peers, g.cfg.Self, g.cfg.Voters, func(p Peer) bool {
		return !p.Alive && now.Sub(p.DeadSince) >= g.cfg.VoterDeadAfter
	})
	id, address := raft.ServerID(next.id), raft.ServerAddress(next.id)
	var future raft.IndexFuture
	switch next.what {
	case follow:
		future = g.raft.AddNonvoter(id, address, 0, raftTimeout)
	case promote:
		future = g.raft.AddVoter(id, address, 0, raftTimeout)
	case demote:
		future = g.raft.DemoteVoter(id, 0, raftTimeout)
	case remove:
		future = g.raft.RemoveServer(id, 0, raftTimeout)
	default:
		return false
	}
	if err := g.await(g.ctx, future); err != nil {
		g.cfg.Logger.Warn("change the voters", "peer", next.id, "change", string(next.what), "err", err)
		return false
	}
	g.cfg.Logger.Info("changed the voters", "peer", next.id, "change", string(next.what))
	return true
}
