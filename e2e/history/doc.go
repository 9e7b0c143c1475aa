// Package history records what clients asked of keys and what they were answered, and judges whether any order of the calls explains the answers
// (linearizability, with porcupine).
package history
