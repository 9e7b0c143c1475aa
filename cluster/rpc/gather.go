package rpc

import (
	"crypto/tls"
	"net"
	"sync"
)

// gatherBytes is how much of what TLS writes goes to the kernel at once: crypto/tls makes a system call for each record of 16 KiB.
const gatherBytes = 128 << 10

var gatherBuffers = sync.Pool{New: func() any { b := make([]byte, 0, gatherBytes+20<<10); return &b }}

// gatherer is a connection under TLS that puts the records of one long write together. Anything else, such as a handshake or an alert, goes out at once.
type gatherer struct {
	net.Conn

	mu   sync.Mutex // guards held; a write to the connection goes on under it, so that records stay in order
	held *[]byte    // nil: nothing is held back
}

// Write implements net.Conn. An error of what was held back comes with a later write, or from flush.
func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return g.Conn.Write(p)
	}
	*g.held = append(*g.held, p...)
	if len(*g.held) < gatherBytes {
		return len(p), nil
	}
	if err := g.send(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send writes what is held. Call with mu held.
func (g *gatherer) send() error {
	if len(*g.held) == 0 {
		return nil
	}
	_, err := g.Conn.Write(*g.held)
	*g.held = (*g.held)[:0]
	return err
}

func (g *gatherer) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = gatherBuffers.Get().(*[]byte)
}

func (g *gatherer) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.send()
	gatherBuffers.Put(g.held)
	g.held = nil
	return err
}

// writeTogether writes parts to conn in as few system calls as may be. Only one goroutine may be in it for one connection.
func writeTogether(conn net.Conn, parts ...[]byte) error {
	var g *gatherer
	if t, ok := conn.(*tls.Conn); ok && message(parts).length() > 16<<10 {
		g, _ = t.NetConn().(*gatherer)
	}
	if g == nil {
		return writeParts(conn, parts)
	}
	g.hold()
	err := writeParts(conn, parts)
	if flushErr := g.flush(); err == nil {
		err = flushErr
	}
	return err
}

func writeParts(conn net.Conn, parts [][]byte) error {
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		if _, err := conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}
