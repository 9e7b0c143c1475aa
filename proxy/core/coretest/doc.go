// Package coretest has Memory, a core.Service that keeps everything in memory: for tests of the dialects that should be fast and see no network and no disk. It keeps
// the contract in core's comments, but for quorums, durability and time-outs, of which it has none. It is no store for real use: bodies are held whole.
package coretest
