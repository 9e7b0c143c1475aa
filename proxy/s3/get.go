package s3

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/fault"
	"henge/storaged/peerapi"
)

// open finds an object, and puts together what Swift calls a dynamic large object. The caller closes it.
func (c *call) open(ref core.Ref, headOnly bool) (*core.Object, error) {
	o, err := c.cfg.Core.Open(c.ctx(), ref, core.OpenOptions{HeadOnly: headOnly})
	if err != nil {
		return nil, c.absent(err, fault.NoSuchKey)
	}
	if o.Info.Meta[core.ObjectManifest] == "" {
		return o, nil
	}
	defer o.Close()
	info, m, err := core.Dynamic(c.ctx(), c.cfg.Core, o.Info)
	if err != nil {
		return nil, c.absent(err, fault.NoSuchKey)
	}
	return c.cfg.Core.OpenManifest(c.ctx(), info, m)
}

// view is what of an object is going to be sent.
type view struct {
	offset, length int64
	partial        bool           // 206
	parts          int            // of a multipart object, when a part was asked for
	sum            checksum.Value // that covers exactly what is sent; zero if none does
}

// getObject serves GET and HEAD.
func (c *call) getObject() error {
	head := c.r.Method == http.MethodHead
	o, err := c.open(c.ref(), head)
	if err != nil {
		return err
	}
	defer o.Close()
	h := c.w.Header()
	h.Set("Etag", `"`+o.Info.ETag+`"`)
	h.Set("Last-Modified", o.Info.Modified.UTC().Format(http.TimeFormat))
	if err := readConditions(c.r.Header, "").check(o.Info); err != nil {
		return err
	}
	v, err := c.view(o)
	if err != nil {
		return err
	}
	var body io.ReadCloser
	if !head && v.length > 0 {
		// Before the header goes out: what cannot be read is an error, and not an answer cut short.
		if body, err = o.Read(c.ctx(), v.offset, v.length); err != nil {
			return err
		}
		defer body.Close()
	}
	c.describe(o.Info, v)
	status := http.StatusOK
	if v.partial {
		status = http.StatusPartialContent
	}
	c.w.WriteHeader(status)
	if body == nil {
		return nil
	}
	return c.stream(body, v.length)
}

// describe writes the headers of an object.
func (c *call) describe(info core.Info, v view) {
	h := c.w.Header()
	metadataHeaders(h, info)
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(v.length, 10))
	if v.partial {
		h.Set("Content-Range", contentRange(v.offset, v.length, info.Size))
	}
	if v.parts > 0 {
		h.Set("X-Amz-Mp-Parts-Count", strconv.Itoa(v.parts))
	}
	if strings.EqualFold(c.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		checksumHeaders(h, v.sum)
	}
	for _, name := range []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires"} {
		if value := c.param("response-" + strings.ToLower(name)); value != "" && !strings.ContainsAny(value, "\r\n\x00") {
			h.Set(name, value)
		}
	}
}

func contentRange(offset, length, size int64) string {
	return "bytes " + strconv.FormatInt(offset, 10) + "-" + strconv.FormatInt(offset+length-1, 10) + "/" + strconv.FormatInt(size, 10)
}

// copyBuffers are for bodies on their way out.
type copyBuffer [limits.CopyBufferBytes]byte

var copyBuffers = sync.Pool{New: func() any { return new(copyBuffer) }}

