// Package iscsi is an iSCSI target (RFC 7143): it exports block stores, one logical unit (LUN 0) a target, to initiators over TCP.
//
// It promises: an initiator gets in only by the target's access list and its CHAP secret, and nothing before that costs more than a few
// kilobytes; what a Store fails at is reported as an error, never as success; many commands of a session are in flight at once; an export of an
// older epoch does no more I/O once Export of a newer one has returned; no bytes from the network can make the process panic.
//
// It does not do: several connections in a session, error recovery levels above 0, markers, bidirectional commands, reservations that survive a
// restart of the target (APTPL). The SCSI commands themselves are in package lun. DESIGN.md has the path of a command by file name.
package iscsi
