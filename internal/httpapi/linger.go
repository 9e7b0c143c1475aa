package httpapi

import (
	"io"
	"net/http"
	"time"

	"henge/internal/limits"
)

const (
	// lingersMax is how many clients are lingered for at once; others see what they may.
	lingersMax = 64
	// drainedAnyway is what net/http itself reads of a body that its handler has left, before it answers.
	drainedAnyway = 256 << 10
)

// lingerFor sends the answer of a request whose body has not come to its end, and reads on for a while. Else the connection would be closed with bytes in it that nobody has
// read, for which TCP's answer is a reset: a client that sends its whole body before it looks for an answer then sees the reset, and never the status. Who asked
// with Expect: 100-continue and was not told to go on does not send.
func (s *Server) lingerFor(a *answer, r *http.Request, b *body) {
	if b.ended || b.read == 0 && r.Header.Get("Expect") != "" || r.ContentLength >= 0 && r.ContentLength-b.read <= drainedAnyway {
		return
	}
	select {
	case s.linger <- struct{}{}:
		defer func() { <-s.linger }()
	default:
		return
	}
	if a.control.Flush() != nil {
		return // the client is gone
	}
	if err := a.control.SetReadDeadline(time.Now().Add(s.cfg.LingerWait)); err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, b.ReadCloser, limits.LingerBytesMax) // what comes, and whether, is of no interest any more
}
