package libvirt

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"henge/computed/hypervisor"
	"henge/computed/lifecycle"
	"henge/internal/errs"
)

var _ hypervisor.Driver = (*Driver)(nil)

// Host asks libvirt about the machine.
func (d *Driver) Host(ctx context.Context) (h hypervisor.Host, err error) {
	err = d.call(ctx, "describe the host", callTimeout, func(l *lv.Libvirt) error {
		model, memory, cpus, _, _, _, _, _, err := l.NodeGetInfo()
		if err != nil {
			return err
		}
		version, err := l.ConnectGetVersion()
		if err != nil {
			return err
		}
		name, err := l.ConnectGetHostname()
		if err != nil {
			return err
		}
		h = hypervisor.Host{Name: name, VCPUs: int(cpus), MemoryMiB: int(memory >> 10), Type: "QEMU", Version: int(version), VirtType: d.VirtType, Arch: text(model)}
		return nil
	})
	return h, err
}

func text(raw [32]int8) string {
	var b strings.Builder
	for _, c := range raw {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// Guests are those with our mark.
func (d *Driver) Guests(ctx context.Context) (all []hypervisor.Seen, err error) {
	err = d.call(ctx, "list the guests", callTimeout, func(l *lv.Libvirt) error {
		domains, _, err := l.ConnectListAllDomains(1, 0)
		if err != nil {
			return err
		}
		for _, dom := range domains {
			if !strings.HasPrefix(dom.Name, namePrefix) {
				continue
			}
			mark, err := l.DomainGetMetadata(dom, int32(lv.DomainMetadataDescription), nil, lv.DomainAffectConfig)
			if err != nil || mark != d.mark() {
				continue // gone since, or somebody else's
			}
			seen, err := look(l, dom)
			if err != nil {
				continue // gone since
			}
			all = append(all, seen)
		}
		return nil
	})
	return all, err
}

// Guest finds one.
func (d *Driver) Guest(ctx context.Context, id string) (seen hypervisor.Seen, err error) {
	err = d.on(ctx, "look at", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) (err error) {
		seen, err = look(l, dom)
		return err
	})
	return seen, err
}

func look(l *lv.Libvirt, dom lv.Domain) (hypervisor.Seen, error) {
	seen := hypervisor.Seen{ID: formatUUID(dom.UUID)}
	state, reason, err := l.DomainGetState(dom, 0)
	if err != nil {
		return seen, err
	}
	switch lv.DomainState(state) {
	case lv.DomainRunning, lv.DomainBlocked, lv.DomainShutdown: // the last is on its way down
		seen.Power = lifecycle.Running
	case lv.DomainPaused, lv.DomainPmsuspended:
		seen.Power = lifecycle.PowerPaused
		if lv.DomainPausedReason(reason) == lv.DomainPausedIoerror {
			seen.Interrupted = "an I/O error on a disk"
		}
	case lv.DomainCrashed:
		seen.Power = lifecycle.Crashed
	case lv.DomainShutoff:
		seen.Power = lifecycle.Shutdown
		saved, err := l.DomainHasManagedSaveImage(dom, 0)
		if err != nil {
			return seen, err
		}
		if saved != 0 {
			seen.Power = lifecycle.Saved
		}
	}
	return seen, nil
}

// Screen is the socket that libvirt chose for the guest's display.
func (d *Driver) Screen(ctx context.Context, id string) (socket string, err error) {
	doc, err := d.xml(ctx, id, 0)
	if err != nil {
		return "", err
	}
	for _, s := range doc.Screens {
		if s.Socket != "" {
			return s.Socket, nil
		}
	}
	return "", errs.New(errs.Conflict, "guest %s does not run: it has no screen", id)
}

// Define makes or replaces the description, and the secrets that its disks need.
func (d *Driver) Define(ctx context.Context, g hypervisor.Guest) error {
	for _, disk := range g.Disks {
		if err := d.keepSecret(ctx, disk); err != nil {
			return err
		}
	}
	doc, err := d.domainXML(g)
	if err != nil {
		return err
	}
	return d.call(ctx, "define guest "+g.ID, callTimeout, func(l *lv.Libvirt) error {
		_, err := l.DomainDefineXMLFlags(doc, 0)
		return err
	})
}

// Start runs a guest.
func (d *Driver) Start(ctx context.Context, id string) error {
	return d.on(ctx, "start", id, longTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		seen, err := look(l, dom)
		if err != nil {
			return err
		}
		if seen.Power == lifecycle.Running || seen.Power == lifecycle.PowerPaused {
			return nil
		}
		_, err = l.DomainCreateWithFlags(dom, 0)
		return err
	})
}

