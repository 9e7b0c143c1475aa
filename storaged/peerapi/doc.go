// Package peerapi is storaged's door: the records that storage peers keep, and the calls that can be made of one of their devices.
//
// A Device is one disk of one peer, here or elsewhere: Local (storaged/server) and Remote (this package, over cluster/rpc) behave alike, and
// peerapitest.Run proves it. Devices know nothing of quorums; proxy/core does.
//
// # The register
//
// Every object name is a small register on each of its primaries: the newest record (a tombstone when deleted) and a promise. All writes are ordered by their
// timestamps, which are also the ballots of a Paxos round:
//
//   - a plain write at t is accepted if t is newer than the record here and than the promise here;
//   - Prepare(b) succeeds if b is newer than both; the device then promises to accept nothing older than b, and says what it holds;
//   - a write that accepts ballot b is taken if the promise is still exactly b and the record here is older.
//
// A refused write says the newest timestamp met, and may be repeated at a later one. What a majority of the primaries accepted is the value. All of this
// survives power loss: promises and records are durable before they are answered.
package peerapi
