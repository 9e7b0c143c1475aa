package swift

import (
	"net/http"

	"henge/proxy/core"
)

// parseObjectManifest reads an X-Object-Manifest.
func parseObjectManifest(v string) (container string, err error) {
	container, _, ok := core.ParseObjectManifest(v)
	if !ok {
		return "", text(http.StatusBadRequest, "X-Object-Manifest must be in the format container/prefix")
	}
	return container, nil
}

// openDLO makes c the objects whose names begin with the manifest's prefix, one after the other.
func (q *request) openDLO(c *content) error {
	container, err := parseObjectManifest(c.info.Meta[core.ObjectManifest])
	if err != nil {
		return err
	}
	if container != q.container {
		if err := q.authorize(c.info.Ref.Account, container, toRead); err != nil {
			return err
		}
	}
	info, manifest, err := core.Dynamic(q.r.Context(), q.h.Core, c.info)
	if err != nil {
		return err
	}
	c.size, c.etag, c.large = info.Size, info.ETag, true
	if q.r.Method == http.MethodHead {
		return nil
	}
	whole, err := q.h.Core.OpenManifest(q.r.Context(), info, manifest)
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
