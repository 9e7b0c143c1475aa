package api

import (
	"cmp"
	"net/http"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

// connector reads what an initiator says of itself.
func connector(f *openstack.Fields, name string) map[string]string {
	var raw map[string]any
	if f.Null(name) {
		f.Drop(name)
	}
	f.Map(name, &raw)
	if raw == nil {
		return nil
	}
	m := map[string]string{}
	for k, v := range raw {
		if text, ok := v.(string); ok && len(k) <= textMax && len(text) <= textMax && len(m) < metadataMax {
			m[k] = text
		}
	}
	return m
}

func oldConnect(c *call, f *openstack.Fields) error {
	f.Require("connector")
	with := connector(f, "connector")
	if err := f.Err(); err != nil {
		return err
	}
	if with["initiator"] == "" {
		return invalid("the connector names no initiator (an iSCSI IQN).")
	}
	var a model.Attachment
	err := c.change(func(w state.Writer, v model.Volume) (err error) {
		a, err = model.OldConnect(w, v.ID, with, c.now())
		return err
	})
	if err != nil {
		return err
	}
	data, err := c.Connections.Ready(c.r.Context(), a)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"connection_info": document{"driver_volume_type": "iscsi", "data": data}})
}

func oldTerminate(c *call, f *openstack.Fields) error {
	with := connector(f, "connector")
	if err := f.Err(); err != nil {
		return err
	}
	err := c.change(func(w state.Writer, v model.Volume) error { return model.OldTerminate(w, v.ID, with["initiator"]) })
	if err == nil {
		err = c.Connections.Ended(c.r.Context(), c.path("volume"))
	}
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func oldAttach(c *call, f *openstack.Fields) error {
	a := model.Attachment{Mode: "rw"}
	f.Text("instance_uuid", &a.InstanceID, openstack.Text{Nullable: true})
	f.Text("host_name", &a.Host, openstack.Text{Nullable: true})
	f.Require("mountpoint")
	f.Text("mountpoint", &a.MountPoint, openstack.Text{MinLength: 1})
	f.Text("mode", &a.Mode, openstack.Text{OneOf: []string{"rw", "ro"}})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if a.InstanceID != "" && !model.IsID(a.InstanceID) || a.InstanceID == "" && a.Host == "" {
		return invalid("give instance_uuid (a UUID) or host_name.")
	}
	return c.accept(func(w state.Writer, v model.Volume) error { return model.OldAttach(w, v.ID, a, c.now()) })
}

func oldDetach(c *call, f *openstack.Fields) error {
	var attachment string
	id(f, "attachment_id", &attachment)
	if err := f.Err(); err != nil {
		return err
	}
	return c.detach(attachment, false)
}

func forceDetach(c *call, f *openstack.Fields) error {
	var attachment string
	id(f, "attachment_id", &attachment)
	f.Drop("connector")
	if err := f.Err(); err != nil {
		return err
	}
	return c.detach(attachment, true)
}

func (c *call) detach(attachment string, force bool) error {
	err := c.change(func(w state.Writer, v model.Volume) error {
		return model.OldDetach(w, v.ID, attachment, force, c.now())
	})
	if err == nil {
		err = c.Connections.Ended(c.r.Context(), c.path("volume"))
	}
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

// attachmentDocument is an attachment in full; info is its connection as a client needs it.
func attachmentDocument(a model.Attachment, info map[string]any) document {
	if info == nil {
		info = document{}
	}
	return document{"id": a.ID, "volume_id": a.VolumeID, "instance": orNull(a.InstanceID), "status": a.Status, "attach_mode": orNull(a.Mode),
		"attached_at": cmp.Or[any](showTimeOrNull(a.Attached), ""), "detached_at": "", "connection_info": info}
}

func createAttachment(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("attachment")
	if err != nil {
		return err
	}
	a := model.Attachment{Mode: "rw"}
	f.Require("volume_uuid")
	f.Text("volume_uuid", &a.VolumeID, openstack.Text{MinLength: 1})
	f.Text("instance_uuid", &a.InstanceID, openstack.Text{Nullable: true})
	if c.version >= sinceMode {
		f.Text("mode", &a.Mode, openstack.Text{OneOf: []string{"rw", "ro"}, Nullable: true})
	}
	with := connector(f, "connector")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if a.InstanceID != "" && !model.IsID(a.InstanceID) {
		return invalid("instance_uuid '%.60s' is not a UUID.", a.InstanceID)
	}
	a.Mode = cmp.Or(a.Mode, "rw")
	err = c.update(func(w state.Writer) (err error) {
		if _, err = c.volume(w, a.VolumeID); err != nil {
			return err
		}
		made, err := model.Reserve(w, a, c.now())
		if err == nil && len(with) > 0 {
			made, err = model.Connect(w, made.ID, with, with["mode"], c.now())
		}
		if err == nil {
			a = made
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.showAttachment(a)
}

// showAttachment answers with an attachment, when its connection can be used.
func (c *call) showAttachment(a model.Attachment) error {
	info, err := c.connectionOf(a)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"attachment": attachmentDocument(a, info)})
}

func (c *call) connectionOf(a model.Attachment) (map[string]any, error) {
	if a.Connection == nil {
		return nil, nil
	}
	info, err := c.Connections.Ready(c.r.Context(), a)
	if err != nil {
		return nil, err
	}
	info["driver_volume_type"], info["attachment_id"] = "iscsi", a.ID
	return info, nil
}

func updateAttachment(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("attachment")
	if err != nil {
		return err
	}
	f.Require("connector")
	with := connector(f, "connector")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	var a model.Attachment
	err = c.update(func(w state.Writer) (err error) {
		if a, err = c.attachment(w, c.path("attachment")); err != nil {
			return err
		}
		a, err = model.Connect(w, a.ID, with, with["mode"], c.now())
		return err
	})
	if err != nil {
		return err
	}
	return c.showAttachment(a)
}

func showAttachment(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	var a model.Attachment
	err := c.view(func(r state.Reader) (err error) {
		a, err = c.attachment(r, c.path("attachment"))
		return err
	})
	if err != nil {
		return err
	}
	return c.showAttachment(a)
}

func completeAttachment(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	if !f.Has("os-complete") {
		return errs.New(errs.Invalid, "There is no such action on an attachment.")
	}
	err = c.update(func(w state.Writer) error {
		a, err := c.attachment(w, c.path("attachment"))
		if err != nil {
			return err
		}
		return model.Complete(w, a.ID, c.now())
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusNoContent)
}

func deleteAttachment(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	left := []document{}
	var volume string
	err := c.update(func(w state.Writer) error {
		a, err := c.attachment(w, c.path("attachment"))
		if err != nil {
			return err
		}
		volume = a.VolumeID
		if err := model.Detach(w, a.ID, c.now()); err != nil {
			return err
		}
		others, err := model.AttachmentsOf(w, volume)
		left = left[:0]
		for _, o := range others {
			left = append(left, attachmentSummary(o))
		}
		return err
	})
	if err == nil {
		err = c.Connections.Ended(c.r.Context(), volume)
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"attachments": left})
}

func attachmentSummary(a model.Attachment) document {
	return document{"id": a.ID, "volume_id": a.VolumeID, "instance": orNull(a.InstanceID), "status": a.Status}
}

func listAttachments(c *call) error       { return c.listAttachments("attachments", false) }
func listAttachmentsDetail(c *call) error { return c.listAttachments("attachments/detail", true) }

func (c *call) listAttachments(path string, full bool) error {
	if err := c.reads(); err != nil {
		return err
	}
	l := listing[model.Attachment]{
		id: func(a model.Attachment) string { return a.ID },
		sorts: map[string]func(a, b model.Attachment) int{"id": func(a, b model.Attachment) int { return cmp.Compare(a.ID, b.ID) },
			"created_at": func(a, b model.Attachment) int { return a.Created.Compare(b.Created) }},
		texts: map[string]func(model.Attachment) string{
			"volume_id": func(a model.Attachment) string { return a.VolumeID }, "instance_id": func(a model.Attachment) string { return a.InstanceID },
			"instance_uuid": func(a model.Attachment) string { return a.InstanceID }, "status": func(a model.Attachment) string { return string(a.Status) },
			"attach_status": func(a model.Attachment) string { return string(a.Status) }, "id": func(a model.Attachment) string { return a.ID },
			"project_id": func(a model.Attachment) string { return a.ProjectID },
		},
	}
	var d document
	err := c.view(func(r state.Reader) error {
		rows, err := visible(c, r, model.Attachments)
		if err != nil {
			return err
		}
		page, more, total, err := l.apply(c, rows)
		if err != nil {
			return err
		}
		var shown []document
		last := ""
		for _, a := range page {
			last = a.ID
			one := attachmentSummary(a)
			if full {
				one = attachmentDocument(a, nil)
			}
			shown = append(shown, one)
		}
		d = c.page("attachments", path, shown, last, more, total)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, d)
}
