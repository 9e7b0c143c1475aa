package story

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"henge/computed/hypervisor"
	"henge/computed/hypervisor/libvirt"
	"henge/computed/model"
	"henge/volumed/iscsi"
	"henge/volumed/iscsi/iscsitest"
)

// TestWrongSecret: a guest whose CHAP secret is not the volume's does not get the volume, hot or cold, and the cause is told at once.
func TestWrongSecret(t *testing.T) {
	volume := model.NewUUID()
	target := iscsi.Target{IQN: "iqn.2025-01.org.example:" + volume, Store: iscsitest.NewMemory(1 << 20), Serial: volume, Initiators: []string{"iqn.2025-01.org.example:host"}, Epoch: 1,
		CHAP: iscsi.CHAP{User: "user", Secret: "the secret of the volume"}}
	server := iscsi.NewServer(iscsi.Config{Log: slog.New(slog.DiscardHandler)})
	must(t, server.Export(t.Context(), target))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go server.Serve(ln)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	driver, err := libvirt.New(libvirt.Config{Owner: "secrets", VirtType: "qemu"})
	must(t, err)
	t.Cleanup(func() { driver.Close() })
	dir := t.TempDir()
	root := filepath.Join(dir, "disk")
	must(t, os.WriteFile(root, make([]byte, 1<<20), 0o644))
	g := hypervisor.Guest{ID: model.NewUUID(), VCPUs: 1, MemoryMiB: 32, ConsoleLog: filepath.Join(dir, "console.log"),
		Disks: []hypervisor.Disk{{Device: "vda", Path: root, Format: "raw"}}}
	disk := hypervisor.Disk{Device: "vdb", Serial: volume, ISCSI: &hypervisor.ISCSI{Portal: ln.Addr().String(), IQN: target.IQN, Initiator: target.Initiators[0], User: "user", Secret: "some other secret"}}
	refused := func(what string, do func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := do(ctx)
		if err == nil || !strings.Contains(err.Error(), "Authentication failure") || len(err.Error()) > 300 || ctx.Err() != nil {
			t.Errorf("%s: after %v: %v", what, time.Since(start), err)
		}
	}
	define := func(ctx context.Context) error { return driver.Define(ctx, g) }
	must(t, define(t.Context()))
	t.Cleanup(func() {
		if err := driver.Undefine(context.Background(), g.ID); err != nil {
			t.Error(err)
		}
	})
	must(t, driver.Start(t.Context(), g.ID))
	refused("attach", func(ctx context.Context) error { return driver.AttachDisk(ctx, g.ID, disk) })
	must(t, driver.DetachDisk(t.Context(), g.ID, volume)) // as the agent does: nothing is left of it
	must(t, driver.PowerOff(t.Context(), g.ID))
	g.Disks = append(g.Disks, disk)
	must(t, define(t.Context()))
	refused("start", func(ctx context.Context) error { return driver.Start(ctx, g.ID) })
}
