// Package netcalls answers the calls that Nova had before networks were Neutron's alone: security groups and their rules, floating IPs, a project's networks. Clients below microversion 2.36
// still make them. Nothing is kept here: each call is handed on to the network service, and its answer given Nova's shape.
package netcalls
