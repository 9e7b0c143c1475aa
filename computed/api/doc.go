// Package api is Nova's API, v2.1: it checks what clients ask for, writes the desired state, and shows the state as it is. It starts nothing itself: the agent
// on the server's host sees the task and carries it out.
package api
