// Package api is the Placement API, microversions 1.0 to 1.39: providers, inventories, usages, allocations, candidates, classes, traits, aggregates, reshaper.
// It parses and renders; what may be promised is decided by package placement.
package api
