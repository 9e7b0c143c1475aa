package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// refusing answers 403 to everything, after it has read as much of the body as n says.
func refusing(n int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, n)
		http.Error(w, "no", http.StatusForbidden)
	}
}

// A client that sends its whole body before it looks for the answer gets the answer, and no reset.
func TestRefused_ClientThatSendsAllFirstSeesTheStatus(t *testing.T) {
	for _, read := range []int64{0, 1 << 20} {
		for _, framing := range []string{"Content-Length: 33554432", "Transfer-Encoding: chunked"} {
			t.Run(fmt.Sprint(framing, " ", read), func(t *testing.T) {
				conn, err := net.Dial("tcp", start(t, Config{Handler: refusing(read)}))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "PUT /o HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", framing)
				piece := make([]byte, 1<<20)
				for range 32 {
					if framing[0] == 'T' {
						fmt.Fprintf(conn, "%x\r\n", len(piece))
					}
					if _, err := conn.Write(piece); err != nil {
						t.Fatalf("send: %v", err)
					}
					if framing[0] == 'T' {
						fmt.Fprint(conn, "\r\n")
					}
				}
				if framing[0] == 'T' {
					fmt.Fprint(conn, "0\r\n\r\n")
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusForbidden || string(text) != "no\n" || err != nil {
					t.Fatalf("%s %q, %v", resp.Status, text, err)
				}
			})
		}
	}
}

// A client that is refused and sends neither its body nor an end is not waited for for long; it has its answer at once.
func TestRefused_ClientThatStopsSendingIsLeft(t *testing.T) {
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		conn, err := net.Dial("tcp", start(t, Config{Handler: refusing(0), LingerWait: 50 * time.Millisecond}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT /o HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n%s\r\n", expect)
		if expect == "" {
			if _, err := conn.Write(make([]byte, drainedAnyway+1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(conn)
		if len(all) == 0 || err != nil {
			t.Fatalf("expect %q: %q, %v", expect, all, err)
		}
	}
}
