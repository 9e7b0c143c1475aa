// Package sigv4 checks the signatures of S3 requests: version 4 in the Authorization header or in the query (presigned), version 2 likewise, the chain of
// signatures over the chunks of an aws-chunked body, and the signature of a browser's upload form.
//
// It promises that a request that passes was made by who holds the key, for this region, now (or as long as a presigned one allows), and that every
// x-amz-* header it carries was signed. It does not read bodies: the caller holds the payload to Auth.Payload.
//
// Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)" and "Signing and authenticating REST requests" (version 2).
package sigv4
