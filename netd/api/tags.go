package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"henge/cluster/state"
	"henge/internal/openstack"
	"henge/netd/fault"
)

// bindTags serves a resource's tags.
func bindTags[T any, P standard[T]](s *Server, x resource[T, P]) {
	at := "/v2.0/" + x.path + "/{id}/tags"
	s.mux.Handle("GET "+at, s.authed(func(c *call) error {
		return c.view(func(r state.Reader) error {
			row, err := x.fetch(c, r, c.r.PathValue("id"))
			if err != nil {
				return err
			}
			return c.json(http.StatusOK, document{"tags": orEmpty(x.common(&row).Tags)})
		})
	}))
	s.mux.Handle("PUT "+at, s.authed(func(c *call) error {
		tags, err := readTags(c)
		if err != nil {
			return err
		}
		if err := x.retag(c, func([]string) ([]string, error) { return tags, nil }); err != nil {
			return err
		}
		return c.json(http.StatusOK, document{"tags": tags})
	}))
	s.mux.Handle("DELETE "+at, s.authed(func(c *call) error {
		if err := x.retag(c, func([]string) ([]string, error) { return nil, nil }); err != nil {
			return err
		}
		return c.none()
	}))
	s.mux.Handle("GET "+at+"/{tag}", s.authed(func(c *call) error {
		return c.view(func(r state.Reader) error {
			row, err := x.fetch(c, r, c.r.PathValue("id"))
			if err != nil {
				return err
			}
			if !slices.Contains(x.common(&row).Tags, c.r.PathValue("tag")) {
				return noTag(c)
			}
			return c.none()
		})
	}))
	s.mux.Handle("PUT "+at+"/{tag}", s.authed(x.addTag))
	s.mux.Handle("DELETE "+at+"/{tag}", s.authed(x.dropTag))
}

func noTag(c *call) error {
	return fault.NotFound("TagNotFound", "Tag %s could not be found.", brief([]byte(c.r.PathValue("tag"))))
}

func (x resource[T, P]) addTag(c *call) error {
	tag := c.r.PathValue("tag")
	err := x.retag(c, func(tags []string) ([]string, error) {
		if !slices.Contains(tags, tag) {
			tags = append(slices.Clone(tags), tag)
		}
		return tags, checkTags(tags)
	})
	if err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (x resource[T, P]) dropTag(c *call) error {
	tag := c.r.PathValue("tag")
	err := x.retag(c, func(tags []string) ([]string, error) {
		at := slices.Index(tags, tag)
		if at < 0 {
			return nil, noTag(c)
		}
		return slices.Delete(slices.Clone(tags), at, at+1), nil
	})
	if err != nil {
		return err
	}
	return c.none()
}

// retag changes the tags of the row that the path names.
func (x resource[T, P]) retag(c *call, fn func([]string) ([]string, error)) error {
	return c.change(func(w state.Writer) error {
		row, err := x.fetchOwn(c, w, c.r.PathValue("id"), "update")
		if err != nil {
			return err
		}
		s := x.common(&row)
		tags, err := fn(s.Tags)
		if err != nil {
			return err
		}
		slices.Sort(tags)
		s.Tags = tags
		s.Revision++
		s.UpdatedAt = c.Clock.Now().UTC()
		return x.table.Put(w, s.ID, row)
	})
}

func readTags(c *call) ([]string, error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(raw, &body); err != nil || body.Tags == nil {
		return nil, fault.Invalid("Invalid tags body")
	}
	slices.Sort(body.Tags)
	tags := slices.Compact(body.Tags)
	return tags, checkTags(tags)
}

func checkTags(tags []string) error {
	if len(tags) > tagsMax {
		return fault.BadBody("%d tags; a resource has at most %d.", len(tags), tagsMax)
	}
	for _, tag := range tags {
		if n := utf8.RuneCountInString(tag); n == 0 || n > tagMax || strings.ContainsAny(tag, "/,\x00") {
			return fault.BadBody("'%s' is not a tag: 1 to %d characters, without comma or slash.", brief([]byte(tag)), tagMax)
		}
	}
	return nil
}
