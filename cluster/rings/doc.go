// Package rings publishes the cluster's rings through its replicated state: the builders that operators change, the rings made from them, the table of
// storage policies, and the secret of the hashes.
//
// A Book is what the services hold: the current rings and policies, looked up without locks or copies, renewed by a watch. A builder is changed in one
// transaction, or taken out, worked on, and put back only if nobody changed it meanwhile. Nothing here computes placement: that is package ring.
//
// The keys: "placement/ring/NAME" the ring file, "placement/policies/INDEX" a policy, "placement/secret" the secret, "builders/NAME" the builder file. Books watch
// "placement/" only.
package rings
