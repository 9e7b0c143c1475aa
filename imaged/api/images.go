package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// mayWrite turns away those whose roles only read.
func (c *call) mayWrite(action string) error {
	if model.Writes(c.who) {
		return nil
	}
	return errs.New(errs.Denied, "You are not authorized to complete %s action.", action)
}

func createImage(c *call) error {
	if err := c.mayWrite("add_image"); err != nil {
		return err
	}
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := number(raw, &fields); err != nil || fields == nil {
		return errs.New(errs.Invalid, "The request body must be a JSON object.")
	}
	draft := model.Image{Visibility: model.Shared, Owner: c.who.ProjectID}
	if err := c.fill(&draft, fields); err != nil {
		return err
	}
	image, err := c.Library.Create(c.context(), c.who, draft)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.PublicURL(c.r)+"/v2/images/"+image.ID)
	c.w.Header().Set("OpenStack-image-import-methods", strings.Join(c.Library.ImportMethods(), ","))
	return c.json(http.StatusCreated, imageDocument(image))
}

// fill takes a new image's fields, in a fixed order so that the same body always fails with the same message.
func (c *call) fill(draft *model.Image, fields map[string]any) error {
	s := setter{c.who, draft}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "id" {
			id, ok := fields[name].(string)
			if !ok || !uuidPattern.MatchString(id) {
				return mismatch("id", "%s is not a UUID", shown(fields[name]))
			}
			draft.ID = strings.ToLower(id)
			continue
		}
		if err := s.set(name, fields[name]); err != nil {
			return err
		}
	}
	return nil
}

func showImage(c *call) error {
	image, err := c.Library.Find(c.context(), c.who, c.path("image"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, imageDocument(image))
}

func deleteImage(c *call) error {
	if err := c.Library.Delete(c.context(), c.who, c.path("image")); err != nil {
		return err
	}
	return c.none()
}
