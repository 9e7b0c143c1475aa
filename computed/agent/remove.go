package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"henge/cluster/state"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/internal/errs"
)

// remove ends a server: the guest first, then what it used, then its row.
func (a *Agent) remove(ctx context.Context, s *model.Server) error {
	if err := a.undo(ctx, s); err != nil {
		return err
	}
	err := a.Store.Update(ctx, func(w state.Writer) error {
		now, err := model.Servers.Get(w, s.ID)
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.Scheduler.Release(w, s.ID); err != nil {
			return err
		}
		return model.Remove(w, now)
	})
	if err != nil {
		return errors.Join(errState, err)
	}
	return nil
}

// removeFailed says why a server cannot be ended, and lets the task stand: it is tried again.
func (a *Agent) removeFailed(ctx context.Context, s *model.Server, failure error) error {
	err := a.write(ctx, s, func(_ state.Writer, s *model.Server) error {
		s.Fault = a.fault(fmt.Errorf("delete: %w", failure))
		s.VM = lifecycle.Error
		return nil
	})
	if err != nil {
		return err
	}
	return failure
}

// undo takes back everything that was made for a server on this host. Ports and volumes that were made for it go; those that were only lent are given back.
func (a *Agent) undo(ctx context.Context, s *model.Server) error {
	if err := a.Driver.Undefine(ctx, s.ID); err != nil {
		return err
	}
	if err := a.undoVolumes(ctx, s); err != nil {
		return err
	}
	if err := a.undoPorts(ctx, s); err != nil {
		return err
	}
	return a.Disks.Forget(a.GuestDir(s.ID))
}

func (a *Agent) undoVolumes(ctx context.Context, s *model.Server) error {
	if !slices.ContainsFunc(s.Disks, func(d model.Disk) bool { return !d.Local }) {
		return nil
	}
	if err := a.Volumes.DetachServer(ctx, identity(*s), s.ID); err != nil {
		return fmt.Errorf("detach the volumes: %w", err)
	}
	for _, d := range slices.Clone(s.Disks) {
		if d.Local {
			continue
		}
		if err := a.dropVolume(ctx, s, d); err != nil {
			return fmt.Errorf("volume %s: %w", d.VolumeID, err)
		}
		if err := a.setDisk(ctx, s, d.ID, func(d *model.Disk) {
			d.AttachmentID = ""
			if d.Source != "volume" {
				d.VolumeID = ""
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// dropVolume removes a volume that shall not outlive its server, or that was made for a server that never was.
func (a *Agent) dropVolume(ctx context.Context, s *model.Server, d model.Disk) error {
	switch {
	case d.Source != "volume" && (s.Launched.IsZero() || d.VolumeID == ""):
		return a.Volumes.DeleteMade(ctx, identity(*s), d.ID)
	case d.DeleteOnTermination && s.Task.Action == lifecycle.Delete && d.VolumeID != "":
		err := a.Volumes.DeleteVolume(ctx, identity(*s), d.VolumeID)
		if errs.Is(err, errs.Conflict) { // it has snapshots, or another server has it: as Nova does, the server goes and the volume stays
			a.Logger.Warn("a volume outlives its server", "server", s.ID, "volume", d.VolumeID, "error", err)
			return nil
		}
		return err
	}
	return nil
}

func (a *Agent) undoPorts(ctx context.Context, s *model.Server) error {
	lent := map[string]bool{}
	for _, n := range s.NICs {
		if n.PortID != "" && !n.Ours {
			lent[n.PortID] = true
			if err := a.Networks.UnbindPort(ctx, n.PortID, s.ID); err != nil {
				return fmt.Errorf("port %s: %w", n.PortID, err)
			}
		}
	}
	// Also those that were made but not noted yet when a build was cut off.
	all, err := a.Networks.PortsOf(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, p := range all {
		if lent[p.ID] {
			continue
		}
		if err := a.Networks.DeletePort(ctx, p.ID, s.ID); err != nil {
			return fmt.Errorf("port %s: %w", p.ID, err)
		}
	}
	return a.write(ctx, s, func(_ state.Writer, s *model.Server) error {
		s.NICs = slices.Clone(s.NICs)
		for i := range s.NICs {
			n := &s.NICs[i]
			if n.Ours {
				n.PortID = ""
			}
			n.MAC, n.Addresses, n.Subnets, n.NetworkName = "", nil, nil, ""
		}
		return nil
	})
}
