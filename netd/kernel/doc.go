// Package kernel changes the network of the machine: bridges, VXLAN, taps, namespaces with their legs, packet filter rules, sets, address translation and
// tracked connections. It is the only place that knows netlink, iptables, ipset and nft.
//
// Every method brings one thing to the state that it is told, whatever is there, and changes nothing when it is so already; it can be cut short anywhere and
// called again. Rules are exchanged atomically: a packet meets the old ones or the new ones. Errors say what the kernel or the tool said. Methods work in the
// network namespace that the process is in, or in one that the agent made. Nothing here knows tables or projects.
package kernel
