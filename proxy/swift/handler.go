package swift

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"unicode/utf8"

	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/httpapi"
	"henge/internal/limits"
	"henge/proxy/core"
)

// Config is what the dialect needs.
type Config struct {
	Core   core.Service
	Tokens authn.Tokens
	// V1Auth answers /auth/v1.0 (identity's); nil: 404.
	V1Auth  http.Handler
	Clock   clock.Clock
	Logger  *slog.Logger
	Version string // shown by /info
	Region  string // shown by /info, if set
}

// Handler serves the Swift API. Safe for concurrent use.
type Handler struct {
	Config
	large  sync.Pool // of *[]byte, limits.CopyBufferBytes long
	small  sync.Pool // of *[]byte, limits.InlineBytesMax long
	quotas quotaCache
}

// New makes the handler for /v1/..., /auth/v1.0, /info and /healthcheck. Everything else is 404: see Matches.
func New(c Config) *Handler {
	h := &Handler{Config: c}
	h.large.New = func() any { b := make([]byte, limits.CopyBufferBytes); return &b }
	h.small.New = func() any { b := make([]byte, limits.InlineBytesMax); return &b }
	return h
}

// Matches tells whether a request is for this dialect and not for S3, which shares the port. A request with an AWS signature is S3's, whatever its path: a bucket
// may be called "v1" or "info". Without one, /v1, /v1.0, /auth/v1.0, /info, /healthcheck and /crossdomain.xml, and what lies below the first two, are Swift's.
func Matches(r *http.Request) bool {
	if signedByAWS(r) {
		return false
	}
	switch p := r.URL.Path; {
	case p == "/info", p == "/healthcheck", p == "/crossdomain.xml", p == "/v1", p == "/v1.0", isV1Auth(p):
		return true
	default:
		return strings.HasPrefix(p, "/v1/") || strings.HasPrefix(p, "/v1.0/")
	}
}

func isV1Auth(path string) bool {
	return path == "/auth" || path == "/auth/v1.0" || path == "/auth/v1.0/" || path == "/auth/v1" || path == "/auth/v1/"
}

// signedByAWS recognises SigV4 and SigV2, in the header and in the query.
func signedByAWS(r *http.Request) bool {
	a := r.Header.Get("Authorization")
	if strings.HasPrefix(a, "AWS4-") || strings.HasPrefix(a, "AWS ") {
		return true
	}
	q := r.URL.RawQuery
	return q != "" && (strings.Contains(q, "X-Amz-Algorithm=") || strings.Contains(q, "X-Amz-Signature=") || strings.Contains(q, "AWSAccessKeyId="))
}

// request is one request under way, and its answer.
type request struct {
	h *Handler
	w http.ResponseWriter
	r *http.Request

	account, container, object string
	query                      url.Values

	id    *authn.Identity // nil: nobody known
	owner bool            // may see and change access lists and keys
	grant *grant          // a temporary URL stands in for an identity

	body    *bodyReader // once the body is wanted
	pending int         // the status that send sends with the first bytes; 0: 200
	started bool        // the status line is out: errors can no longer be told
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := httpapi.RequestID(r.Context()); id != "" {
		w.Header().Set("X-Trans-Id", id)
		w.Header().Set("X-Openstack-Request-Id", id)
	}
	q := &request{h: h, w: w, r: r}
	if err := q.route(); err != nil {
		q.fail(err)
	}
	q.finishBody()
}

func (q *request) route() error {
	path := q.r.URL.Path
	switch {
	case path == "/healthcheck":
		return q.healthcheck()
	case path == "/info":
		return q.info()
	case path == "/crossdomain.xml":
		return q.crossDomain()
	case isV1Auth(path) && q.h.V1Auth != nil:
		q.h.V1Auth.ServeHTTP(q.w, q.r)
		return nil
	}
	if !utf8.ValidString(path) || strings.IndexByte(path, 0) >= 0 {
		return text(http.StatusPreconditionFailed, "Invalid UTF8 or contains NULL")
	}
	if err := q.split(path); err != nil {
		return err
	}
	var err error
	if q.query, err = parseQuery(q.r.URL.RawQuery); err != nil {
		return err
	}
	if err := q.identify(); err != nil {
		return err
	}
	q.cors()
	if handled, err := q.web(); handled || err != nil {
		return err
	}
	switch {
	case q.r.Method == http.MethodOptions:
		return q.options()
	case q.isForm():
		return q.postForm()
	case q.isBulkDelete():
		return q.bulkDelete()
	case q.r.Method == http.MethodPut && q.query.Has("extract-archive"):
		return q.extractArchive()
	case q.object != "":
		return q.serveObject()
	case q.container != "":
		return q.serveContainer()
	default:
		return q.serveAccount()
	}
}

// split takes /v1/account[/container[/object]] apart. The object's name may hold anything, slashes included.
func (q *request) split(path string) error {
	version, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if version != "v1" && version != "v1.0" {
		return status(http.StatusNotFound)
	}
	var more bool
	if q.account, rest, more = strings.Cut(rest, "/"); q.account == "" {
		return text(http.StatusPreconditionFailed, "Bad URL")
	}
	if len(q.account) > limits.AccountNameBytesMax {
		return text(http.StatusBadRequest, "Account name length of %d longer than %d", len(q.account), limits.AccountNameBytesMax)
	}
	if !more || rest == "" {
		return nil
	}
	if q.container, q.object, _ = strings.Cut(rest, "/"); q.container == "" {
		return status(http.StatusNotFound)
	}
	return nil
}

// parseQuery reads the query as Swift does: "&" alone separates, and what is not escaped well is 400.
func parseQuery(raw string) (url.Values, error) {
	values := make(url.Values)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(k)
		if err != nil {
			return nil, text(http.StatusBadRequest, "Invalid query string")
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return nil, text(http.StatusBadRequest, "Invalid query string")
		}
		if !utf8.ValidString(value) {
			return nil, text(http.StatusBadRequest, "%q parameter not valid UTF-8", key)
		}
		values[key] = append(values[key], value)
	}
	return values, nil
}

func (q *request) ref() core.Ref {
	return core.Ref{Account: q.account, Container: q.container, Object: q.object}
}

// header sets one header of the answer.
func (q *request) header(name, value string) { q.w.Header().Set(name, value) }
