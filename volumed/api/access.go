package api

import (
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/volumed/model"
)

// The rights, as Cinder's default policies have them.

func (c *call) isAdmin() bool { return c.who.HasRole("admin") }

func (c *call) admin() error {
	if !c.isAdmin() {
		return errs.New(errs.Denied, "Policy doesn't allow this action to be performed: it takes the role admin.")
	}
	return nil
}

// reads is for whoever may look.
func (c *call) reads() error {
	if !c.who.HasRole("reader", "member", "admin") {
		return errs.New(errs.Denied, "Policy doesn't allow this action to be performed: it takes the role reader, member or admin.")
	}
	return nil
}

// writes is for whoever may change something of the project.
func (c *call) writes() error {
	if !c.who.HasRole("member", "admin") {
		return errs.New(errs.Denied, "Policy doesn't allow this action to be performed: it takes the role member or admin.")
	}
	return nil
}

// owns tells whether a project's things are the caller's.
func (c *call) owns(projectID string) bool { return c.isAdmin() || c.who.ProjectID == projectID }

// volume finds a volume of the caller: to others it is not there.
func (c *call) volume(r state.Reader, id string) (model.Volume, error) {
	v, err := model.Volumes.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && !c.owns(v.ProjectID) {
		return v, errs.New(errs.NotFound, "Volume %s could not be found.", id)
	}
	return v, err
}

func (c *call) snapshot(r state.Reader, id string) (model.Snapshot, error) {
	s, err := model.Snapshots.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && !c.owns(s.ProjectID) {
		return s, errs.New(errs.NotFound, "Snapshot %s could not be found.", id)
	}
	return s, err
}

func (c *call) attachment(r state.Reader, id string) (model.Attachment, error) {
	a, err := model.Attachments.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && !c.owns(a.ProjectID) {
		return a, errs.New(errs.NotFound, "Volume attachment could not be found with filter: attachment_id = %s.", id)
	}
	return a, err
}

// usable tells whether a project may make volumes of a type.
func (c *call) usable(t model.Type) bool {
	if t.Public || c.isAdmin() {
		return true
	}
	for _, p := range t.Projects {
		if p == c.who.ProjectID {
			return true
		}
	}
	return false
}

// volumeType finds a type that the caller may use, by id or name.
func (c *call) volumeType(r state.Reader, idOrName string) (model.Type, error) {
	t, there, err := model.Optional(model.Types.Get(r, idOrName))
	if err == nil && !there {
		t, there, err = model.Optional(model.Types.First(r, "name", idOrName))
	}
	if err == nil && (!there || !c.usable(t)) {
		return t, errs.New(errs.NotFound, "Volume type %s could not be found.", idOrName)
	}
	return t, err
}
