// Package imaged is the image service: Glance's API v2 over images whose records lie in the replicated state and whose bytes lie in the object store.
//
// It promises that an image is active only when all of its data is durable, hashed and inspected; that data of which it is not so is removed, wherever a peer
// dies; and that content which is not what its disk_format says, or which leads to other files of the host that opens it, is refused. DESIGN.md says how.
//
// It keeps one copy of the data (the object store has its own replicas), knows no other stores, and converts no formats.
package imaged
