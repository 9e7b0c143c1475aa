// Package placement keeps count: resource providers (a host is one) with their inventories, traits and aggregates, and the allocations that consumers (servers)
// hold of them. Every function works in the caller's transaction, so that a claim and the server that it is for are made together or not at all: however many
// schedulers run, what was promised is never more than there is.
//
// A provider's row holds what it has and the sum of what is taken of it; a consumer's row what it holds, of which providers. Claim, Release and the Placement
// API (package api) change both together. It knows nothing of servers and hosts, and chooses nothing.
package placement
