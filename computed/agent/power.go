package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"henge/cluster/state"
	"henge/computed/hypervisor"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/internal/errs"
)

const (
	// shutdownWait is how long a guest has to shut down after its power button was pressed (Nova's default is 60 s).
	shutdownWait = 60 * time.Second
	pressEvery   = 10 * time.Second
	lookEvery    = 300 * time.Millisecond
)

// power carries out what only concerns the guest itself.
func (a *Agent) power(ctx context.Context, s *model.Server) error {
	switch s.Task.Action {
	case lifecycle.Start:
		return a.powerOn(ctx, s)
	case lifecycle.Stop:
		return a.powerDown(ctx, s.ID)
	case lifecycle.RebootSoft:
		if err := a.powerDown(ctx, s.ID); err != nil {
			return err
		}
		return a.powerOn(ctx, s)
	case lifecycle.RebootHard:
		if err := a.Driver.PowerOff(ctx, s.ID); err != nil {
			return err
		}
		return a.powerOn(ctx, s)
	case lifecycle.Pause:
		return a.Driver.Pause(ctx, s.ID)
	case lifecycle.Unpause:
		return a.Driver.Unpause(ctx, s.ID)
	case lifecycle.Suspend:
		return a.Driver.Save(ctx, s.ID)
	case lifecycle.Resume:
		return a.Driver.Start(ctx, s.ID)
	}
	return errs.New(errs.Unsupported, "this host does not know the action %q: it runs an older version", s.Task.Action)
}

// powerDown asks the guest to shut down, and pulls the plug when it takes no notice.
func (a *Agent) powerDown(ctx context.Context, id string) error {
	deadline := time.Now().Add(shutdownWait)
	press := time.Time{}
	for time.Now().Before(deadline) {
		power, err := a.powerOf(ctx, id)
		if err != nil {
			return err
		}
		if power != lifecycle.Running {
			break
		}
		if time.Since(press) > pressEvery {
			press = time.Now()
			if err := a.Driver.PowerButton(ctx, id); err != nil && !errs.Is(err, errs.Conflict) {
				return err
			}
		}
		pause(ctx, lookEvery)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return a.Driver.PowerOff(ctx, id)
}

// snapshot copies the root disk as it is at one moment, and makes the image of it.
func (a *Agent) snapshot(ctx context.Context, s *model.Server) error {
	root := ""
	for _, d := range s.Disks {
		if d.Boot && d.Local {
			root = d.Device
		}
	}
	if root == "" {
		return errs.New(errs.Unsupported, "the server has no local root disk")
	}
	path := filepath.Join(a.GuestDir(s.ID), "snapshot."+s.Task.ImageID)
	defer os.Remove(path) // one that a killed peer left goes when the task is done again, or the server goes
	if err := a.setTask(ctx, s, "image_pending_upload"); err != nil {
		return err
	}
	if err := a.Driver.CopyDisk(ctx, s.ID, root, path); err != nil {
		return err
	}
	if err := a.setTask(ctx, s, "image_uploading"); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the copy: %w", err)
	}
	defer f.Close()
	if err := a.Images.Upload(ctx, identity(*s), s.Task.ImageID, f); err != nil {
		return err
	}
	return a.done(ctx, s)
}

// attachments brings the disks and interfaces of a server at rest to what its row says.
func (a *Agent) attachments(ctx context.Context, s *model.Server) error {
	if s.VM == lifecycle.Building || s.VM == lifecycle.Error || s.Launched.IsZero() {
		return nil
	}
	for _, d := range s.Disks {
		if d.Local || d.State == model.Attached && !d.Grown {
			continue
		}
		if err := a.retryable(ctx, s, a.changeDisk(ctx, s, d)); err != nil {
			return err
		}
	}
	for _, n := range s.NICs {
		if n.State == model.Attached {
			continue
		}
		if err := a.retryable(ctx, s, a.changeNIC(ctx, s, n)); err != nil {
			return err
		}
	}
	return nil
}

// retryable lets errors through that are to be tried again; others were told to the server already.
func (a *Agent) retryable(ctx context.Context, s *model.Server, err error) error {
	if err != nil && ctx.Err() != nil {
		return errSuperseded
	}
	return err
}

func (a *Agent) changeDisk(ctx context.Context, s *model.Server, d model.Disk) error {
	if d.State == model.Detaching {
		return a.detachDisk(ctx, s, d, "compute_detach_volume", nil)
	}
	if d.State == model.Attached {
		return a.growDisk(ctx, s, d)
	}
	disk, err := a.disk(ctx, s, d)
	if err == nil {
		err = a.Driver.AttachDisk(ctx, s.ID, disk)
	}
	if err == nil {
		err = a.Volumes.Complete(ctx, identity(*s), d.AttachmentID)
	}
	if downOrEnding(ctx, err) {
		return err
	}
	if err != nil {
		a.Logger.Warn("attach volume", "server", s.ID, "volume", d.VolumeID, "error", err)
		return a.detachDisk(ctx, s, d, "compute_attach_volume", err)
	}
	return a.change(ctx, s, func(w state.Writer, s *model.Server) error {
		s.Disks = append([]model.Disk(nil), s.Disks...)
		if now := s.Disk(d.ID); now != nil && now.State == model.AttachWanted {
			now.State = model.Attached
		}
		return a.recordEnd(w, s.ID, d.RequestID, "compute_attach_volume", a.Clock.Now(), nil)
	})
}

