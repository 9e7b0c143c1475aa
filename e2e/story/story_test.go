package story

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"henge/e2e/henged"
)

// inside is set in the child that TestMain runs in namespaces of its own, with a libvirtd of its own.
const inside = "HENGE_TEST_INSIDE"

const daemons = `
for dir in /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do
	mkdir -p $dir; mount -t tmpfs tmpfs $dir
done
mkdir -p /var/lib/libvirt/qemu /etc/libvirt/qemu /run/netns
mount -t tmpfs tmpfs /run/netns
ip link set lo up
trap '../../deploy/libvirt stop' EXIT
../../deploy/libvirt
"$@"`

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	// A process namespace of its own, too: whatever happens to the test, libvirtd and guests end with it. The signal comes when this thread ends, so it must stay.
	runtime.LockOSThread()
	args := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "bash", "-ec", daemons, "bash"}
	cmd := exec.Command("unshare", append(args, os.Args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tests with guests, in namespaces of their own (root is needed):", err)
		os.Exit(1)
	}
}

// house is a cloud with what the tests need of it.
type house struct {
	*testing.T
	cloud           *henged.Cloud
	options         henged.Options
	compute, volume *gophercloud.ServiceClient
	glance          *gophercloud.ServiceClient
	image, flavor   string
	guests          []string // those that were booted, for what they say when a test fails
}

// waitMax bounds a wait: a boot takes ten seconds on a quiet machine.
const waitMax = 3 * time.Minute

func newHouse(t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	binary, err := filepath.Abs("../../bin/henge")
	must(t, err)
	guest := filepath.Join(dir, "guest.qcow2")
	if out, err := exec.Command("../../deploy/guest/build", guest).CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, out)
	}
	h := &house{T: t, options: henged.Options{Binary: binary, Dir: filepath.Join(dir, "d"), Args: []string{"--virt-type", "auto", "--wire-networks", "auto", "--image", guest}}}
	h.cloud, err = henged.Start(t.Context(), h.options)
	must(t, err)
	h.options.Ports = &h.cloud.Ports
	t.Cleanup(h.end)
	h.connect()
	h.find()
	h.eventually("the host of guests is up", func() (bool, string) {
		pages, err := hypervisors.List(h.compute, nil).AllPages(t.Context())
		if err != nil {
			return false, err.Error()
		}
		all, err := hypervisors.ExtractHypervisors(pages)
		return len(all) == 1 && all[0].State == "up", fmt.Sprint(all, err)
	})
	return h
}

// end stops the cloud, and shows what it had to say if the test failed.
func (h *house) end() {
	if h.Failed() {
		for _, id := range h.guests {
			out := h.console(id)
			h.Logf("the console of guest %s:\n%s", id, out[max(0, len(out)-4000):])
		}
		h.Log(h.cloud.Troubles())
	}
	if !h.cloud.Ended() {
		if err := h.cloud.Stop(); err != nil {
			h.Error(err)
		}
	}
	out, _ := exec.Command("virsh", "list", "--name").Output() // what a test that failed left runs in no other namespace, and ends here
	for _, name := range strings.Fields(string(out)) {
		_ = exec.Command("virsh", "destroy", name).Run()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) connect() {
	h.Helper()
	env := h.cloud.Environment
	provider, err := openstack.AuthenticatedClient(h.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: env["OS_AUTH_URL"], Username: env["OS_USERNAME"], Password: env["OS_PASSWORD"], DomainName: "Default", TenantName: env["OS_PROJECT_NAME"], AllowReauth: true,
	})
	must(h.T, err)
	at := gophercloud.EndpointOpts{Region: env["OS_REGION_NAME"]}
	h.compute, err = openstack.NewComputeV2(provider, at)
	must(h.T, err)
	h.compute.Microversion = "2.79"
	h.volume, err = openstack.NewBlockStorageV3(provider, at)
	must(h.T, err)
	h.volume.Microversion = "3.60"
	h.glance, err = openstack.NewImageV2(provider, at)
	must(h.T, err)
}

// find notes the ids of the image and the flavor that a new cloud begins with.
func (h *house) find() {
	h.Helper()
	found, err := images.List(h.glance, images.ListOpts{Name: "guest"}).AllPages(h.Context())
	must(h.T, err)
	list, err := images.ExtractImages(found)
	must(h.T, err)
	if len(list) != 1 {
		h.Fatalf("%d images have the name guest", len(list))
	}
	h.image = list[0].ID
	pages, err := flavors.ListDetail(h.compute, flavors.ListOpts{}).AllPages(h.Context())
	must(h.T, err)
	all, err := flavors.ExtractFlavors(pages)
	must(h.T, err)
	for _, f := range all {
		if f.Name == "m1.nano" {
			h.flavor = f.ID
		}
	}
}

// eventually waits until ok; what it waits for and what it saw last are told when that takes too long.
func (h *house) eventually(what string, ok func() (bool, string)) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), waitMax)
	defer cancel()
	for tick := time.NewTicker(500 * time.Millisecond); ; {
		done, saw := ok()
		if done {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.Fatalf("%s: not within %v; the last seen: %s", what, waitMax, saw)
		}
	}
}

