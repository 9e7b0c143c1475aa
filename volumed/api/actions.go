package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/images"
	"henge/volumed/model"
)

// action is what POST /volumes/{id}/action does for one name in its body.
type action struct {
	do    func(c *call, f *openstack.Fields) error
	admin bool
	since int
}

func volumeActions() map[string]action {
	return map[string]action{
		"os-reserve":               {do: simple(model.OldReserve)},
		"os-unreserve":             {do: simple(model.OldUnreserve)},
		"os-begin_detaching":       {do: simple(model.BeginDetaching)},
		"os-roll_detaching":        {do: simple(model.RollDetaching)},
		"os-attach":                {do: oldAttach},
		"os-detach":                {do: oldDetach},
		"os-force_detach":          {do: forceDetach, admin: true},
		"os-initialize_connection": {do: oldConnect},
		"os-terminate_connection":  {do: oldTerminate},
		"os-extend":                {do: extend},
		"os-set_bootable":          {do: setBootable},
		"os-update_readonly_flag":  {do: setReadOnly},
		"os-volume_upload_image":   {do: uploadImage},
		"os-set_image_metadata":    {do: setImageMetadata},
		"os-unset_image_metadata":  {do: unsetImageMetadata},
		"os-show_image_metadata":   {do: showImageMetadata},
		"os-reset_status":          {do: resetStatus, admin: true},
		"os-force_delete":          {do: forceDelete, admin: true},
		"os-retype":                {do: retype},
		"os-reimage":               {do: reimage, since: sinceReimage},
		"revert":                   {do: revert, since: sinceRevert},
	}
}

func volumeAction(c *call) error { return c.act(volumeActions(), "volume") }

// act finds the action that a body names.
func (c *call) act(actions map[string]action, what string) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	for name, a := range actions {
		if !f.Has(name) {
			continue
		}
		if a.admin {
			if err := c.admin(); err != nil {
				return err
			}
		}
		if c.version < a.since {
			break
		}
		if f.Null(name) || f.Empty(name) {
			f.Drop(name)
		}
		inner := f.Object(name)
		if err := f.Err(); err != nil {
			return err
		}
		return a.do(c, inner)
	}
	return errs.New(errs.Invalid, "There is no such action on a %s.", what)
}

// change works on the volume of the path, if it is the caller's.
func (c *call) change(fn func(w state.Writer, v model.Volume) error) error {
	return c.update(func(w state.Writer) error {
		v, err := c.volume(w, c.path("volume"))
		if err != nil {
			return err
		}
		return fn(w, v)
	})
}

