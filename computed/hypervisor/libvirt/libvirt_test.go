package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"henge/computed/hypervisor"
	"henge/computed/hypervisor/hypervisortest"
	"henge/computed/lifecycle"
	"henge/computed/model"
)

// inside is set in the child that TestMain runs in namespaces of its own, with a libvirtd of its own.
const inside = "HENGE_TEST_INSIDE"

const daemons = `
for dir in /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do
	mkdir -p $dir; mount -t tmpfs tmpfs $dir
done
mkdir -p /var/lib/libvirt/qemu /etc/libvirt/qemu
ip link set lo up
# QEMU runs as Debian has it: as libvirt-qemu, not as root; and KVM is there for its group, as udev sees to it.
if [ -c /dev/kvm ]; then
	mknod /run/libvirt/kvm c 10 232; chgrp kvm /run/libvirt/kvm; chmod 660 /run/libvirt/kvm
	mount --bind /run/libvirt/kvm /dev/kvm
fi
printf '# henge: a test\ncgroup_controllers = [ ]\nsecurity_driver = "none"\n' >/etc/libvirt/qemu.conf
ip tuntap add tap0 mode tap; ip link set tap0 up
../../../deploy/libvirt
trap '../../../deploy/libvirt stop' EXIT
"$@"`

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("unshare", append([]string{"-m", "-n", "--propagation", "private", "bash", "-ec", daemons, "bash"}, os.Args...)...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "libvirt tests, in namespaces of their own (root is needed):", err)
		os.Exit(1)
	}
}

func newDriver(t *testing.T) *Driver {
	t.Helper()
	d, err := New(Config{Owner: "test", VirtType: "qemu"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// bootSector is a guest that does nothing for ever: jmp $.
func bootSector() []byte {
	b := make([]byte, 1<<20)
	copy(b, []byte{0xf4, 0xeb, 0xfd}) // hlt; jmp to it
	b[510], b[511] = 0x55, 0xaa
	return b
}

func newGuest(t *testing.T, dir string) hypervisor.Guest {
	t.Helper()
	id := model.NewUUID()
	at := filepath.Join(dir, id)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(at, "disk")
	if err := os.WriteFile(disk, bootSector(), 0o644); err != nil {
		t.Fatal(err)
	}
	return hypervisor.Guest{ID: id, Title: "it's <a> test", VCPUs: 1, MemoryMiB: 32, ConsoleLog: filepath.Join(at, "console.log"),
		Disks: []hypervisor.Disk{{Device: "vda", Path: disk, Format: "raw", Boot: 1}}}
}

// passableDir is a temporary directory to whose files QEMU gets.
func passableDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestContract(t *testing.T) {
	dir := passableDir(t)
	hypervisortest.Run(t, hypervisortest.Bed{
		Driver:  newDriver(t),
		Screens: true,
		Guest:   func() hypervisor.Guest { return newGuest(t, dir) },
		Disk: func() hypervisor.Disk {
			path := filepath.Join(dir, model.NewUUID())
			if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			return hypervisor.Disk{Device: "vdb", Path: path, Format: "raw", Serial: filepath.Base(path)}
		},
		NIC: &hypervisor.NIC{MAC: "fa:16:3e:00:00:01", Tap: "tap0", MTU: 1450},
	})
}

// TestReach: libvirt's own account for QEMU gets to an open directory; to one that is closed only who owns it.
func TestReach(t *testing.T) {
	open := passableDir(t)
	d := newDriver(t)
	if why, err := d.Reach(t.Context(), open); why != "" || err != nil {
		t.Errorf("an open directory: %q, %v", why, err)
	}
	closed := filepath.Join(open, "closed")
	dir := filepath.Join(closed, "guests")
	if err := errors.Join(os.Mkdir(closed, 0o700), os.Mkdir(dir, 0o711)); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, dir)
	if err := d.Define(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), g.ID); err == nil || !strings.Contains(err.Error(), "ermission denied") {
		t.Errorf("as libvirt's account: %v", err)
	}
	if why, err := d.Reach(t.Context(), dir); !strings.Contains(why, "may not pass through "+closed) || err != nil {
		t.Errorf("a closed directory: %q, %v", why, err)
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return d.Define(ctx, g) },
		func(ctx context.Context) error { return d.Start(ctx, g.ID) },
		func(ctx context.Context) error { return d.Undefine(ctx, g.ID) },
	} {
		if err := step(t.Context()); err != nil {
			t.Fatalf("as the owner: %v", err)
		}
	}
}

