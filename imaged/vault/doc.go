// Package vault keeps the bytes of images: in segments of one size, as objects of an account of the object store that belongs to no client. A set of segments is
// named by the upload that wrote it, is written once, and never changes. docs/formats/images.md describes the names.
package vault
