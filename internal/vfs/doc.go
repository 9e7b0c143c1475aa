// Package vfs is the disk as the storage engine sees it: few operations, whose durability is stated. OS is the real one; Sim lives in memory, loses power
// when told to, and fails as a test wishes.
package vfs
