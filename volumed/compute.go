package volumed

import (
	"context"
	"errors"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/errs"
	"henge/volumed/images"
	"henge/volumed/model"
)

// The calls that compute makes in this process. They follow the attachments API; each may be repeated.

// Volume describes a volume to whoever has it on a server.
type Volume struct {
	ID, ProjectID, Name, Status string
	GiB                         int64
	Zone, Type                  string
	Bootable, ReadOnly          bool
	Image                       map[string]string // of the image that it was made from: image_id, disk_format, properties, ...
}

// NewVolume is a volume to be made.
type NewVolume struct {
	Name, Type, Zone                  string
	GiB                               int64
	ImageID, SnapshotID, SourceVolume string
	// Key makes the request repeatable: the same key is the same volume.
	Key string
}

// Connection is how an initiator reaches a volume.
type Connection struct {
	Portal, IQN              string
	LUN                      int
	User, Secret             string // CHAP
	MutualUser, MutualSecret string // what the target proves, to those who ask
	Serial                   string
	ReadOnly                 bool
	GiB                      int64
}

// Calls are what other parts ask of volumes in their own process. They work on what is replicated, so that a peer needs no volumes of its own for them. The fields of Config that
// matter are Store, Clock, Logger, Images and Alive.
type Calls struct{ cfg Config }

// NewCalls makes them.
func NewCalls(cfg Config) *Calls {
	if cfg.Images == nil {
		cfg.Images = images.None{}
	}
	return &Calls{cfg}
}

func (s *Calls) update(ctx context.Context, fn func(w state.Writer) error) error {
	return s.cfg.Store.Update(ctx, fn)
}

func (s *Calls) now() time.Time { return s.cfg.Clock.Now().UTC().Truncate(time.Microsecond) }

// find gives a volume to whom it belongs.
func find(r state.Reader, who *authn.Identity, id string) (model.Volume, error) {
	v, err := model.Volumes.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && v.ProjectID != who.ProjectID && !who.HasRole("admin") {
		return v, errs.New(errs.NotFound, "Volume %s could not be found.", id)
	}
	return v, err
}

func describe(r state.Reader, v model.Volume) Volume {
	t, _, _ := model.Optional(model.Types.Get(r, v.TypeID)) // a type that is gone has no name
	return Volume{ID: v.ID, ProjectID: v.ProjectID, Name: v.Name, Status: string(v.Status), GiB: v.GiB, Zone: v.Zone, Type: t.Name, Bootable: v.Bootable,
		ReadOnly: v.ReadOnly, Image: v.Image}
}

// Volume finds a volume that the caller may see: errs.NotFound otherwise.
func (s *Calls) Volume(ctx context.Context, who *authn.Identity, id string) (found Volume, err error) {
	err = s.cfg.Store.View(ctx, func(r state.Reader) error {
		v, err := find(r, who, id)
		found = describe(r, v)
		return err
	})
	return found, err
}

// Snapshot describes a snapshot, and the volume that it is of, if that is still there.
type Snapshot struct {
	ID, Status string
	GiB        int64
	Of         Volume
}

// Snapshot finds a snapshot that the caller may see: errs.NotFound otherwise.
func (s *Calls) Snapshot(ctx context.Context, who *authn.Identity, id string) (found Snapshot, err error) {
	err = s.cfg.Store.View(ctx, func(r state.Reader) error {
		row, err := model.Snapshots.Get(r, id)
		if errs.Is(err, errs.NotFound) || err == nil && row.ProjectID != who.ProjectID && !who.HasRole("admin") {
			return errs.New(errs.NotFound, "Snapshot %s could not be found.", id)
		}
		if err != nil {
			return err
		}
		found = Snapshot{ID: row.ID, Status: string(row.Status), GiB: row.GiB}
		v, there, err := model.Optional(model.Volumes.Get(r, row.VolumeID))
		if there {
			found.Of = describe(r, v)
		}
		return err
	})
	return found, err
}

// CreateSnapshot makes a snapshot of a volume, also of one in use; it is under way when this returns.
func (s *Calls) CreateSnapshot(ctx context.Context, who *authn.Identity, volumeID, name, description string) (id string, err error) {
	err = s.update(ctx, func(w state.Writer) error {
		v, err := find(w, who, volumeID)
		if err != nil {
			return err
		}
		made, err := model.CreateSnapshot(w, model.Snapshot{ProjectID: v.ProjectID, UserID: who.UserID, VolumeID: volumeID, Name: name, Description: description}, true, s.now())
		id = made.ID
		return err
	})
	return id, err
}

