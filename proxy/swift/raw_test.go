package swift_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"time"
)

// raw sends bytes as they are and gives what comes back until the server closes, or the first line when the test goes no further. With shut the
// sending side is closed first, as a client that dies.
func (w *world) raw(request string, shut bool) string {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	if shut {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			w.t.Fatal(err)
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		w.t.Fatalf("no answer to %q: %v", request, err)
	}
	return line
}
