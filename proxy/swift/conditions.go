package swift

import (
	"net/http"
	"strings"
	"time"

	"henge/internal/errs"
	"henge/proxy/core"
)

// bareETag takes quotes and a weak mark off.
func bareETag(s string) string {
	s = strings.TrimSpace(s)
	s = strings.TrimPrefix(s, "W/")
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	return s
}

// matchesETag tells whether an If-Match or If-None-Match names the ETag. As in Swift, quotes may be left out.
func matchesETag(header, etag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = bareETag(one); one == "*" || one != "" && one == etag {
			return true
		}
	}
	return false
}

// checkConditions decides a conditional read: a 304 or 412 as a fault, nil to go on. The order is that of RFC 9110, section 13.2.2.
func checkConditions(r *http.Request, etag string, modified time.Time) error {
	h := r.Header
	if v := h.Get("If-Match"); v != "" {
		if !matchesETag(v, etag) {
			return status(http.StatusPreconditionFailed)
		}
	} else if t, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && modified.After(t) {
		return status(http.StatusPreconditionFailed)
	}
	if v := h.Get("If-None-Match"); v != "" {
		if matchesETag(v, etag) {
			return status(http.StatusNotModified)
		}
	} else if t, err := http.ParseTime(h.Get("If-Modified-Since")); err == nil && !modified.After(t) {
		return status(http.StatusNotModified)
	}
	return nil
}

// ifRange tells whether the Range header is to be honoured (RFC 9110, section 13.1.5).
func ifRange(h http.Header, etag string, modified time.Time) bool {
	v := h.Get("If-Range")
	if v == "" {
		return true
	}
	if t, err := http.ParseTime(v); err == nil {
		return modified.Equal(t)
	}
	return bareETag(v) == etag && !strings.HasPrefix(v, "W/")
}

// writeCheck makes the condition of a write: If-None-Match: * (Swift's only one), and If-Match, If-Unmodified-Since as HTTP has them.
func writeCheck(h http.Header) (core.Check, error) {
	none, match := h.Get("If-None-Match"), h.Get("If-Match")
	if none != "" && strings.TrimSpace(none) != "*" {
		return nil, text(http.StatusBadRequest, "If-None-Match only supports *")
	}
	since, err := http.ParseTime(h.Get("If-Unmodified-Since"))
	dated := err == nil && match == ""
	if none == "" && match == "" && !dated {
		return nil, nil
	}
	return func(current *core.Info) error {
		switch {
		case none != "" && current != nil,
			match != "" && (current == nil || !matchesETag(match, current.ETag)),
			dated && current != nil && current.Modified.After(since):
			return errs.New(errs.Precondition, "the object is not as the condition wants it")
		}
		return nil
	}, nil
}
