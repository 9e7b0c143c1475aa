// Package fault has the errors of the S3 API: a code, the HTTP status that goes with it, a message, and the fields that some codes add. The parts of the
// dialect (signatures, chunked bodies, checksums, operations) return them; the handler renders them as XML.
//
// Source: Amazon S3 API Reference, "Error responses".
package fault