// PowerButton sends the ACPI event.
func (d *Driver) PowerButton(ctx context.Context, id string) error {
	return d.on(ctx, "press the power button of", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		return l.DomainShutdownFlags(dom, lv.DomainShutdownAcpiPowerBtn)
	})
}

// PowerOff ends QEMU, and forgets memory that was saved.
func (d *Driver) PowerOff(ctx context.Context, id string) error {
	err := d.on(ctx, "power off", id, longTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		seen, err := look(l, dom)
		switch {
		case err != nil:
			return err
		case seen.Power == lifecycle.Saved:
			return l.DomainManagedSaveRemove(dom, 0)
		case seen.Power == lifecycle.Shutdown:
			return nil
		}
		return l.DomainDestroyFlags(dom, 0)
	})
	if errs.Is(err, errs.Conflict) { // it went off by itself in between
		return nil
	}
	return gone(err)
}

// Reset is the reset button.
func (d *Driver) Reset(ctx context.Context, id string) error {
	return d.on(ctx, "reset", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error { return l.DomainReset(dom, 0) })
}

// Pause stops the guest's processors.
func (d *Driver) Pause(ctx context.Context, id string) error {
	return d.on(ctx, "pause", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error { return l.DomainSuspend(dom) })
}

// Unpause starts them again.
func (d *Driver) Unpause(ctx context.Context, id string) error {
	return d.on(ctx, "unpause", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		if seen, err := look(l, dom); err != nil || seen.Power == lifecycle.Running {
			return err
		}
		return l.DomainResume(dom)
	})
}

// Save keeps the guest's memory in libvirt's managed save image.
func (d *Driver) Save(ctx context.Context, id string) error {
	return d.on(ctx, "save", id, longTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		if seen, err := look(l, dom); err != nil || seen.Power == lifecycle.Saved {
			return err
		}
		return l.DomainManagedSave(dom, 0)
	})
}

// Undefine ends the guest and removes its description, its saved memory and its secrets.
func (d *Driver) Undefine(ctx context.Context, id string) error {
	doc, err := d.xml(ctx, id, 0)
	if err != nil {
		return gone(err)
	}
	if err := d.PowerOff(ctx, id); err != nil {
		return err
	}
	err = d.on(ctx, "undefine", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		return l.DomainUndefineFlags(dom, lv.DomainUndefineManagedSave|lv.DomainUndefineSnapshotsMetadata|lv.DomainUndefineNvram)
	})
	if err := gone(err); err != nil {
		return err
	}
	for _, serial := range doc.iscsiSerials() {
		if err := d.dropSecret(ctx, serial); err != nil {
			return err
		}
	}
	return nil
}

// detachWait is how long a guest has to let go of a device; one that boots does not listen, so it is asked again.
const (
	detachWait = 40 * time.Second
	askEvery   = 5 * time.Second
	lookEvery  = 200 * time.Millisecond
)

// impact says what a change of devices touches: the description, and the guest when it runs.
func impact(l *lv.Libvirt, dom lv.Domain) (uint32, error) {
	seen, err := look(l, dom)
	flags := uint32(lv.DomainAffectConfig)
	if seen.Power == lifecycle.Running || seen.Power == lifecycle.PowerPaused {
		flags |= uint32(lv.DomainAffectLive)
	}
	return flags, err
}

