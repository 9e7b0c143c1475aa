package core

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

const (
	manifestFormat = 1
	// nestingMax is how deep a large object may lie within large objects.
	nestingMax = 10
	// manifestBytesMax bounds a stored manifest: 10 000 segments with long names.
	manifestBytesMax = 32 << 20
)

// PutManifest writes a large object whose bytes are the segments'.
func (c *Core) PutManifest(ctx context.Context, ref Ref, p PutRequest, m Manifest) (Info, error) {
	w, err := c.begin(ctx, ref)
	if err != nil {
		return Info{}, err
	}
	if p.Check != nil {
		if err := c.early(ctx, ref, w, p.Check); err != nil {
			return Info{}, err
		}
	}
	if p.Metadata.Kind == peerapi.KindPlain {
		p.Metadata.Kind = peerapi.KindSLO
	}
	return c.putManifest(ctx, ref, w, p, m, "")
}

// putManifest commits a manifest; upload is that whose parts belong to the object alone, if any.
func (c *Core) putManifest(ctx context.Context, ref Ref, w *write, p PutRequest, m Manifest, upload string) (Info, error) {
	m.Format = manifestFormat
	var size int64
	for _, s := range m.Segments {
		if s.Length < 0 || s.Offset < 0 {
			return Info{}, errs.New(errs.Invalid, "a segment of %d bytes at %d", s.Length, s.Offset)
		}
		size += s.Length
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return Info{}, err
	}
	digest := c.hashes.sum(raw)
	if p.Finish != nil {
		if err := p.Finish(digest, size, &p.Metadata); err != nil {
			return Info{}, err
		}
	}
	rec := recordOf(w.r.key, size, digest, p.Metadata)
	rec.StoredSize, rec.Upload = int64(len(raw)), upload
	if len(raw) <= limits.InlineBytesMax {
		return c.commitPut(ctx, ref, w, rec, wholeBody(raw), p.Check)
	}
	return c.streamBytes(ctx, ref, w, rec, raw, p.Check)
}

// resolve turns an opened manifest into the object that it stands for.
func (c *Core) resolve(ctx context.Context, o *Object) error {
	src := o.source.(*plainSource)
	if src.record.StoredSize > manifestBytesMax {
		return errs.New(errs.Corrupt, "the manifest of %s has %d bytes", o.Info.Ref.Object, src.record.StoredSize)
	}
	r, err := src.read(ctx, 0, src.record.StoredSize)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	m := &Manifest{}
	if err := json.Unmarshal(raw, m); err != nil {
		return errs.New(errs.Corrupt, "decode the manifest of %s: %w", o.Info.Ref.Object, err)
	}
	if m.Format != manifestFormat {
		return errs.New(errs.Unsupported, "the manifest of %s has format %d", o.Info.Ref.Object, m.Format)
	}
	_ = src.close() // all was read
	o.Manifest = m
	o.source = &segments{core: c, manifest: m, depth: 1}
	return nil
}

// OpenManifest gives one stream over the segments.
func (c *Core) OpenManifest(_ context.Context, info Info, m Manifest) (*Object, error) {
	return &Object{Info: info, Manifest: &m, source: &segments{core: c, manifest: &m, depth: 1}}, nil
}

// segments gives the bytes of a large object.
type segments struct {
	core     *Core
	manifest *Manifest
	depth    int
}

func (s *segments) close() error { return nil }

func (s *segments) read(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	if s.depth > nestingMax {
		return nil, errs.New(errs.Conflict, "large objects lie more than %d deep in one another", nestingMax)
	}
	var plan []Segment
	for _, seg := range s.manifest.Segments {
		if length == 0 {
			break
		}
		if offset >= seg.Length {
			offset -= seg.Length
			continue
		}
		seg.Offset += offset
		seg.Length = min(seg.Length-offset, length)
		offset = 0
		length -= seg.Length
		plan = append(plan, seg)
	}
	if length > 0 {
		return nil, errs.New(errs.Invalid, "the range lies %d bytes beyond the end", length)
	}
	ctx, cancel := context.WithCancel(ctx)
	return &segmentReader{core: s.core, ctx: ctx, cancel: cancel, plan: plan, depth: s.depth}, nil
}

// segmentReader reads segment after segment. While one is read, the next is opened.
type segmentReader struct {
	core    *Core
	ctx     context.Context
	cancel  context.CancelFunc
	plan    []Segment // those to come
	depth   int
	body    io.ReadCloser
	left    int64 // of body
	name    string
	ahead   chan openedSegment // of plan[0], when it is being opened
	failure error
}

