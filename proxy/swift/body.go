package swift

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
)

// errClientIdle: the client stopped sending its body.
var errClientIdle = errors.New("no byte of the body came in time")

// bodyReader reads a client's body. It counts, and remembers what went wrong, so that the client's fault is not taken for a peer's. The deadline for a client
// that stops sending is the server's (httpapi).
type bodyReader struct {
	r   io.Reader
	max int64
	n   int64
	eof bool
	err error
}

// wantBody begins the reading of the body, which may hold at most max bytes. "100 Continue" goes out with the first Read, so everything that can refuse the
// request is asked before.
func (q *request) wantBody(max int64) io.Reader {
	if q.body == nil {
		q.body = &bodyReader{r: q.r.Body, max: max}
	}
	return q.body
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.max:
		b.err = status(http.StatusRequestEntityTooLarge)
		return 0, b.err
	case err == nil, errors.Is(err, io.EOF):
		b.eof = err != nil
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.err = errs.With(errs.Timeout, errClientIdle)
	default:
		b.err = errs.New(errs.Incomplete, "read the client's body: %w", err)
	}
	return n, b.err
}

// finishBody ends the use of the body. Of one that was not read whole net/http reads on a little, before it closes the connection; that must not wait
// for ever.
func (q *request) finishBody() {
	if q.r.ContentLength != 0 && (q.body == nil || !q.body.eof && q.body.err == nil) {
		// A connection's deadline is a matter of the machine's own clock, not of the handler's.
		_ = http.NewResponseController(q.w).SetReadDeadline((clock.System{}).Now().Add(limits.ClientHeaderTimeout))
	}
}

// send copies exactly n bytes to the client. The status (q.pending) goes out with the first bytes, if it has not yet: while there are
// none, the error can still be told.
func (q *request) send(from io.Reader, n int64) error {
	pool := &q.h.large
	if n <= limits.InlineBytesMax {
		pool = &q.h.small
	}
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	for n > 0 {
		got, err := io.ReadAtLeast(from, (*buf)[:min(n, int64(len(*buf)))], 1)
		if got > 0 {
			if !q.started {
				q.begin(cmp.Or(q.pending, http.StatusOK))
			}
			if _, werr := q.w.Write((*buf)[:got]); werr != nil {
				return errs.New(errs.Incomplete, "write to the client: %w", werr)
			}
			n -= int64(got)
		}
		if err != nil && n > 0 {
			return fmt.Errorf("read what is to be sent: %w", err)
		}
	}
	return nil
}

// readAll reads a small body whole, of at most max bytes; more is tooLarge.
func (q *request) readAll(max int64, tooLarge *fault) ([]byte, error) {
	if q.r.ContentLength > max {
		return nil, tooLarge
	}
	data, err := io.ReadAll(io.LimitReader(q.wantBody(max+1), max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, tooLarge
	}
	return data, nil
}

// chunked tells whether the body comes without a length.
func (q *request) chunked() bool {
	return q.r.ContentLength < 0 && len(q.r.TransferEncoding) > 0
}

// hasLength tells whether the client said how long its body is, or that it is chunked. net/http makes no difference between "Content-Length: 0" and none.
func (q *request) hasLength() bool {
	return q.r.ContentLength > 0 || q.chunked() || q.r.Header.Get("Content-Length") != ""
}
