// Package netd is the network service of one peer: the Neutron API (api), what may happen to networks (core), and the tables in which that and what the
// agents observe are written down (model). The agent that wires this peer's kernel is package agent.
//
// Compute uses it in process: ports are made, bound and deleted inside compute's own transactions (Core), and Wait tells when a port is wired, or why it cannot be.
package netd
