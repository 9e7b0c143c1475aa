package swift

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// sloDepthMax is how deep manifests may lie within manifests, as in Swift.
const sloDepthMax = 10

// showManifest makes c the manifest of a static large object, and not what it stands for.
func (c *content) showManifest(o *core.Object, raw bool) error {
	if o.Manifest == nil {
		return errs.New(errs.Corrupt, "the manifest of %s is not there", o.Info.Ref.Object)
	}
	return c.show(*o.Manifest, raw)
}

// show makes c a manifest as a client sees it.
func (c *content) show(m core.Manifest, raw bool) error {
	b, err := renderManifest(m, raw)
	if err != nil {
		return err
	}
	c.manifest, c.size, c.etag, c.ctype = &m, int64(len(b)), md5Hex(b), "application/json; charset=utf-8"
	c.read = func(_ context.Context, offset, length int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b[offset : offset+length])), nil
	}
	return nil
}

// authorizeSegments sees to it that who reads a large object may read its segments, too: a manifest in a public container opens no private one.
func (q *request) authorizeSegments(segments []core.Segment, depth int) error {
	if q.owner {
		return nil
	}
	if depth > sloDepthMax {
		return errs.New(errs.Conflict, "manifests lie more than %d deep", sloDepthMax)
	}
	asked := map[string]bool{q.container: true}
	for i := range segments {
		s := &segments[i]
		if s.Object == "" {
			continue
		}
		if !asked[s.Container] {
			if err := q.authorize(s.Account, s.Container, toRead); err != nil {
				return err
			}
			asked[s.Container] = true
		}
		if !s.SLO {
			continue
		}
		inner, err := q.innerManifest(s)
		if err != nil {
			return err
		}
		if err := q.authorizeSegments(inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// innerManifest gives the segments of a segment that is a static large object itself; none when it is not, or not any more.
func (q *request) innerManifest(s *core.Segment) ([]core.Segment, error) {
	o, err := q.h.Core.Open(q.r.Context(), core.Ref{Account: s.Account, Container: s.Container, Object: s.Object}, core.OpenOptions{})
	if errs.Is(err, errs.NotFound) {
		return nil, nil // reading will come to the same, and say so
	}
	if err != nil {
		return nil, err
	}
	var inner []core.Segment
	if o.Manifest != nil && o.Info.Kind == peerapi.KindSLO {
		inner = o.Manifest.Segments
	}
	return inner, o.Close()
}

// deleteSLO is DELETE ?multipart-manifest=delete: the segments, then the manifest. The answer is a bulk delete's.
func (q *request) deleteSLO() error {
	ctype, err := q.bulkType()
	if err != nil {
		return err
	}
	return q.withHeartbeat(http.StatusOK, ctype, func(ctx context.Context) string {
		r := bulkReport{ctype: ctype, root: "delete", status: http.StatusOK, counts: deleteCounts()}
		var names []string
		seen := make(map[string]bool)
		self := core.Segment{Account: q.account, Container: q.container, Object: q.object}
		err := q.collectSegments(ctx, &self, 0, seen, &names)
		if err != nil {
			f := q.toFault(err)
			r.status, r.body = f.code, f.body
			return r.render()
		}
		last := len(names) - 1
		q.deleteAll(ctx, names[:last], &r)
		if len(r.problems) == 0 { // with segments left, the manifest is what finds them again
			q.deleteAll(ctx, names[last:], &r)
		}
		return r.render()
	})
}

// collectSegments names what a static large object is made of, inner ones first, itself last.
func (q *request) collectSegments(ctx context.Context, s *core.Segment, depth int, seen map[string]bool, names *[]string) error {
	name := s.Container + "/" + s.Object
	if seen[name] {
		return nil
	}
	seen[name] = true
	o, err := q.h.Core.Open(ctx, core.Ref{Account: q.account, Container: s.Container, Object: s.Object}, core.OpenOptions{})
	switch {
	case errs.Is(err, errs.NotFound) && depth == 0:
		return text(http.StatusNotFound, "SLO manifest not found")
	case errs.Is(err, errs.NotFound):
		return nil
	case err != nil:
		return err
	}
	kind, man := o.Info.Kind, o.Manifest
	if err := o.Close(); err != nil {
		return err
	}
	if depth == 0 && kind != peerapi.KindSLO && kind != peerapi.KindMultipart {
		return text(http.StatusBadRequest, "Not an SLO manifest")
	}
	if depth > sloDepthMax {
		return errors.Join(status(http.StatusConflict), errs.New(errs.Conflict, "manifests lie more than %d deep", sloDepthMax))
	}
	if kind == peerapi.KindSLO && man != nil {
		for i := range man.Segments {
			inner := &man.Segments[i]
			switch {
			case inner.Object == "":
			case inner.SLO:
				if err := q.collectSegments(ctx, inner, depth+1, seen, names); err != nil {
					return err
				}
			case !seen[inner.Container+"/"+inner.Object]:
				seen[inner.Container+"/"+inner.Object] = true
				*names = append(*names, inner.Container+"/"+inner.Object)
			}
		}
	}
	*names = append(*names, name)
	return nil
}
