package story

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// guest is a server that one can log in to.
type guest struct {
	*house
	id, address string
	dir         string // where me.pem is
}

// The commands that henge up prints lead, as they are, from a new cloud to a guest with a volume; and that guest outlives what may happen to henge.
func TestTour(t *testing.T) {
	h := newHouse(t)
	g := &guest{house: h, dir: t.TempDir()}
	for _, command := range h.printed(7) {
		t.Log(command)
		if strings.HasPrefix(command, "openstack server add volume") {
			h.volumeBecomes(h.volumeNamed("v1"), "available")
		}
		if !strings.HasPrefix(command, "ssh ") {
			h.shell(g.dir, command)
			continue
		}
		h.eventually("log in", func() (bool, string) {
			out, err := h.try(g.dir, command)
			return err == nil && strings.HasPrefix(out, "vm\n"), out
		})
	}
	g.id = h.serverNamed("vm")
	h.guests = append(h.guests, g.id)
	g.address = strings.TrimSpace(h.shell(g.dir, `openstack floating ip list --status ACTIVE -f value -c "Floating IP Address"`))
	h.volumeBecomes(h.volumeNamed("v1"), "in-use")
	// It may be asked twice, should the connection break.
	g.run("sudo sh -ec 'mkdir -p /mnt/v; grep -q /mnt/v /proc/mounts || { mkfs.ext4 -q -F /dev/vdb; mount /dev/vdb /mnt/v; }; echo hello > /mnt/v/f'")

	if out, err := h.try(g.dir, "ping -c 1 -W 2 "+g.address); err == nil {
		t.Errorf("a ping went through that no rule lets in: %s", out)
	}
	h.shell(g.dir, "openstack security group rule create --protocol icmp default")
	g.screen()
	g.outlivesKill()
	g.screen()
	g.isKilled()
	g.becomesImage()

	h.remove(g.id)
	h.volumeBecomes(h.volumeNamed("v1"), "available")
	h.nothingLeft()
}

// printed are the commands of the tour that henge up has printed.
func (h *house) printed(count int) []string {
	h.Helper()
	_, tour, _ := strings.Cut(h.cloud.Output(), "A guest to log in to")
	var all []string
	for line := range strings.Lines(tour) {
		if command, ok := strings.CutPrefix(line, "  "); ok {
			all = append(all, strings.TrimSpace(command))
		}
	}
	if len(all) != count {
		h.Fatalf("henge up printed %d commands, not %d:\n%s", len(all), count, h.cloud.Output())
	}
	return all
}

// shellWait bounds a command: the openstack client takes many seconds on a loaded machine, and waits for a server itself.
const shellWait = 4 * time.Minute

