package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/volumed/backend"
	"henge/volumed/model"
)

// drainWait is how long commands under way may go on when the peer stops.
const drainWait = 2 * time.Second

// exported is a volume that is open for initiators.
type exported struct {
	device backend.Device
	epoch  uint64
}

func (a *Agent) exportedVolumes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.exported))
}

// export makes true what the attachments of a volume say.
func (a *Agent) export(ctx context.Context, id string) error {
	var v model.Volume
	var row model.Export
	var newest *model.Attachment
	err := a.Store.View(ctx, func(r state.Reader) (err error) {
		if v, err = model.Volumes.Get(r, id); err != nil {
			return err
		}
		if row, _, err = model.Optional(model.Exports.Get(r, id)); err != nil {
			return err
		}
		all, err := model.AttachmentsOf(r, id)
		newest = model.Newest(all)
		return err
	})
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	switch {
	case err == nil && v.Host != a.Peer:
		return nil
	case err != nil || newest == nil || v.Task == model.Remove:
		if err := a.unexport(ctx, id); err != nil || row == (model.Export{}) || row.Epoch == 0 && row.Fault == "" {
			return err
		}
		return a.observed(ctx, model.Export{VolumeID: id})
	}
	if failed := a.offer(ctx, v, newest); failed != nil {
		if ctx.Err() != nil || errs.Is(failed, errs.Timeout) {
			return failed
		}
		a.Logger.Warn("export failed", "volume", id, "error", failed)
		return a.observed(ctx, model.Export{VolumeID: id, OfEpoch: newest.Connection.Epoch, Fault: failed.Error()})
	}
	return a.observed(ctx, model.Export{VolumeID: id, Epoch: newest.Connection.Epoch})
}

// offer exports a volume to the initiator of an attachment.
func (a *Agent) offer(ctx context.Context, v model.Volume, to *model.Attachment) error {
	a.mu.Lock()
	e := a.exported[v.ID]
	a.mu.Unlock()
	if e != nil && e.epoch == to.Connection.Epoch {
		return nil
	}
	if e == nil {
		device, err := a.Backend.Open(ctx, v.ID)
		if err != nil {
			return err
		}
		e = &exported{device: device}
	}
	c := to.Connection
	err := a.Targets.Export(ctx, Target{VolumeID: v.ID, Device: e.device, ReadOnly: to.Mode == "ro", Epoch: c.Epoch, Initiator: c.Initiator,
		User: c.User, Secret: c.Secret, BackUser: c.BackUser, BackKey: c.BackKey})
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		if a.exported[v.ID] == nil {
			err = errors.Join(err, e.device.Close())
		}
		return err
	}
	e.epoch = c.Epoch
	a.exported[v.ID] = e
	return nil
}

// unexport ends the export of a volume.
func (a *Agent) unexport(ctx context.Context, id string) error {
	a.mu.Lock()
	e := a.exported[id]
	a.mu.Unlock()
	if e == nil {
		return nil
	}
	if err := a.Targets.Unexport(ctx, id); err != nil {
		return err
	}
	a.mu.Lock()
	delete(a.exported, id)
	a.mu.Unlock()
	if err := e.device.Close(); err != nil {
		a.Logger.Error("close a volume", "volume", id, "error", err)
	}
	return nil
}

// observed writes what is true now. The row of a volume that is gone is gone too.
func (a *Agent) observed(ctx context.Context, e model.Export) error {
	return a.update(ctx, func(w state.Writer) error {
		old, _, err := model.Optional(model.Exports.Get(w, e.VolumeID))
		if err != nil || old == e {
			return err
		}
		if _, there, err := model.Optional(model.Volumes.Get(w, e.VolumeID)); err != nil || !there {
			return err
		}
		return model.Exports.Put(w, e.VolumeID, e)
	})
}

// closeExports gives the devices back when the agent ends. The rows stay: they are what the next start makes true again.
func (a *Agent) closeExports() {
	ctx, cancel := context.WithTimeout(context.Background(), drainWait)
	defer cancel()
	if err := a.Targets.Drain(ctx); err != nil {
		a.Logger.Warn("drain the iSCSI target", "error", err)
	}
	for _, id := range a.exportedVolumes() {
		if err := a.unexport(context.Background(), id); err != nil {
			a.Logger.Warn("end the export of a volume", "volume", id, "error", err)
		}
	}
}
