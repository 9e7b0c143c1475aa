// Package inspect finds out what the bytes of a disk image are, while they go by: which format, how large the disk is that they hold, and whether they lead to
// other files of the host that will open them (a backing file, a data file, external extents, a parent). It holds a bounded part of the image in memory,
// trusts nothing it reads, and opens nothing.
package inspect
