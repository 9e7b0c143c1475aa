// Package model holds what compute keeps in the replicated state: flavors, key pairs, servers, hosts and their tables. Rows only; the rules of a
// server's life are in package lifecycle.
package model
