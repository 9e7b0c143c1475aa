// Package console lets browsers see and use the screens of guests: noVNC's pages, and a WebSocket that is joined to the guest's VNC socket. A console's address holds a token that
// is good for one WebSocket, for a while; the VNC sockets themselves are files that only this host's root can open.
package console
