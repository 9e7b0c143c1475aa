// Package lifecycle is the state machine of a server, and nothing else: which action is possible in which state, what state it leads to, and
// what becomes of a server whose action went wrong or whose guest changed by itself. Pure: no clock, no store, no network.
//
// The words are Nova's: a vm_state that lasts, a task_state while something is under way, and the power state of the guest.
package lifecycle
