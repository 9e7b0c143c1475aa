package core

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"net/url"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// DynamicSegmentsMax bounds the segments of a dynamic large object: its size and ETag are known only when all are listed.
const DynamicSegmentsMax = 10 * limits.ListingMax

// ObjectManifest is the header that makes an object a dynamic large one, as Metadata.Meta names it.
const ObjectManifest = "x-object-manifest"

// ParseObjectManifest reads an X-Object-Manifest: container/prefix, URL-encoded. ok is false when it is not of that form.
func ParseObjectManifest(v string) (container, prefix string, ok bool) {
	if plain, err := url.PathUnescape(v); err == nil {
		v = plain
	}
	container, prefix, _ = strings.Cut(v, "/")
	if container == "" || prefix == "" || strings.ContainsAny(v, "?&\x00") || strings.HasPrefix(prefix, "/") {
		return "", "", false
	}
	return container, prefix, true
}

// Dynamic lists what the dynamic large object info stands for: the objects whose names begin with its manifest's prefix, in the order of their names. The Info is
// that of the whole: its Size is theirs together, its ETag the MD5 of their ETags, as Swift has it. Both are for OpenManifest. errs.NotFound when the segments'
// container is not there; errs.Conflict when there are too many.
func Dynamic(ctx context.Context, s Service, info Info) (Info, Manifest, error) {
	m := Manifest{Format: 1}
	container, prefix, ok := ParseObjectManifest(info.Meta[ObjectManifest])
	if !ok {
		return info, m, errs.New(errs.Corrupt, "the manifest %q is not container/prefix", info.Meta[ObjectManifest])
	}
	account := info.Ref.Account
	o := ListOptions{Prefix: prefix, Limit: limits.ListingMax}
	sum := md5.New()
	info.Size = 0
	for {
		page, err := s.ListObjects(ctx, account, container, o)
		if err != nil {
			return info, m, err
		}
		for _, e := range page.Entries {
			_, _ = io.WriteString(sum, e.ETag) // a hash never fails
			if e.Size == 0 {
				continue
			}
			m.Segments = append(m.Segments, Segment{Account: account, Container: container, Object: e.Name, ETag: e.ETag,
				Size: e.Size, Length: e.Size, SLO: e.Kind == peerapi.KindSLO || e.Kind == peerapi.KindMultipart})
			info.Size += e.Size
		}
		if len(m.Segments) > DynamicSegmentsMax {
			return info, m, errs.New(errs.Conflict, "more than %d segments begin with %s/%s", DynamicSegmentsMax, container, prefix)
		}
		if !page.More {
			break
		}
		o.Marker = page.Next
	}
	info.ETag = hex.EncodeToString(sum.Sum(nil))
	return info, m, nil
}
