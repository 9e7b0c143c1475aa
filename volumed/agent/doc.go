// Package agent does on a peer what the rows of its volumes say: it makes, removes, grows and copies them, and exports those that are connected. It is a reconciler:
// it reads what is wished, acts, and writes what came of it; every action may be cut short by a kill and is done again. What fails leaves the volume in an error
// status, and a message that tells its project why.
package agent
