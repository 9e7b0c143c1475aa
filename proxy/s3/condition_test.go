package s3

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/proxy/s3/fault"
)

// Reads: the order in which conditions count is that of RFC 9110, and of Amazon's table of combinations.
func TestConditions_Reads(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	info := w.put("b", "k", "hello")
	past, future := info.Modified.Add(-time.Hour).Format(http.TimeFormat), info.Modified.Add(time.Hour).Format(http.TimeFormat)
	same, other := `"`+info.ETag+`"`, `"0123456789abcdef0123456789abcdef"`
	for _, c := range []struct {
		headers string // "Name: value|Name: value"
		status  int
	}{
		{"If-Match: " + same, 200},
		{"If-Match: " + info.ETag, 200},
		{"If-Match: " + other + ", " + same, 200},
		{"If-Match: *", 200},
		{"If-Match: " + other, 412},
		{"If-None-Match: " + same, 304},
		{"If-None-Match: *", 304},
		{"If-None-Match: " + other, 200},
		{"If-Modified-Since: " + past, 200},
		{"If-Modified-Since: " + info.Modified.Format(http.TimeFormat), 304},
		{"If-Modified-Since: nonsense", 200},
		{"If-Unmodified-Since: " + past, 412},
		{"If-Unmodified-Since: " + future, 200},
		{"If-Match: " + same + "|If-Unmodified-Since: " + past, 200},
		{"If-Match: " + other + "|If-Unmodified-Since: " + future, 412},
		{"If-None-Match: " + other + "|If-Modified-Since: " + future, 200},
		{"If-None-Match: " + same + "|If-Modified-Since: " + past, 304},
		{"If-Match: " + same + "|If-None-Match: " + same, 304},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			var headers []string
			for h := range strings.SplitSeq(c.headers, "|") {
				name, value, _ := strings.Cut(h, ": ")
				headers = append(headers, name, value)
			}
			a := w.call(method, "/b/k", "", headers...)
			if a.status != c.status {
				t.Errorf("%s with %s: %d, want %d", method, c.headers, a.status, c.status)
			}
			if a.status == 304 && (a.body != "" || a.header.Get("ETag") != same) {
				t.Errorf("%s with %s: 304 with body %q, ETag %q", method, c.headers, a.body, a.header.Get("ETag"))
			}
		}
	}
}

// Writes: each operation under each condition, on a key that is there and on one that is not.
func TestConditions_Writes(t *testing.T) {
	other := `"0123456789abcdef0123456789abcdef"`
	for _, c := range []struct {
		name, header, value string
		there               bool
		code                string
	}{
		{"none match, missing", "If-None-Match", "*", false, ""},
		{"none match, there", "If-None-Match", "*", true, "PreconditionFailed"},
		{"none match an ETag", "If-None-Match", other, false, "NotImplemented"},
		{"match, missing", "If-Match", other, false, "NoSuchKey"},
		{"match another", "If-Match", other, true, "PreconditionFailed"},
		{"match the same", "If-Match", "SAME", true, ""},
		{"match any, there", "If-Match", "*", true, ""},
		{"match any, missing", "If-Match", "*", false, "NoSuchKey"},
		{"modified since", "If-Modified-Since", "Fri, 24 May 2013 00:00:00 GMT", true, "NotImplemented"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, op := range []string{"put", "copy", "complete", "delete"} {
				if op == "delete" && c.header == "If-None-Match" {
					continue
				}
				w := newWorld(t, false)
				w.makeBucket("b")
				w.put("b", "source", "source")
				value := c.value
				if c.there {
					info := w.put("b", "k", "old")
					value = strings.Replace(value, "SAME", `"`+info.ETag+`"`, 1)
				}
				before := w.info("b", "k")
				var a answer
				switch op {
				case "put":
					a = w.call("PUT", "/b/k", "new", c.header, value)
				case "copy":
					a = w.call("PUT", "/b/k", "", "x-amz-copy-source", "/b/source", c.header, value)
				case "complete":
					id := w.begin()
					w.want(w.part(id, 1, "new"), 200, "")
					a = w.complete(id, []string{"1 " + tag("new")}, c.header, value)
				case "delete":
					a = w.call("DELETE", "/b/k", "", c.header, value)
				}
				if a.code() != c.code || (c.code == "") != (a.status < 300) {
					t.Errorf("%s: %d %s, want %q", op, a.status, a.body, c.code)
				}
				after := w.info("b", "k")
				if c.code != "" && (before == nil) != (after == nil) {
					t.Errorf("%s: refused, and yet there is %+v", op, after)
				}
				if c.code == "" && op == "delete" && after != nil {
					t.Error("not deleted")
				}
			}
		})
	}
	w := newWorld(t, false)
	w.makeBucket("b")
	w.want(w.call("PUT", "/b/k", "x", "If-Match", `"x"`, "If-None-Match", "*"), 501, "NotImplemented")
	w.want(w.call("DELETE", "/b/k", "", "If-None-Match", "*"), 501, "NotImplemented")
}

