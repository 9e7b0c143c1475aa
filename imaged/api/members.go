package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/internal/openstack"
)

var memberStatuses = []string{"pending", "accepted", "rejected"}

func memberDocument(m model.Member) document {
	return document{"member_id": m.Project, "image_id": m.ImageID, "status": m.Status, "created_at": stamp(m.Created), "updated_at": stamp(m.Updated),
		"schema": "/v2/schemas/member"}
}

// owns tells whether the caller sees all members of an image, and not only himself.
func (c *call) owns(i *model.Image) bool { return model.Admin(c.who) || i.Owns(c.who) }

// sharing finds an image that has members.
func (c *call) sharing(r state.Reader) (model.Image, error) {
	image, err := model.Find(r, c.path("image"), c.who)
	if err == nil && image.Visibility != model.Shared {
		return image, errs.New(errs.Denied, "Only shared images have members.")
	}
	return image, err
}

func listMembers(c *call) error {
	list := []document{}
	err := c.view(func(r state.Reader) error {
		image, err := c.sharing(r)
		if err != nil {
			return err
		}
		members, err := model.MembersOf(r, image.ID)
		for _, m := range members {
			if c.owns(&image) || m.Project == c.who.ProjectID {
				list = append(list, memberDocument(m))
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"members": list, "schema": "/v2/schemas/members"})
}

// member finds one member of an image for a caller who may see it.
func (c *call) member(r state.Reader, image *model.Image, project string) (model.Member, error) {
	missing := errs.New(errs.NotFound, "%s not found in the member list of the image %s.", project, image.ID)
	if !c.owns(image) && project != c.who.ProjectID {
		return model.Member{}, missing
	}
	m, there, err := model.Optional(model.Members.Get(r, model.MemberID(image.ID, project)))
	if err == nil && !there {
		err = missing
	}
	return m, err
}

func showMember(c *call) error {
	var m model.Member
	err := c.view(func(r state.Reader) error {
		image, err := c.sharing(r)
		if err == nil {
			m, err = c.member(r, &image, c.path("member"))
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, memberDocument(m))
}

// field takes the one string field that the bodies of members have.
func (c *call) field(name string) (string, error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return "", err
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return "", errs.New(errs.Invalid, "The request body must be a JSON object.")
	}
	var text string
	if json.Unmarshal(fields[name], &text) != nil || text == "" {
		return "", errs.New(errs.Invalid, "Expected a %s in the form: {\"%s\": \"...\"}", name, name)
	}
	return text, nil
}

func createMember(c *call) error {
	project, err := c.field("member")
	if err != nil {
		return err
	}
	if len(project) > limits.ImageNameCharsMax || strings.ContainsAny(project, "/\x00") {
		return errs.New(errs.Invalid, "A member is the id of a project.")
	}
	now := c.Clock.Now().UTC()
	m := model.Member{ImageID: c.path("image"), Project: project, Status: "pending", Created: now, Updated: now}
	err = c.update(func(w state.Writer) error {
		image, err := c.sharing(w)
		if err != nil {
			return err
		}
		if _, err := model.FindOwn(w, image.ID, c.who); err != nil {
			return err
		}
		members, err := model.MembersOf(w, image.ID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(members, func(m model.Member) bool { return m.Project == project }) {
			return errs.New(errs.Exists, "Member %s is duplicated for image %s", project, image.ID)
		}
		if len(members) >= limits.ImageMembersMax {
			return tooMany("members", len(members)+1, limits.ImageMembersMax)
		}
		return model.Members.Put(w, model.MemberID(image.ID, project), m)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, memberDocument(m))
}

// updateMember is how the one with whom an image is shared says whether he wants it in his lists.
func updateMember(c *call) error {
	status, err := c.field("status")
	if err != nil {
		return err
	}
	if !slices.Contains(memberStatuses, status) {
		return errs.New(errs.Invalid, "The status %.40q is not one of %s.", status, strings.Join(memberStatuses, ", "))
	}
	var m model.Member
	err = c.update(func(w state.Writer) error {
		image, err := c.sharing(w)
		if err != nil {
			return err
		}
		if m, err = c.member(w, &image, c.path("member")); err != nil {
			return err
		}
		if !model.Admin(c.who) && (m.Project != c.who.ProjectID || !model.Writes(c.who)) {
			return errs.New(errs.Denied, "Only the member itself can set its status.")
		}
		m.Status, m.Updated = status, c.Clock.Now().UTC()
		return model.Members.Put(w, model.MemberID(image.ID, m.Project), m)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, memberDocument(m))
}

func deleteMember(c *call) error {
	err := c.update(func(w state.Writer) error {
		image, err := c.sharing(w)
		if err != nil {
			return err
		}
		if _, err := model.FindOwn(w, image.ID, c.who); err != nil {
			return err
		}
		m, err := c.member(w, &image, c.path("member"))
		if err != nil {
			return err
		}
		return model.Members.Delete(w, model.MemberID(image.ID, m.Project))
	})
	if err != nil {
		return err
	}
	return c.none()
}
