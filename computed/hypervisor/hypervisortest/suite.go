// Package hypervisortest holds what every hypervisor.Driver must do.
package hypervisortest

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"henge/computed/hypervisor"
	"henge/computed/lifecycle"
	"henge/internal/errs"
)

// Bed is what a driver is tested in.
type Bed struct {
	Driver hypervisor.Driver
	// Guest describes a guest that can run here, with one disk vda. Its id differs each time.
	Guest func() hypervisor.Guest
	// Disk is one more disk, with a serial; its NIC has a tap.
	Disk func() hypervisor.Disk
	NIC  *hypervisor.NIC // nil where there are no taps
	// Screens tells that guests have displays.
	Screens bool
}

// Run runs the suite.
func Run(t *testing.T, bed Bed) {
	for name, test := range map[string]func(*testing.T, Bed){"a guest's life": life, "nothing there": absent, "repeated": repeated, "disks": disks, "interfaces": interfaces, "copy": copyDisk} {
		t.Run(name, func(t *testing.T) { test(t, bed) })
	}
}

func ok(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// started defines and starts a guest, which is gone after the test.
func started(t *testing.T, bed Bed) hypervisor.Guest {
	t.Helper()
	g := bed.Guest()
	ok(t, "define", bed.Driver.Define(t.Context(), g))
	t.Cleanup(func() {
		if err := bed.Driver.Undefine(context.Background(), g.ID); err != nil {
			t.Errorf("undefine: %v", err)
		}
	})
	ok(t, "start", bed.Driver.Start(t.Context(), g.ID))
	return g
}

func power(t *testing.T, bed Bed, id string, want lifecycle.Power) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		seen, err := bed.Driver.Guest(ctx, id)
		ok(t, "look at the guest", err)
		if seen.Power == want {
			return
		}
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Fatalf("power state %d, want %d", seen.Power, want)
		case <-timer.C:
		}
	}
}

