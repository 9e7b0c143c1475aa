package swift

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"henge/internal/limits"
)

// byteRange is a range as asked for: first and last byte, -1 where nothing was said. Without a first, last counts from the end.
type byteRange struct {
	first, last int64
}

// span is a range of an object that is there: length bytes from offset.
type span struct {
	offset, length int64
}

// Bounds on ranges that help nobody but who wants to wear the server out (RFC 9110, section 14.2, and Swift's figures).
const (
	rangeOverlapsMax     = 2
	rangeNonascendingMax = 8
)

// parseRange reads a Range header. ok is false when it is none that we know: it is ignored then (RFC 9110, section 14.2).
func parseRange(header string) (ranges []byteRange, ok bool) {
	header = strings.ReplaceAll(header, " ", "")
	if len(header) < len("bytes=") || !strings.EqualFold(header[:len("bytes=")], "bytes=") {
		return nil, false
	}
	for part := range strings.SplitSeq(header[len("bytes="):], ",") {
		r, ok := parseOneRange(part)
		if !ok {
			return nil, false
		}
		ranges = append(ranges, r)
	}
	return ranges, true
}

func parseOneRange(s string) (byteRange, bool) {
	first, last, ok := strings.Cut(s, "-")
	if !ok || first == "" && last == "" {
		return byteRange{}, false
	}
	r := byteRange{-1, -1}
	for _, end := range []struct {
		digits string
		into   *int64
	}{{first, &r.first}, {last, &r.last}} {
		if end.digits == "" {
			continue
		}
		n, err := strconv.ParseUint(end.digits, 10, 63)
		if errors.Is(err, strconv.ErrRange) {
			n, err = math.MaxInt64, nil // past the end of any object, whatever it is exactly
		}
		if err != nil {
			return byteRange{}, false
		}
		*end.into = int64(n)
	}
	return r, r.first < 0 || r.last < 0 || r.first <= r.last
}

// of places the range in an object of size bytes; ok is false when nothing of it is there.
func (r byteRange) of(size int64) (span, bool) {
	switch {
	case r.first < 0:
		n := min(r.last, size)
		return span{size - n, n}, n > 0
	case r.first >= size:
		return span{}, false
	case r.last < 0:
		return span{r.first, size - r.first}, true
	}
	last := min(r.last, size-1)
	return span{r.first, last - r.first + 1}, true
}

// place places all ranges; none means 416. Too many, or too wildly mixed ones are refused in the same way.
func place(ranges []byteRange, size int64) []span {
	var spans []span
	for _, r := range ranges {
		if s, ok := r.of(size); ok {
			spans = append(spans, s)
		}
	}
	if len(spans) > limits.RangesMax || overlaps(spans) > rangeOverlapsMax {
		return nil
	}
	back := 0
	for i := 1; i < len(spans); i++ {
		if spans[i].offset < spans[i-1].offset {
			back++
		}
	}
	if back > rangeNonascendingMax {
		return nil
	}
	return spans
}

// overlaps counts the ranges that share bytes with one that begins before.
func overlaps(spans []span) int {
	sorted := slices.Clone(spans)
	slices.SortFunc(sorted, func(a, b span) int {
		switch {
		case a.offset < b.offset:
			return -1
		case a.offset > b.offset:
			return 1
		}
		return 0
	})
	n := 0
	var end int64
	for i, s := range sorted {
		if i > 0 && s.offset < end {
			n++
		}
		end = max(end, s.offset+s.length)
	}
	return n
}

// contentRange is the header for a span.
func (s span) contentRange(size int64) string {
	return "bytes " + strconv.FormatInt(s.offset, 10) + "-" + strconv.FormatInt(s.offset+s.length-1, 10) + "/" + strconv.FormatInt(size, 10)
}