// script is what guests run: it tells of the second disk, fills its first MiB where it is empty, and then counts on it for as long as it is there.
const script = `#!/bin/sh
exec >/dev/console 2>&1
while :; do
	if [ -b /dev/vdb ]; then
		echo "SAW $(cat /sys/block/vdb/serial)"
		if [ "$(dd if=/dev/vdb bs=4 count=1 2>/dev/null | tr -d '\0')" = "" ]; then
			dd if=/dev/urandom of=/dev/vdb bs=64k count=16 conv=notrunc,fsync 2>/dev/null
		fi
		echo "SUM $(dd if=/dev/vdb bs=64k count=16 iflag=direct 2>/dev/null | md5sum | cut -c1-32)"
		n=0
		while [ -b /dev/vdb ]; do
			n=$((n+1))
			if echo "count $n" | dd of=/dev/vdb bs=64k seek=32 conv=notrunc,fsync 2>/dev/null; then echo "WROTE $n of $(cat /sys/block/vdb/size)"; else [ -b /dev/vdb ] && echo "BROKEN $n"; fi
			sleep 1
		done
		echo "GONE"
	fi
	sleep 1
done
`

// boot makes a server with a config drive and no network, and waits until it is ACTIVE.
func (h *house) boot(o servers.CreateOpts) string {
	h.Helper()
	on := true
	o.FlavorRef, o.Networks, o.ConfigDrive, o.UserData = h.flavor, "none", &on, []byte(script)
	s, err := servers.Create(h.Context(), h.compute, o, nil).Extract()
	must(h.T, err)
	h.guests = append(h.guests, s.ID)
	h.becomes(s.ID, "ACTIVE")
	return s.ID
}

func (h *house) becomes(id, status string) {
	h.Helper()
	h.eventually("server "+id+" becomes "+status, func() (bool, string) {
		s, err := servers.Get(h.Context(), h.compute, id).Extract()
		if err != nil {
			return false, err.Error()
		}
		if s.Status == "ERROR" && status != "ERROR" {
			h.Fatalf("server %s is in error: %s", id, s.Fault.Message)
		}
		return s.Status == status, s.Status
	})
}

// volumeBecomes waits until a volume has a status.
func (h *house) volumeBecomes(id, status string) {
	h.Helper()
	h.eventually("volume "+id+" becomes "+status, func() (bool, string) {
		v, err := volumes.Get(h.Context(), h.volume, id).Extract()
		if err != nil {
			return false, err.Error()
		}
		return v.Status == status, v.Status
	})
}

// imageBecomes waits until an image has a status.
func (h *house) imageBecomes(id string, status images.ImageStatus) {
	h.Helper()
	h.eventually("image "+id+" becomes "+string(status), func() (bool, string) {
		i, err := images.Get(h.Context(), h.glance, id).Extract()
		if err != nil {
			return false, err.Error()
		}
		return i.Status == status, string(i.Status)
	})
}

// says waits until a guest's console has a line that matches, behind the first "from" bytes, and gives the match.
func (h *house) says(id, pattern string, from int) []string {
	h.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	h.eventually("guest "+id+" says "+pattern, func() (bool, string) {
		out := h.console(id)
		if found = re.FindStringSubmatch(out[min(from, len(out)):]); found != nil {
			return true, ""
		}
		return false, out[max(0, len(out)-600):]
	})
	return found
}

func (h *house) console(id string) string {
	out, err := servers.ShowConsoleOutput(context.WithoutCancel(h.Context()), h.compute, id, servers.ShowConsoleOutputOpts{}).Extract()
	if err != nil {
		return ""
	}
	return out
}

func (h *house) remove(id string) {
	h.Helper()
	must(h.T, servers.Delete(h.Context(), h.compute, id).ExtractErr())
	h.eventually("server "+id+" goes", func() (bool, string) {
		_, err := servers.Get(h.Context(), h.compute, id).Extract()
		return gophercloud.ResponseCodeIs(err, http.StatusNotFound), fmt.Sprint(err)
	})
}

// nothingLeft makes sure that libvirt and the disk know nothing any more.
func (h *house) nothingLeft() {
	h.Helper()
	for _, args := range [][]string{{"list", "--all", "--name"}, {"secret-list"}} {
		out, err := exec.Command("virsh", append([]string{"-q"}, args...)...).Output()
		must(h.T, err)
		if left := strings.TrimSpace(string(out)); left != "" {
			h.Errorf("virsh %s: %s", args[0], left)
		}
	}
	h.eventually("the taps go", func() (bool, string) {
		out, err := exec.Command("sh", "-c", "ip -o link | grep -o ': tap[^:]*' | cat").CombinedOutput()
		return err == nil && len(out) == 0, string(out)
	})
	left, err := os.ReadDir(filepath.Join(h.options.Dir, "peer-1", "compute", "guests"))
	must(h.T, err)
	if len(left) > 0 {
		h.Errorf("files of guests are left: %v", left)
	}
}
