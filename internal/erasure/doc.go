// Package erasure cuts bytes into fragments of which any k of k+m give them back, and knows where in a fragment the bytes of an object lie. It is the only
// place that knows github.com/klauspost/reedsolomon.
//
// An object is cut into segments of a fixed length (the last is shorter), each segment into k data shards of the same length (the last one filled up with zeros), to
// which m parity shards are computed. Fragment i is shard i of each segment, one after the other: so a fragment is written as the object comes in, and the part of
// it that belongs to a range of the object is a range as well.
package erasure