// A condition that meets a concurrent write is a conflict to be tried again; without a majority it is nobody's to decide.
func TestConditions_ConflictsAndMajorities(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "k", "old")
	var kind atomic.Int32
	w.core.FailWith(func(op string) error {
		if op == "Put" || op == "Delete" {
			return errs.New(errs.Kind(kind.Load()), "by order of the test")
		}
		return nil
	})
	for k, want := range map[errs.Kind]struct {
		status         int
		plain, guarded string
	}{
		errs.Conflict:    {409, "OperationAborted", "ConditionalRequestConflict"},
		errs.Unavailable: {503, "ServiceUnavailable", "ServiceUnavailable"},
		errs.Timeout:     {503, "ServiceUnavailable", "ServiceUnavailable"},
		errs.NoSpace:     {503, "SlowDown", "SlowDown"},
		errs.Quota:       {403, "QuotaExceeded", "QuotaExceeded"},
		errs.Internal:    {500, "InternalError", "InternalError"},
		errs.Corrupt:     {500, "InternalError", "InternalError"},
	} {
		kind.Store(int32(k))
		w.want(w.call("PUT", "/b/k", "x"), want.status, want.plain)
		w.want(w.call("PUT", "/b/k", "x", "If-None-Match", "*"), want.status, want.guarded)
		w.want(w.call("DELETE", "/b/k", "", "If-Match", "*"), want.status, want.guarded)
		if a := w.call("PUT", "/b/k", "x"); strings.Contains(a.body, "order of the test") {
			t.Errorf("the cause is shown to the client: %s", a.body)
		}
	}
}

func TestConditions_DeleteObjects(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	info := w.put("b", "same", "x")
	w.put("b", "other", "y")
	w.put("b", "plain", "z")
	body := "<Delete><Quiet>true</Quiet>" +
		"<Object><Key>same</Key><ETag>&quot;" + info.ETag + "&quot;</ETag></Object>" +
		"<Object><Key>other</Key><ETag>" + info.ETag + "</ETag></Object>" +
		"<Object><Key>gone</Key><ETag>" + info.ETag + "</ETag></Object>" +
		"<Object><Key>plain</Key><VersionId>null</VersionId></Object>" +
		"<Object><Key>version</Key><VersionId>1</VersionId></Object>" +
		"<Object><Key>size</Key><Size>1</Size></Object></Delete>"
	a := w.call("POST", "/b?delete", body, "x-amz-checksum-crc32", sumText(1, body))
	w.want(a, 200, "PreconditionFailed")
	for _, want := range []string{"<Key>other</Key><Code>PreconditionFailed</Code>", "<Key>gone</Key><Code>NoSuchKey</Code>",
		"<Key>version</Key><VersionId>1</VersionId><Code>NoSuchVersion</Code>", "<Key>size</Key><Code>NotImplemented</Code>"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s is not in %s", want, a.body)
		}
	}
	if strings.Contains(a.body, "<Deleted>") {
		t.Error("quiet is not quiet")
	}
	if w.info("b", "same") != nil || w.info("b", "plain") != nil || w.info("b", "other") == nil {
		t.Error("the wrong ones were deleted")
	}
}

func TestConditions_CopySources(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	info := w.put("b", "k", "hello")
	past := info.Modified.Add(-time.Hour).Format(http.TimeFormat)
	const p = "x-amz-copy-source-"
	for _, c := range []struct {
		headers []string
		code    string
	}{
		{[]string{p + "if-match", info.ETag}, ""},
		{[]string{p + "if-match", "x"}, "PreconditionFailed"},
		{[]string{p + "if-none-match", info.ETag}, "PreconditionFailed"},
		{[]string{p + "if-none-match", "x"}, ""},
		{[]string{p + "if-unmodified-since", past}, "PreconditionFailed"},
		{[]string{p + "if-modified-since", past}, ""},
		{[]string{p + "if-match", info.ETag, p + "if-unmodified-since", past}, ""},
		{[]string{p + "if-none-match", info.ETag, p + "if-modified-since", past}, "PreconditionFailed"},
	} {
		if a := w.call("PUT", "/b/copy", "", append(c.headers, "x-amz-copy-source", "/b/k")...); a.code() != c.code {
			t.Errorf("%v: %d %s", c.headers, a.status, a.body)
		}
	}
}

// The Check that core is given answers with errors of this dialect, and those come back whatever core wraps around them.
func TestWriteCondition_ErrorsSurviveWrapping(t *testing.T) {
	err := errs.New(errs.Conflict, "wrapped: %w", mustMatch(`"a"`)(&core.Info{ETag: "b"}))
	var f *fault.Error
	if !errors.As(err, &f) || fault.From(err, fault.NoSuchKey, fault.OperationAborted).Code != fault.PreconditionFailed {
		t.Errorf("got %v", err)
	}
}
