package s3

import (
	"net/http"
	"strings"
	"time"

	"henge/proxy/core"
	"henge/proxy/s3/fault"
)

// conditions are what a request wants to hold of an object that is there.
type conditions struct {
	match, noneMatch                string
	modifiedSince, unmodifiedSince  time.Time
	hasModified, hasUnmodifiedSince bool
}

// readConditions reads the conditions in headers whose names begin with prefix. Dates that cannot be read count as none, as RFC 9110 has it.
func readConditions(h http.Header, prefix string) (c conditions) {
	c.match, c.noneMatch = h.Get(prefix+"If-Match"), h.Get(prefix+"If-None-Match")
	if t, err := http.ParseTime(h.Get(prefix + "If-Modified-Since")); err == nil {
		c.modifiedSince, c.hasModified = t, true
	}
	if t, err := http.ParseTime(h.Get(prefix + "If-Unmodified-Since")); err == nil {
		c.unmodifiedSince, c.hasUnmodifiedSince = t, true
	}
	return c
}

// matches tells whether a list of entity tags, or "*", names etag. Weak tags compare as strong ones: ours are always strong.
func matches(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.Trim(strings.TrimPrefix(tag, "W/"), `"`) == etag {
			return true
		}
	}
	return false
}

// check holds the conditions to an object, in the order of RFC 9110, 13.2.2: If-Match before If-Unmodified-Since, If-None-Match before
// If-Modified-Since. It answers fault.PreconditionFailed or fault.NotModified.
func (c conditions) check(info core.Info) error {
	modified := info.Modified.Truncate(time.Second)
	switch {
	case c.match != "":
		if !matches(c.match, info.ETag) {
			return fault.New(fault.PreconditionFailed).With("Condition", "If-Match")
		}
	case c.hasUnmodifiedSince:
		if modified.After(c.unmodifiedSince) {
			return fault.New(fault.PreconditionFailed).With("Condition", "If-Unmodified-Since")
		}
	}
	switch {
	case c.noneMatch != "":
		if matches(c.noneMatch, info.ETag) {
			return fault.New(fault.NotModified)
		}
	case c.hasModified:
		if !modified.After(c.modifiedSince) {
			return fault.New(fault.NotModified)
		}
	}
	return nil
}

// checkSource is check for the source of a copy, where everything that does not hold is PreconditionFailed.
func (c conditions) checkSource(info core.Info) error {
	err := c.check(info)
	if f, ok := err.(*fault.Error); ok && f.Code == fault.NotModified {
		return fault.New(fault.PreconditionFailed).With("Condition", "x-amz-copy-source-If-None-Match or -If-Modified-Since")
	}
	return err
}

// writeCondition reads the conditions of a write: If-None-Match: * (nothing may be there) or If-Match (that object must be there). nil when there are
// none; what S3 does not know is NotImplemented, so that nobody believes in a condition that is not checked.
func writeCondition(h http.Header) (core.Check, error) {
	match, noneMatch := h.Get("If-Match"), h.Get("If-None-Match")
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		if h.Get(name) != "" {
			return nil, notImplemented(name)
		}
	}
	switch {
	case match == "" && noneMatch == "":
		return nil, nil
	case match != "" && noneMatch != "":
		return nil, notImplemented("If-Match together with If-None-Match")
	case noneMatch != "" && strings.Trim(noneMatch, `" `) != "*":
		return nil, notImplemented("If-None-Match with an ETag")
	case noneMatch != "":
		return func(current *core.Info) error {
			if current != nil {
				return fault.New(fault.PreconditionFailed).With("Condition", "If-None-Match")
			}
			return nil
		}, nil
	}
	return mustMatch(match), nil
}

// mustMatch is the Check of If-Match.
func mustMatch(match string) core.Check {
	return func(current *core.Info) error {
		switch {
		case current == nil:
			return fault.New(fault.NoSuchKey)
		case !matches(match, current.ETag):
			return fault.New(fault.PreconditionFailed).With("Condition", "If-Match")
		}
		return nil
	}
}