// stream sends the body. An error half-way ends the connection: the client must not take what it got for the whole.
func (c *call) stream(body io.Reader, length int64) error {
	buf := copyBuffers.Get().(*copyBuffer)
	defer copyBuffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{c.w}, io.LimitReader(body, length), buf[:])
	if err == nil && n == length {
		return nil
	}
	if c.ctx().Err() == nil {
		c.cfg.Logger.WarnContext(c.ctx(), "s3 answer cut short", "bucket", c.bucket, "key", c.key, "sent", n, "of", length, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// view finds out what is asked for: a part, a range, or all of it.
func (c *call) view(o *core.Object) (view, error) {
	whole := view{length: o.Info.Size, sum: storedChecksum(o.Info.System)}
	header := c.r.Header.Get("Range")
	if c.hasParam("partNumber") {
		if header != "" {
			return view{}, fault.Newf(fault.InvalidRequest, "Cannot specify both Range header and partNumber query parameter")
		}
		return c.partView(o, whole)
	}
	offset, length, ok, err := parseRange(header, o.Info.Size)
	if err != nil || !ok || !rangeHolds(c.r.Header.Get("If-Range"), o.Info) {
		return whole, err
	}
	return view{offset: offset, length: length, partial: true}, nil
}

// rangeHolds tells whether If-Range lets a range be answered.
func rangeHolds(condition string, info core.Info) bool {
	if condition == "" {
		return true
	}
	if t, err := http.ParseTime(condition); err == nil {
		return info.Modified.Truncate(time.Second).Equal(t)
	}
	return strings.Trim(condition, `"`) == info.ETag
}

// partView finds the bytes of a part. What was not sent in parts is its own part 1.
func (c *call) partView(o *core.Object, whole view) (view, error) {
	number, err := partNumber(c.param("partNumber"))
	if err != nil {
		return view{}, err
	}
	if o.Info.Kind != peerapi.KindMultipart || o.Manifest == nil {
		if number != 1 {
			return view{}, fault.Newf(fault.InvalidPartNumber, "The requested partnumber is not satisfiable").With("ActualPartCount", "1")
		}
		whole.partial = whole.length > 0
		return whole, nil
	}
	// Segments carry the numbers that the client gave; the N of partNumber=N counts the parts that there are, as Amazon does.
	segments := o.Manifest.Segments
	if number > len(segments) {
		return view{}, fault.Newf(fault.InvalidPartNumber, "The requested partnumber is not satisfiable").With("ActualPartCount", itoa(len(segments)))
	}
	v := view{partial: true, parts: len(segments), length: segments[number-1].Length, sum: segmentChecksum(segments[number-1])}
	for _, s := range segments[:number-1] {
		v.offset += s.Length
	}
	return v, nil
}

// partNumber reads a part's number.
func partNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limits.ManifestSegmentsMax {
		return 0, fault.Newf(fault.InvalidArgument, "Part number must be an integer between 1 and %d, inclusive", limits.ManifestSegmentsMax).
			With("ArgumentName", "partNumber").With("ArgumentValue", text)
	}
	return n, nil
}

// parseRange reads a Range header for an object of size bytes. ok is false when there is no range to be served: no header, one that cannot be read, or
// several ranges, all of which Amazon answers with the whole object. A range that lies outside is fault.InvalidRange.
func parseRange(header string, size int64) (offset, length int64, ok bool, err error) {
	spec, found := strings.CutPrefix(header, "bytes=")
	if !found || strings.Contains(spec, ",") {
		return 0, 0, false, nil
	}
	first, last, found := strings.Cut(strings.TrimSpace(spec), "-")
	if !found || !digits(first) || !digits(last) || first+last == "" {
		return 0, 0, false, nil
	}
	outside := fault.New(fault.InvalidRange).With("RangeRequested", header).With("ActualObjectSize", strconv.FormatInt(size, 10))
	if first == "" {
		n := number(last)
		if n == 0 || size == 0 {
			return 0, 0, false, outside
		}
		n = min(n, size)
		return size - n, n, true, nil
	}
	a, b := number(first), int64(1<<63-1)
	if last != "" {
		b = number(last)
	}
	if b < a {
		return 0, 0, false, nil
	}
	if a >= size {
		return 0, 0, false, outside
	}
	return a, min(b, size-1) - a + 1, true, nil
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// number reads digits; what is too large is the largest number.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1
	}
	return n
}
