package swift

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"henge/internal/clock"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// listingTypes are what a listing can be, in the order in which they are preferred when Accept is indifferent.
var listingTypes = []string{"text/plain", "application/json", "application/xml", "text/xml"}

// listingType chooses the form of a listing: by format=, or else by Accept. 406 when nothing suits.
func (q *request) listingType() (string, error) {
	if f := q.query.Get("format"); f != "" {
		switch strings.ToLower(f) {
		case "json":
			return "application/json", nil
		case "xml":
			return "application/xml", nil
		}
		return "text/plain", nil
	}
	best := bestMatch(q.r.Header.Get("Accept"), listingTypes)
	if best == "" {
		return "", status(http.StatusNotAcceptable)
	}
	return best, nil
}

// bestMatch chooses from offers what an Accept header likes best; the first one without a header, "" when it likes none.
func bestMatch(accept string, offers []string) string {
	if strings.TrimSpace(accept) == "" {
		return offers[0]
	}
	best, bestQ, bestRank := "", 0.0, 0
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		quality := 1.0
		if v, ok := params["q"]; ok {
			if quality, err = strconv.ParseFloat(v, 64); err != nil {
				continue
			}
		}
		for i, offer := range offers {
			rank := matchRank(kind, offer)
			if rank == 0 || quality <= 0 {
				continue
			}
			rank = rank*len(offers) - i
			if quality > bestQ || quality == bestQ && rank > bestRank {
				best, bestQ, bestRank = offer, quality, rank
			}
		}
	}
	return best
}

// matchRank is 3 when a pattern of an Accept header names the type, 2 when it names its family, 1 when it takes all, else 0.
func matchRank(pattern, offer string) int {
	family, _, _ := strings.Cut(offer, "/")
	switch pattern {
	case offer:
		return 3
	case family + "/*":
		return 2
	case "*/*", "*":
		return 1
	}
	return 0
}

// listOptions reads a listing's parameters. What is no number is ignored as limit, as in Swift.
func listOptions(query url.Values) (core.ListOptions, error) {
	o := core.ListOptions{Limit: limits.ListingMax, Marker: query.Get("marker"), EndMarker: query.Get("end_marker"), Prefix: query.Get("prefix"),
		Delimiter: query.Get("delimiter"), Reverse: isTrue(query.Get("reverse"))}
	if v := query.Get("limit"); v != "" && strings.Trim(v, "0123456789") == "" {
		n, err := strconv.Atoi(v)
		if err != nil || n > limits.ListingMax {
			return o, text(http.StatusPreconditionFailed, "Maximum limit is %d", limits.ListingMax)
		}
		o.Limit = n
	}
	for _, v := range []string{o.Marker, o.EndMarker, o.Prefix, o.Delimiter} {
		if strings.IndexByte(v, 0) >= 0 {
			return o, text(http.StatusPreconditionFailed, "Bad listing parameter")
		}
	}
	return o, nil
}

// isoTime is the last_modified of a listing: UTC, six decimals, no zone.
func isoTime(t clock.Timestamp) string {
	return clock.Timestamp(int64(t) / 1e4 * 1e4).Time().Format("2006-01-02T15:04:05.000000")
}

// listing renders a page.
type listing struct {
	buf   bytes.Buffer
	ctype string
	name  string // of the account or container
	what  string // "account" or "container"
	first bool
}

func (l *listing) xml() bool { return strings.HasSuffix(l.ctype, "/xml") }

func (l *listing) begin() {
	l.first = true
	switch {
	case l.ctype == "application/json":
		l.buf.WriteByte('[')
	case l.xml():
		l.buf.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" + l.what + " name=\"")
		l.escape(l.name)
		l.buf.WriteString("\">")
		if l.what == "account" {
			l.buf.WriteByte('\n')
		}
	}
}

func (l *listing) end() {
	switch {
	case l.ctype == "application/json":
		l.buf.WriteByte(']')
	case l.xml():
		l.buf.WriteString("</" + l.what + ">")
	}
}

func (l *listing) escape(s string) { _ = xml.EscapeText(&l.buf, []byte(s)) } // a bytes.Buffer does not fail

