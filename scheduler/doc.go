// Package scheduler chooses the host for a server: filters remove the hosts that cannot take it, weighers order the rest, and the choice is one of the best
// host_subset_size. Filters and weighers are pure functions, chosen and ordered by name; a part that wires the scheduler may add its own.
//
// Place chooses and claims in the caller's transaction (package placement), so that two schedulers never promise the same room twice. It keeps nothing but a
// cache. What it does not do: it looks at no other part's rows, and it moves nothing once it is placed.
package scheduler
