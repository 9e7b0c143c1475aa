package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"henge/imaged/library"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/limits"
)

// drainBytesMax is how much of a body that was refused is read on, so that the client gets to read the reason: many only look when they have sent everything.
const drainBytesMax = 256 << 20

type intake func(ctx context.Context, id string, body io.Reader, size int64) (model.Image, error)

func uploadFile(c *call) error {
	return c.take(func(ctx context.Context, id string, body io.Reader, size int64) (model.Image, error) {
		return c.Library.Upload(ctx, c.who, id, body, size)
	})
}

func stageFile(c *call) error {
	return c.take(func(ctx context.Context, id string, body io.Reader, size int64) (model.Image, error) {
		return c.Library.Stage(ctx, c.who, id, body, size)
	})
}

// take hands a request's body to a library's method.
func (c *call) take(in intake) error {
	if kind := mediaType(c.r.Header.Get("Content-Type")); kind != "application/octet-stream" {
		c.faultStatus(http.StatusUnsupportedMediaType, "Image data is of the type application/octet-stream.")
		return nil
	}
	size := c.r.ContentLength
	if text := c.r.Header.Get("X-Openstack-Image-Size"); text != "" && size < 0 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return errs.New(errs.Invalid, "x-openstack-image-size: %.40q is not a number of bytes.", text)
		}
		size = n
	}
	_, err := in(c.context(), c.path("image"), c.r.Body, size)
	if err == nil {
		return c.none()
	}
	// Who sent Expect looks at the answer before sending, or while.
	if !errs.Is(err, errs.Incomplete) && c.r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, c.r.Body, drainBytesMax)
	}
	return err
}

func downloadFile(c *call) error {
	content, err := c.Library.Open(c.context(), c.who, c.path("image"))
	switch {
	case errs.Is(err, errs.Conflict): // no data yet
		return c.none()
	case err != nil:
		return err
	}
	from, length, status, err := c.span(content.Image.Data.Size)
	if err != nil {
		return err
	}
	return c.send(content, from, length, status)
}

// send answers with a range of the data.
func (c *call) send(content *library.Content, from, length int64, status int) error {
	data := content.Image.Data
	header := c.w.Header()
	if status == http.StatusRequestedRangeNotSatisfiable {
		header.Set("Content-Range", fmt.Sprintf("bytes */%d", data.Size))
		c.faultStatus(status, "The range does not lie within the image.")
		return nil
	}
	body, err := content.Read(c.context(), from, length)
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "Image %s was deleted.", content.Image.ID)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Length", strconv.FormatInt(length, 10))
	header.Set("Accept-Ranges", "bytes")
	if status == http.StatusPartialContent {
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+length-1, data.Size))
	} else {
		header.Set("Content-MD5", data.MD5)
	}
	c.w.WriteHeader(status)
	n, err := io.CopyBuffer(struct{ io.Writer }{c.w}, body, make([]byte, limits.CopyBufferBytes))
	if err != nil || n != length {
		if c.context().Err() == nil {
			c.Logger.WarnContext(c.context(), "send image data", "image", content.Image.ID, "sent", n, "of", length, "error", err)
		}
		panic(http.ErrAbortHandler) // the status is sent: only a cut connection tells the client
	}
	return nil
}

// span is the part of the data that the client asks for.
func (c *call) span(size int64) (from, length int64, status int, err error) {
	text := c.r.Header.Get("Range")
	if text == "" {
		// Older clients of Glance's said Content-Range in their request.
		text = strings.Replace(c.r.Header.Get("Content-Range"), "bytes ", "bytes=", 1)
		text, _, _ = strings.Cut(text, "/")
	}
	if text == "" {
		return 0, size, http.StatusOK, nil
	}
	from, to, ok := parseRange(text, size)
	switch {
	case !ok:
		return 0, 0, 0, errs.New(errs.Invalid, "Range %.80q cannot be understood: one range of bytes can be asked for.", text)
	case from >= size || from > to:
		return 0, 0, http.StatusRequestedRangeNotSatisfiable, nil
	}
	return from, to - from + 1, http.StatusPartialContent, nil
}

// parseRange reads "bytes=from-to", "bytes=from-" and "bytes=-last". What it gives may lie beyond the data.
func parseRange(text string, size int64) (from, to int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes=")
	first, last, dash := strings.Cut(text, "-")
	if !ok || !dash {
		return 0, 0, false
	}
	if first == "" {
		n, ok := parseCount(last)
		if !ok {
			return 0, 0, false
		}
		if n == 0 {
			return size, size, true
		}
		return max(0, size-n), size - 1, true
	}
	from, ok = parseCount(first)
	if !ok {
		return 0, 0, false
	}
	if last == "" {
		return from, size - 1, true
	}
	to, ok = parseCount(last)
	if !ok || to < from {
		return 0, 0, false
	}
	return from, min(to, size-1), true
}

func parseCount(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // more than 64 bits hold is beyond any end
		return 1<<63 - 1, true
	}
	return n, true
}
