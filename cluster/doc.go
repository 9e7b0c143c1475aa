// Package cluster makes one process a peer: it knows the other peers, shares the replicated state with them, and carries calls between them.
//
// A peer's life:
//
//	node, err := cluster.Bootstrap(cfg)           // the first peer of a new cluster: CA, gossip key, cluster id, writer number 0
//	node, err := cluster.Join(ctx, cfg, token)    // a further one, with a token that a member made
//	node, err := cluster.Open(cfg)                // any later start, from cfg.Dir (errs.NotFound when there is nothing)
//	node.Mux().Handle("object.put", ...)          // register every method first
//	err = node.Start(ctx)                         // listen, gossip, take part in the agreement
//	err = node.Ready(ctx)                         // wait until there is a leader and this peer's state is up to date
//	... node.State(), node.Caller(), node.Members(), node.Leader() ...
//	err = node.Shutdown(ctx)                      // in a second or so; everything is there at the next Open
//
// Node's methods:
//
//	ID() string                     the peer's id
//	ClusterID() string
//	WriterNumber() uint16           for clock.NewHybrid; unique in the cluster
//	State() state.Store             reads work without a leader
//	Caller() rpc.Caller             calls to other peers, and to itself without a network
//	Mux() rpc.Mux
//	Members() []Member              who was heard of, alive or dead, this peer included; from gossip
//	Changes(ctx) iter.Seq[[]Member] the same, again at every change
//	Announce(func(*Announcement))   change what gossip says of this peer (capacity, ring versions)
//	Leader() string                 "" when there is none
//	Voters() []string
//	CreateJoinToken(ctx, ttl) (string, error)   for one use
//	Remove(ctx, id) error           a peer goes for good: its certificate counts no more
//	Leave(ctx) error                this peer goes for good
//	AdminFile() string              the administrator's certificate and key, for DialAdmin
//
// A tool on the same host speaks to the cluster by DialAdmin, which gives a state.Store and an rpc.Caller.
//
// What it does not do: it stores no objects and knows no ring; those are values in the state to it.
package cluster
