// Package library is what can be done with images: make them, give them data, read it, delete them. The API and other parts of the cloud both stand on it. It
// promises that an image is active only when all of its data is durable and was inspected, and that data which no image has is removed, wherever a peer dies:
// DESIGN.md beside package imaged says how.
package library
