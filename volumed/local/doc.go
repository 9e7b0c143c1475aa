// Package local keeps volumes as thin files on one peer: a backend.Backend with snapshots and clones that take no longer for a large volume than for a small one.
//
// It promises: what was flushed survives a power cut; a snapshot or a clone is whole or not there; a full disk is told as errs.NoSpace before the room that is held
// back for the rest of the peer is touched. It does not replicate: when the peer's disk is gone, so are its volumes. DESIGN.md says how it works.
package local
