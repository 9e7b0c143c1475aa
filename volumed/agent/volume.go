package agent

import (
	"context"
	"errors"
	"fmt"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/volumed/backend"
	"henge/volumed/model"
)

// outcome is what came of a task: what to make of the row, if the task is still the same.
type outcome struct {
	apply  func(v *model.Volume)
	action string // of the message, when failed
	failed error
}

// volume does a volume's task.
func (a *Agent) volume(ctx context.Context, id string) error {
	var v model.Volume
	err := a.Store.View(ctx, func(r state.Reader) (err error) {
		v, err = model.Volumes.Get(r, id)
		return err
	})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil || v.Host != a.Peer {
		return err
	}
	a.queue.doing(key{volumeKey, id}, v.Task)
	var o outcome
	switch v.Task {
	case model.Make:
		o = a.make(ctx, v)
	case model.Remove:
		return a.remove(ctx, v)
	case model.Grow:
		o = a.grow(ctx, v)
	case model.SendAway:
		o = a.upload(ctx, v)
	case model.Revert:
		o = a.revert(ctx, v)
	case model.Reimage:
		o = a.reimage(ctx, v)
	default:
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if passing(o.failed) {
		return o.failed
	}
	return a.conclude(ctx, v, o)
}

// passing tells errors that are worth another try, for the user would get the same again only by chance.
func passing(err error) bool { return err != nil && errors.Is(err, errLater) }

// conclude writes what came of a task.
func (a *Agent) conclude(ctx context.Context, was model.Volume, o outcome) error {
	if o.failed != nil {
		a.Logger.Warn("volume task failed", "volume", was.ID, "task", was.Task, "request", was.RequestID, "error", o.failed)
	}
	return a.update(ctx, func(w state.Writer) error {
		v, there, err := model.Optional(model.Volumes.Get(w, was.ID))
		if err != nil || !there || v.Task != was.Task {
			return err
		}
		v.Task = model.Nothing
		o.apply(&v)
		if o.failed != nil {
			if err := a.tell(w, v.ProjectID, v.RequestID, "VOLUME", v.ID, o.action, o.failed); err != nil {
				return err
			}
		}
		return model.PutVolume(w, v, a.now())
	})
}

func (a *Agent) tell(w state.Writer, project, request, kind, id, action string, cause error) error {
	detail := model.DetailUnknown
	if errs.Is(cause, errs.NoSpace) {
		detail = model.DetailNoRoom
	}
	return model.Tell(w, model.Message{ProjectID: project, RequestID: request, ResourceType: kind, ResourceID: id, Action: action, Detail: detail, Text: cause.Error()}, a.now())
}

// make makes a volume of what it is to be made of.
func (a *Agent) make(ctx context.Context, v model.Volume) outcome {
	size := v.GiB * model.GiB
	o := outcome{action: model.ActionCreateFrom}
	var note func(*model.Volume)
	switch {
	case v.SnapshotID != "":
		o.failed = a.Backend.Clone(ctx, v.ID, size, backend.Source{Snapshot: v.SnapshotID})
	case v.SourceVolume != "":
		o.failed = a.Backend.Clone(ctx, v.ID, size, backend.Source{Volume: v.SourceVolume})
	case v.ImageID != "":
		o.action = model.ActionCopyImage
		note, o.failed = a.fromImage(ctx, v, size)
	default:
		o.failed = a.Backend.Create(ctx, v.ID, size)
	}
	o.apply = func(v *model.Volume) {
		if o.failed != nil {
			v.Status = model.Error
			return
		}
		v.Status, v.Made = model.Available, true
		if note != nil {
			note(v)
		}
	}
	return o
}

// remove removes a volume, and what is left of its snapshots before it.
func (a *Agent) remove(ctx context.Context, v model.Volume) error {
	var left []model.Snapshot
	err := a.Store.View(ctx, func(r state.Reader) (err error) {
		left, err = model.Collect(model.Snapshots.Where(r, "volume", v.ID), nil)
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range left {
		if err := a.snapshot(ctx, s.ID); err != nil {
			return err
		}
	}
	if err := a.unexport(ctx, v.ID); err != nil {
		return err
	}
	err = a.Backend.Delete(ctx, v.ID)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		return a.update(ctx, func(w state.Writer) error { return model.RemoveVolume(w, v.ID) })
	}
	return a.conclude(ctx, v, outcome{apply: func(v *model.Volume) { v.Status = model.ErrorDeleting }, action: model.ActionDelete, failed: err})
}

// grow extends a volume, and tells who has it.
func (a *Agent) grow(ctx context.Context, v model.Volume) outcome {
	o := outcome{action: model.ActionExtend}
	o.failed = a.Backend.Extend(ctx, v.ID, v.GrowTo*model.GiB)
	if o.failed == nil {
		o.failed = a.Targets.Resize(v.ID)
	}
	if o.failed == nil {
		o.failed = a.tellServers(ctx, v)
	}
	o.apply = func(v *model.Volume) {
		if o.failed != nil {
			v.Status = model.ErrorExtending
			return
		}
		v.Status, v.GiB, v.GrowTo, v.Before = v.Before, v.GrowTo, 0, ""
	}
	return o
}

// tellServers lets the servers that have a volume know that it grew, before the volume says so: a peer that is killed in between does it again.
func (a *Agent) tellServers(ctx context.Context, v model.Volume) error {
	if a.Grown == nil {
		return nil
	}
	var all []model.Attachment
	err := a.Store.View(ctx, func(r state.Reader) (err error) {
		all, err = model.AttachmentsOf(r, v.ID)
		return err
	})
	for _, at := range all {
		if err == nil && at.InstanceID != "" {
			err = a.Grown(ctx, at.InstanceID, v.ID, v.GrowTo)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: tell the server of volume %s: %w", errLater, v.ID, err)
	}
	return nil
}

func (a *Agent) revert(ctx context.Context, v model.Volume) outcome {
	o := outcome{action: model.ActionRevert, failed: a.Backend.Revert(ctx, v.ID, v.RevertTo)}
	o.apply = func(v *model.Volume) {
		v.RevertTo, v.Status = "", model.Available
		if o.failed != nil {
			v.Status = model.Error
		}
	}
	return o
}

// snapshot does a snapshot's task.
func (a *Agent) snapshot(ctx context.Context, id string) error {
	var s model.Snapshot
	err := a.Store.View(ctx, func(r state.Reader) (err error) {
		s, err = model.Snapshots.Get(r, id)
		return err
	})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil || s.Host != a.Peer {
		return err
	}
	switch s.Task {
	case model.Make:
		return a.concludeSnapshot(ctx, s, a.Backend.Snapshot(ctx, s.ID, s.VolumeID), model.ActionSnapCreate, model.Error)
	case model.Remove:
		if err := a.Backend.DeleteSnapshot(ctx, s.ID); err != nil {
			return a.concludeSnapshot(ctx, s, err, model.ActionSnapDelete, model.ErrorDeleting)
		}
		return a.update(ctx, func(w state.Writer) error {
			_, there, err := model.Optional(model.Snapshots.Get(w, s.ID))
			if err != nil || !there {
				return err
			}
			return model.Snapshots.Delete(w, s.ID)
		})
	}
	return nil
}

func (a *Agent) concludeSnapshot(ctx context.Context, was model.Snapshot, failed error, action string, bad model.Status) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failed != nil {
		a.Logger.Warn("snapshot task failed", "snapshot", was.ID, "task", was.Task, "request", was.RequestID, "error", failed)
	}
	err := a.update(ctx, func(w state.Writer) error {
		s, there, err := model.Optional(model.Snapshots.Get(w, was.ID))
		if err != nil || !there || s.Task != was.Task {
			return err
		}
		s.Task, s.Status = model.Nothing, model.Available
		if failed == nil {
			s.Made = true
			return model.PutSnapshot(w, s, a.now())
		}
		s.Status = bad
		if err := a.tell(w, s.ProjectID, s.RequestID, "VOLUME_SNAPSHOT", s.ID, action, failed); err != nil {
			return err
		}
		return model.PutSnapshot(w, s, a.now())
	})
	if err != nil {
		return fmt.Errorf("write what came of snapshot %s: %w", was.ID, err)
	}
	return nil
}
