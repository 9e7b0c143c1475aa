// Package agent wires the networks of one peer: it reads from the tables of netd/model what the peer has to have (netd/wire), brings the kernel to it
// (netd/kernel), serves DHCP, router advertisements and metadata in the namespaces that it made (netd/dhcp), and writes back what it observed.
//
// It promises: what it does can be cut short anywhere and done again; a start changes nothing that is right already, so that running guests lose no packet; what
// is left over from before is recognised by its name and removed; one port or router that cannot be wired says why, in its own row, and holds up no
// other; a port is reported as wired only when DHCP, groups and anti-spoofing are in force. When Run ends all stays wired. DESIGN.md has the path of a change.
//
// It does not decide which peer runs a router or a port: the tables say so.
package agent
