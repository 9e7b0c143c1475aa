package swift

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

const objectMethods = "HEAD, GET, PUT, POST, DELETE, OPTIONS, COPY"

func (q *request) serveObject() error {
	if len(q.object) > limits.ObjectNameBytesMax {
		return text(http.StatusBadRequest, "Object name length of %d longer than %d", len(q.object), limits.ObjectNameBytesMax)
	}
	if len(q.container) > limits.ContainerNameBytesMax {
		return status(http.StatusNotFound) // no container has such a name
	}
	switch q.r.Method {
	case http.MethodGet, http.MethodHead:
		return q.getObject()
	case http.MethodPut:
		return q.putObject()
	case http.MethodPost:
		return q.postObject()
	case http.MethodDelete:
		return q.deleteObject()
	case "COPY":
		return q.copyObject()
	}
	return notAllowed(objectMethods)
}

// content is what a GET gives: an object, the segments of a large one, or the manifest itself.
type content struct {
	info  core.Info
	etag  string // without quotes
	ctype string
	size  int64
	large bool // quoted ETag
	// manifest is set when the content is the manifest itself
	manifest *core.Manifest
	read     func(ctx context.Context, offset, length int64) (io.ReadCloser, error)
	close    func() error
}

// getObject is GET and HEAD.
func (q *request) getObject() error {
	if err := q.authorize(q.account, q.container, toRead); err != nil {
		return err
	}
	c, err := q.open(q.ref(), q.query.Get("multipart-manifest") == "get", isTrue(q.r.Header.Get("X-Newest")))
	if err != nil {
		return err
	}
	if c.info.Kind == peerapi.KindMultipart && q.query.Get("multipart-manifest") == "get" {
		// The parts of an S3 upload belong to the object alone: there are no segments that a client could name, or would have to delete.
		if err := c.show(core.Manifest{}, false); err != nil {
			return errors.Join(err, c.close())
		}
	}
	return errors.Join(q.serveContent(c), c.close())
}

