// Package ring is the consistent-hash ring: which devices hold the replicas of which partition.
//
// A Builder holds the devices, weights and the history that minimal movement needs, and makes Rings with Rebalance; a Ring is immutable,
// cheap to look things up in, and safe for concurrent use. Semantics and words are those of OpenStack's swift-ring-builder. The package is
// pure: no network, no files of its own (io.Reader and io.Writer only), no clock (the time is handed in), no randomness but a given seed.
//
// It does not know what is stored, nor whether a device is alive.
package ring
