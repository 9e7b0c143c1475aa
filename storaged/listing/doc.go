// Package listing keeps the listings of containers and accounts of one device: ordered rows by name, and what is known of each container or account.
//
// Both are an index: an account is an index of containers. A change is appended to the engine's journal, where it shares the objects' group commit, applied to an
// ordered overlay in memory, and acknowledged. In the background the overlay is written to a B+tree (one bbolt file a device) in large sorted
// batches, and the journal is released. Reads merge the two. So a row costs a few hundred bytes of log, and no commit of the tree.
//
// Everything merges by timestamps: changes may come late, twice and in any order. The package knows nothing of other devices, but for the queue of what they are to be
// told (Pending). See DESIGN.md, and docs/formats/listing.md for what lies on the disk.
package listing