// DeleteSnapshot begins to remove a snapshot. Not there is no error.
func (s *Calls) DeleteSnapshot(ctx context.Context, who *authn.Identity, id string) error {
	return s.update(ctx, func(w state.Writer) error {
		row, there, err := model.Optional(model.Snapshots.Get(w, id))
		if err != nil || !there || row.ProjectID != who.ProjectID && !who.HasRole("admin") {
			return err
		}
		return model.DeleteSnapshot(w, id, true, s.now())
	})
}

// CreateVolume makes a volume, and waits until it is available. When it comes to be in error, the error says why.
func (s *Calls) CreateVolume(ctx context.Context, who *authn.Identity, n NewVolume) (Volume, error) {
	if n.ImageID != "" {
		if err := s.checkImage(ctx, who, n); err != nil {
			return Volume{}, err
		}
	}
	var v model.Volume
	err := s.update(ctx, func(w state.Writer) (err error) {
		v, err = s.createIn(w, who, n)
		return err
	})
	if err != nil {
		return Volume{}, err
	}
	return s.awaitMade(ctx, v.ID)
}

func (s *Calls) checkImage(ctx context.Context, who *authn.Identity, n NewVolume) error {
	image, err := s.cfg.Images.Describe(ctx, who, n.ImageID)
	switch {
	case err != nil:
		return err
	case image.Status != "active":
		return errs.New(errs.Invalid, "Image %s is not active: it is %s.", n.ImageID, image.Status)
	}
	return fits(image, n.GiB)
}

func fits(image images.Image, gib int64) error {
	if need := max(image.Size, image.VirtualSize); gib*model.GiB < need || gib < image.MinDisk {
		return errs.New(errs.Invalid, "A volume of %d GiB is too small for the image %s, which needs %d bytes and a disk of at least %d GiB.", gib, image.ID, need, image.MinDisk)
	}
	return nil
}

// createIn makes the row, or finds the one that the same key made.
func (s *Calls) createIn(w state.Writer, who *authn.Identity, n NewVolume) (model.Volume, error) {
	if n.Key != "" {
		if v, there, err := model.Optional(model.Volumes.First(w, "key", n.Key)); err != nil || there {
			return v, err
		}
	}
	v := model.Volume{ProjectID: who.ProjectID, UserID: who.UserID, Name: n.Name, TextNull: true, GiB: n.GiB, Zone: n.Zone, ImageID: n.ImageID, SnapshotID: n.SnapshotID,
		SourceVolume: n.SourceVolume, Key: n.Key}
	if n.Type != "" {
		t, there, err := model.Optional(model.Types.Get(w, n.Type))
		if err == nil && !there {
			t, err = model.Types.First(w, "name", n.Type)
		}
		if err != nil {
			return v, err
		}
		v.TypeID = t.ID
	}
	if n.SnapshotID != "" {
		origin, err := model.Snapshots.Get(w, n.SnapshotID)
		if err == nil && origin.ProjectID != who.ProjectID && !who.HasRole("admin") {
			err = errs.New(errs.NotFound, "Snapshot %s could not be found.", n.SnapshotID)
		}
		if err != nil {
			return v, err
		}
	}
	if n.SourceVolume != "" {
		if _, err := find(w, who, n.SourceVolume); err != nil {
			return v, err
		}
	}
	return model.CreateVolume(w, model.NewVolume{Volume: v, Alive: s.cfg.Alive}, s.now())
}

// lookAgain is how often a wait makes sure that who is waited for is still there.
const lookAgain = 5 * time.Second

// awaitMade waits until a volume is available or in error, or the peer that makes it is down.
func (s *Calls) awaitMade(ctx context.Context, id string) (made Volume, err error) {
	for {
		from, done, host := state.Index(0), false, ""
		err := s.cfg.Store.View(ctx, func(r state.Reader) error {
			from = r.Index()
			v, err := model.Volumes.Get(r, id)
			if err != nil {
				return err
			}
			made, host = describe(r, v), v.Host
			if v.Status == model.Error {
				return errs.New(errs.Unavailable, "Volume %s could not be made: %s", id, why(r, v))
			}
			done = v.Made && v.Task == model.Nothing
			return nil
		})
		if err != nil || done {
			return made, err
		}
		if !s.cfg.Alive(host) {
			return made, errs.New(errs.Unavailable, "the peer %s, which makes volume %s, is down", host, id)
		}
		if err := s.pauseFor(ctx, model.Volumes.Prefix()+id, from); err != nil {
			return made, errs.New(errs.Timeout, "volume %s is still %s: %w", id, made.Status, err)
		}
	}
}

