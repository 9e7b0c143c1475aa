// Package api is Keystone's HTTP API (Identity v3) over identity's tables, and Swift's v1 authentication. Each file is one resource; policy.go says who may
// do what, server.go what all requests go through.
package api
