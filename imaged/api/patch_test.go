package api

import (
	"testing"

	"henge/imaged/model"
	"henge/internal/errs"
)

// Whatever a patch is, it is refused in the API's own words, or leaves an image that keeps the rules.
func FuzzPatch(f *testing.F) {
	f.Add([]byte(`[{"op": "replace", "path": "/name", "value": "x"}]`), false)
	f.Add([]byte(`[{"op": "add", "path": "/a~1b", "value": "x"}, {"op": "remove", "path": "/a~1b"}]`), false)
	f.Add([]byte(`[{"replace": "/tags", "value": ["a", "b"]}]`), true)
	f.Add([]byte(`[{"op": "replace", "path": "/min_disk", "value": 1e400}]`), false)
	f.Fuzz(func(t *testing.T, raw []byte, old bool) {
		changes, err := parsePatch(raw, old)
		name := "n"
		image := model.Image{ID: "i", Name: &name, Owner: "p", Status: model.Queued, Visibility: model.Private, Properties: map[string]*string{"a": &name}}
		for _, c := range changes {
			if err == nil {
				err = c.apply(setter{who: nil, image: &image})
			}
		}
		if err != nil {
			if k := errs.KindOf(err); k == errs.Internal {
				t.Fatalf("%v is nobody's fault", err)
			}
			return
		}
		if image.ID != "i" || image.Owner != "p" || image.Status != model.Queued || image.Visibility == model.Public || image.MinDisk < 0 || image.Data != nil {
			t.Fatalf("%s made %+v", raw, image)
		}
	})
}

// A range that is understood lies in order.
func FuzzParseRange(f *testing.F) {
	for _, text := range []string{"bytes=0-1", "bytes=-5", "bytes=9-", "bytes=99999999999999999999-", "bytes=--1"} {
		f.Add(text, int64(100))
	}
	f.Fuzz(func(t *testing.T, text string, size int64) {
		if size < 0 {
			return
		}
		from, to, ok := parseRange(text, size)
		if ok && (from < 0 || to >= size && from < size) {
			t.Fatalf("%q of %d is %d-%d", text, size, from, to)
		}
	})
}
