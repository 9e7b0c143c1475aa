// Package checksum has the checksums of the S3 API: CRC32, CRC32C, CRC64NVME, SHA1 and SHA256 of an object or a part, and what a multipart object's is made
// of: FULL_OBJECT (as if the object had been sent whole; CRCs of parts combine without reading the bytes again) or COMPOSITE (the checksum of the parts'
// checksums, followed by "-" and their number).
//
// Source: Amazon S3 User Guide, "Checking object integrity".
package checksum