// open finds what a GET of ref gives. The caller closes it, unless there is an error.
func (q *request) open(ref core.Ref, manifest, newest bool) (*content, error) {
	o, err := q.h.Core.Open(q.r.Context(), ref, core.OpenOptions{HeadOnly: q.r.Method == http.MethodHead && !manifest, Newest: newest})
	if err != nil {
		return nil, err
	}
	c := &content{info: o.Info, etag: o.Info.ETag, ctype: o.Info.ContentType, size: o.Info.Size, read: o.Read, close: o.Close}
	switch {
	case o.Info.Meta["x-object-manifest"] != "" && !manifest:
		err = q.openDLO(c)
	case o.Info.Kind == peerapi.KindSLO && manifest:
		err = c.showManifest(o, q.query.Get("format") == "raw")
	case o.Info.Kind == peerapi.KindSLO && o.Manifest != nil:
		err = q.authorizeSegments(o.Manifest.Segments, 0)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.large = c.large || o.Info.Kind == peerapi.KindMultipart || o.Info.Kind == peerapi.KindSLO && !manifest
	return c, nil
}

// serveContent sends the headers, and of a GET the bytes that were asked for.
func (q *request) serveContent(c *content) error {
	if err := q.objectHeaders(c); err != nil {
		return err
	}
	modified := c.info.Modified.UTC().Truncate(time.Second)
	err := checkConditions(q.r, c.etag, modified)
	var f *fault
	switch {
	case errors.As(err, &f) && f.code == http.StatusNotModified:
		return q.answer(http.StatusNotModified)
	case err != nil:
		return err
	case q.r.Method == http.MethodHead:
		q.header("Content-Length", strconv.FormatInt(c.size, 10))
		q.begin(http.StatusOK)
		return nil
	}
	ranges, ok := parseRange(q.r.Header.Get("Range"))
	if !ok || !ifRange(q.r.Header, c.etag, modified) || c.size == 0 && ranges[0].first < 0 {
		q.header("Content-Length", strconv.FormatInt(c.size, 10))
		return q.sendSpan(http.StatusOK, c, span{0, c.size})
	}
	switch spans := place(ranges, c.size); len(spans) {
	case 0:
		return status(http.StatusRequestedRangeNotSatisfiable).with("Content-Range", "bytes */"+strconv.FormatInt(c.size, 10))
	case 1:
		q.header("Content-Range", spans[0].contentRange(c.size))
		q.header("Content-Length", strconv.FormatInt(spans[0].length, 10))
		return q.sendSpan(http.StatusPartialContent, c, spans[0])
	default:
		return q.sendSpans(c, spans)
	}
}

// sendSpan sends one range. The first bytes are read before the status goes out, so that a segment that is gone can still be told.
func (q *request) sendSpan(code int, c *content, s span) error {
	if s.length == 0 {
		q.begin(code)
		return nil
	}
	body, err := c.read(q.r.Context(), s.offset, s.length)
	if err != nil {
		return c.broken(err)
	}
	q.pending = code
	err = q.send(body, s.length)
	return c.broken(errors.Join(err, body.Close()))
}

// broken makes a segment that is not there a conflict: the large object itself was found.
func (c *content) broken(err error) error {
	if c.large && errs.Is(err, errs.NotFound) {
		return errs.With(errs.Conflict, err)
	}
	return err
}

// sendSpans sends several ranges as multipart/byteranges.
func (q *request) sendSpans(c *content, spans []span) error {
	boundary := strings.ToLower(rand.Text())
	var total int64
	heads := make([]string, len(spans))
	for i, s := range spans {
		heads[i] = "--" + boundary + "\r\nContent-Type: " + c.ctype + "\r\nContent-Range: " + s.contentRange(c.size) + "\r\n\r\n"
		if i > 0 {
			heads[i] = "\r\n" + heads[i]
		}
		total += int64(len(heads[i])) + s.length
	}
	tail := "\r\n--" + boundary + "--"
	q.header("Content-Type", "multipart/byteranges;boundary="+boundary)
	q.header("Content-Length", strconv.FormatInt(total+int64(len(tail)), 10))
	q.pending = http.StatusPartialContent
	for i, s := range spans {
		body, err := c.read(q.r.Context(), s.offset, s.length)
		if err != nil {
			return c.broken(err)
		}
		err = q.send(io.MultiReader(strings.NewReader(heads[i]), body), int64(len(heads[i]))+s.length)
		if err := errors.Join(err, body.Close()); err != nil {
			return c.broken(err)
		}
	}
	return q.send(strings.NewReader(tail), int64(len(tail)))
}

// objectHeaders sets what is told of an object.
func (q *request) objectHeaders(c *content) error {
	info := &c.info
	for name, value := range info.Meta {
		if q.grant != nil && strings.HasPrefix(name, "x-object-meta-") && !strings.HasPrefix(name, "x-object-meta-public-") {
			continue // a temporary URL shows the bytes, not what the owner noted about them
		}
		q.header(name, value)
	}
	quoted := c.large
	if !quoted {
		var err error
		if quoted, err = q.quotesETags(info.Ref); err != nil {
			return err
		}
	}
	etag := c.etag
	if quoted {
		etag = `"` + etag + `"`
	}
	q.header("Etag", etag)
	q.header("Content-Type", c.ctype)
	q.header("Accept-Ranges", "bytes")
	q.header("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	q.header("X-Timestamp", info.Timestamp.Swift())
	if info.DeleteAt != 0 {
		q.header("X-Delete-At", strconv.FormatInt(info.DeleteAt, 10))
	}
	if info.Kind == peerapi.KindSLO || info.Kind == peerapi.KindMultipart {
		// Of what S3 uploaded in parts too: clients take the ETag for the MD5 of the bytes unless this is there, and refuse the download.
		q.header("X-Static-Large-Object", "True")
		if v := info.System[sysManifestETag]; v != "" {
			q.header("X-Manifest-Etag", v)
		}
	}
	if q.grant != nil && q.r.Method == http.MethodGet {
		q.header("Content-Disposition", q.grant.disposition(info.Ref.Object, info.Meta["content-disposition"]))
		q.header("Expires", q.grant.expires.UTC().Format(http.TimeFormat))
	}
	return nil
}

// quotesETags tells whether the container wants ETags as RFC 9110 has them.
func (q *request) quotesETags(ref core.Ref) (bool, error) {
	info, err := q.h.Core.Container(q.r.Context(), ref.Account, ref.Container, false)
	if errs.Is(err, errs.NotFound) {
		return false, nil // deleted in this very moment
	}
	return info.Meta[sysRFCEtags] == "true", err
}
