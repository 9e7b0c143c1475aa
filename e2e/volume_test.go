package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/attachments"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"

	"henge/e2e/henged"
)

// openstackJSON runs Debian's client, and gives the JSON that it prints.
func openstackJSON(t *testing.T, c *henged.Cloud, args ...string) string {
	t.Helper()
	return client(t, c, t.TempDir(), append(append([]string{"openstack", "--os-volume-api-version", "3.70"}, args...), "-f", "json")...)
}

// volumeBecomes waits until a volume has a status; "" is that it is gone.
func volumeBecomes(t *testing.T, c *henged.Cloud, id, status string) {
	t.Helper()
	api := volumeClient(t, c)
	deadline := time.After(3 * time.Minute)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		v, err := volumes.Get(t.Context(), api, id).Extract()
		switch {
		case gophercloud.ResponseCodeIs(err, http.StatusNotFound) && status == "":
			return
		case err != nil:
			t.Fatal(err)
		case v.Status == status:
			return
		case v.Status == "error":
			out, _ := tryClient(c, t.TempDir(), "openstack", "--os-volume-api-version", "3.70", "volume", "message", "list")
			t.Fatalf("volume %s is in error\n%s", id, out)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("volume %s is %s, not %q", id, v.Status, status)
		}
	}
}

// TestOpenStackClient_Volumes is a volume's life with Debian's client: made from an image, copied, attached to QEMU's own initiator, grown, and removed.
func TestOpenStackClient_Volumes(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	content := pattern(3 << 20)
	writeFile(t, filepath.Join(dir, "disk.raw"), content)
	qemuImg(t, dir, "convert", "-O", "qcow2", "disk.raw", "disk.qcow2")
	client(t, c, dir, "openstack", "image", "create", "--disk-format", "qcow2", "--file", "disk.qcow2", "volume-disk", "-f", "json")
	root := field(t, openstackJSON(t, c, "volume", "create", "--size", "1", "--image", "volume-disk", "--property", "k=x", "root"), "id")
	volumeBecomes(t, c, root, "available")
	if got := field(t, openstackJSON(t, c, "volume", "show", root), "bootable"); got != "true" {
		t.Errorf("bootable: %q", got)
	}
	snapshot := field(t, client(t, c, dir, "openstack", "volume", "snapshot", "create", "--volume", "root", "before", "-f", "json"), "id")
	copied := field(t, openstackJSON(t, c, "volume", "create", "--snapshot", snapshot, "copy"), "id")
	volumeBecomes(t, c, copied, "available")
	if out := openstackJSON(t, c, "volume", "list"); !strings.Contains(out, `"root"`) || !strings.Contains(out, `"copy"`) {
		t.Errorf("the list: %s", out)
	}
	attachment, disk := attach(t, c, copied)
	qemuIO(t, disk, fmt.Sprintf("read -P %d 0 1", content[0]), "write -P 5 8M 1M", "flush", "read -P 5 8M 1M")
	if err := attachments.Complete(t.Context(), volumeClient(t, c), attachment).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	client(t, c, dir, "openstack", "--os-volume-api-version", "3.70", "volume", "set", "--size", "2", copied)
	volumeBecomes(t, c, copied, "in-use")
	qemuIO(t, disk, "write -P 6 1500M 1M", "read -P 6 1500M 1M")
	client(t, c, dir, "openstack", "--os-volume-api-version", "3.60", "volume", "attachment", "delete", attachment)
	volumeBecomes(t, c, copied, "available")
	client(t, c, dir, "openstack", "volume", "delete", "--purge", root)
	client(t, c, dir, "openstack", "volume", "delete", copied)
	volumeBecomes(t, c, root, "")
	volumeBecomes(t, c, copied, "")
}

