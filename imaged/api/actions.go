package api

import (
	"henge/cluster/state"
	"henge/imaged/model"
	"henge/internal/errs"
)

func deactivateImage(c *call) error { return c.move(model.Deactivated, "deactivate") }

func reactivateImage(c *call) error { return c.move(model.Active, "reactivate") }

// move switches an image off or on. Where it is already that, nothing happens.
func (c *call) move(to model.Status, action string) error {
	err := c.update(func(w state.Writer) error {
		image, err := model.FindOwn(w, c.path("image"), c.who)
		if err != nil {
			return err
		}
		if image.Status == to {
			return nil
		}
		if !image.HasData() || image.Move(to) != nil {
			return errs.New(errs.Denied, "Not allowed to %s image in status '%s'", action, image.Status)
		}
		image.Updated = c.Clock.Now().UTC()
		return model.Images.Put(w, image.ID, image)
	})
	if err != nil {
		return err
	}
	return c.none()
}

func addTag(c *call) error {
	tag := c.path("tag")
	if err := checkTag(tag); err != nil {
		return err
	}
	return c.changeTags(func(tags []string) ([]any, error) {
		return append(anyOf(tags), tag), nil
	})
}

func deleteTag(c *call) error {
	tag := c.path("tag")
	return c.changeTags(func(tags []string) ([]any, error) {
		var rest []string
		for _, t := range tags {
			if t != tag {
				rest = append(rest, t)
			}
		}
		if len(rest) == len(tags) {
			return nil, errs.New(errs.NotFound, "The tag '%s' is not on the image.", tag)
		}
		return anyOf(rest), nil
	})
}

func anyOf(tags []string) []any {
	all := make([]any, 0, len(tags)+1)
	for _, t := range tags {
		all = append(all, t)
	}
	return all
}

func (c *call) changeTags(change func([]string) ([]any, error)) error {
	err := c.update(func(w state.Writer) error {
		image, err := model.FindOwn(w, c.path("image"), c.who)
		if err != nil {
			return err
		}
		tags, err := change(image.Tags)
		if err != nil {
			return err
		}
		if err := setTags(tags, &image.Tags); err != nil {
			return err
		}
		image.Updated = c.Clock.Now().UTC()
		return model.Images.Put(w, image.ID, image)
	})
	if err != nil {
		return err
	}
	return c.none()
}