type openedSegment struct {
	body io.ReadCloser
	err  error
}

func (r *segmentReader) Read(p []byte) (int, error) {
	for r.failure == nil && r.left == 0 {
		if r.failure = r.next(); r.failure != nil {
			break
		}
	}
	if r.failure != nil {
		return 0, r.failure
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.body.Read(p)
	r.left -= int64(n)
	if err != nil && r.left > 0 {
		if errors.Is(err, io.EOF) {
			err = errs.New(errs.Conflict, "segment %s ends %d bytes early", r.name, r.left)
		}
		r.failure = err
		if n == 0 {
			return 0, err
		}
	}
	return n, nil
}

// next goes on to the next segment; io.EOF after the last.
func (r *segmentReader) next() error {
	if r.body != nil {
		_ = r.body.Close() // all that was wanted was read
		r.body = nil
	}
	if len(r.plan) == 0 {
		return io.EOF
	}
	var o openedSegment
	if r.ahead != nil {
		o = <-r.ahead
		r.ahead = nil
	} else {
		o.body, o.err = r.core.openSegment(r.ctx, r.plan[0], r.depth)
	}
	if o.err != nil {
		return o.err
	}
	seg := r.plan[0]
	r.body, r.left, r.name, r.plan = o.body, seg.Length, seg.Object, r.plan[1:]
	if len(r.plan) > 0 && r.plan[0].Data == nil {
		ahead, following := make(chan openedSegment, 1), r.plan[0]
		r.ahead = ahead
		r.core.spawn(func() {
			body, err := r.core.openSegment(r.ctx, following, r.depth)
			ahead <- openedSegment{body, err}
		})
	}
	return nil
}

func (r *segmentReader) Close() error {
	r.cancel()
	var err error
	if r.body != nil {
		err = r.body.Close()
		r.body = nil
	}
	if r.ahead != nil {
		if o := <-r.ahead; o.body != nil {
			_ = o.body.Close() // it was not read
		}
		r.ahead = nil
	}
	r.failure = io.EOF
	return err
}

// openSegment opens a segment's range. errs.Conflict when it is missing, or is not what the manifest says.
func (c *Core) openSegment(ctx context.Context, seg Segment, depth int) (io.ReadCloser, error) {
	if seg.Data != nil {
		if seg.Offset+seg.Length > int64(len(seg.Data)) {
			return nil, errs.New(errs.Conflict, "a segment's range lies beyond its data")
		}
		return io.NopCloser(bytes.NewReader(seg.Data[seg.Offset : seg.Offset+seg.Length])), nil
	}
	ref := Ref{seg.Account, seg.Container, seg.Object}
	if depth >= nestingMax && seg.SLO {
		return nil, errs.New(errs.Conflict, "large objects lie more than %d deep in one another", nestingMax)
	}
	o, err := c.Open(ctx, ref, OpenOptions{Raw: !seg.SLO})
	if errs.Is(err, errs.NotFound) {
		return nil, errs.New(errs.Conflict, "segment %s/%s is missing: %w", seg.Container, seg.Object, err)
	}
	if err != nil {
		return nil, err
	}
	if err := checkSegment(seg, o); err != nil {
		_ = o.Close() // nothing was written
		return nil, err
	}
	if inner, ok := o.source.(*segments); ok {
		inner.depth = depth + 1
	}
	body, err := o.Read(ctx, seg.Offset, seg.Length)
	if err != nil {
		_ = o.Close() // nothing was written
		return nil, err
	}
	return objectReader{body, o}, nil
}

func checkSegment(seg Segment, o *Object) error {
	switch {
	case seg.ETag != "" && seg.ETag != o.Info.ETag:
		return errs.New(errs.Conflict, "segment %s/%s has changed: its ETag is %s, not %s", seg.Container, seg.Object, o.Info.ETag, seg.ETag)
	case seg.Offset+seg.Length > o.Info.Size:
		return errs.New(errs.Conflict, "segment %s/%s has changed: it has %d bytes", seg.Container, seg.Object, o.Info.Size)
	}
	return nil
}

// objectReader closes the object with the reader.
type objectReader struct {
	io.ReadCloser
	object *Object
}

func (r objectReader) Close() error { return errors.Join(r.ReadCloser.Close(), r.object.Close()) }