// volumeClient logs in with gophercloud.
func volumeClient(t *testing.T, c *henged.Cloud) *gophercloud.ServiceClient {
	t.Helper()
	provider, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: c.Environment["OS_AUTH_URL"], Username: c.Environment["OS_USERNAME"], Password: c.Environment["OS_PASSWORD"],
		TenantName: c.Environment["OS_PROJECT_NAME"], DomainName: "Default",
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openstack.NewBlockStorageV3(provider, gophercloud.EndpointOpts{Region: c.Environment["OS_REGION_NAME"]})
	if err != nil {
		t.Fatal(err)
	}
	client.Microversion = "3.44"
	return client
}

// attach connects a volume to QEMU's initiator, as nova does (Debian's openstack client asks the compute service first).
func attach(t *testing.T, c *henged.Cloud, volume string) (attachment string, disk []string) {
	t.Helper()
	a, err := attachments.Create(t.Context(), volumeClient(t, c), attachments.CreateOpts{VolumeUUID: volume, InstanceUUID: "12345678-1234-1234-1234-123456789012",
		Connector: map[string]any{"initiator": "iqn.2026-01.test:e2e", "host": "h1"}}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	return a.ID, iscsiDisk(a.ConnectionInfo)
}

// iscsiDisk makes QEMU's options for a connection.
func iscsiDisk(info map[string]any) []string {
	return []string{"--object", fmt.Sprintf("secret,id=chap,data=%s", info["auth_password"]), "--image-opts",
		fmt.Sprintf("driver=raw,file.driver=iscsi,file.transport=tcp,file.portal=%s,file.target=%s,file.lun=%v,file.user=%s,file.password-secret=chap,file.initiator-name=iqn.2026-01.test:e2e",
			info["target_portal"], info["target_iqn"], info["target_lun"], info["auth_username"])}
}

func tryQemuIO(disk []string, commands ...string) (string, error) {
	var args []string
	for _, command := range commands {
		args = append(args, "-c", command)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-io", append(args, disk...)...).CombinedOutput()
	if err == nil && (bytes.Contains(out, []byte("rror")) || bytes.Contains(out, []byte("failed"))) {
		err = fmt.Errorf("qemu-io: %s", out)
	}
	return string(out), err
}

func qemuIO(t *testing.T, disk []string, commands ...string) {
	t.Helper()
	if out, err := tryQemuIO(disk, commands...); err != nil {
		t.Fatalf("qemu-io %v: %v\n%s", commands, err, out)
	}
}

// TestVolumes_KilledWhileTheyAreMade kills the peer in the midst of copies from an image and of clones: when it is back, every volume is finished, and what the initiator had
// flushed is there.
func TestVolumes_KilledWhileTheyAreMade(t *testing.T) {
	o := henged.Options{Binary: binary(t), Dir: filepath.Join(t.TempDir(), "d")}
	c, err := henged.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	content := pattern(96 << 20)
	writeFile(t, filepath.Join(dir, "disk.raw"), content)
	client(t, c, dir, "openstack", "image", "create", "--disk-format", "raw", "--file", "disk.raw", "disk", "-f", "json")
	base := field(t, openstackJSON(t, c, "volume", "create", "--size", "1", "base"), "id")
	volumeBecomes(t, c, base, "available")
	_, disk := attach(t, c, base)
	qemuIO(t, disk, "write -P 9 0 4M", "flush")
	create := func(args ...string) string {
		return field(t, openstackJSON(t, c, append([]string{"volume", "create"}, args...)...), "id")
	}
	from := create("--size", "1", "--image", "disk", "one")
	second := create("--size", "1", "--image", "disk", "two")
	c.Kill()
	o.Ports = &c.Ports
	if c, err = henged.Start(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, id := range []string{from, second} {
		volumeBecomes(t, c, id, "available")
	}
	for deadline := time.Now().Add(time.Minute); ; { // the target comes back by itself
		out, err := tryQemuIO(disk, "read -P 9 0 4M")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the target is not back: %v\n%s", err, out)
		}
	}
	_, disk = attach(t, c, from)
	out := filepath.Join(dir, "back.raw")
	args := append([]string{"convert", "-O", "raw"}, disk[:2]...)
	args = append(args, "--image-opts", disk[3], out)
	if msg, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(content))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the volume made in spite of a kill does not hold the image: %v", err)
	}
}
