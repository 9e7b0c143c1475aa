// Package lint holds the rules of the house that no ready-made linter knows, as tests: which part may import which, how long things may get, and
// what must not appear at all. `make lint` runs it.
package lint
