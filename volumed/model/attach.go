package model

import (
	"crypto/rand"
	"slices"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
)

// Reserve makes an attachment of a volume that is free, or that the same instance has.
func Reserve(w state.Writer, a Attachment, now time.Time) (Attachment, error) {
	v, err := Volumes.Get(w, a.VolumeID)
	if err != nil {
		return a, err
	}
	others, err := AttachmentsOf(w, v.ID)
	if err != nil {
		return a, err
	}
	again := a.InstanceID != "" && slices.ContainsFunc(others, func(o Attachment) bool { return o.InstanceID == a.InstanceID })
	switch {
	case !v.Made:
		return a, forbids("Volume %s status must be available to reserve, but the current status is %s.", v.ID, v.Status)
	case v.Status != Available && !again:
		return a, forbids("Volume %s status must be available or downloading to reserve, but the current status is %s.", v.ID, v.Status)
	case v.ReadOnly && a.Mode == "rw":
		return a, forbids("Volume %s is read-only; attach it with the mode ro.", v.ID)
	case len(others) >= attachmentsMax:
		return a, forbids("Volume %s has %d attachments.", v.ID, len(others))
	}
	if a.ID == "" {
		a.ID = NewID()
	}
	a.Status, a.ProjectID, a.Created = AttachReserved, v.ProjectID, now
	if v.Status == Available {
		v.Status = Reserved
		if err := PutVolume(w, v, now); err != nil {
			return a, err
		}
	}
	return a, Attachments.Put(w, a.ID, a)
}

// attachmentsMax bounds those of one volume: one, and another while its server moves.
const attachmentsMax = 4

// secretBytes is the length of a CHAP secret: RFC 7143 wants at least 12, some initiators take no more than 16.
const secretBytes = 16

func newSecret() string { return rand.Text()[:secretBytes] }

// Connect gives an attachment a connection for an initiator, with secrets of its own and an epoch of its own, after which no older connection of the volume does any I/O. The
// initiator that has it gets the same again.
func Connect(w state.Writer, id string, connector map[string]string, mode string, now time.Time) (Attachment, error) {
	a, err := Attachments.Get(w, id)
	if err != nil {
		return a, err
	}
	initiator := connector["initiator"]
	if initiator == "" {
		return a, errs.New(errs.Invalid, "Invalid input received: the connector names no initiator (an iSCSI IQN)")
	}
	if mode != "" {
		a.Mode = mode
	}
	v, err := Volumes.Get(w, a.VolumeID)
	if err != nil {
		return a, err
	}
	if a.Connection != nil && a.Connection.Initiator == initiator && a.Connection.Epoch == v.Epoch {
		return a, nil
	}
	if v.Host == "" || !v.Made {
		return a, forbids("Volume %s is %s.", v.ID, v.Status)
	}
	v.Epoch++
	a.Connection = &Connection{Epoch: v.Epoch, Initiator: initiator, Connector: connector, User: "in-" + rand.Text()[:16], Secret: newSecret(), BackUser: "out-" + rand.Text()[:16], BackKey: newSecret()}
	a.Host, a.MountPoint = connector["host"], connector["mountpoint"]
	if a.Status == AttachReserved {
		a.Status = AttachAttaching
	}
	if v.Status == Reserved || v.Status == Available {
		v.Status = Attaching
	}
	if err := PutVolume(w, v, now); err != nil {
		return a, err
	}
	return a, Attachments.Put(w, a.ID, a)
}

// Complete says that the initiator has the volume.
func Complete(w state.Writer, id string, now time.Time) error {
	a, err := Attachments.Get(w, id)
	if err != nil {
		return err
	}
	v, err := Volumes.Get(w, a.VolumeID)
	if err != nil {
		return err
	}
	if a.Status == AttachAttached {
		return nil
	}
	if a.Status != AttachAttaching && a.Status != AttachReserved {
		return forbids("Attachment %s is %s: only one that is attaching can be completed.", id, a.Status)
	}
	a.Status, a.Attached = AttachAttached, &now
	v.Status = InUse
	if err := PutVolume(w, v, now); err != nil {
		return err
	}
	return Attachments.Put(w, id, a)
}

// Detach ends an attachment. It may be gone already.
func Detach(w state.Writer, id string, now time.Time) error {
	a, there, err := Optional(Attachments.Get(w, id))
	if err != nil || !there {
		return err
	}
	if err := Attachments.Delete(w, id); err != nil {
		return err
	}
	v, there, err := Optional(Volumes.Get(w, a.VolumeID))
	if err != nil || !there {
		return err
	}
	if v.Status, err = statusByAttachments(w, v, v.Status); err != nil {
		return err
	}
	if v.Before, err = statusByAttachments(w, v, v.Before); err != nil { // what is under way ends in a status without this attachment
		return err
	}
	return PutVolume(w, v, now)
}

// statusByAttachments is what a status of a volume becomes by the attachments that it still has. Statuses that tell of something else stay.
func statusByAttachments(r state.Reader, v Volume, now Status) (Status, error) {
	if !slices.Contains([]Status{Reserved, Attaching, InUse, Detaching}, now) {
		return now, nil
	}
	left, err := AttachmentsOf(r, v.ID)
	status := Available
	for _, a := range left {
		switch {
		case a.Status == AttachAttached:
			return InUse, err
		case a.Status == AttachAttaching:
			status = Attaching
		case status == Available:
			status = Reserved
		}
	}
	return status, err
}

// Newest is the connection of a volume that counts: that of the greatest epoch. nil when there is none.
func Newest(all []Attachment) *Attachment {
	var newest *Attachment
	for i := range all {
		if c := all[i].Connection; c != nil && (newest == nil || c.Epoch > newest.Connection.Epoch) {
			newest = &all[i]
		}
	}
	return newest
}

