package coretest

import (
	"cmp"
	"errors"
	"io"
	"strings"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

func listings(c *contract) {
	c.container("c")
	for _, name := range []string{"a", "b/", "b/1", "b/2/x", "b/2/y", "c--d", "c--e", "d"} {
		c.put(ref("c", name), "x", core.Metadata{ContentType: "a/b"})
	}
	c.put(ref("c", "deleted"), "x", core.Metadata{})
	c.must(c.s.Delete(c.ctx, ref("c", "deleted"), nil))
	for want, o := range map[string]core.ListOptions{
		"a b/ b/1 b/2/x b/2/y c--d c--e d":  {},
		"b/1 b/2/x":                         {Marker: "b/", Limit: 2},
		"b/2/x b/2/y":                       {Prefix: "b/2"},
		"b/2/y c--d":                        {Marker: "b/2/x", EndMarker: "c--e"},
		"a b/ c--d c--e d":                  {Delimiter: "/"},
		"b/ b/1 b/2/":                       {Delimiter: "/", Prefix: "b/"},
		"a b/ b/1 b/2/x b/2/y c-- d":        {Delimiter: "--"},
		"c--d c--e d":                       {Delimiter: "/", Marker: "b/"},
		"d c--e":                            {Reverse: true, Limit: 2},
		"b/ a":                              {Reverse: true, Delimiter: "/", Marker: "c--d"},
		"c--d b/2/y":                        {Reverse: true, Marker: "c--e", EndMarker: "b/2/x"},
		"":                                  {Prefix: "zzz"},
		"d c--e c--d b/2/y b/2/x b/1 b/ a ": {Reverse: true},
	} {
		whole := o
		whole.Limit = cmp.Or(o.Limit, 100)
		page, err := c.s.ListObjects(c.ctx, testAccount, "c", whole)
		c.must(err)
		c.wants("page", names(page.Entries), strings.TrimSpace(want))
		if o.Limit != 0 {
			c.wants("More", page.More, true)
			continue
		}
		// Page by page it is the same.
		var all []core.Entry
		for step := o; ; step.Marker = page.Next {
			step.Limit = 1
			page, err = c.s.ListObjects(c.ctx, testAccount, "c", step)
			c.must(err)
			if all = append(all, page.Entries...); !page.More || len(all) > 20 {
				break
			}
		}
		c.wants("pages together", names(all), strings.TrimSpace(want))
	}
	page, err := c.s.ListObjects(c.ctx, testAccount, "c", core.ListOptions{Limit: 1})
	c.must(err)
	row := page.Entries[0].Row
	c.wants("row", []any{row.Name, row.Size, row.ETag, row.ContentType, row.Timestamp != 0}, []any{"a", 1, sum("x"), "a/b", true})
	c.container("d")
	page, err = c.s.ListContainers(c.ctx, testAccount, core.ListOptions{Limit: 10})
	c.must(err)
	c.wants("containers", names(page.Entries), "c d")
}

func names(entries []core.Entry) string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Folder+e.Name) // one of them is empty
	}
	return strings.Join(out, " ")
}

// segmentOf refers to length bytes from offset of an object that is there.
func (c *contract) segmentOf(r core.Ref, offset, length int64) core.Segment {
	c.Helper()
	o, err := c.s.Open(c.ctx, r, core.OpenOptions{HeadOnly: true})
	c.must(err)
	c.must(o.Close())
	return core.Segment{Account: r.Account, Container: r.Container, Object: r.Object, ETag: o.Info.ETag, Size: o.Info.Size, Offset: offset, Length: length,
		SLO: o.Info.Kind == peerapi.KindSLO || o.Info.Kind == peerapi.KindMultipart}
}

func (c *contract) readRange(o *core.Object, offset, length int64) (string, error) {
	body, err := o.Read(c.ctx, offset, length)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(body)
	return string(b), errors.Join(err, body.Close())
}