func (d *Driver) attach(ctx context.Context, id, element string) error {
	return d.on(ctx, "attach to", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		flags, err := impact(l, dom)
		if err != nil {
			return err
		}
		return l.DomainAttachDeviceFlags(dom, element, flags)
	})
}

// AttachDisk plugs a disk.
func (d *Driver) AttachDisk(ctx context.Context, id string, disk hypervisor.Disk) error {
	doc, err := d.xml(ctx, id, 0)
	if err != nil {
		return err
	}
	if doc.disk(disk.Serial) != "" {
		return nil
	}
	if err := d.keepSecret(ctx, disk); err != nil {
		return err
	}
	element, err := diskXML(disk)
	if err != nil {
		return err
	}
	return d.attach(ctx, id, element)
}

// DetachDisk unplugs the disk with a serial.
func (d *Driver) DetachDisk(ctx context.Context, id, serial string) error {
	if err := d.detach(ctx, id, func(doc *domainDoc) string { return doc.disk(serial) }); err != nil {
		return err
	}
	return d.dropSecret(ctx, serial)
}

// GrowDisk has QEMU look at the size of a disk again.
func (d *Driver) GrowDisk(ctx context.Context, id, serial string, bytes int64) error {
	doc, err := d.xml(ctx, id, 0)
	if err != nil {
		return err
	}
	device := doc.device(serial)
	if device == "" {
		return errs.New(errs.NotFound, "guest %s has no disk %s", id, serial)
	}
	return d.on(ctx, "grow a disk of", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		seen, err := look(l, dom)
		if err != nil || seen.Power != lifecycle.Running && seen.Power != lifecycle.PowerPaused {
			return err
		}
		return l.DomainBlockResize(dom, device, uint64(bytes), lv.DomainBlockResizeBytes)
	})
}

// AttachNIC plugs an interface.
func (d *Driver) AttachNIC(ctx context.Context, id string, n hypervisor.NIC) error {
	doc, err := d.xml(ctx, id, 0)
	if err != nil {
		return err
	}
	if doc.nic(n.MAC) != "" {
		return nil
	}
	element, err := nicXML(n)
	if err != nil {
		return err
	}
	return d.attach(ctx, id, element)
}

// DetachNIC unplugs the interface with a hardware address.
func (d *Driver) DetachNIC(ctx context.Context, id, mac string) error {
	return d.detach(ctx, id, func(doc *domainDoc) string { return doc.nic(mac) })
}

// detach unplugs a device, from the description and from the guest, and waits until it is out of both.
func (d *Driver) detach(ctx context.Context, id string, find func(*domainDoc) string) error {
	deadline, asked := time.Now().Add(detachWait), time.Time{}
	var last error
	for {
		lasting, err := d.xml(ctx, id, lv.DomainXMLInactive)
		if err != nil {
			return gone(err)
		}
		now, err := d.xml(ctx, id, 0)
		if err != nil {
			return gone(err)
		}
		if find(lasting) == "" && find(now) == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return errs.New(errs.Conflict, "the guest did not let go of the device within %s: %v", detachWait, last)
		}
		if time.Since(asked) > askEvery {
			asked = time.Now()
			last = d.unplug(ctx, id, find(lasting), find(now))
		}
		timer := time.NewTimer(lookEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (d *Driver) unplug(ctx context.Context, id, lasting, now string) error {
	return d.on(ctx, "detach from", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		flags, err := impact(l, dom)
		if err != nil {
			return err
		}
		if lasting != "" {
			if err := l.DomainDetachDeviceFlags(dom, lasting, uint32(lv.DomainAffectConfig)); err != nil {
				return err
			}
		}
		if now != "" && flags&uint32(lv.DomainAffectLive) != 0 {
			return l.DomainDetachDeviceFlags(dom, now, uint32(lv.DomainAffectLive))
		}
		return nil
	})
}

// CopyDisk copies a disk with its backing chain: by a block job while the guest runs, which then ends at one moment, or with qemu-img.
func (d *Driver) CopyDisk(ctx context.Context, id, device, path string) error {
	seen, err := d.Guest(ctx, id)
	if err != nil {
		return err
	}
	if seen.Power != lifecycle.Running && seen.Power != lifecycle.PowerPaused {
		return d.convert(ctx, id, device, path)
	}
	element := "<disk type='file'><driver type='qcow2'/><source file='" + escape(path) + "'/></disk>"
	err = d.on(ctx, "copy a disk of", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		return l.DomainBlockCopy(dom, device, element, nil, lv.DomainBlockCopyTransientJob)
	})
	if err != nil {
		return err
	}
	if err := d.waitCopy(ctx, id, device); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		_ = d.endCopy(stop, id, device) // the first reason is told
		return err
	}
	return d.endCopy(ctx, id, device)
}

