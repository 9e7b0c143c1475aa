package libvirt

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// probeTime is how long a machine has to show that KVM works: where it does, it takes a tenth of that.
const probeTime = 2 * time.Second

// probeSector is a boot sector that ends QEMU with status 33 (0x10 << 1 | 1) through its debug port: mov $0x10,%al; out %al,$0xf4; hlt.
func probeSector() []byte {
	b := make([]byte, 512)
	copy(b, []byte{0xb0, 0x10, 0xe6, 0xf4, 0xf4})
	b[510], b[511] = 0x55, 0xaa
	return b
}

// VirtType finds out whether guests can run with KVM: there are machines on which it is there and hangs. "kvm" or "qemu", and why not kvm.
func VirtType(ctx context.Context, scratch string) (virtType, why string) {
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return "qemu", err.Error()
	} else {
		f.Close()
	}
	path := filepath.Join(scratch, "kvm-probe.img")
	if err := os.WriteFile(path, probeSector(), 0o600); err != nil {
		return "qemu", err.Error()
	}
	defer os.Remove(path)
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-m", "4", "-nodefaults", "-display", "none", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive", "file="+path+",format=raw,if=ide").Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 33 {
		return "kvm", ""
	}
	if ctx.Err() != nil {
		return "qemu", "a guest of a few instructions did not end within " + probeTime.String() + " with KVM"
	}
	return "qemu", "a guest of a few instructions did not end well with KVM"
}
