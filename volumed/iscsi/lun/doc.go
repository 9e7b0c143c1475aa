// Package lun is one logical unit: the SCSI commands of a disk (SPC-4, SBC-3) on a Store.
//
// It promises: a failing Store shows as an error with sense data, never as GOOD; nothing outside the unit's blocks is touched; COMPARE AND WRITE and
// ORWRITE are atomic against all other writes of the unit; reservations, RESERVE(6) and persistent ones, hold against every other initiator; a
// panic of a command is HARDWARE ERROR to its initiator, and nothing more. All of it is safe for concurrent use.
//
// It does not do: removable media, protection information, copy commands, sanitize, reservations that survive a restart.
//
// The tables of INQUIRY, MODE SENSE, READ CAPACITY and REPORT LUNS are those of gotgt's SCSI layer, used without its service, its LUN maps and its
// session layer (gotgt.go, the only file that knows it). All commands that touch data or reservations are our own.
package lun