func (d *Driver) endCopy(ctx context.Context, id, device string) error {
	return d.on(ctx, "end the copy of a disk of", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error { return l.DomainBlockJobAbort(dom, device, 0) })
}

// waitCopy waits until the copy has caught up with the guest.
func (d *Driver) waitCopy(ctx context.Context, id, device string) error {
	for {
		ready := false
		err := d.on(ctx, "copy a disk of", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
			found, _, _, cur, end, err := l.DomainGetBlockJobInfo(dom, device, 0)
			if err == nil && found == 0 {
				return errs.New(errs.Internal, "the copy ended before its time")
			}
			ready = cur == end && end > 0
			if !ready || err != nil {
				return err
			}
			doc, err := l.DomainGetXMLDesc(dom, 0)
			ready = strings.Contains(doc, "ready='yes'") // the counters are equal for a moment before
			return err
		})
		if err != nil || ready {
			return err
		}
		timer := time.NewTimer(lookEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (d *Driver) convert(ctx context.Context, id, device, path string) error {
	doc, err := d.xml(ctx, id, 0)
	if err != nil {
		return err
	}
	from := doc.file(device)
	if from == "" {
		return errs.New(errs.NotFound, "guest %s has no file for %s", id, device)
	}
	format := doc.format(device)
	out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", format, "-O", "qcow2", from, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy a disk of guest %s: %w: %s", id, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Events tells of guests that changed by themselves. While libvirtd is away, and when it comes back, one says that anything may have changed.
func (d *Driver) Events(ctx context.Context) <-chan hypervisor.Event {
	out := make(chan hypervisor.Event, 1)
	go func() {
		for ctx.Err() == nil {
			d.follow(ctx, out)
			timer := time.NewTimer(time.Second)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}()
	return out
}

// follow hears the events of one connection, which is its own and ends with it: when a subscription of go-libvirt is cancelled, an event that is
// on its way blocks the reader of the connection for ever, and with it each call.
func (d *Driver) follow(ctx context.Context, out chan<- hypervisor.Event) {
	l, err := d.dial()
	if err != nil {
		return
	}
	events, err := l.LifecycleEvents(context.WithoutCancel(ctx))
	if err != nil {
		_ = l.Disconnect()
		return
	}
	tell := func(id string) {
		select {
		case out <- hypervisor.Event{ID: id}:
		default: // one that waits is enough: whoever takes it looks at all
		}
	}
	defer hangUp(l, events)
	tell("")
	for {
		select {
		case e, ok := <-events:
			if !ok {
				tell("")
				return
			}
			tell(formatUUID(e.Dom.UUID))
		case <-l.Disconnected():
			tell("")
			return
		case <-ctx.Done():
			return
		}
	}
}

// hangUp ends a connection and what it still has to say.
func hangUp(l *lv.Libvirt, events <-chan lv.DomainEventLifecycleMsg) {
	go func() {
		for range events {
		}
	}()
	_ = l.Disconnect() // it is of no more use: an error changes nothing
}
