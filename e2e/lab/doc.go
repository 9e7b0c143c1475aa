// Command lab tries to break a cloud: peers in network namespaces of their own, clients that write, read, list and delete by S3 and Swift, and faults that a seed chooses. It remembers
// what was acknowledged, and in the end looks whether all of it is there and nothing else. docs/durability.md says what is checked.
//
//	make lab SEED=1 SECONDS=40
package main
