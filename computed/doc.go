// Package computed runs guests: Nova's API, v2.1 with microversions, the agent that drives libvirt on one host, the metadata service and the consoles.
//
// A request becomes desired state in the replicated tables (package model) by the rules of package lifecycle; the agent on the server's host makes it true and writes what it saw. What is needed of
// images, networks, volumes and scheduling is stated in package neighbour.
package computed
