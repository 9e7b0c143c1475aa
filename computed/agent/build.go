package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"henge/cluster/state"
	"henge/computed/configdrive"
	"henge/computed/hypervisor"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/internal/errs"
)

// build makes a server that is not there yet. Each step notes what it made before the next begins, so that a build that was cut short goes on, or is undone.
func (a *Agent) build(ctx context.Context, s *model.Server) error {
	select {
	case a.boots <- struct{}{}:
		defer func() { <-a.boots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, step := range []struct {
		task string
		do   func(context.Context, *model.Server) error
	}{
		{"networking", a.ports},
		{"block_device_mapping", a.volumes},
		{"spawning", a.powerOn},
	} {
		if err := a.setTask(ctx, s, step.task); err != nil {
			return err
		}
		if err := step.do(ctx, s); err != nil {
			return err
		}
	}
	return a.built(ctx, s)
}

func (a *Agent) setTask(ctx context.Context, s *model.Server, task string) error {
	if s.State.Task == task {
		return nil
	}
	return a.write(ctx, s, func(_ state.Writer, s *model.Server) error {
		s.State.Task = task
		return nil
	})
}

func (a *Agent) built(ctx context.Context, s *model.Server) error {
	return a.write(ctx, s, func(w state.Writer, s *model.Server) error {
		s.State = lifecycle.Done(s.State, s.Task.Action, lifecycle.Running)
		s.Launched, s.Fault, s.Progress = a.Clock.Now(), nil, 0
		s.NICs, s.Disks = slices.Clone(s.NICs), slices.Clone(s.Disks)
		for i := range s.NICs {
			s.NICs[i].State = model.Attached
		}
		for i := range s.Disks {
			s.Disks[i].State = model.Attached
		}
		return a.finish(w, s, nil)
	})
}

// ports makes the ports that the server shall have, and takes those that are there.
func (a *Agent) ports(ctx context.Context, s *model.Server) error {
	for i, n := range s.NICs {
		var p neighbour.Port
		var err error
		if n.Ours && n.PortID == "" {
			p, err = a.Networks.CreatePort(ctx, identity(*s), neighbour.PortRequest{NetworkID: n.NetworkID, FixedIP: n.FixedIP, Groups: s.Groups, ServerID: s.ID, Host: a.Host.ID,
				Zone: a.Host.Zone, ProjectID: s.ProjectID, Key: fmt.Sprintf("%s-%d", s.ID, i)})
		} else {
			p, err = a.Networks.BindPort(ctx, identity(*s), n.PortID, s.ID, a.Host.ID)
		}
		if err != nil {
			return fmt.Errorf("network %s: %w", n.NetworkID, err)
		}
		if err := a.write(ctx, s, func(_ state.Writer, s *model.Server) error {
			s.NICs = slices.Clone(s.NICs)
			neighbour.Describe(&s.NICs[i], p)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// volumes makes the volumes that the server shall have, and reserves all.
func (a *Agent) volumes(ctx context.Context, s *model.Server) error {
	for i := range s.Disks {
		if s.Disks[i].Local {
			continue
		}
		if err := a.volume(ctx, s, i); err != nil {
			return fmt.Errorf("volume %s: %w", s.Disks[i].VolumeID, err)
		}
	}
	return nil
}

func (a *Agent) volume(ctx context.Context, s *model.Server, i int) error {
	d := s.Disks[i]
	if d.VolumeID == "" {
		req := neighbour.VolumeRequest{Type: d.VolumeType, GiB: d.GiB, Key: d.ID}
		switch d.Source {
		case "image":
			req.ImageID = d.SourceID
		case "snapshot":
			req.SnapshotID = d.SourceID
		}
		v, err := a.Volumes.CreateVolume(ctx, identity(*s), req)
		if err != nil {
			return err
		}
		if err := a.setDisk(ctx, s, d.ID, func(d *model.Disk) { d.VolumeID, d.GiB = v.ID, v.GiB }); err != nil {
			return err
		}
	}
	if s.Disks[i].AttachmentID != "" {
		return nil
	}
	id, err := a.Volumes.Reserve(ctx, identity(*s), s.Disks[i].VolumeID, s.ID)
	if err != nil {
		return err
	}
	return a.setDisk(ctx, s, d.ID, func(d *model.Disk) { d.AttachmentID = id })
}

func (a *Agent) setDisk(ctx context.Context, s *model.Server, diskID string, change func(*model.Disk)) error {
	return a.write(ctx, s, func(_ state.Writer, s *model.Server) error {
		s.Disks = slices.Clone(s.Disks)
		if d := s.Disk(diskID); d != nil {
			change(d)
		}
		return nil
	})
}

// powerOn defines the guest as the row has it, and starts it. What a start needs of the neighbours (exports, wires) is made anew: the host may have rebooted.
func (a *Agent) powerOn(ctx context.Context, s *model.Server) error {
	g, err := a.describe(ctx, s)
	if err != nil {
		return err
	}
	if err := a.Driver.Define(ctx, g); err != nil {
		return err
	}
	if err := a.Driver.Start(ctx, s.ID); err != nil {
		return err
	}
	for _, d := range s.Disks {
		if d.AttachmentID != "" {
			if err := a.Volumes.Complete(ctx, identity(*s), d.AttachmentID); err != nil {
				return fmt.Errorf("volume %s: %w", d.VolumeID, err)
			}
		}
	}
	return nil
}

// describe is the guest with everything that it needs in place.
func (a *Agent) describe(ctx context.Context, s *model.Server) (hypervisor.Guest, error) {
	g := hypervisor.Guest{ID: s.ID, Title: s.Name, VCPUs: s.Flavor.VCPUs, MemoryMiB: s.Flavor.RAMMiB, ConsoleLog: a.ConsoleLog(s.ID)}
	if err := os.MkdirAll(a.GuestDir(s.ID), 0o711); err != nil {
		return g, fmt.Errorf("make the guest's directory: %w", err)
	}
	for _, d := range s.Disks {
		if d.State == model.Detaching {
			continue
		}
		disk, err := a.disk(ctx, s, d)
		if err != nil {
			return g, err
		}
		g.Disks = append(g.Disks, disk)
	}
	if s.ConfigDrive {
		path, err := a.configDrive(ctx, s)
		if err != nil {
			return g, fmt.Errorf("config drive: %w", err)
		}
		// A CD, as Nova makes it: a virtio disk would take the guest's name /dev/vdb from the first volume.
		g.Disks = append(g.Disks, hypervisor.Disk{Device: "hdd", Bus: "ide", CDROM: true, Path: path, Format: "raw"})
	}
	for _, n := range s.NICs {
		if n.State == model.Detaching {
			continue
		}
		wire, err := a.Networks.Wired(ctx, n.PortID, a.Host.ID)
		if err != nil {
			return g, fmt.Errorf("port %s: %w", n.PortID, err)
		}
		g.NICs = append(g.NICs, nic(n, wire, s.Image))
	}
	return g, nil
}

func nic(n model.NIC, wire neighbour.Wire, image model.Image) hypervisor.NIC {
	return hypervisor.NIC{MAC: n.MAC, Tap: wire.Tap, MTU: wire.MTU, Model: image.Properties["hw_vif_model"]}
}

// disk makes one disk ready.
func (a *Agent) disk(ctx context.Context, s *model.Server, d model.Disk) (hypervisor.Disk, error) {
	disk := hypervisor.Disk{Device: d.Device, Bus: s.Image.Properties["hw_disk_bus"]}
	if d.Boot {
		disk.Boot = 1
	}
	if d.Local {
		fetch := func(ctx context.Context) (io.ReadCloser, error) { return a.Images.Open(ctx, identity(*s), d.SourceID) }
		root, err := a.Disks.Root(ctx, a.GuestDir(s.ID), s.Image, d.GiB, fetch)
		if err != nil {
			return disk, fmt.Errorf("image %s: %w", d.SourceID, err)
		}
		disk.Path, disk.Format, disk.CDROM = root.Path, root.Format, root.CD
		if root.CD {
			disk.Device, disk.Bus = "hda", "ide"
		}
		return disk, nil
	}
	c, err := a.Volumes.Connect(ctx, identity(*s), d.AttachmentID, a.Host.ID, a.Host.Initiator, "/dev/"+d.Device)
	if err != nil {
		return disk, fmt.Errorf("volume %s: %w", d.VolumeID, err)
	}
	disk.Serial = d.VolumeID
	disk.ISCSI = &hypervisor.ISCSI{Portal: c.Portal, IQN: c.IQN, LUN: c.LUN, Initiator: a.Host.Initiator, User: c.User, Secret: c.Secret}
	return disk, nil
}

// configDrive writes the drive's image: as the state is now, also at each start.
func (a *Agent) configDrive(ctx context.Context, s *model.Server) (string, error) {
	files, err := a.Metadata(ctx, s.ID)
	if err != nil {
		return "", err
	}
	path := filepath.Join(a.GuestDir(s.ID), "disk.config")
	f, err := os.Create(path + ".new")
	if err != nil {
		return "", err
	}
	err = errors.Join(configdrive.Write(f, files, s.Created), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return path, err
}

// buildTriesMax is how many hosts are tried for a server.
const buildTriesMax = 3

// buildFailed takes back what the build made, then tries another host, or leaves the server in error with the cause.
func (a *Agent) buildFailed(ctx context.Context, s *model.Server, failure error) error {
	if err := a.undo(ctx, s); err != nil {
		return err // tried again: nothing may stay behind
	}
	return a.write(ctx, s, func(w state.Writer, s *model.Server) error {
		if err := a.Scheduler.Release(w, s.ID); err != nil {
			return err
		}
		tried := append(slices.Clone(s.Tried), a.Host.Name)
		if len(tried) < buildTriesMax && s.WantHost == "" {
			next := *s
			next.Tried = tried
			claim, err := neighbour.ClaimOf(w, next)
			if err != nil {
				return err
			}
			host, err := a.Scheduler.Place(ctx, w, claim)
			if err == nil {
				s.Host, s.Tried, s.State.Task = host, tried, "scheduling"
				return nil
			}
			if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
		s.State = lifecycle.Fail(s.State, lifecycle.Create, lifecycle.NoState)
		s.Fault = a.fault(failure)
		return a.finish(w, s, failure)
	})
}

// rebuild makes the guest anew from an image; its ports and volumes stay.
func (a *Agent) rebuild(ctx context.Context, s *model.Server) error {
	if err := a.Driver.Undefine(ctx, s.ID); err != nil {
		return err
	}
	if s.State.Task != "spawning" { // a rebuild that goes on after a crash must not throw away what it made: it may do the same again
		if err := a.Disks.Forget(a.GuestDir(s.ID)); err != nil {
			return err
		}
	}
	if err := a.powerOn(ctx, s); err != nil {
		return err
	}
	return a.built(ctx, s)
}
