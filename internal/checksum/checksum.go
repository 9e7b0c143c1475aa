// Package checksum is CRC-32C (Castagnoli), which guards every byte that Henge keeps on a disk: processors compute it at memory speed.
package checksum

import "hash/crc32"

var table = crc32.MakeTable(crc32.Castagnoli)

// Of is the CRC-32C of b.
func Of(b []byte) uint32 { return crc32.Checksum(b, table) }

// Update is the CRC-32C of what sum was computed of, followed by b. It begins with 0.
func Update(sum uint32, b []byte) uint32 { return crc32.Update(sum, table, b) }
