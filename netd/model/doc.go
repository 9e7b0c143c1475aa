// Package model holds what the cloud knows of its networks, as tables of the replicated state: the records and their indexes, and the few
// rules that are pure reading of them. Two sides meet here. The API (netd/api, through netd/core) writes what is desired; the agent of each peer reads
// that, wires the kernel, and writes what it observed with Observe and ObserveRouter.
//
// What is desired of one peer: every port whose BindingHost is that peer, with its network, subnets, groups and extra options; every router whose Host
// is that peer, with its ports (device id = the router's id) and its floating IPs. A network's DHCP port (owner network:dhcp) is bound to no peer: its
// addresses are the DHCP server's and the metadata service's on every peer that has a port of the network.
//
// The records are the stored format (docs/formats/network.md): fields are added, never renamed. Nothing here speaks HTTP or decides who may do what.
package model
