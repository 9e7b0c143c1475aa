package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

func createSnapshot(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("snapshot")
	if err != nil {
		return err
	}
	s := model.Snapshot{ProjectID: c.who.ProjectID, UserID: c.who.UserID, NameNull: true, TextNull: true, RequestID: c.requestID()}
	force := false
	f.Require("volume_id")
	id(f, "volume_id", &s.VolumeID) // null is a volume that is not there
	label(f, "name", &s.Name, &s.NameNull)
	label(f, "description", &s.Description, &s.TextNull)
	forced := f.Has("force")
	boolean(f, "force", &force)
	s.Metadata = texts(f, "metadata")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if c.version >= sinceSnapshotInUse {
		if forced && !force {
			return invalid("Since microversion 3.66, the 'force' option is invalid for this request: snapshots of volumes in use need none.")
		}
		force = true
	}
	err = c.update(func(w state.Writer) (err error) {
		if _, err := c.volume(w, s.VolumeID); err != nil {
			return err
		}
		s, err = model.CreateSnapshot(w, s, force, c.now())
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusAccepted, document{"snapshot": c.snapshotDocument(s)})
}

func (c *call) readSnapshot() (s model.Snapshot, err error) {
	err = c.view(func(r state.Reader) (err error) {
		s, err = c.snapshot(r, c.path("snapshot"))
		return err
	})
	return s, err
}

func showSnapshot(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	s, err := c.readSnapshot()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"snapshot": c.snapshotDetailed(s)})
}

var snapshotsListing = listing[model.Snapshot]{
	id: func(s model.Snapshot) string { return s.ID },
	sorts: map[string]func(a, b model.Snapshot) int{
		"id":         func(a, b model.Snapshot) int { return cmp.Compare(a.ID, b.ID) },
		"created_at": func(a, b model.Snapshot) int { return a.Created.Compare(b.Created) },
		"updated_at": func(a, b model.Snapshot) int {
			return updated(a.Updated, a.Created).Compare(updated(b.Updated, b.Created))
		},
		"name":         func(a, b model.Snapshot) int { return cmp.Compare(a.Name, b.Name) },
		"display_name": func(a, b model.Snapshot) int { return cmp.Compare(a.Name, b.Name) },
		"status":       func(a, b model.Snapshot) int { return cmp.Compare(a.Status, b.Status) },
		"volume_size":  func(a, b model.Snapshot) int { return cmp.Compare(a.GiB, b.GiB) },
		"volume_id":    func(a, b model.Snapshot) int { return cmp.Compare(a.VolumeID, b.VolumeID) },
	},
	texts: map[string]func(model.Snapshot) string{
		"name": func(s model.Snapshot) string { return s.Name }, "display_name": func(s model.Snapshot) string { return s.Name },
		"description": func(s model.Snapshot) string { return s.Description }, "status": func(s model.Snapshot) string { return string(s.Status) },
		"volume_id": func(s model.Snapshot) string { return s.VolumeID }, "id": func(s model.Snapshot) string { return s.ID },
		"user_id": func(s model.Snapshot) string { return s.UserID }, "project_id": func(s model.Snapshot) string { return s.ProjectID },
		"volume_size": func(s model.Snapshot) string { return strconv.FormatInt(s.GiB, 10) },
	},
	filters: map[string]func(model.Snapshot, string) (bool, error){
		"metadata": func(s model.Snapshot, value string) (bool, error) {
			m, err := pairs(value)
			return holds(s.Metadata, m), err
		},
		"consumes_quota": func(s model.Snapshot, value string) (bool, error) { return isTrue(value), nil },
		"created_at": func(s model.Snapshot, value string) (bool, error) {
			return atTime(func() *time.Time { return &s.Created }, value)
		},
		"updated_at": func(s model.Snapshot, value string) (bool, error) {
			return atTime(func() *time.Time { return s.Updated }, value)
		},
		"availability_zone": func(model.Snapshot, string) (bool, error) { return true, nil },
	},
}

func listSnapshots(c *call) error { return c.listSnapshots("snapshots", c.snapshotDocument) }
func listSnapshotsDetail(c *call) error {
	return c.listSnapshots("snapshots/detail", c.snapshotDetailed)
}

