package swift

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// dloSegmentsMax bounds the segments of a dynamic large object: its size and ETag are known only when all are listed.
const dloSegmentsMax = 10 * limits.ListingMax

// parseObjectManifest reads an X-Object-Manifest: container/prefix, URL-encoded.
func parseObjectManifest(v string) (container, prefix string, err error) {
	if plain, uerr := url.PathUnescape(v); uerr == nil {
		v = plain
	}
	container, prefix, _ = strings.Cut(v, "/")
	if container == "" || prefix == "" || strings.ContainsAny(v, "?&\x00") || strings.HasPrefix(prefix, "/") {
		return "", "", text(http.StatusBadRequest, "X-Object-Manifest must be in the format container/prefix")
	}
	return container, prefix, nil
}

// openDLO makes c the objects whose names begin with the manifest's prefix, one after the other.
func (q *request) openDLO(c *content) error {
	container, prefix, err := parseObjectManifest(c.info.Meta["x-object-manifest"])
	if err != nil {
		return err
	}
	if container != q.container {
		if err := q.authorize(c.info.Ref.Account, container, toRead); err != nil {
			return err
		}
	}
	man := core.Manifest{Format: 1}
	options := core.ListOptions{Prefix: prefix, Limit: limits.ListingMax}
	sum := md5.New()
	c.size = 0
	for {
		page, err := q.h.Core.ListObjects(q.r.Context(), c.info.Ref.Account, container, options)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			_, _ = io.WriteString(sum, e.ETag)
			if e.Size == 0 {
				continue
			}
			man.Segments = append(man.Segments, core.Segment{Account: c.info.Ref.Account, Container: container, Object: e.Name, ETag: e.ETag,
				Size: e.Size, Length: e.Size, SLO: e.Kind == peerapi.KindSLO || e.Kind == peerapi.KindMultipart})
			c.size += e.Size
		}
		if len(man.Segments) > dloSegmentsMax {
			return errs.New(errs.Conflict, "more than %d segments begin with %s/%s", dloSegmentsMax, container, prefix)
		}
		if !page.More {
			break
		}
		options.Marker = page.Next
	}
	c.etag, c.large = hex.EncodeToString(sum.Sum(nil)), true
	if q.r.Method == http.MethodHead {
		return nil
	}
	whole, err := q.h.Core.OpenManifest(q.r.Context(), c.info, man)
	if err != nil {
		return c.broken(err)
	}
	first := c.close
	c.read = whole.Read
	c.close = func() error { return closeBoth(whole.Close, first) }
	return nil
}

// closeBoth closes a and then b, and gives the first error.
func closeBoth(a, b func() error) error {
	err := a()
	if berr := b(); err == nil {
		err = berr
	}
	return err
}
