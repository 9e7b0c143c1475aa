// Package gossip tells each peer which others there are, whether they live, and what they say of themselves: hashicorp/memberlist (SWIM)
// behind a small interface.
//
// What it says is a hint, seconds old at times and never agreed on: decisions that must be right are made in the replicated state. All
// messages are encrypted and authenticated with the cluster's gossip key (AES-256-GCM); others are dropped without an answer.
package gossip