func life(t *testing.T, bed Bed) {
	ctx, d := t.Context(), bed.Driver
	host, err := d.Host(ctx)
	if err != nil || host.VCPUs < 1 || host.MemoryMiB < 1 || host.Arch == "" || host.Version == 0 || host.VirtType == "" {
		t.Errorf("host: %+v, %v", host, err)
	}
	g := started(t, bed)
	power(t, bed, g.ID, lifecycle.Running)
	all, err := d.Guests(ctx)
	if err != nil || len(all) == 0 {
		t.Errorf("guests: %v, %v", all, err)
	}
	if bed.Screens {
		greeting(t, bed, g.ID)
	}
	ok(t, "pause", d.Pause(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.PowerPaused)
	ok(t, "unpause", d.Unpause(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.Running)
	ok(t, "reset", d.Reset(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.Running)
	ok(t, "save", d.Save(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.Saved)
	ok(t, "start from memory", d.Start(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.Running)
	ok(t, "power button", d.PowerButton(ctx, g.ID))
	ok(t, "power off", d.PowerOff(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.Shutdown)
	ok(t, "start again", d.Start(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.Running)
	ok(t, "undefine", d.Undefine(ctx, g.ID))
	if _, err := d.Guest(ctx, g.ID); !errs.Is(err, errs.NotFound) {
		t.Errorf("after undefine: %v", err)
	}
}

// greeting reads how a VNC server begins (RFC 6143, 7.1.1).
func greeting(t *testing.T, bed Bed, id string) {
	t.Helper()
	socket, err := bed.Driver.Screen(t.Context(), id)
	ok(t, "screen", err)
	conn, err := net.Dial("unix", socket)
	ok(t, "dial the screen", err)
	defer conn.Close()
	ok(t, "deadline", conn.SetDeadline(time.Now().Add(time.Minute)))
	hello := make([]byte, 12)
	if _, err := io.ReadFull(conn, hello); err != nil || !strings.HasPrefix(string(hello), "RFB 003.") {
		t.Errorf("the screen says %q, %v", hello, err)
	}
}

func absent(t *testing.T, bed Bed) {
	ctx, d, id := t.Context(), bed.Driver, bed.Guest().ID
	for what, err := range map[string]error{"start": d.Start(ctx, id), "pause": d.Pause(ctx, id), "unpause": d.Unpause(ctx, id), "save": d.Save(ctx, id), "reset": d.Reset(ctx, id),
		"button": d.PowerButton(ctx, id), "attach": d.AttachDisk(ctx, id, bed.Disk()), "copy": d.CopyDisk(ctx, id, "vda", filepath.Join(t.TempDir(), "x"))} {
		if !errs.Is(err, errs.NotFound) {
			t.Errorf("%s of a guest that is not there: %v", what, err)
		}
	}
	ok(t, "power off", d.PowerOff(ctx, id))
	ok(t, "undefine", d.Undefine(ctx, id))
}

func repeated(t *testing.T, bed Bed) {
	ctx, d := t.Context(), bed.Driver
	g := started(t, bed)
	ok(t, "define what runs", d.Define(ctx, g))
	ok(t, "start what runs", d.Start(ctx, g.ID))
	if bed.Screens {
		greeting(t, bed, g.ID)
	}
	ok(t, "pause", d.Pause(ctx, g.ID))
	ok(t, "pause again", d.Pause(ctx, g.ID))
	ok(t, "unpause", d.Unpause(ctx, g.ID))
	ok(t, "unpause again", d.Unpause(ctx, g.ID))
	ok(t, "off", d.PowerOff(ctx, g.ID))
	ok(t, "off again", d.PowerOff(ctx, g.ID))
	ok(t, "undefine", d.Undefine(ctx, g.ID))
	ok(t, "undefine again", d.Undefine(ctx, g.ID))
}

func disks(t *testing.T, bed Bed) {
	ctx, d := t.Context(), bed.Driver
	g := started(t, bed)
	disk := bed.Disk()
	ok(t, "attach", d.AttachDisk(ctx, g.ID, disk))
	ok(t, "attach again", d.AttachDisk(ctx, g.ID, disk))
	ok(t, "grow", d.GrowDisk(ctx, g.ID, disk.Serial, 2<<20))
	ok(t, "off", d.PowerOff(ctx, g.ID))
	ok(t, "grow cold", d.GrowDisk(ctx, g.ID, disk.Serial, 2<<20))
	ok(t, "detach cold", d.DetachDisk(ctx, g.ID, disk.Serial))
	ok(t, "detach again", d.DetachDisk(ctx, g.ID, disk.Serial))
	ok(t, "attach cold", d.AttachDisk(ctx, g.ID, disk))
	ok(t, "start with it", d.Start(ctx, g.ID))
	power(t, bed, g.ID, lifecycle.Running)
}

func interfaces(t *testing.T, bed Bed) {
	if bed.NIC == nil {
		return
	}
	ctx, d := t.Context(), bed.Driver
	g := started(t, bed)
	ok(t, "attach", d.AttachNIC(ctx, g.ID, *bed.NIC))
	ok(t, "attach again", d.AttachNIC(ctx, g.ID, *bed.NIC))
	ok(t, "off", d.PowerOff(ctx, g.ID))
	ok(t, "detach", d.DetachNIC(ctx, g.ID, bed.NIC.MAC))
	ok(t, "detach again", d.DetachNIC(ctx, g.ID, bed.NIC.MAC))
}

func copyDisk(t *testing.T, bed Bed) {
	ctx, d := t.Context(), bed.Driver
	g := started(t, bed)
	for _, state := range []string{"running", "off"} {
		path := filepath.Join(filepath.Dir(g.ConsoleLog), "copy-"+state)
		ok(t, "copy while "+state, d.CopyDisk(ctx, g.ID, "vda", path))
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("the copy while %s: %v", state, err)
		}
		ok(t, "off", d.PowerOff(ctx, g.ID))
	}
}