func manifests(c *contract) {
	c.container("c")
	c.put(ref("c", "1"), "0123456789", core.Metadata{})
	c.put(ref("c", "2"), "abc", core.Metadata{})
	man := core.Manifest{Segments: []core.Segment{c.segmentOf(ref("c", "1"), 2, 3), {Data: []byte("--"), Size: 2, Length: 2}, c.segmentOf(ref("c", "2"), 0, 3)}}
	info, err := c.s.PutManifest(c.ctx, ref("c", "big"), core.PutRequest{Metadata: core.Metadata{ETag: "etag", Kind: peerapi.KindSLO, ContentType: "a/b"}}, man)
	c.must(err)
	c.wants("info", []any{info.Size, info.ETag, info.Kind}, []any{8, "etag", peerapi.KindSLO})
	_, body := c.get(ref("c", "big"))
	c.wants("body", body, "234--abc")
	o, err := c.s.Open(c.ctx, ref("c", "big"), core.OpenOptions{})
	c.must(err)
	c.wants("segments", len(o.Manifest.Segments), 3)
	part, err := c.readRange(o, 1, 6)
	c.must(err)
	c.wants("a range", part, "34--ab")
	c.must(o.Close())
	nested := core.Manifest{Segments: []core.Segment{c.segmentOf(ref("c", "big"), 1, 5), c.segmentOf(ref("c", "2"), 1, 1)}}
	_, err = c.s.PutManifest(c.ctx, ref("c", "nested"), core.PutRequest{Metadata: core.Metadata{ETag: "e", Kind: peerapi.KindSLO}}, nested)
	c.must(err)
	_, body = c.get(ref("c", "nested"))
	c.wants("nested body", body, "34--ab")
	page, err := c.s.ListObjects(c.ctx, testAccount, "c", core.ListOptions{Prefix: "big", Limit: 1})
	c.must(err)
	row := page.Entries[0].Row
	c.wants("row", []any{row.Size, row.ETag, row.Kind}, []any{8, "etag", peerapi.KindSLO})
	virtual, err := c.s.OpenManifest(c.ctx, core.Info{Ref: ref("c", "dlo"), Size: 13}, core.Manifest{Segments: []core.Segment{
		c.segmentOf(ref("c", "2"), 0, 3), c.segmentOf(ref("c", "1"), 0, 10)}})
	c.must(err)
	part, err = c.readRange(virtual, 2, 4)
	c.must(err)
	c.wants("a range of a virtual object", part, "c012")
	c.must(virtual.Close())
	// Reading stops where a segment has changed.
	c.put(ref("c", "2"), "new", core.Metadata{})
	o, err = c.s.Open(c.ctx, ref("c", "big"), core.OpenOptions{})
	c.must(err)
	_, err = c.readRange(o, 0, 8)
	c.kind(err, errs.Conflict)
	c.must(o.Close())
}

func uploads(c *contract) {
	c.container("c")
	r := ref("c", "big")
	up, err := c.s.CreateUpload(c.ctx, r, core.Metadata{ContentType: "a/b", Meta: map[string]string{"x-object-meta-a": "1"}})
	c.must(err)
	found, err := c.s.FindUpload(c.ctx, r, up.ID)
	c.must(err)
	c.wants("what was said of it", []any{found.ID, found.Metadata.ContentType, found.Metadata.Meta}, []any{up.ID, "a/b", "map[x-object-meta-a:1]"})
	_, err = c.s.FindUpload(c.ctx, r, "nonsense")
	c.kind(err, errs.NotFound)
	var parts []core.Part
	for n, s := range []string{"overwritten", "hello ", "world"} {
		p, err := c.s.PutPart(c.ctx, r, up.ID, max(n, 1), core.PutRequest{Body: strings.NewReader(s), Size: int64(len(s))})
		c.must(err)
		c.wants("part", []any{p.Number, p.Size, p.ETag}, []any{max(n, 1), len(s), sum(s)})
		parts = append(parts, p)
	}
	listed, more, err := c.s.ListParts(c.ctx, r, up.ID, 0, 1)
	c.must(err)
	c.wants("parts", []any{len(listed), more, listed[0].ETag}, []any{1, true, sum("hello ")})
	_, err = c.s.Open(c.ctx, r, core.OpenOptions{})
	c.kind(err, errs.NotFound)
	under, err := c.s.ListUploads(c.ctx, testAccount, "c", core.ListUploadsOptions{Limit: 10})
	c.must(err)
	c.wants("uploads", []any{len(under.Uploads), under.Uploads[0].ID}, []any{1, up.ID})
	complete := core.CompleteUpload{Parts: parts[1:], Metadata: found.Metadata}
	complete.Metadata.ETag = "etag-2"
	for range 2 { // again gives the same
		info, err := c.s.CompleteUpload(c.ctx, r, up.ID, complete)
		c.must(err)
		c.wants("info", []any{info.Size, info.ETag, info.Kind}, []any{11, "etag-2", peerapi.KindMultipart})
	}
	info, body := c.get(r)
	c.wants("object", []any{body, info.ContentType, info.Kind, info.Upload}, []any{"hello world", "a/b", peerapi.KindMultipart, up.ID})
	second, err := c.s.CreateUpload(c.ctx, r, core.Metadata{})
	c.must(err)
	c.must(c.s.AbortUpload(c.ctx, r, second.ID))
	_, err = c.s.PutPart(c.ctx, r, second.ID, 1, core.PutRequest{Body: strings.NewReader("x"), Size: 1})
	c.kind(err, errs.NotFound)
}
