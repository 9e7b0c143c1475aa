package swift

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"henge/internal/limits"
)

// sloEntry is one entry of a static large object's manifest as a client sent it.
type sloEntry struct {
	container, object string
	etag              string // "": not to be checked
	size              int64  // -1: not to be checked
	ranged            bool
	part              byteRange
	data              []byte // given in place; then there is no object
}

// path is the entry's object as Swift's answers name it.
func (e *sloEntry) path() string { return "/" + e.container + "/" + e.object }

// parseSLO reads a manifest. All that is wrong with it is told at once, a line for each entry, in Swift's words. self is the manifest's own "/container/object".
func parseSLO(body []byte, self string) ([]sloEntry, error) {
	var raw []json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&raw); err != nil {
		if json.Valid(body) {
			return nil, text(http.StatusBadRequest, "Manifest must be a list.\n")
		}
		return nil, text(http.StatusBadRequest, "Manifest must be valid JSON.\n")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, text(http.StatusBadRequest, "Manifest must be valid JSON.\n")
	}
	entries := make([]sloEntry, 0, min(len(raw), limits.SLOSegmentsMax))
	var problems strings.Builder
	objects := 0
	for i, r := range raw {
		e, problem := parseEntry(r, self)
		if problem != "" {
			fmt.Fprintf(&problems, "Index %d: %s\n", i, problem)
			continue
		}
		if e.data == nil {
			objects++
		}
		entries = append(entries, e)
	}
	switch {
	case problems.Len() == 0 && len(raw) > 0 && objects == 0:
		problems.WriteString("Inline data segments require at least one object-backed segment.\n")
	case len(raw) == 0:
		problems.WriteString("Manifest must have at least one segment.\n")
	case objects > limits.SLOSegmentsMax:
		return nil, text(http.StatusRequestEntityTooLarge, "Number of object-backed segments must be <= %d", limits.SLOSegmentsMax)
	}
	if problems.Len() > 0 {
		return nil, text(http.StatusBadRequest, "%s", problems.String())
	}
	return entries, nil
}

// parseEntry reads one entry; problem is "" when it is good.
func parseEntry(raw json.RawMessage, self string) (e sloEntry, problem string) {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil || fields == nil {
		return e, "not a JSON object"
	}
	_, hasPath := fields["path"]
	data, hasData := fields["data"]
	if !hasPath && !hasData {
		return e, `expected keys to include one of "data" or "path"`
	}
	allowed := []string{"path", "etag", "size_bytes", "range"}
	if hasData && !hasPath {
		allowed = []string{"data"}
	}
	var extra []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(allowed, k) {
			extra = append(extra, strconv.Quote(k))
		}
	}
	if len(extra) > 0 {
		return e, "extraneous keys " + strings.Join(extra, ", ")
	}
	if hasData {
		return parseInline(data)
	}
	return parseReference(fields, self)
}

func parseInline(data any) (e sloEntry, problem string) {
	s, ok := data.(string)
	if !ok {
		return e, "data must be valid base64"
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		if b, err = base64.RawStdEncoding.DecodeString(s); err != nil {
			return e, "data must be valid base64"
		}
	}
	if len(b) == 0 {
		return e, "too small; each segment must be at least 1 byte."
	}
	return sloEntry{data: b, size: int64(len(b))}, ""
}

func parseReference(fields map[string]any, self string) (e sloEntry, problem string) {
	path, ok := fields["path"].(string)
	if !ok {
		return e, `"path" must be a string`
	}
	if fields["etag"] != nil {
		if e.etag, ok = fields["etag"].(string); !ok {
			return e, `"etag" must be a string or null (if provided)`
		}
		e.etag = bareETag(e.etag)
	}
	if !strings.Contains(strings.Trim(path, "/"), "/") || !utf8.ValidString(path) || strings.IndexByte(path, 0) >= 0 {
		return e, "path does not refer to an object. Path must be of the form /container/object."
	}
	e.container, e.object, _ = strings.Cut(strings.TrimLeft(path, "/"), "/")
	if e.size, ok = parseSize(fields["size_bytes"]); !ok {
		return e, "invalid size_bytes"
	}
	if e.size == 0 || e.size < -1 {
		return e, "too small; each segment must be at least 1 byte."
	}
	if e.path() == self {
		return e, "manifest must not include itself as a segment"
	}
	if fields["range"] == nil || fields["range"] == "" {
		return e, ""
	}
	s, ok := fields["range"].(string)
	if !ok {
		return e, "invalid range"
	}
	ranges, ok := parseRange("bytes=" + s)
	switch {
	case !ok:
		return e, "invalid range"
	case len(ranges) > 1:
		return e, "multiple ranges (only one allowed)"
	}
	e.ranged, e.part = true, ranges[0]
	if e.size > 0 {
		if _, ok := e.part.of(e.size); !ok {
			return e, "unsatisfiable range"
		}
	}
	return e, ""
}

// parseSize reads size_bytes, a number or a string of one; -1 for none.
func parseSize(v any) (int64, bool) {
	var s string
	switch v := v.(type) {
	case nil:
		return -1, true
	case json.Number:
		s = v.String()
	case string:
		s = strings.TrimSpace(v)
	default:
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if n == -1 {
		n = -2 // -1 is our own mark
	}
	return n, err == nil
}