// element is one <name>value</name>.
func (l *listing) element(name, value string) {
	l.buf.WriteString("<" + name + ">")
	l.escape(value)
	l.buf.WriteString("</" + name + ">")
}

// comma separates JSON entries.
func (l *listing) comma() {
	if !l.first {
		l.buf.WriteByte(',')
	}
	l.first = false
}

// member is one "name": value of a JSON object; value is JSON already.
func (l *listing) member(name, value string) {
	if b := l.buf.Bytes(); b[len(b)-1] != '{' {
		l.buf.WriteString(", ")
	}
	l.buf.WriteString(`"` + name + `": ` + value)
}

// quote is s as a JSON string.
func quote(s string) string {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return `"` + s + `"`
	}
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // strings always marshal
	}
	return string(b)
}

// folder renders an entry that stands for all names that share a prefix.
func (l *listing) folder(name string) {
	switch {
	case l.ctype == "application/json":
		l.comma()
		l.buf.WriteByte('{')
		l.member("subdir", quote(name))
		l.buf.WriteByte('}')
	case l.xml():
		l.buf.WriteString(`<subdir name="`)
		l.escape(name)
		l.buf.WriteString(`">`)
		if l.what == "container" {
			l.element("name", name)
		}
		l.buf.WriteString("</subdir>")
	default:
		l.buf.WriteString(name + "\n")
	}
	l.newline()
}

// newline follows each entry of an account's XML.
func (l *listing) newline() {
	if l.xml() && l.what == "account" {
		l.buf.WriteByte('\n')
	}
}

func (l *listing) container(row *peerapi.Row) {
	count, size, modified := strconv.FormatInt(row.Count, 10), strconv.FormatInt(row.Size, 10), isoTime(row.Timestamp)
	switch {
	case l.ctype == "application/json":
		l.comma()
		l.buf.WriteByte('{')
		l.member("name", quote(row.Name))
		l.member("count", count)
		l.member("bytes", size)
		l.member("last_modified", quote(modified))
		l.buf.WriteByte('}')
	case l.xml():
		l.buf.WriteString("<container>")
		l.element("name", row.Name)
		l.element("count", count)
		l.element("bytes", size)
		l.element("last_modified", modified)
		l.buf.WriteString("</container>")
	default:
		l.buf.WriteString(row.Name + "\n")
	}
	l.newline()
}

func (l *listing) object(row *peerapi.Row) {
	size, modified := strconv.FormatInt(row.Size, 10), isoTime(row.Timestamp)
	switch {
	case l.ctype == "application/json":
		l.comma()
		l.buf.WriteByte('{')
		l.member("bytes", size)
		l.member("content_type", quote(row.ContentType))
		l.member("hash", quote(row.ETag))
		l.member("last_modified", quote(modified))
		l.member("name", quote(row.Name))
		if row.Kind == peerapi.KindSLO {
			l.member("slo_etag", quote(`"`+row.ETag+`"`))
		}
		l.buf.WriteByte('}')
	case l.xml():
		l.buf.WriteString("<object>")
		l.element("name", row.Name)
		l.element("hash", row.ETag)
		l.element("bytes", size)
		l.element("content_type", row.ContentType)
		l.element("last_modified", modified)
		l.buf.WriteString("</object>")
	default:
		l.buf.WriteString(row.Name + "\n")
	}
}

// answerListing sends a page; an empty one in plain text is 204.
func (q *request) answerListing(l *listing, entries []core.Entry) error {
	l.begin()
	for i := range entries {
		switch e := &entries[i]; {
		case e.Folder != "":
			l.folder(e.Folder)
		case l.what == "account":
			l.container(&e.Row)
		default:
			l.object(&e.Row)
		}
	}
	l.end()
	q.header("Content-Type", l.ctype+"; charset=utf-8")
	if l.buf.Len() == 0 {
		return q.answer(http.StatusNoContent)
	}
	q.header("Content-Length", strconv.Itoa(l.buf.Len()))
	q.begin(http.StatusOK)
	return q.send(&l.buf, int64(l.buf.Len()))
}
