// Package dhcp tells guests their addresses: DHCPv4, DHCPv6 and router advertisements. What to answer is pure (Answer4, Answer6, Advertisement); Serve4, Serve6
// and Advertise do it on a socket that they are given, which lies in the network's or router's namespace.
//
// A guest gets the addresses of its port, known by its MAC address, and no other: there are no pools and no leases to keep, so that any peer gives the same
// answer, also after a restart. Who has no port gets no answer. Messages that cannot be read are dropped.
package dhcp
