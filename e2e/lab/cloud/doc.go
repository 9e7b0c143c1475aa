// Package cloud runs a cloud of real peers, each in a network namespace of its own behind one bridge, and breaks it: kills, pauses, partitions, slow and lossy links, jumping clocks,
// and whatever a simulated disk (package disk) can do.
//
// It runs inside mount, network and process namespaces that its caller made (Inside prepares them). Everything it makes lives in these: when the caller ends, however it ends, the kernel
// removes processes, links, rules and mounts.
package cloud
