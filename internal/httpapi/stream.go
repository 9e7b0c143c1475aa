package httpapi

import (
	"errors"
	"io"
	"net/http"
	"time"

	"henge/internal/limits"
)

// renewAfter is how old a deadline may get before it is pushed on: often enough for the limit to mean something, seldom enough to cost nothing.
const renewAfter = limits.ClientIdleTimeout / 8

// body gives a client that sends something all the time in the world, and one that sends nothing limits.ClientIdleTimeout: its Read then fails with
// os.ErrDeadlineExceeded.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	renewed time.Time
	read    int64
	ended   bool // nothing more comes, or nothing good
}

func (b *body) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.renewed) > renewAfter {
		b.renewed = now
		// A connection that has no deadlines (a test's recorder) is none of our business.
		_ = b.control.SetReadDeadline(now.Add(limits.ClientIdleTimeout))
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	b.ended = b.ended || err != nil
	if errors.Is(err, io.EOF) {
		// net/http goes on reading, to learn of a client that goes away: a deadline that passes then would cancel a request that takes long.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// answer watches what is sent, and gives a client that reads nothing limits.ClientIdleTimeout.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	sent    int64
	wrote   bool
	renewed time.Time
}

// Unwrap lets http.ResponseController find the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if status >= 200 && !a.wrote {
		a.status, a.wrote = status, true
	}
	// Also for an answer without a body: the deadline of an earlier answer on this connection may have passed.
	a.renew()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) renew() {
	if now := time.Now(); now.Sub(a.renewed) > renewAfter {
		a.renewed = now
		_ = a.control.SetWriteDeadline(now.Add(limits.ClientIdleTimeout))
	}
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.wrote {
		a.status, a.wrote = http.StatusOK, true
	}
	a.renew()
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

// Flush implements http.Flusher for handlers that ask by type assertion.
func (a *answer) Flush() { _ = a.control.Flush() }
