// Package s3 is the S3 dialect of the object store: it checks signatures, parses requests, calls core.Service and renders its answers as Amazon S3 does.
//
// A bucket is a container of the account AUTH_<project>, so that what one dialect wrote the other reads. What is not built answers 501 NotImplemented: an
// unknown sub-resource or control header is never taken for none. docs/s3.md says what is supported, and where answers differ from Amazon's and why.
//
// Source: Amazon S3 API Reference (2006-03-01).
package s3
