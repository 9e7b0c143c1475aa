// Package agent makes the servers of one host what the replicated state says they shall be. It watches the rows whose Host is this peer, carries out their tasks
// through a hypervisor.Driver, and writes back what became of them. See DESIGN.md.
package agent
