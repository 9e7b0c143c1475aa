// Package volumed is block storage: Cinder's API in front, backends that keep the bytes behind, and an iSCSI target by which guests reach their volumes.
//
// volumed/api answers clients, volumed/model holds the tables and their rules, volumed/agent makes true on the peer that has a volume what the tables say,
// volumed/backend is the contract of what keeps the bytes, volumed/local keeps them on this peer, and volumed/iscsi is the target. This package puts them together, and has
// the calls that compute makes in the same process.
package volumed