// growDisk tells the guest that a volume is larger. When that fails the guest sees it at its next start.
func (a *Agent) growDisk(ctx context.Context, s *model.Server, d model.Disk) error {
	err := a.Driver.GrowDisk(ctx, s.ID, d.VolumeID, int64(d.GiB)<<30)
	if downOrEnding(ctx, err) {
		return err
	}
	if err != nil {
		a.Logger.Warn("extend volume", "server", s.ID, "volume", d.VolumeID, "error", err)
	}
	return a.change(ctx, s, func(_ state.Writer, s *model.Server) error {
		s.Disks = append([]model.Disk(nil), s.Disks...)
		if now := s.Disk(d.ID); now != nil && now.GiB == d.GiB {
			now.Grown = false
		}
		return nil
	})
}

// detachDisk takes a volume away, and gives it back. failure is why, when it is because it could not be attached.
func (a *Agent) detachDisk(ctx context.Context, s *model.Server, d model.Disk, event string, failure error) error {
	if err := a.Driver.DetachDisk(ctx, s.ID, d.VolumeID); err != nil && !errs.Is(err, errs.NotFound) {
		if downOrEnding(ctx, err) {
			return err
		}
		// The guest does not let go: it keeps the volume, and the user hears why.
		if err := a.Volumes.RollDetaching(ctx, identity(*s), d.VolumeID); err != nil {
			return err
		}
		return a.change(ctx, s, func(w state.Writer, s *model.Server) error {
			s.Disks = append([]model.Disk(nil), s.Disks...)
			if now := s.Disk(d.ID); now != nil {
				now.State = model.Attached
			}
			return a.recordEnd(w, s.ID, d.RequestID, event, a.Clock.Now(), errors.Join(failure, err))
		})
	}
	if d.AttachmentID != "" {
		if err := a.Volumes.Detach(ctx, identity(*s), d.AttachmentID); err != nil {
			return err
		}
	}
	return a.change(ctx, s, func(w state.Writer, s *model.Server) error {
		var left []model.Disk
		for _, have := range s.Disks {
			if have.ID != d.ID {
				left = append(left, have)
			}
		}
		s.Disks = left
		return a.recordEnd(w, s.ID, d.RequestID, event, a.Clock.Now(), failure)
	})
}

// downOrEnding tells whether an error says nothing of the server: it is tried again.
func downOrEnding(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, hypervisor.ErrDown))
}

func (a *Agent) changeNIC(ctx context.Context, s *model.Server, n model.NIC) error {
	if n.State == model.Detaching {
		return a.unplug(ctx, s, n, "compute_detach_interface", nil)
	}
	wire, err := a.Networks.Wired(ctx, n.PortID, a.Host.ID)
	if err == nil {
		err = a.Driver.AttachNIC(ctx, s.ID, nic(n, wire, s.Image))
	}
	if downOrEnding(ctx, err) {
		return err
	}
	if err != nil {
		a.Logger.Warn("attach interface", "server", s.ID, "port", n.PortID, "error", err)
		return a.unplug(ctx, s, n, "compute_attach_interface", err)
	}
	return a.change(ctx, s, func(w state.Writer, s *model.Server) error {
		s.NICs = append([]model.NIC(nil), s.NICs...)
		if now := s.Port(n.PortID); now != nil && now.State == model.AttachWanted {
			now.State = model.Attached
		}
		return a.recordEnd(w, s.ID, n.RequestID, "compute_attach_interface", a.Clock.Now(), nil)
	})
}

func (a *Agent) unplug(ctx context.Context, s *model.Server, n model.NIC, event string, failure error) error {
	if err := a.Driver.DetachNIC(ctx, s.ID, n.MAC); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	var err error
	if n.Ours {
		err = a.Networks.DeletePort(ctx, n.PortID, s.ID)
	} else {
		err = a.Networks.UnbindPort(ctx, n.PortID, s.ID)
	}
	if err != nil {
		return err
	}
	return a.change(ctx, s, func(w state.Writer, s *model.Server) error {
		var left []model.NIC
		for _, have := range s.NICs {
			if have.PortID != n.PortID {
				left = append(left, have)
			}
		}
		s.NICs = left
		return a.recordEnd(w, s.ID, n.RequestID, event, a.Clock.Now(), failure)
	})
}
