// Package model is volumed's part of the replicated state: tables of volumes, snapshots, attachments and what belongs to them, and the rules by which they change.
// Everything here is pure: it works in the caller's transaction, with the time handed in.
package model
