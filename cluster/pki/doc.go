// Package pki is the cluster's own certificate authority, the certificates that peers and tools show each other, and the tokens that let a
// new peer in.
//
// Trust: a certificate counts when the cluster's CA signed it, its time has not run out, and its id was not removed from the cluster. The
// CA's key lies in the replicated state, so every peer can sign; who can read one peer's disk as root is therefore trusted with the cluster.
package pki
