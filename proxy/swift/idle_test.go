package swift_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"henge/internal/limits"
	"henge/proxy/core"
)

// pipes is a listener without a network, so that time can be simulated.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A client that stops in the midst of its body is told so, and leaves nothing.
func TestPut_ClientStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prepare(t)
		if _, err := w.core.PutContainer(t.Context(), "AUTH_p1", "c", core.PutContainer{}); err != nil {
			t.Fatal(err)
		}
		ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		w.serve(ln)
		client, server := net.Pipe()
		ln.conns <- server
		if _, err := io.WriteString(client, "PUT /v1/AUTH_p1/c/x HTTP/1.1\r\nHost: h\r\nX-Auth-Token: member\r\nContent-Length: 50\r\n\r\nhello"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answered %s, want 408", resp.Status)
		}
		if took := time.Since(start); took < limits.ClientIdleTimeout || took > 2*limits.ClientIdleTimeout {
			t.Errorf("after %v", took)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if _, err := w.core.Open(t.Context(), core.Ref{Account: "AUTH_p1", Container: "c", Object: "x"}, core.OpenOptions{}); err == nil {
			t.Error("the object is there")
		}
	})
}
