package model

import (
	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/errs"
)

// Admin tells whether an identity rules over everybody's images.
func Admin(who *authn.Identity) bool { return who.HasRole("admin") }

// Writes tells whether an identity may make and change its project's images.
func Writes(who *authn.Identity) bool { return who.HasRole("admin", "manager", "member", "_member_") }

// Owns tells whether an image belongs to the project that an identity speaks for.
func (i *Image) Owns(who *authn.Identity) bool {
	return who.ProjectID != "" && i.Owner == who.ProjectID
}

// Seen tells whether an identity may see an image.
func Seen(r state.Reader, i *Image, who *authn.Identity) (bool, error) {
	if Admin(who) || i.Owns(who) || i.Visibility == Public || i.Visibility == Community {
		return true, nil
	}
	if i.Visibility != Shared || who.ProjectID == "" {
		return false, nil
	}
	_, there, err := Optional(Members.Get(r, MemberID(i.ID, who.ProjectID)))
	return there, err
}

// Find gives an image to one who may see it; errs.NotFound to others.
func Find(r state.Reader, id string, who *authn.Identity) (Image, error) {
	missing := errs.New(errs.NotFound, "Failed to find image %s", id)
	i, there, err := Optional(Images.Get(r, id))
	if err != nil {
		return i, err
	}
	if !there {
		return i, missing
	}
	seen, err := Seen(r, &i, who)
	if err != nil {
		return i, err
	}
	if !seen {
		return Image{}, missing
	}
	return i, nil
}

// FindOwn gives an image to one who may change it: errs.NotFound to those who do not see it, errs.Denied to those who only see it.
func FindOwn(r state.Reader, id string, who *authn.Identity) (Image, error) {
	i, err := Find(r, id, who)
	if err != nil {
		return i, err
	}
	if Admin(who) || i.Owns(who) && Writes(who) {
		return i, nil
	}
	return i, errs.New(errs.Denied, "You are not permitted to modify image %s: it belongs to another project, or your roles only let you read.", id)
}
