// Package server makes a storage peer out of engines and listings: Local is a device with objects, containers and accounts; Server opens the devices of a peer.
//
// A device that has accepted an object tells the container's replicas before it answers, and a container its account's; what cannot be told is queued on the
// device's disk, and told later by the updater. The package decides nothing about quorums. See DESIGN.md.
package server