// try runs commands as a user would after ". openrc". An ssh command, which would be a session, runs what SSH_COMMAND says, and asks nothing about host keys.
func (h *house) try(dir, commands string, env ...string) (string, error) {
	ctx, cancel := context.WithTimeout(h.Context(), shellWait)
	defer cancel()
	script := `ssh() { command ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20 -o BatchMode=yes "$@" "$SSH_COMMAND"; }
` + commands
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.WaitDelay = 5 * time.Second
	// Debian's own clients, also where something else stands before them in PATH.
	cmd.Dir, cmd.Env = dir, slices.Concat(h.cloud.Env(), []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "SSH_COMMAND=hostname"}, env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (h *house) shell(dir, commands string) string {
	h.Helper()
	out, err := h.try(dir, commands)
	if err != nil {
		h.Fatalf("%s: %v\n%s", commands, err, out)
	}
	return out
}

func (h *house) volumeNamed(name string) string {
	h.Helper()
	pages, err := volumes.List(h.volume, volumes.ListOpts{Name: name}).AllPages(h.Context())
	must(h.T, err)
	all, err := volumes.ExtractVolumes(pages)
	must(h.T, err)
	if len(all) != 1 {
		h.Fatalf("%d volumes have the name %s", len(all), name)
	}
	return all[0].ID
}

func (h *house) serverNamed(name string) string {
	h.Helper()
	pages, err := servers.List(h.compute, servers.ListOpts{Name: "^" + name + "$"}).AllPages(h.Context())
	must(h.T, err)
	all, err := servers.ExtractServers(pages)
	must(h.T, err)
	if len(all) != 1 {
		h.Fatalf("%d servers have the name %s", len(all), name)
	}
	return all[0].ID
}

// run runs commands in the guest. A guest that boots takes its time, so it is asked until it answers.
func (g *guest) run(commands string) string {
	g.Helper()
	var out string
	g.eventually("in the guest: "+commands, func() (bool, string) {
		var err error
		out, err = g.try(g.dir, "ssh -i me.pem henge@"+g.address, "SSH_COMMAND="+commands)
		return err == nil, fmt.Sprint(out, err)
	})
	return out
}

// outlivesKill kills henge and starts it again: the guest answers all the time, and is as it was afterwards.
func (g *guest) outlivesKill() {
	g.Helper()
	g.eventually("the guest answers to pings", func() (bool, string) {
		out, err := g.try(g.dir, "ping -c 1 -W 5 "+g.address)
		return err == nil, out
	})
	before := g.run("cat /proc/sys/kernel/random/boot_id")
	pings := make(chan string, 1)
	go func() {
		out, err := g.try(g.dir, "ping -q -i 0.2 -c 60 -W 30 "+g.address)
		pings <- fmt.Sprint(out, err)
	}()
	g.killAndStart()
	g.becomes(g.id, "ACTIVE")
	if out := <-pings; !strings.Contains(out, "60 packets transmitted, 60 received, 0% packet loss") {
		g.Errorf("a ping of a guest whose henge was killed and started again:\n%s", out)
	}
	leases := strings.Count(g.console(g.id), "guest: eth0 has")
	g.run("sudo kill -USR1 $(cat /run/udhcpc.eth0.pid)")
	g.eventually("the guest renews its lease", func() (bool, string) {
		out := g.console(g.id)
		return strings.Count(out, "guest: eth0 has") > leases, out[max(0, len(out)-600):]
	})
	if after := g.run("cat /proc/sys/kernel/random/boot_id"); after != before {
		g.Errorf("the guest booted again: %s, %s", before, after)
	}
	g.run("sudo sh -ec 'printf \"hello\\nmore\\n\" > /mnt/v/f; sync'")
}

// isKilled ends the guest's QEMU: the API says so, and starts it again; its volume is still there.
func (g *guest) isKilled() {
	g.Helper()
	g.shell(g.dir, "kill -9 $(cat /run/libvirt/qemu/instance-"+g.id+".pid)")
	g.becomes(g.id, "SHUTOFF")
	must(g.T, servers.Start(g.Context(), g.compute, g.id).ExtractErr())
	g.becomes(g.id, "ACTIVE")
	if out := g.run("sudo mount /dev/vdb /mnt/v && cat /mnt/v/f && sudo umount /mnt/v"); out != "hello\nmore\n" {
		g.Errorf("the volume has %q", out)
	}
}

// becomesImage makes an image of the guest as it runs, boots a second one of it, and has one ask for the other.
func (g *guest) becomesImage() {
	g.Helper()
	g.run("sudo sh -c 'echo of the first guest > /root/mark; sync'")
	image, err := servers.CreateImage(g.Context(), g.compute, g.id, servers.CreateImageOpts{Name: "snap"}).ExtractImageID()
	must(g.T, err)
	g.imageBecomes(image, "active")
	script := filepath.Join(g.dir, "second.sh")
	g.shell(g.dir, `printf '#!/bin/sh\necho "MARK $(cat /root/mark)" > /dev/console\n' > `+script)
	g.shell(g.dir, "openstack server create --image snap --flavor m1.nano --network private --user-data "+script+" --wait second")
	second := g.serverNamed("second")
	g.guests = append(g.guests, second)
	g.says(second, "MARK of the first guest", 0)
	name := g.says(second, `guest: eth0 has ([0-9.]+)`, 0)[1]
	if out := g.run("ping -q -c 3 -W 20 " + name); !strings.Contains(out, " 3 received") {
		g.Errorf("the guests do not reach each other: %s", out)
	}
	g.remove(second)
}