// move changes a volume's status from one of some to another, for the older actions.
func move(w state.Writer, id string, from []Status, to Status, now time.Time) error {
	v, err := Volumes.Get(w, id)
	if err != nil {
		return err
	}
	if !slices.Contains(from, v.Status) {
		return forbids("Volume %s status must be %s, but the current status is %s.", id, from[0], v.Status)
	}
	v.Status = to
	return PutVolume(w, v, now)
}

// OldReserve is os-reserve.
func OldReserve(w state.Writer, id string, now time.Time) error {
	return move(w, id, []Status{Available}, Attaching, now)
}

// OldUnreserve is os-unreserve.
func OldUnreserve(w state.Writer, id string, now time.Time) error {
	v, err := Volumes.Get(w, id)
	if err != nil || v.Status != Attaching {
		return err // as Cinder has it: nothing to take back
	}
	others, err := AttachmentsOf(w, id)
	if err != nil {
		return err
	}
	v.Status = Available
	if hasAttached(others) {
		v.Status = InUse
	}
	return PutVolume(w, v, now)
}

// BeginDetaching is os-begin_detaching.
func BeginDetaching(w state.Writer, id string, now time.Time) error {
	return move(w, id, []Status{InUse}, Detaching, now)
}

// RollDetaching is os-roll_detaching.
func RollDetaching(w state.Writer, id string, now time.Time) error {
	v, err := Volumes.Get(w, id)
	if err != nil || v.Status != Detaching {
		return err
	}
	v.Status = InUse
	return PutVolume(w, v, now)
}

// OldConnect is os-initialize_connection: a connection before there is an attachment that anybody sees.
func OldConnect(w state.Writer, volumeID string, connector map[string]string, now time.Time) (Attachment, error) {
	v, err := Volumes.Get(w, volumeID)
	if err != nil {
		return Attachment{}, err
	}
	all, err := AttachmentsOf(w, volumeID)
	if err != nil {
		return Attachment{}, err
	}
	for _, a := range all {
		if a.Old && (a.Connection == nil || a.Connection.Initiator == connector["initiator"]) {
			return Connect(w, a.ID, connector, "", now)
		}
	}
	if v.Status != Attaching && v.Status != Available && v.Status != Reserved {
		return Attachment{}, forbids("Volume %s is %s.", volumeID, v.Status)
	}
	a := Attachment{ID: NewID(), VolumeID: volumeID, ProjectID: v.ProjectID, Status: AttachAttaching, Mode: v.mode(), Old: true, Created: now}
	if err := Attachments.Put(w, a.ID, a); err != nil {
		return a, err
	}
	return Connect(w, a.ID, connector, "", now)
}

func (v Volume) mode() string {
	if v.ReadOnly {
		return "ro"
	}
	return "rw"
}

// OldTerminate is os-terminate_connection: the initiator's connection ends, the attachment stays.
func OldTerminate(w state.Writer, volumeID, initiator string) error {
	all, err := AttachmentsOf(w, volumeID)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Connection == nil || initiator != "" && a.Connection.Initiator != initiator {
			continue
		}
		a.Connection = nil
		if a.Status != AttachAttached && a.Old {
			err = Attachments.Delete(w, a.ID)
		} else {
			err = Attachments.Put(w, a.ID, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OldAttach is os-attach: a server (or a host) has the volume.
func OldAttach(w state.Writer, volumeID string, with Attachment, now time.Time) error {
	v, err := Volumes.Get(w, volumeID)
	if err != nil {
		return err
	}
	all, err := AttachmentsOf(w, volumeID)
	if err != nil {
		return err
	}
	a := Attachment{ID: NewID(), VolumeID: volumeID, ProjectID: v.ProjectID, Created: now, Old: true}
	for _, o := range all {
		if o.InstanceID != "" && o.InstanceID == with.InstanceID && o.Status == AttachAttached {
			return nil
		}
		if o.Old && o.Status != AttachAttached {
			a = o
		}
	}
	switch {
	case v.ReadOnly && with.Mode == "rw":
		return forbids("Volume %s is read-only; attach it with the mode ro.", volumeID)
	case v.Status != Available && v.Status != Attaching:
		return forbids("Volume %s status must be available or attaching, but the current status is %s.", volumeID, v.Status)
	}
	a.InstanceID, a.MountPoint, a.Mode, a.Status, a.Attached = with.InstanceID, with.MountPoint, with.Mode, AttachAttached, &now
	if with.Host != "" {
		a.Host = with.Host
	}
	v.Status = InUse
	if err := PutVolume(w, v, now); err != nil {
		return err
	}
	return Attachments.Put(w, a.ID, a)
}

// OldDetach is os-detach: of the attachment named, or the only one.
func OldDetach(w state.Writer, volumeID, attachmentID string, force bool, now time.Time) error {
	v, err := Volumes.Get(w, volumeID)
	if err != nil {
		return err
	}
	all, err := AttachmentsOf(w, volumeID)
	if err != nil {
		return err
	}
	if !force && v.Status != InUse && v.Status != Detaching {
		return forbids("Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach. It is %s.", v.Status)
	}
	if attachmentID == "" && len(all) > 1 && !force {
		return errs.New(errs.Invalid, "Invalid volume: Detach volume failed: More than one attachment, but no attachment_id provided.")
	}
	if len(all) == 0 {
		v.Status = Available
		return PutVolume(w, v, now)
	}
	for _, a := range all {
		if attachmentID != "" && a.ID != attachmentID {
			continue
		}
		if err := Detach(w, a.ID, now); err != nil {
			return err
		}
	}
	return nil
}