// accept is change, answered with 202.
func (c *call) accept(fn func(w state.Writer, v model.Volume) error) error {
	if err := c.change(fn); err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func resetStatus(c *call, f *openstack.Fields) error {
	var status, attach, migration string
	allowed := []string{"creating", "available", "deleting", "error", "error_deleting", "attaching", "detaching", "in-use", "maintenance", "uploading", "reserved", "awaiting-transfer"}
	f.Text("status", &status, openstack.Text{OneOf: allowed, Nullable: true})
	f.Text("attach_status", &attach, openstack.Text{OneOf: []string{"attached", "detached"}, Nullable: true})
	f.Text("migration_status", &migration, openstack.Text{Nullable: true})
	if err := f.Err(); err != nil {
		return err
	}
	if status == "" && attach == "" && !f.Has("migration_status") && migration == "" {
		return invalid("Must specify 'status', 'attach_status' or 'migration_status' for update.")
	}
	return c.accept(func(w state.Writer, v model.Volume) error {
		if status != "" {
			v.Status = model.Status(status)
		}
		if migration == "none" {
			v.MigStat = ""
		}
		if attach == "detached" {
			all, err := model.AttachmentsOf(w, v.ID)
			if err != nil {
				return err
			}
			for _, a := range all {
				if err := model.Attachments.Delete(w, a.ID); err != nil {
					return err
				}
			}
		}
		return model.PutVolume(w, v, c.now())
	})
}

func forceDelete(c *call, _ *openstack.Fields) error {
	return c.accept(func(w state.Writer, v model.Volume) error { return model.DeleteVolume(w, v.ID, false, true, c.now()) })
}

func extend(c *call, f *openstack.Fields) error {
	var size int64
	if !integer(f, "new_size", &size) {
		return invalid("New volume size must be specified as an integer.")
	}
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return c.accept(func(w state.Writer, v model.Volume) error {
		return model.Extend(w, v.ID, size, c.version >= sinceExtendInUse, c.requestID(), c.now())
	})
}

func setBootable(c *call, f *openstack.Fields) error {
	f.Require("bootable")
	var bootable bool
	boolean(f, "bootable", &bootable)
	if err := f.Err(); err != nil {
		return err
	}
	err := c.change(func(w state.Writer, v model.Volume) error {
		v.Bootable = bootable
		return model.PutVolume(w, v, c.now())
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusOK)
}

func setReadOnly(c *call, f *openstack.Fields) error {
	f.Require("readonly")
	var readOnly bool
	boolean(f, "readonly", &readOnly)
	if err := f.Err(); err != nil {
		return err
	}
	return c.accept(func(w state.Writer, v model.Volume) error {
		if v.Status != model.Available {
			return invalid("Volume %s status must be available to update readonly flag, but current status is: %s.", v.ID, v.Status)
		}
		v.ReadOnly, v.ReadOnlySet = readOnly, true
		return model.PutVolume(w, v, c.now())
	})
}

// retype changes the type, when the volume can stay where it is.
func retype(c *call, f *openstack.Fields) error {
	var typ, policy string
	f.Require("new_type")
	f.Text("new_type", &typ, openstack.Text{MinLength: 1})
	f.Text("migration_policy", &policy, openstack.Text{OneOf: []string{"on-demand", "never"}, Nullable: true})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return c.accept(func(w state.Writer, v model.Volume) error {
		t, err := c.volumeType(w, typ)
		if err != nil {
			return err
		}
		h, there, err := model.Optional(model.Hosts.Get(w, v.Host))
		if err != nil {
			return err
		}
		switch {
		case v.Status != model.Available && v.Status != model.InUse:
			return invalid("Volume status must be available or in-use to perform retype, but current status is %s.", v.Status)
		case v.TypeID == t.ID:
			return invalid("New volume type must not be same as the old one: %s.", t.Name)
		case !there || model.Suits(h, t) != "":
			return invalid("the volume would have to move to another backend, and volumes cannot be moved: of the present one %s.", model.Suits(h, t))
		}
		if err := model.Check(w, model.Claim{ProjectID: v.ProjectID, TypeID: t.ID, Retyped: v.GiB}); err != nil {
			return err
		}
		v.TypeID = t.ID
		return model.PutVolume(w, v, c.now())
	})
}

func revert(c *call, f *openstack.Fields) error {
	var snapshot string
	f.Require("snapshot_id")
	f.Text("snapshot_id", &snapshot, openstack.Text{MinLength: 1})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return c.accept(func(w state.Writer, v model.Volume) error {
		s, err := c.snapshot(w, snapshot)
		if err != nil {
			return err
		}
		all, err := model.Collect(model.Snapshots.Where(w, "volume", v.ID), nil)
		if err != nil {
			return err
		}
		newer := slices.ContainsFunc(all, func(o model.Snapshot) bool { return o.Created.After(s.Created) })
		switch {
		case s.VolumeID != v.ID || newer:
			return invalid("Snapshot %s is not the latest one of volume %s.", s.ID, v.ID)
		case v.Status != model.Available || s.Status != model.Available:
			return invalid("Can't revert volume %s to its latest snapshot. Volume's status must be 'available', and it is %s.", v.ID, v.Status)
		case v.GiB != s.GiB:
			return invalid("Can't revert volume %s to its latest snapshot. The volume size has changed from %d.", v.ID, s.GiB)
		}
		v.Status, v.Task, v.RevertTo, v.RequestID = model.Reverting, model.Revert, s.ID, c.requestID()
		return model.PutVolume(w, v, c.now())
	})
}

func reimage(c *call, f *openstack.Fields) error {
	var image string
	reserved := false
	f.Require("image_id")
	f.Text("image_id", &image, openstack.Text{MinLength: 1})
	boolean(f, "reimage_reserved", &reserved)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	var gib int64
	err := c.view(func(r state.Reader) error {
		v, err := c.volume(r, c.path("volume"))
		gib = v.GiB
		return err
	})
	if err != nil {
		return err
	}
	if _, err := c.imageFor(c.r.Context(), image, &gib); err != nil {
		return err
	}
	return c.accept(func(w state.Writer, v model.Volume) error {
		if v.Status != model.Available && v.Status != model.Error {
			return errs.New(errs.Conflict, "Invalid volume: volume %s is %s; it can get another image when it is available or in error.", v.ID, v.Status)
		}
		snapshots, err := model.Collect(model.Snapshots.Where(w, "volume", v.ID), nil)
		if err != nil {
			return err
		}
		if len(snapshots) > 0 {
			return errs.New(errs.Conflict, "Invalid volume: volume %s has snapshots.", v.ID)
		}
		v.Status, v.Task, v.ImageID, v.SnapshotID, v.SourceVolume, v.RequestID = model.Downloading, model.Reimage, image, "", "", c.requestID()
		return model.PutVolume(w, v, c.now())
	})
}

// uploadFormats are the formats that a volume can become an image in.
var uploadFormats = []string{"raw", "qcow2", "vmdk", "vdi", "vhd"}

func uploadImage(c *call, f *openstack.Fields) error {
	draft := images.Image{DiskFormat: "raw", ContainerFormat: "bare", Visibility: "private"}
	force := false
	f.Require("image_name")
	f.Text("image_name", &draft.Name, openstack.Text{MinLength: 1})
	f.Text("disk_format", &draft.DiskFormat, openstack.Text{OneOf: uploadFormats, Nullable: true})
	f.Text("container_format", &draft.ContainerFormat, openstack.Text{OneOf: []string{"bare", "ovf", "ova"}, Nullable: true})
	f.Text("visibility", &draft.Visibility, openstack.Text{OneOf: []string{"private", "shared", "community", "public"}})
	boolean(f, "protected", &draft.Protected)
	boolean(f, "force", &force)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	v, typ, err := c.beginUpload(force)
	if err != nil {
		return err
	}
	if draft.DiskFormat == "" {
		draft.DiskFormat = "raw"
	}
	draft.MinDisk, draft.Properties = v.GiB, uploadProperties(v.Image)
	image, err := c.Images.Create(c.r.Context(), c.who, draft)
	if err != nil {
		return errors.Join(err, c.change(func(w state.Writer, v model.Volume) error {
			v.Status, v.Before = v.Before, ""
			return model.PutVolume(w, v, c.now())
		}))
	}
	err = c.change(func(w state.Writer, v model.Volume) error {
		v.Task, v.Upload, v.RequestID = model.SendAway, &model.Upload{ImageID: image.ID, Format: draft.DiskFormat}, c.requestID()
		return model.PutVolume(w, v, c.now())
	})
	if err != nil {
		return err
	}
	d := document{"id": v.ID, "updated_at": showTimeOrNull(v.Updated), "status": model.Uploading, "display_description": textOrNull(v.Description, v.TextNull), "size": v.GiB,
		"volume_type": typ, "image_id": image.ID, "container_format": draft.ContainerFormat, "disk_format": draft.DiskFormat, "image_name": draft.Name}
	if c.version >= 1 {
		d["visibility"], d["protected"] = draft.Visibility, draft.Protected
	}
	return c.json(http.StatusAccepted, document{"os-volume_upload_image": d})
}

// beginUpload takes the volume for an upload.
func (c *call) beginUpload(force bool) (was model.Volume, typ any, err error) {
	err = c.change(func(w state.Writer, v model.Volume) error {
		if v.Status != model.Available && (!force || v.Status != model.InUse) || !v.Made {
			return invalid("Volume status must be available (or, with force, in-use) to be uploaded, but it is %s.", v.Status)
		}
		if t, there, err := model.Optional(model.Types.Get(w, v.TypeID)); err != nil {
			return err
		} else if there {
			typ = c.typeDocument(t)
		}
		v.Before, v.Status = v.Status, model.Uploading
		was = v
		return model.PutVolume(w, v, c.now())
	})
	return was, typ, err
}

// uploadProperties are an image's own properties that go on with a volume that was made from it.
func uploadProperties(about map[string]string) map[string]string {
	own := map[string]string{}
	known := []string{"image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size", "signature_verified"}
	for name, value := range about {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, "os_glance") && !strings.HasPrefix(name, "os_hash") {
			own[name] = value
		}
	}
	return own
}

// simple is an action without parameters.
func simple(fn func(w state.Writer, id string, now time.Time) error) func(*call, *openstack.Fields) error {
	return func(c *call, _ *openstack.Fields) error {
		return c.accept(func(w state.Writer, v model.Volume) error { return fn(w, v.ID, c.now()) })
	}
}
