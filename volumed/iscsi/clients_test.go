package iscsi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"henge/volumed/iscsi/iscsitest"
)

// The tests of this file drive the target with QEMU's block driver, which is libiscsi: what guests' disks go through.

const qemuInitiator = "iqn.2008-11.org.linux-kvm"

func command(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// qemuIO runs qemu-io's commands on the target.
func qemuIO(t testing.TB, url string, commands ...string) (string, error) {
	t.Helper()
	args := []string{"-f", "raw"}
	for _, one := range commands {
		args = append(args, "-c", one)
	}
	return command(t, "qemu-io", append(args, url)...)
}

func (r *rig) url(credentials string) string {
	return "iscsi://" + credentials + r.addr + "/" + testIQN + "/0"
}

func TestQEMU_ReadsAndWrites(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store, qemuInitiator)
	out, err := qemuIO(t, r.url(""), "write -P 0xa5 0 3M", "write -P 0x5a 5M 64k", "flush", "read -P 0xa5 0 3M", "read -P 0x5a 5M 64k",
		"write -z -u 1M 1M", "read -P 0 1M 1M", "discard 5M 64k", "read -P 0 5M 64k", "read -P 0xa5 2M 1M", "length")
	if err != nil || strings.Contains(out, "ailed") || !strings.Contains(out, "128 MiB") {
		t.Errorf("%v: %s", err, out)
	}
	if store.Flushes.Load() == 0 {
		t.Error("a flush did not reach the store")
	}
}

func TestQEMU_CopiesAnImage(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory(), qemuInitiator)
	dir := t.TempDir()
	image, back := filepath.Join(dir, "image.raw"), filepath.Join(dir, "back.raw")
	if err := os.WriteFile(image, pattern(24<<20, 9), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "qemu-img", "convert", "-n", "-O", "raw", "-f", "raw", image, r.url("")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := command(t, "qemu-img", "convert", "-O", "raw", "-f", "raw", r.url(""), back); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := command(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", image, back); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestQEMU_CHAP(t *testing.T) {
	r := newRig(t, Config{})
	target := guarded(memory())
	target.Initiators = []string{qemuInitiator}
	r.export(t, target)
	if out, err := qemuIO(t, r.url("attachment%0123456789abcdef@"), "write -P 1 0 64k", "read -P 1 0 64k"); err != nil || strings.Contains(out, "ailed") {
		t.Errorf("%v: %s", err, out)
	}
	for name, credentials := range map[string]string{"a wrong secret": "attachment%0123456789abcdeX@", "a wrong user": "bob%0123456789abcdef@", "no secret": ""} {
		if out, err := qemuIO(t, r.url(credentials), "read 0 512"); err == nil {
			t.Errorf("%s is let in: %s", name, out)
		} else if credentials != "" && !strings.Contains(out, "Authentication") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestLibiscsi_MutualCHAP has libiscsi check us.
func TestLibiscsi_MutualCHAP(t *testing.T) {
	r := newRig(t, Config{})
	target := guarded(memory())
	target.Initiators = []string{"iqn.2010-11.iscsi-inq", "iqn.2010-11.libiscsi:iscsi-inq"}
	r.export(t, target)
	for secret, good := range map[string]bool{testMutual.Secret: true, "not what we have": false} {
		url := fmt.Sprintf("%s?target_user=%s&target_password=%s", r.url("attachment%0123456789abcdef@"), testMutual.User, secret)
		out, err := command(t, "iscsi-inq", "-i", "iqn.2010-11.iscsi-inq", url)
		if (err == nil && strings.Contains(out, "HENGE")) != good {
			t.Errorf("with the target's secret %q: %v: %s", secret, err, out)
		}
	}
}

func TestLibiscsi_Discovery(t *testing.T) {
	r := newRig(t, Config{})
	target := guarded(memory())
	target.Initiators = []string{"iqn.2010-11.ls"}
	r.export(t, target)
	out, err := command(t, "iscsi-ls", "-i", "iqn.2010-11.ls", "iscsi://attachment%0123456789abcdef@"+r.addr)
	if err != nil || !strings.Contains(out, testIQN) {
		t.Errorf("%v: %s", err, out)
	}
	if out, _ := command(t, "iscsi-ls", "-i", "iqn.2010-11.ls", "iscsi://"+r.addr); strings.Contains(out, testIQN) {
		t.Errorf("without a secret: %s", out)
	}
}

// TestQEMU_SeesErrors shows that a broken store is an I/O error to the guest, and a full one is "no space".
func TestQEMU_SeesErrors(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store, qemuInitiator)
	if out, err := qemuIO(t, r.url(""), "write 2M 64k"); err != nil { // ranges never written are not even read
		t.Fatalf("%v: %s", err, out)
	}
	store.SetFault(func(kind string, off, n int64) error {
		switch {
		case kind == iscsitest.Read && off+n > 1<<20:
			return iscsitest.ErrBroken
		case kind == iscsitest.Write:
			return errNoSpace
		}
		return nil
	})
	if out, _ := qemuIO(t, r.url(""), "read 2M 64k"); !strings.Contains(out, "Input/output error") {
		t.Errorf("read: %s", out)
	}
	if out, _ := qemuIO(t, r.url(""), "write 2M 64k"); !strings.Contains(out, "No space left") {
		t.Errorf("write: %s", out)
	}
}

// TestQEMU_SurvivesARestart ends the target in the middle of a copy, and starts another at the same address.
func TestQEMU_SurvivesARestart(t *testing.T) {
	for name, end := range map[string]func(*Server) error{
		"killed":  (*Server).Close,
		"drained": func(s *Server) error { return s.Drain(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memory()
			first := newRig(t, Config{LogoutGrace: 100 * time.Millisecond})
			first.open(t, store, qemuInitiator)
			store.SetDelay(20 * time.Millisecond)
			done := make(chan string, 1)
			go func() {
				out, err := command(t, "qemu-img", "bench", "-f", "raw", "-t", "none", "-w", "-c", "2000", "-d", "8", "-s", "65536", "--pattern", "7", first.url(""))
				done <- fmt.Sprint(out, err)
			}()
			waitFor(t, func() bool { return store.Busy.Load() == 8 })
			if err := end(first.Server); err != nil {
				t.Error(err)
			}
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			store.SetDelay(0)
			second := NewServer(Config{Log: slog.New(slog.DiscardHandler)})
			defer second.Close()
			(&rig{second, first.addr}).open(t, store, qemuInitiator)
			l := listenAgain(t, first.addr)
			go second.Serve(l)
			if out := <-done; !strings.Contains(out, "completed") {
				t.Errorf("%s", out)
			}
			got := make([]byte, 125<<20)
			if err := store.ReadAt(t.Context(), got, 0); err != nil {
				t.Fatal(err)
			}
			for i, b := range got {
				if b != 7 {
					t.Fatalf("byte %d is %d: an acknowledged write is missing", i, b)
				}
			}
		})
	}
}

func listenAgain(t testing.TB, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	waitFor(t, func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", addr)
		return err == nil
	})
	return l
}
