// Package memory is a hypervisor that runs nothing: guests are rows in a map, with the same rules as real ones. For tests. What a call is to fail with, and what a guest does by
// itself, a test says.
package memory

import (
	"context"
	"os"
	"sync"

	"henge/computed/hypervisor"
	"henge/computed/lifecycle"
	"henge/internal/errs"
)

// Driver is the hypervisor. The zero value is not ready; see New.
type Driver struct {
	mu     sync.Mutex // guards the fields below
	guests map[string]*guest
	fail   func(call, id string) error
	events chan hypervisor.Event
	// Deaf guests take no notice of their power button.
	deaf bool
}

type guest struct {
	hypervisor.Guest
	power lifecycle.Power
}

// New makes an empty hypervisor.
func New() *Driver {
	return &Driver{guests: map[string]*guest{}, events: make(chan hypervisor.Event, 64)}
}

// Fail makes calls fail: the function is asked before each, and may block. nil lets all succeed.
func (d *Driver) Fail(fn func(call, id string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fn
}

// SetDeaf says whether guests ignore their power button.
func (d *Driver) SetDeaf(deaf bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deaf = deaf
}

// Die makes a guest power itself off.
func (d *Driver) Die(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.guests[id]; g != nil {
		g.power = lifecycle.Shutdown
	}
	select {
	case d.events <- hypervisor.Event{ID: id}:
	default:
	}
}

// Defined is a guest's description.
func (d *Driver) Defined(id string) (hypervisor.Guest, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.guests[id]
	if g == nil {
		return hypervisor.Guest{}, false
	}
	return g.Guest, true
}

func (d *Driver) enter(ctx context.Context, call, id string) error {
	d.mu.Lock()
	fail := d.fail
	d.mu.Unlock()
	if fail != nil {
		if err := fail(call, id); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// change runs fn on a guest.
func (d *Driver) change(ctx context.Context, call, id string, fn func(g *guest) error) error {
	if err := d.enter(ctx, call, id); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.guests[id]
	if g == nil {
		return errs.New(errs.NotFound, "no guest %s", id)
	}
	return fn(g)
}

// Host describes a made-up machine.
func (d *Driver) Host(ctx context.Context) (hypervisor.Host, error) {
	return hypervisor.Host{Name: "memory", VCPUs: 64, MemoryMiB: 1 << 18, Type: "QEMU", Version: 9000000, VirtType: "qemu", CPUModel: "none", Arch: "x86_64"}, d.enter(ctx, "host", "")
}

// Guests lists all.
func (d *Driver) Guests(ctx context.Context) ([]hypervisor.Seen, error) {
	if err := d.enter(ctx, "guests", ""); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []hypervisor.Seen
	for id, g := range d.guests {
		all = append(all, hypervisor.Seen{ID: id, Power: g.power})
	}
	return all, nil
}

// Guest finds one.
func (d *Driver) Guest(ctx context.Context, id string) (seen hypervisor.Seen, err error) {
	err = d.change(ctx, "guest", id, func(g *guest) error {
		seen = hypervisor.Seen{ID: id, Power: g.power}
		return nil
	})
	return seen, err
}

// Define keeps a description.
func (d *Driver) Define(ctx context.Context, g hypervisor.Guest) error {
	if err := d.enter(ctx, "define", g.ID); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.guests[g.ID]; old != nil {
		old.Guest = g
		return nil
	}
	d.guests[g.ID] = &guest{g, lifecycle.Shutdown}
	return nil
}

// Start runs a guest.
func (d *Driver) Start(ctx context.Context, id string) error {
	return d.change(ctx, "start", id, func(g *guest) error {
		if g.power != lifecycle.PowerPaused {
			g.power = lifecycle.Running
		}
		return nil
	})
}

// Screen is none: there is nothing to be seen.
func (d *Driver) Screen(ctx context.Context, id string) (string, error) {
	return "", d.change(ctx, "screen", id, func(*guest) error { return errs.New(errs.Conflict, "guest %s has no screen", id) })
}

// PowerButton makes the guest shut down at once, unless it is deaf.
func (d *Driver) PowerButton(ctx context.Context, id string) error {
	return d.change(ctx, "button", id, func(g *guest) error {
		if g.power == lifecycle.Running && !d.deaf {
			g.power = lifecycle.Shutdown
		}
		return nil
	})
}

// PowerOff stops it.
func (d *Driver) PowerOff(ctx context.Context, id string) error {
	return gone(d.change(ctx, "off", id, func(g *guest) error { g.power = lifecycle.Shutdown; return nil }))
}

func gone(err error) error {
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// in changes the power state from one to another; a guest in any third is a conflict.
func (d *Driver) in(ctx context.Context, call, id string, from, to lifecycle.Power) error {
	return d.change(ctx, call, id, func(g *guest) error {
		if g.power != from && g.power != to {
			return errs.New(errs.Conflict, "guest %s is in power state %d", id, g.power)
		}
		g.power = to
		return nil
	})
}

// Reset reboots.
func (d *Driver) Reset(ctx context.Context, id string) error {
	return d.in(ctx, "reset", id, lifecycle.Running, lifecycle.Running)
}

// Pause stands it still.
func (d *Driver) Pause(ctx context.Context, id string) error {
	return d.in(ctx, "pause", id, lifecycle.Running, lifecycle.PowerPaused)
}

// Unpause lets it go on.
func (d *Driver) Unpause(ctx context.Context, id string) error {
	return d.in(ctx, "unpause", id, lifecycle.PowerPaused, lifecycle.Running)
}

// Save keeps its memory.
func (d *Driver) Save(ctx context.Context, id string) error {
	return d.in(ctx, "save", id, lifecycle.Running, lifecycle.Saved)
}

// Undefine forgets a guest.
func (d *Driver) Undefine(ctx context.Context, id string) error {
	return gone(d.change(ctx, "undefine", id, func(*guest) error { delete(d.guests, id); return nil }))
}

// AttachDisk adds a disk.
func (d *Driver) AttachDisk(ctx context.Context, id string, disk hypervisor.Disk) error {
	return d.change(ctx, "attach disk", id, func(g *guest) error {
		for _, have := range g.Disks {
			if have.Serial == disk.Serial {
				return nil
			}
		}
		g.Disks = append(g.Disks, disk)
		return nil
	})
}

// DetachDisk takes one away.
func (d *Driver) DetachDisk(ctx context.Context, id, serial string) error {
	return d.change(ctx, "detach disk", id, func(g *guest) error {
		var left []hypervisor.Disk
		for _, have := range g.Disks {
			if have.Serial != serial {
				left = append(left, have)
			}
		}
		g.Disks = left
		return nil
	})
}

// GrowDisk has nobody to tell.
func (d *Driver) GrowDisk(ctx context.Context, id, serial string, _ int64) error {
	return d.change(ctx, "grow disk", id, func(g *guest) error {
		for _, have := range g.Disks {
			if have.Serial == serial {
				return nil
			}
		}
		return errs.New(errs.NotFound, "guest %s has no disk %s", id, serial)
	})
}

// AttachNIC adds an interface.
func (d *Driver) AttachNIC(ctx context.Context, id string, n hypervisor.NIC) error {
	return d.change(ctx, "attach nic", id, func(g *guest) error {
		for _, have := range g.NICs {
			if have.MAC == n.MAC {
				return nil
			}
		}
		g.NICs = append(g.NICs, n)
		return nil
	})
}

// DetachNIC takes one away.
func (d *Driver) DetachNIC(ctx context.Context, id, mac string) error {
	return d.change(ctx, "detach nic", id, func(g *guest) error {
		var left []hypervisor.NIC
		for _, have := range g.NICs {
			if have.MAC != mac {
				left = append(left, have)
			}
		}
		g.NICs = left
		return nil
	})
}

// CopyDisk writes a few bytes that stand for the disk.
func (d *Driver) CopyDisk(ctx context.Context, id, device, path string) error {
	return d.change(ctx, "copy", id, func(*guest) error { return os.WriteFile(path, []byte("disk "+device+" of "+id), 0o600) })
}

// Events tells of guests that died.
func (d *Driver) Events(context.Context) <-chan hypervisor.Event { return d.events }

// Close does nothing.
func (d *Driver) Close() error { return nil }