// pauseFor waits for a change of a row, and no longer than lookAgain. It errs when ctx has ended.
func (s *Calls) pauseFor(ctx context.Context, key string, from state.Index) error {
	short, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel()
	if err := s.changed(short, key, from); err != nil && (ctx.Err() != nil || short.Err() == nil) {
		return err
	}
	return nil
}

// why finds the newest message about a volume.
func why(r state.Reader, v model.Volume) string {
	newest := model.Message{Text: "its messages say nothing"}
	for m, err := range model.Messages.Where(r, "project", v.ProjectID) {
		if err != nil {
			return err.Error()
		}
		if m.ResourceID == v.ID && m.Created.After(newest.Created) {
			newest = m
		}
	}
	return newest.Text
}

// DeleteVolume begins to remove a volume, once what is under way with it is done. Not there is no error; errs.Conflict when it must stay: attached elsewhere, or with snapshots.
func (s *Calls) DeleteVolume(ctx context.Context, who *authn.Identity, id string) error {
	return s.remove(ctx, id, func(w state.Writer) error {
		v, err := find(w, who, id)
		if errs.Is(err, errs.NotFound) || err == nil && v.Task == model.Remove {
			return nil
		}
		if err != nil {
			return err
		}
		if v.Task != model.Nothing && v.Task != model.Make && v.Host != "" && s.cfg.Alive(v.Host) {
			return errBusy
		}
		return model.DeleteVolume(w, id, false, v.Task != model.Nothing, s.now())
	})
}

// errBusy says that something is under way with a volume.
var errBusy = errs.New(errs.Conflict, "something is under way with the volume")

// remove tries a removal until nothing else is under way.
func (s *Calls) remove(ctx context.Context, id string, try func(w state.Writer) error) error {
	for {
		from := state.Index(0)
		err := s.cfg.Store.View(ctx, func(r state.Reader) error { from = r.Index(); return nil })
		if err == nil {
			err = s.update(ctx, try)
		}
		if !errors.Is(err, errBusy) {
			return err
		}
		if err := s.pauseFor(ctx, model.Volumes.Prefix()+id, from); err != nil {
			return errs.New(errs.Timeout, "volume %s is busy: %w", id, err)
		}
	}
}

// DeleteMade removes the volume that CreateVolume made for a key, whatever became of it. None is no error.
func (s *Calls) DeleteMade(ctx context.Context, who *authn.Identity, key string) error {
	return s.update(ctx, func(w state.Writer) error {
		v, there, err := model.Optional(model.Volumes.First(w, "key", key))
		if err != nil || !there || v.Task == model.Remove || key == "" {
			return err
		}
		if _, err := find(w, who, v.ID); err != nil {
			return err
		}
		return model.DeleteVolume(w, v.ID, false, true, s.now())
	})
}

// Reserve makes an attachment of a volume for a server: errs.Conflict when the volume is not free. One of the server's own that has no connection yet is given again.
func (s *Calls) Reserve(ctx context.Context, who *authn.Identity, volumeID, serverID string) (attachmentID string, err error) {
	err = s.update(ctx, func(w state.Writer) error {
		v, err := find(w, who, volumeID)
		if err != nil {
			return err
		}
		all, err := model.AttachmentsOf(w, volumeID)
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.InstanceID == serverID && a.Connection == nil && a.Status == model.AttachReserved {
				attachmentID = a.ID
				return nil
			}
		}
		mode := "rw"
		if v.ReadOnly {
			mode = "ro"
		}
		a, err := model.Reserve(w, model.Attachment{VolumeID: volumeID, InstanceID: serverID, Mode: mode}, s.now())
		attachmentID = a.ID
		return err
	})
	return attachmentID, err
}

