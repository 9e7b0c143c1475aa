// Package agreement is the replicated state: a state.Machine on each peer, and one Raft log that tells all of them what to apply.
//
// A Group is a state.Store. Reads are local, and need no leader. An Update runs its function on a local snapshot, and sends what it read and
// what it writes to the leader as one log entry; the machines check it, all alike, when they apply it. DESIGN.md has the path by file name.
//
// It promises: an Update that returned nil is on the disks of a majority of the voters; updates are strictly serializable, and happen once
// even when the leader dies in between and the Update is sent again; a peer of any age catches up by itself.
//
// It does not: know who the peers are (that is told to it), nor encrypt what it stores (the CA's key is in the log and in the snapshots:
// the directory is readable by its owner alone).
package agreement
