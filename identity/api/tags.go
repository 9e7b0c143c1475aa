package api

import (
	"net/http"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// tagsMax is how many tags a project has at most, as in Keystone.
const tagsMax = 80

func tagRule() openstack.Text { return openstack.Text{MinLength: 1} }

func checkTags(f *openstack.Fields, tags []string) {
	for i, tag := range tags {
		switch {
		case strings.ContainsAny(tag, "/,"):
			f.Fail("tags", "'%s' holds a slash or a comma", tag)
		case slices.Contains(tags[:i], tag):
			f.Fail("tags", "'%s' is there twice", tag)
		}
	}
}

// changeTags runs a change of a project's tags.
func (c *call) changeTags(change func(tags []string) ([]string, error)) (model.Project, error) {
	var project model.Project
	err := c.update(func(w state.Writer) error {
		old, err := fetch(c, w, model.Projects, "project", c.path("project"), c.managesProject)
		if err != nil {
			return err
		}
		if err := mutable("project", old.ID, old.Options, nil); err != nil {
			return err
		}
		project = old
		if project.Tags, err = change(slices.Clone(old.Tags)); err != nil {
			return err
		}
		return model.Projects.Put(w, project.ID, project)
	})
	return project, err
}

func (c *call) tagsOf() ([]string, error) {
	tags := []string{}
	err := c.view(func(r state.Reader) error {
		project, err := fetch(c, r, model.Projects, "project", c.path("project"), c.seesProject)
		tags = append(tags, project.Tags...)
		return err
	})
	return tags, err
}

func listTags(c *call) error {
	tags, err := c.tagsOf()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"tags": tags, "links": document{"self": c.link("projects", c.path("project"), "tags"), "next": nil, "previous": nil}})
}

func replaceTags(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	tags := []string{}
	f.Require("tags")
	f.Texts("tags", &tags, tagRule(), tagsMax)
	checkTags(f, tags)
	f.Drop("links")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if _, err := c.changeTags(func([]string) ([]string, error) { return tags, nil }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"tags": tags, "links": document{"self": c.link("projects", c.path("project"), "tags"), "next": nil, "previous": nil}})
}

func deleteTags(c *call) error {
	if _, err := c.changeTags(func([]string) ([]string, error) { return nil, nil }); err != nil {
		return err
	}
	return c.none()
}

func checkTag(c *call) error {
	tags, err := c.tagsOf()
	if err == nil && !slices.Contains(tags, c.path("tag")) {
		err = missing("project tag", c.path("tag"))
	}
	if err != nil {
		return err
	}
	return c.none()
}

func addTag(c *call) error {
	tag := c.path("tag")
	if strings.Contains(tag, ",") || len(tag) > 255 {
		return errs.New(errs.Invalid, "Invalid input for field 'tags': a tag has at most 255 characters and no comma")
	}
	_, err := c.changeTags(func(tags []string) ([]string, error) {
		switch {
		case slices.Contains(tags, tag):
			return tags, nil
		case len(tags) >= tagsMax:
			return nil, errs.New(errs.Invalid, "A project has at most %d tags.", tagsMax)
		}
		return append(tags, tag), nil
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.link("projects", c.path("project"), "tags", tag))
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func deleteTag(c *call) error {
	_, err := c.changeTags(func(tags []string) ([]string, error) {
		i := slices.Index(tags, c.path("tag"))
		if i < 0 {
			return nil, missing("project tag", c.path("tag"))
		}
		return slices.Delete(tags, i, i+1), nil
	})
	if err != nil {
		return err
	}
	return c.none()
}
