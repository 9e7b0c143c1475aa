package swift

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"

	"henge/internal/errs"
)

// statusClientDisconnect is what Swift logs, and answers if anybody still listens, when a body ends too early.
const statusClientDisconnect = 499

// fault is an answer that says why not.
type fault struct {
	code    int
	body    string // "": Swift's own page for the status
	ctype   string
	headers map[string]string
}

func (f *fault) Error() string {
	if f.body != "" {
		return fmt.Sprintf("%d %s", f.code, strings.TrimSpace(f.body))
	}
	return statusLine(f.code)
}

// status is a fault with Swift's page for it.
func status(code int) *fault { return &fault{code: code} }

// text is a fault with a sentence of its own.
func text(code int, format string, args ...any) *fault {
	return &fault{code: code, body: fmt.Sprintf(format, args...), ctype: "text/plain; charset=UTF-8"}
}

func (f *fault) with(name, value string) *fault {
	if f.headers == nil {
		f.headers = make(map[string]string)
	}
	f.headers[name] = value
	return f
}

// reasons are Swift's titles and explanations (swob.RESPONSE_REASONS), which clients print.
var reasons = map[int][2]string{
	202: {"Accepted", "The request is accepted for processing."},
	400: {"Bad Request", "The server could not comply with the request since it is either malformed or otherwise incorrect."},
	401: {"Unauthorized", "This server could not verify that you are authorized to access the document you requested."},
	403: {"Forbidden", "Access was denied to this resource."},
	404: {"Not Found", "The resource could not be found."},
	405: {"Method Not Allowed", "The method is not allowed for this resource."},
	406: {"Not Acceptable", "The resource is not available in a format acceptable to your browser."},
	408: {"Request Timeout", "The server has waited too long for the request to be sent by the client."},
	409: {"Conflict", "There was a conflict when trying to complete your request."},
	411: {"Length Required", "Content-Length header required."},
	412: {"Precondition Failed", "A precondition for this request was not met."},
	413: {"Request Entity Too Large", "The body of your request was too large for this server."},
	414: {"Request URI Too Long", "The request URI was too long for this server."},
	416: {"Requested Range Not Satisfiable", "The Range requested is not available."},
	422: {"Unprocessable Entity", "Unable to process the contained instructions"},
	499: {"Client Disconnect", "The client was disconnected during request."},
	500: {"Internal Error", "The server has either erred or is incapable of performing the requested operation."},
	501: {"Not Implemented", "The requested method is not implemented by this server."},
	502: {"Bad Gateway", "Bad gateway."},
	503: {"Service Unavailable", "The server is currently unavailable. Please try again at a later time."},
	507: {"Insufficient Storage", "There was not enough space to save the resource."},
}

// page is Swift's HTML for a status.
func page(code int) string {
	r, ok := reasons[code]
	if !ok {
		return ""
	}
	return "<html><h1>" + html.EscapeString(r[0]) + "</h1><p>" + html.EscapeString(r[1]) + "</p></html>"
}

// statusLine is a status as Swift's bulk answers spell it: "404 Not Found".
func statusLine(code int) string {
	title := http.StatusText(code)
	if r, ok := reasons[code]; ok {
		title = r[0]
	}
	return strconv.Itoa(code) + " " + title
}

// statuses is the one table from kinds to statuses.
var statuses = map[errs.Kind]int{
	errs.NotFound:        http.StatusNotFound,
	errs.Exists:          http.StatusPreconditionFailed,
	errs.Conflict:        http.StatusConflict,
	errs.Precondition:    http.StatusPreconditionFailed,
	errs.Invalid:         http.StatusBadRequest,
	errs.Denied:          http.StatusForbidden,
	errs.Unauthenticated: http.StatusUnauthorized,
	errs.Quota:           http.StatusRequestEntityTooLarge,
	errs.NoSpace:         http.StatusInsufficientStorage,
	errs.Corrupt:         http.StatusServiceUnavailable,
	errs.Unavailable:     http.StatusServiceUnavailable,
	errs.Timeout:         http.StatusServiceUnavailable,
	errs.Unsupported:     http.StatusNotImplemented,
	errs.TooLarge:        http.StatusRequestEntityTooLarge,
	errs.BadDigest:       http.StatusUnprocessableEntity,
	errs.Incomplete:      statusClientDisconnect,
}

// toFault turns any error into the answer it deserves. What went wrong while the client's body was read counts before what core made of it.
func (q *request) toFault(err error) *fault {
	if q.body != nil && q.body.err != nil {
		err = q.body.err
	}
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, errClientIdle) {
		return status(http.StatusRequestTimeout)
	}
	if errors.Is(err, context.Canceled) && q.r.Context().Err() != nil {
		return status(statusClientDisconnect)
	}
	code, ok := statuses[errs.KindOf(err)]
	if !ok {
		code = http.StatusInternalServerError
	}
	return status(code)
}

// fail answers with err's fault. When the answer has begun the connection is cut, so that the client sees that it is not whole.
func (q *request) fail(err error) {
	f := q.toFault(err)
	if f.code >= 500 && f.code != http.StatusNotImplemented || q.started && f.code != statusClientDisconnect {
		q.h.Logger.ErrorContext(q.r.Context(), "swift request failed", "method", q.r.Method, "path", q.r.URL.Path, "status", f.code, "error", err)
	}
	if q.started {
		// The way that net/http gives to end an answer whose length was promised: the client must not take what it has for all.
		panic(http.ErrAbortHandler)
	}
	header := q.w.Header()
	for _, name := range []string{"Content-Range", "Etag", "Last-Modified", "Content-Encoding", "Content-Disposition"} {
		if f.code != http.StatusNotModified && f.code != http.StatusRequestedRangeNotSatisfiable {
			header.Del(name)
		}
	}
	for k, v := range f.headers {
		header.Set(k, v)
	}
	if f.code == http.StatusUnauthorized && header.Get("Www-Authenticate") == "" {
		header.Set("Www-Authenticate", `Swift realm="`+realm(q.account)+`"`)
	}
	body, ctype := f.body, f.ctype
	if body == "" {
		body, ctype = page(f.code), "text/html; charset=UTF-8"
	}
	switch {
	case f.code == http.StatusRequestTimeout, f.code == statusClientDisconnect:
		header.Set("Connection", "close") // where the next request would begin is not known
	case f.code == http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	}
	header.Set("Content-Type", ctype)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	q.started = true
	q.w.WriteHeader(f.code)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write([]byte(body)) // the client may be gone: nobody to tell
	}
}

// realm is an account's name with what would break out of a quoted string left out.
func realm(account string) string {
	if account == "" {
		return "unknown"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, account)
}

// notAllowed is 405 with what would be.
func notAllowed(methods string) *fault {
	return status(http.StatusMethodNotAllowed).with("Allow", methods)
}
