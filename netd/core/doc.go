// Package core is what may happen to networks, as functions on one transaction of the state: each checks, and writes all or fails with one of the
// API's errors (netd/fault). Callers put several into one Update: the API does so for bulk requests, compute for a server with its ports.
//
// It promises: no address and no MAC address of a network is given twice, no VNI is used twice, and nothing that is in use goes away, whatever runs at
// the same time on whichever peers. It does not know who is asking: that is the API's.
package core