// Connect exports the volume of an attachment to an initiator (its IQN) on a host, and says how it is reached, once it is. Whatever had the volume before does no I/O any more.
func (s *Calls) Connect(ctx context.Context, who *authn.Identity, attachmentID, host, initiator, device string) (Connection, error) {
	var a model.Attachment
	var v model.Volume
	err := s.update(ctx, func(w state.Writer) (err error) {
		if a, err = s.attachment(w, who, attachmentID); err != nil {
			return err
		}
		with := map[string]string{"initiator": initiator, "host": host, "mountpoint": device}
		if a, err = model.Connect(w, a.ID, with, "", s.now()); err != nil {
			return err
		}
		v, err = model.Volumes.Get(w, a.VolumeID)
		return err
	})
	if err != nil {
		return Connection{}, err
	}
	info, err := s.Ready(ctx, a)
	if err != nil {
		return Connection{}, err
	}
	portal, _ := info["target_portal"].(string)
	c := a.Connection
	return Connection{Portal: portal, IQN: TargetName(v.ID), LUN: targetLUN, User: c.User, Secret: c.Secret, MutualUser: c.BackUser, MutualSecret: c.BackKey, Serial: v.ID,
		ReadOnly: a.Mode == "ro", GiB: v.GiB}, nil
}

func (s *Calls) attachment(r state.Reader, who *authn.Identity, id string) (model.Attachment, error) {
	a, err := model.Attachments.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && a.ProjectID != who.ProjectID && !who.HasRole("admin") {
		return a, errs.New(errs.NotFound, "Attachment %s could not be found.", id)
	}
	return a, err
}

// Complete says that the guest has the volume.
func (s *Calls) Complete(ctx context.Context, who *authn.Identity, attachmentID string) error {
	return s.update(ctx, func(w state.Writer) error {
		a, err := s.attachment(w, who, attachmentID)
		if err != nil {
			return err
		}
		return model.Complete(w, a.ID, s.now())
	})
}

// Detach ends an attachment; when it returns, nothing can reach the volume by it any more. Not there is no error.
func (s *Calls) Detach(ctx context.Context, who *authn.Identity, attachmentID string) error {
	var volume string
	err := s.update(ctx, func(w state.Writer) error {
		a, err := s.attachment(w, who, attachmentID)
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		volume = a.VolumeID
		return model.Detach(w, a.ID, s.now())
	})
	if err != nil || volume == "" {
		return err
	}
	return s.letGo(ctx, volume)
}

// letGo waits until a volume's peer has ended what it should. One that is down exports nothing, and when it returns it reads first what it should.
func (s *Calls) letGo(ctx context.Context, volumeID string) error {
	if err := s.Ended(ctx, volumeID); !errs.Is(err, errs.Unavailable) {
		return err
	}
	return nil
}

// DetachServer ends all attachments of a server, whatever their volumes are at. None is no error.
func (s *Calls) DetachServer(ctx context.Context, who *authn.Identity, serverID string) error {
	var volumes []string
	err := s.update(ctx, func(w state.Writer) error {
		volumes = nil
		all, err := model.Collect(model.Attachments.All(w), func(a model.Attachment) bool { return a.InstanceID == serverID })
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.ProjectID != who.ProjectID && !who.HasRole("admin") {
				continue
			}
			if err := model.Detach(w, a.ID, s.now()); err != nil {
				return err
			}
			volumes = append(volumes, a.VolumeID)
		}
		return nil
	})
	for _, id := range volumes {
		if err == nil {
			err = s.letGo(ctx, id)
		}
	}
	return err
}

// BeginDetaching says that a server is about to give a volume back; errs.Conflict when the volume is not in use.
func (s *Calls) BeginDetaching(ctx context.Context, who *authn.Identity, volumeID string) error {
	return s.update(ctx, func(w state.Writer) error {
		if _, err := find(w, who, volumeID); err != nil {
			return err
		}
		return model.BeginDetaching(w, volumeID, s.now())
	})
}

// RollDetaching takes that back: the server keeps the volume. Not there is no error.
func (s *Calls) RollDetaching(ctx context.Context, who *authn.Identity, volumeID string) error {
	return s.update(ctx, func(w state.Writer) error {
		if _, err := find(w, who, volumeID); err != nil {
			if errs.Is(err, errs.NotFound) {
				return nil
			}
			return err
		}
		return model.RollDetaching(w, volumeID, s.now())
	})
}