func (c *call) listSnapshots(path string, show func(model.Snapshot) document) error {
	if err := c.reads(); err != nil {
		return err
	}
	var rows []model.Snapshot
	err := c.view(func(r state.Reader) (err error) {
		rows, err = visible(c, r, model.Snapshots)
		return err
	})
	if err != nil {
		return err
	}
	page, more, total, err := snapshotsListing.apply(c, rows)
	if err != nil {
		return err
	}
	var shown []document
	last := ""
	for _, s := range page {
		last = s.ID
		shown = append(shown, show(s))
	}
	return c.json(http.StatusOK, c.page("snapshots", path, shown, last, more, total))
}

// changeSnapshot works on the snapshot of the path, if it is the caller's.
func (c *call) changeSnapshot(fn func(w state.Writer, s model.Snapshot) error) error {
	return c.update(func(w state.Writer) error {
		s, err := c.snapshot(w, c.path("snapshot"))
		if err != nil {
			return err
		}
		return fn(w, s)
	})
}

func updateSnapshot(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("snapshot")
	if err != nil {
		return err
	}
	var name, text string
	nameNull, textNull := false, false
	named := f.Has("name") || f.Has("display_name")
	described := f.Has("description") || f.Has("display_description")
	label(f, "name", &name, &nameNull)
	label(f, "description", &text, &textNull)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if !named && !described {
		return errs.New(errs.Invalid, "At least one of name and description must be given.")
	}
	err = c.changeSnapshot(func(w state.Writer, s model.Snapshot) error {
		if named {
			s.Name, s.NameNull = name, nameNull
		}
		if described {
			s.Description, s.TextNull = text, textNull
		}
		return model.PutSnapshot(w, s, c.now())
	})
	if err != nil {
		return err
	}
	s, err := c.readSnapshot()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"snapshot": c.snapshotDocument(s)})
}

func deleteSnapshot(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	err := c.changeSnapshot(func(w state.Writer, s model.Snapshot) error { return model.DeleteSnapshot(w, s.ID, false, c.now()) })
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func snapshotActions() map[string]action {
	return map[string]action{
		"os-reset_status":           {do: resetSnapshot, admin: true},
		"os-force_delete":           {do: forceDeleteSnapshot, admin: true},
		"os-update_snapshot_status": {do: updateSnapshotStatus},
	}
}

func snapshotAction(c *call) error { return c.act(snapshotActions(), "snapshot") }

func resetSnapshot(c *call, f *openstack.Fields) error {
	var status string
	f.Require("status")
	f.Text("status", &status, openstack.Text{OneOf: []string{"available", "creating", "deleting", "error", "error_deleting", "backing-up", "unmanaging"}})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return c.setSnapshotStatus(model.Status(status))
}

func (c *call) setSnapshotStatus(status model.Status) error {
	err := c.changeSnapshot(func(w state.Writer, s model.Snapshot) error {
		s.Status = status
		return model.PutSnapshot(w, s, c.now())
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func forceDeleteSnapshot(c *call, _ *openstack.Fields) error {
	err := c.changeSnapshot(func(w state.Writer, s model.Snapshot) error { return model.DeleteSnapshot(w, s.ID, true, c.now()) })
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

// updateSnapshotStatus is what a driver elsewhere says of a snapshot.
func updateSnapshotStatus(c *call, f *openstack.Fields) error {
	var status, progress string
	f.Require("status")
	f.Text("status", &status, openstack.Text{OneOf: []string{"creating", "deleting", "available", "error", "error_deleting"}})
	f.Text("progress", &progress, openstack.Text{Nullable: true})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	err := c.changeSnapshot(func(w state.Writer, s model.Snapshot) error {
		if !slices.Contains([]model.Status{model.Creating, model.Deleting}, s.Status) {
			return invalid("Provided snapshot status %s not allowed for snapshot with status %s.", status, s.Status)
		}
		s.Status = model.Status(status)
		if progress != "" {
			s.Progress = progress
		}
		return model.PutSnapshot(w, s, c.now())
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}