// TestErrorsSayWhatLibvirtSaid: the cause reaches the user.
func TestErrorsSayWhatLibvirtSaid(t *testing.T) {
	d := newDriver(t)
	g := newGuest(t, passableDir(t))
	g.Disks[0].Path = "/nowhere/at/all"
	if err := d.Define(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	err := d.Start(t.Context(), g.ID)
	if err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("start without a disk: %v", err)
	}
	if err := d.Undefine(t.Context(), g.ID); err != nil {
		t.Error(err)
	}
}

func TestCause(t *testing.T) {
	for message, want := range map[string]string{
		"process exited while connecting to monitor: 2026-11-27T09:44:30.925223Z qemu-system-x86_64: -blockdev {\"driver\":\"iscsi\",\"cache\":{\"direct\":true}}: iSCSI: Failed to log in to target. Status: Authentication failure(513)": "process exited while connecting to monitor: QEMU: -blockdev: iSCSI: Failed to log in to target. Status: Authentication failure(513)",
		"Cannot access storage file '/x': No such file or directory": "Cannot access storage file '/x': No such file or directory",
	} {
		if got := cause(message); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestGuests_OnlyOwn: another peer on the machine does not see ours as its own.
func TestGuests_OnlyOwn(t *testing.T) {
	d := newDriver(t)
	other, err := New(Config{Owner: "somebody else", VirtType: "qemu"})
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, passableDir(t))
	if err := d.Define(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if all, err := other.Guests(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("another owner sees %v, %v", all, err)
	}
	if err := errors.Join(d.Undefine(t.Context(), g.ID), other.Close()); err != nil {
		t.Error(err)
	}
}

// TestLibvirtdKilled: while it is away the error says so, the guest runs on, and the next daemon is found.
func TestLibvirtdKilled(t *testing.T) {
	d := newDriver(t)
	g := newGuest(t, passableDir(t))
	ctx := t.Context()
	if err := errors.Join(d.Define(ctx, g), d.Start(ctx, g.ID)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("/run/libvirt/henge-libvirtd.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	events := d.Events(ctx)
	<-events
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-events // that it went away
	if _, err := d.Guest(ctx, g.ID); !errors.Is(err, hypervisor.ErrDown) {
		t.Errorf("without libvirtd: %v", err)
	}
	if out, err := exec.CommandContext(ctx, "../../../deploy/libvirt").CombinedOutput(); err != nil {
		t.Fatalf("start libvirtd again: %v\n%s", err, out)
	}
	if seen, err := d.Guest(ctx, g.ID); err != nil || seen.Power != lifecycle.Running {
		t.Errorf("after its return: %+v, %v", seen, err)
	}
	if err := d.Undefine(ctx, g.ID); err != nil {
		t.Error(err)
	}
}

// TestEvents_EndInTheMidst: whoever stops listening while guests come and go blocks nobody.
func TestEvents_EndInTheMidst(t *testing.T) {
	d := newDriver(t)
	g := newGuest(t, passableDir(t))
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		listen, stop := context.WithCancel(ctx)
		<-d.Events(listen)
		started := make(chan error, 1)
		go func() { started <- errors.Join(d.Define(ctx, g), d.Start(ctx, g.ID)) }()
		stop()
		if err := errors.Join(<-started, d.Undefine(ctx, g.ID)); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestVirtType_AnswersInTime(t *testing.T) {
	start := time.Now()
	kind, why := VirtType(context.Background(), t.TempDir())
	if took := time.Since(start); took > 2*probeTime || kind == "qemu" && why == "" || kind != "kvm" && kind != "qemu" {
		t.Errorf("%q (%s) after %s", kind, why, took)
	}
}
