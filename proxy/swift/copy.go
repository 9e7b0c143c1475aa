package swift

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// parsePath reads the container/object of X-Copy-From and Destination.
func parsePath(header, name string) (container, object string, err error) {
	plain, err := url.PathUnescape(header)
	if err == nil {
		var ok bool
		container, object, ok = strings.Cut(strings.TrimPrefix(plain, "/"), "/")
		if ok && container != "" && object != "" && utf8.ValidString(plain) && strings.IndexByte(plain, 0) < 0 {
			return container, object, nil
		}
	}
	return "", "", text(http.StatusPreconditionFailed, "%s header must be of the form <container name>/<object name>", name)
}

// otherAccount reads X-Copy-From-Account and Destination-Account.
func (q *request) otherAccount(header string) (string, error) {
	v := q.r.Header.Get(header)
	if v == "" {
		return q.account, nil
	}
	if plain, err := url.PathUnescape(v); err == nil {
		v = plain
	}
	if strings.Contains(v, "/") {
		return "", text(http.StatusPreconditionFailed, "Account name cannot contain slashes")
	}
	return v, nil
}

// copyObject is COPY: the path names the source, Destination the new object.
func (q *request) copyObject() error {
	header := q.r.Header.Get("Destination")
	if header == "" {
		return text(http.StatusPreconditionFailed, "Destination header required")
	}
	container, object, err := parsePath(header, "Destination")
	if err != nil {
		return err
	}
	account, err := q.otherAccount("Destination-Account")
	if err != nil {
		return err
	}
	source := q.ref()
	q.account, q.container, q.object = account, container, object
	if len(object) > limits.ObjectNameBytesMax {
		return text(http.StatusBadRequest, "Object name length of %d longer than %d", len(object), limits.ObjectNameBytesMax)
	}
	if err := q.authorize(account, container, toWrite); err != nil {
		return err
	}
	return q.copyFrom(source)
}

// copyInto is PUT with X-Copy-From: the path names the new object.
func (q *request) copyInto() error {
	if q.r.ContentLength > 0 {
		return text(http.StatusBadRequest, "Copy requests require a zero byte body")
	}
	if q.chunked() {
		if _, err := io.ReadFull(q.wantBody(1), make([]byte, 1)); !errors.Is(err, io.EOF) {
			return text(http.StatusBadRequest, "Copy requests require a zero byte body")
		}
	}
	container, object, err := parsePath(q.r.Header.Get("X-Copy-From"), "X-Copy-From")
	if err != nil {
		return err
	}
	account, err := q.otherAccount("X-Copy-From-Account")
	if err != nil {
		return err
	}
	return q.copyFrom(core.Ref{Account: account, Container: container, Object: object})
}

// copyFrom writes the request's object out of the source, whose bytes go through this proxy once more. Conditions and ranges in the request are for the source.
func (q *request) copyFrom(source core.Ref) error {
	if err := q.authorize(source.Account, source.Container, toRead); err != nil {
		return err
	}
	manifest := q.query.Get("multipart-manifest") == "get"
	c, err := q.open(source, manifest, true)
	if err != nil {
		return err
	}
	info, err := q.copyContent(c, manifest)
	if err = errors.Join(err, c.close()); err != nil {
		return err
	}
	q.header("X-Copied-From", url.PathEscape(source.Container)+"/"+escapeName(source.Object))
	q.header("X-Copied-From-Account", source.Account)
	q.header("X-Copied-From-Last-Modified", c.info.Modified.UTC().Format(http.TimeFormat))
	for name, value := range info.Meta {
		q.header(name, value)
	}
	etag := info.ETag
	if info.Kind == peerapi.KindSLO {
		etag = `"` + etag + `"`
	}
	return q.created(info, etag)
}

// escapeName percent-encodes an object's name, slashes kept.
func escapeName(name string) string { return (&url.URL{Path: name}).EscapedPath() }

// copyContent writes the new object.
func (q *request) copyContent(c *content, manifest bool) (core.Info, error) {
	err := checkConditions(q.r, c.etag, c.info.Modified.UTC().Truncate(time.Second))
	var f *fault
	if errors.As(err, &f) && f.code == http.StatusNotModified {
		return core.Info{}, status(http.StatusPreconditionFailed) // a PUT has no 304
	}
	if err != nil {
		return core.Info{}, err
	}
	metadata, err := q.copiedMetadata(c, manifest)
	if err != nil {
		return core.Info{}, err
	}
	if c.manifest != nil { // the manifest itself is copied; its segments stay where they are
		if err := q.checkQuota(c.info.Size); err != nil {
			return core.Info{}, err
		}
		return q.h.Core.PutManifest(q.r.Context(), q.ref(), core.PutRequest{Metadata: metadata}, *c.manifest)
	}
	part := span{0, c.size}
	if ranges, ok := parseRange(q.r.Header.Get("Range")); ok {
		spans := place(ranges, c.size)
		if len(spans) != 1 {
			return core.Info{}, status(http.StatusRequestedRangeNotSatisfiable).with("Content-Range", "bytes */"+strconv.FormatInt(c.size, 10))
		}
		part = spans[0]
	}
	if part.length > limits.ObjectBytesMax {
		return core.Info{}, status(http.StatusRequestEntityTooLarge)
	}
	if err := q.checkQuota(part.length); err != nil {
		return core.Info{}, err
	}
	p := core.PutRequest{Size: part.length, Metadata: metadata, Body: strings.NewReader("")}
	if part.length > 0 {
		body, err := c.read(q.r.Context(), part.offset, part.length)
		if err != nil {
			return core.Info{}, c.broken(err)
		}
		p.Body = body
		info, err := q.h.Core.Put(q.r.Context(), q.ref(), p)
		return info, c.broken(errors.Join(err, body.Close()))
	}
	return q.h.Core.Put(q.r.Context(), q.ref(), p)
}

// copiedMetadata is the source's metadata with the request's over it; with X-Fresh-Metadata the request's alone.
func (q *request) copiedMetadata(c *content, manifest bool) (core.Metadata, error) {
	m, err := q.objectMetadata()
	if err != nil {
		return m, err
	}
	if m.ContentType == "" {
		m.ContentType = c.info.ContentType
	}
	if isTrue(q.r.Header.Get("X-Detect-Content-Type")) {
		m.ContentType = guessType(q.object)
	}
	if c.manifest != nil {
		m.Kind, m.ETag, m.System = peerapi.KindSLO, c.info.ETag, c.info.System
	}
	if isTrue(q.r.Header.Get("X-Fresh-Metadata")) {
		return m, nil
	}
	if m.DeleteAt == 0 {
		m.DeleteAt = c.info.DeleteAt
	}
	for name, value := range c.info.Meta {
		if _, set := m.Meta[name]; set || name == "x-object-manifest" && !manifest {
			continue
		}
		m.Meta[name] = value
	}
	if m.Meta["x-object-manifest"] != "" {
		m.Kind = peerapi.KindDLO
	}
	return m, nil
}
