// Package api is Glance's API v2 over package library: it parses, checks and renders. Faults have the shape that Glance's have: an HTML page by default, JSON for
// clients that ask for it.
package api
