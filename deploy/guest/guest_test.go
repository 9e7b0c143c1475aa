package guest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// TestMain doubles as the program that QEMU starts for each connection of a guest to the metadata address: it carries the bytes to the test's server.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "carry" {
		if err := carry(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func carry(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	go io.Copy(conn, os.Stdin)
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// build makes the image once (the script keeps it by its inputs), and a disk of 1 GiB on top of it.
func build(t *testing.T, dir string) string {
	t.Helper()
	image := filepath.Join(dir, "guest.qcow2")
	run(t, "./build", image)
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 40<<20 {
		t.Fatalf("the image has %d bytes, more than 40 MiB", info.Size())
	}
	disk := filepath.Join(dir, "disk.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", disk, "1G")
	return disk
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// newKey makes an SSH key: how to use it, and its line for authorized_keys.
func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(pem.EncodeToMemory(block))
	if err != nil {
		t.Fatal(err)
	}
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// configDrive makes a FAT volume labelled config-2.
func configDrive(t *testing.T, dir string, meta any, userData string) string {
	t.Helper()
	tree := filepath.Join(dir, "openstack", "latest")
	content := filepath.Join(dir, "openstack", "content")
	for _, d := range []string{tree, content} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(meta)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{tree + "/meta_data.json": string(text), tree + "/user_data": userData, content + "/0000": "put there\n"} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	drive := filepath.Join(dir, "config.img")
	if err := os.WriteFile(drive, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	run(t, "mkfs.vfat", "-n", "config-2", drive)
	run(t, "mcopy", "-s", "-i", drive, filepath.Join(dir, "openstack"), "::")
	return drive
}

func TestGuest_ConfigDriveHotPlugPowerOff(t *testing.T) {
	dir := t.TempDir()
	signer, line := newKey(t)
	meta := map[string]any{"uuid": "11111111-2222-3333-4444-555555555555", "hostname": "stone.novalocal", "public_keys": map[string]string{"mine": line},
		"files": []map[string]string{{"path": "/etc/put/there", "content_path": "/content/0000"}}}
	drive := configDrive(t, dir, meta, "#!/bin/sh\necho user data ran as $(id -un) > /etc/user-data-ran\n")
	m := boot(t, dir, build(t, dir), "user,id=net0,hostfwd=tcp:127.0.0.1:%d-:22", "-drive", "file="+drive+",format=raw,if=none,id=config,readonly=on", "-device", "virtio-blk-pci,drive=config")
	m.console(t, "login:", 1)
	m.console(t, "guest: set up", 1)
	client := m.login(t, signer)
	for _, c := range []struct{ command, want string }{
		{"hostname", "stone"},
		{"id -un", "henge"},
		{"sudo -n id -u", "0"},
		{"cat /etc/user-data-ran", "user data ran as root"},
		{"sudo cat /etc/put/there", "put there"},
		{"set -eu -o pipefail; PATH=$PATH:/sbin:/usr/sbin; ip -o link | awk '/ether/ {print $2}'", "eth0:"},
		{"ip -4 -o addr show dev eth0 | awk '{print $4}'", "10.0.2.15/24"},
		{"test $(df -k / | awk 'NR == 2 {print $2}') -gt 900000 && echo grown", "grown"},
		{"curl -V | head -n 1 | cut -d' ' -f1", "curl"},
		{"sudo nc  -p 8080 -lk -e echo foolish >/dev/null 2>&1 </dev/null & for i in 1 2 3 4 5 6 7 8 9; do nc -w 1 127.0.0.1 8080 </dev/null 2>/dev/null && break; sleep 1; done", "foolish"},
		{"sudo nc -u -p 8081 -lk -e echo foolish >/dev/null 2>&1 </dev/null & for i in 1 2 3 4 5 6 7 8 9; do echo bar | nc -u -w 1 127.0.0.1 8081 2>/dev/null | grep foolish && break; done", "foolish"},
		{"ping -c1 -w9 127.0.0.1 >/dev/null && ping6 -c1 -w9 ::1 >/dev/null && echo answered", "answered"},
		{"sudo mount -r $(sudo blkid -L config-2 -o device) /mnt && ls /mnt && sudo umount /mnt", "openstack"},
		{"cat /run/udhcpc.eth0.pid | xargs sudo /bin/kill -USR1 && echo renewed", "renewed"},
	} {
		if got := client.run(t, c.command); got != c.want {
			t.Errorf("%s\n\tgave %q, not %q", c.command, got, c.want)
		}
	}
	plugDisk(t, m, client, dir)
	plugCard(t, m, client)
	m.powerOff(t)
}

func plugDisk(t *testing.T, m *machine, client *client, dir string) {
	t.Helper()
	disk := filepath.Join(dir, "volume.raw")
	run(t, "qemu-img", "create", "-q", "-f", "raw", disk, "64M")
	m.command(t, "blockdev-add", map[string]any{"driver": "file", "node-name": "volume", "filename": disk})
	m.command(t, "device_add", map[string]any{"driver": "virtio-blk-pci", "id": "volume-device", "drive": "volume", "serial": "0123456789"})
	client.until(t, "grep -l 0123456789 /sys/block/vd*/serial | cut -d/ -f4", "vdc")
	if got := client.run(t, "sudo mkfs.ext4 -q /dev/vdc && sudo mount /dev/vdc /mnt && sudo sh -c 'echo kept > /mnt/file' && cat /mnt/file && sudo umount /mnt && lsblk -lb --nodeps | grep -c ^vdc"); got != "kept\n1" {
		t.Errorf("the hot-plugged disk gave %q", got)
	}
	m.command(t, "device_del", map[string]any{"id": "volume-device"})
	client.until(t, "test -e /sys/block/vdc || echo gone", "gone")
}

func plugCard(t *testing.T, m *machine, client *client) {
	t.Helper()
	m.command(t, "netdev_add", map[string]any{"type": "user", "id": "net1", "net": "10.9.8.0/24"})
	m.command(t, "device_add", map[string]any{"driver": "virtio-net-pci", "id": "card1", "netdev": "net1", "mac": "52:54:00:aa:bb:cc"})
	client.until(t, "ip -4 -o addr show dev eth1 2>/dev/null | awk '{print $4}'", "10.9.8.15/24")
	// The second card has not taken the default route over.
	if got := client.run(t, "ip -4 route get 198.51.100.1 | awk '{print $5; exit}'"); got != "eth0" {
		t.Errorf("the default route goes by %q", got)
	}
}

func TestGuest_MetadataServiceAndCloudConfig(t *testing.T) {
	dir := t.TempDir()
	signer, line := newKey(t)
	_, second := newKey(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "latest\n") })
	mux.HandleFunc("/openstack/latest/meta_data.json", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"uuid": "66666666-2222-3333-4444-555555555555", "hostname": "first", "public_keys": map[string]string{"mine": line}})
	})
	mux.HandleFunc("/openstack/latest/user_data", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "#cloud-config\nhostname: menhir\npackages: [vim]\nssh_authorized_keys:\n  - %s\nruncmd:\n  - echo one > /etc/ran\n  - [sh, -c, 'echo two >> /etc/ran']\n", second)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	forward := "guestfwd=tcp:169.254.169.254:80-cmd:" + self + " carry " + server.Listener.Addr().String()
	m := boot(t, dir, build(t, dir), "user,id=net0,net=169.254.169.0/24,hostfwd=tcp:127.0.0.1:%d-:22,"+forward)
	m.console(t, "guest: set up", 1)
	m.console(t, "cloud-config key packages is not known", 1)
	client := m.login(t, signer)
	if got := client.run(t, "hostname; cat /etc/ran; wc -l < ~/.ssh/authorized_keys; curl -s http://169.254.169.254/"); got != "menhir\none\ntwo\n2\nlatest" {
		t.Errorf("the guest says %q", got)
	}
	// A second boot of the same instance does not run its user data again.
	client.run(t, "sudo rm /etc/ran; sync; sudo reboot")
	m.console(t, "guest: set up", 2)
	again := m.login(t, signer)
	if got := again.run(t, "test -e /etc/ran || echo once"); got != "once" {
		t.Errorf("user data ran again: %q", got)
	}
	m.powerOff(t)
}

// within is the time that anything may take on a loaded machine.
const within = 2 * time.Minute

// poll asks until the answer is yes, at most for the time that anything may take.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
