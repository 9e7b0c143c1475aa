package swift

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"henge/internal/errs"
)

// begin sends the status line and the headers; a body may follow.
func (q *request) begin(code int) {
	q.exposeHeaders()
	q.started = true
	q.w.WriteHeader(code)
}

// answer sends a status without a body.
func (q *request) answer(code int) error {
	if code != http.StatusNoContent && code != http.StatusNotModified {
		q.header("Content-Length", "0")
	}
	q.begin(code)
	return nil
}

// answerHTML is answer with Swift's page for the status, where it has one.
func (q *request) answerHTML(code int) error {
	body := page(code)
	q.header("Content-Type", "text/html; charset=UTF-8")
	if body == "" || code == http.StatusNoContent {
		return q.answer(code)
	}
	return q.answerText(code, "text/html; charset=UTF-8", body)
}

// answerText sends a short body.
func (q *request) answerText(code int, ctype, body string) error {
	q.header("Content-Type", ctype)
	q.header("Content-Length", strconv.Itoa(len(body)))
	q.begin(code)
	if q.r.Method == http.MethodHead {
		return nil
	}
	if _, err := q.w.Write([]byte(body)); err != nil {
		return errs.New(errs.Incomplete, "write to the client: %w", err)
	}
	return nil
}

// corsRules are a container's rules for requests from other sites' pages.
type corsRules struct {
	origins string
	maxAge  string
	expose  string
}

func corsOf(meta map[string]string) corsRules {
	const prefix = "x-container-meta-access-control-"
	return corsRules{origins: strings.TrimSpace(meta[prefix+"allow-origin"]), maxAge: meta[prefix+"max-age"], expose: meta[prefix+"expose-headers"]}
}

// admits gives the Access-Control-Allow-Origin for an origin; "" when it may not.
func (c corsRules) admits(origin string) string {
	if c.origins == "*" {
		return "*"
	}
	if slices.Contains(strings.Fields(c.origins), origin) {
		return origin
	}
	return ""
}

// cors prepares the answer to a request from another site's page, when the container admits it.
func (q *request) cors() {
	origin := q.r.Header.Get("Origin")
	if origin == "" || q.container == "" || q.r.Method == http.MethodOptions {
		return
	}
	info, err := q.h.Core.Container(q.r.Context(), q.account, q.container, false)
	if err != nil {
		return // the request itself will meet the same error, and say so
	}
	rules := corsOf(info.Meta)
	if allow := rules.admits(origin); allow != "" {
		q.header("Access-Control-Allow-Origin", allow)
		q.header("Access-Control-Expose-Headers", rules.expose) // exposeHeaders adds the rest
		if allow != "*" {
			q.w.Header().Add("Vary", "Origin")
		}
	}
}

// exposeHeaders names the headers that a script on the page may read.
func (q *request) exposeHeaders() {
	header := q.w.Header()
	if header.Get("Access-Control-Allow-Origin") == "" || q.r.Method == http.MethodOptions {
		return
	}
	names := []string{"cache-control", "content-language", "content-type", "etag", "expires", "last-modified", "pragma", "x-openstack-request-id",
		"x-timestamp", "x-trans-id"}
	for name := range header {
		if strings.HasPrefix(name, "X-Container-Meta-") || strings.HasPrefix(name, "X-Object-Meta-") {
			names = append(names, strings.ToLower(name))
		}
	}
	for _, name := range strings.FieldsFunc(header.Get("Access-Control-Expose-Headers"), func(r rune) bool { return r == ' ' || r == ',' }) {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	q.header("Access-Control-Expose-Headers", strings.Join(slices.Compact(names), ", "))
}

// options answers OPTIONS: what is allowed, and the preflight of a browser.
func (q *request) options() error {
	methods := accountMethods
	switch {
	case q.object != "":
		methods = objectMethods
	case q.container != "":
		methods = containerMethods
	}
	q.header("Allow", methods)
	origin := q.r.Header.Get("Origin")
	if origin == "" || q.container == "" {
		return q.answer(http.StatusOK)
	}
	info, err := q.h.Core.Container(q.r.Context(), q.account, q.container, false)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	rules := corsOf(info.Meta)
	allow := rules.admits(origin)
	if allow == "" || !slices.Contains(strings.Split(methods, ", "), q.r.Header.Get("Access-Control-Request-Method")) {
		return status(http.StatusUnauthorized).with("Allow", methods)
	}
	q.header("Access-Control-Allow-Origin", allow)
	if allow != "*" {
		q.w.Header().Add("Vary", "Origin")
	}
	if rules.maxAge != "" {
		q.header("Access-Control-Max-Age", rules.maxAge)
	}
	q.header("Access-Control-Allow-Methods", methods)
	if wanted := q.r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
		q.header("Access-Control-Allow-Headers", wanted)
		q.w.Header().Add("Vary", "Access-Control-Request-Headers")
	}
	return q.answer(http.StatusOK)
}
