// Package chunked reads bodies in the encoding aws-chunked: chunks with their sizes and, when signed, their signatures, and trailers after them.
//
// It promises that it ends: on truncated input, on chunks that never stop, on trailers that grow. Nothing is held in memory but one buffer. The bytes of
// a chunk are given out before its signature could be checked; who reads must not make anything of them visible before Read gave io.EOF.
//
// Source: Amazon S3 API Reference, "Transferring Payload in Multiple Chunks" and "Signature calculations for trailing headers".
package chunked
