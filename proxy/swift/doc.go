// Package swift speaks OpenStack Swift's object storage API (v1) over core.Service: accounts, containers, objects, listings, access lists, large objects (dynamic
// and static), bulk operations, temporary URLs and cross-origin requests, as the API reference and the python-swiftclient, openstackclient and rclone of today expect.
//
// It parses and renders, and decides who may do what; storing is core's. Nothing of an object is held whole: bodies stream through pooled
// buffers. The deadlines for clients that neither send nor read are httpapi's. Headers are taken by name from a list, so that internal ones that a client
// makes up (X-Backend-*, X-Object-Sysmeta-*, X-Timestamp) have no way in.
//
// Path of a request: Handler.ServeHTTP (handler.go) splits the path, finds out who asks (auth.go), and calls one method of request (account.go, container.go,
// object_*.go, slo_*.go, bulk.go, ...), which answers, or returns an error that errors.go renders as Swift does.
//
// docs/swift.md lists what is supported and where it differs from Swift, and why.
package swift
