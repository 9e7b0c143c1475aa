package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"henge/e2e/henged"
)

// qemuImg makes an image and gives its path.
func qemuImg(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("qemu-img", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
}

// field is one column of what the openstack client prints.
func field(t *testing.T, out, name string) string {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	switch v := d[name].(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
}

func TestOpenStackClient_Images(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	run := func(args ...string) string {
		return client(t, c, dir, append([]string{"openstack", "image"}, args...)...)
	}
	qemuImg(t, dir, "create", "-q", "-f", "qcow2", "disk.qcow2", "64M")
	qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "overlay.qcow2")
	big := pattern(150<<20 + 17) // of three segments
	writeFile(t, filepath.Join(dir, "big.raw"), big)
	id := field(t, run("create", "--disk-format", "raw", "--file", "big.raw", "--property", "os_distro=debian", "--tag", "e2e", "--min-disk", "1", "big", "-f", "json"), "id")
	shown := run("show", id, "-f", "json")
	if field(t, shown, "status") != "active" || field(t, shown, "size") != strconv.Itoa(len(big)) || !strings.Contains(shown, `"os_distro": "debian"`) {
		t.Errorf("shown:\n%s", shown)
	}
	run("save", "--file", "back.raw", "big")
	if back, err := os.ReadFile(filepath.Join(dir, "back.raw")); err != nil || !bytes.Equal(back, big) {
		t.Errorf("saved %d bytes, %v", len(back), err)
	}
	run("create", "--disk-format", "qcow2", "--file", "disk.qcow2", "--public", "disk")
	if out := run("show", "disk", "-f", "json"); field(t, out, "virtual_size") != strconv.Itoa(64<<20) {
		t.Errorf("a QCOW2:\n%s", out)
	}
	if _, err := tryClient(c, dir, "openstack", "image", "create", "--disk-format", "qcow2", "--file", "overlay.qcow2", "overlay"); err == nil || !strings.Contains(err.Error(), "backing file") {
		t.Errorf("an overlay: %v", err)
	}
	if out := run("list", "--tag", "e2e", "-f", "value", "-c", "Name"); strings.TrimSpace(out) != "big" {
		t.Errorf("list:\n%s", out)
	}
	run("set", "--name", "bigger", "--property", "hw_disk_bus=virtio", "--protected", id)
	if _, err := tryClient(c, dir, "openstack", "image", "delete", "bigger"); err == nil || !strings.Contains(err.Error(), "protected") {
		t.Errorf("delete of a protected image: %v", err)
	}
	run("unset", "--property", "hw_disk_bus", "--tag", "e2e", id)
	run("set", "--deactivate", id)
	run("set", "--activate", "--unprotected", id)
	run("delete", "bigger", "disk")
	if out := run("list", "-f", "value", "-c", "Name"); strings.Contains(out, "bigger") || strings.Contains(out, "overlay") {
		t.Errorf("left over:\n%s", out)
	}
}

func TestOpenStackClient_SharedImages(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	run := func(args ...string) string { return client(t, c, dir, append([]string{"openstack"}, args...)...) }
	project := strings.TrimSpace(run("project", "create", "image-guests", "-f", "value", "-c", "id"))
	run("user", "create", "--password", "Long and secret 2", "image-guest")
	run("role", "add", "--user", "image-guest", "--project", "image-guests", "member")
	as := []string{"openstack", "--os-username", "image-guest", "--os-password", "Long and secret 2", "--os-project-name", "image-guests", "image"}
	guest := func(args ...string) string { return client(t, c, dir, append(as[:len(as):len(as)], args...)...) }
	writeFile(t, filepath.Join(dir, "x.raw"), pattern(1000))
	id := strings.TrimSpace(run("image", "create", "--disk-format", "raw", "--file", "x.raw", "to-share", "-f", "value", "-c", "id"))
	if _, err := tryClient(c, dir, append(as[:len(as):len(as)], "show", id)...); err == nil {
		t.Error("a stranger sees an image")
	}
	run("image", "add", "project", id, project)
	guest("set", "--accept", id)
	if out := guest("list", "-f", "value", "-c", "Name"); !strings.Contains(out, "to-share") {
		t.Errorf("the guest's list:\n%s", out)
	}
	guest("save", "--file", "y.raw", id)
	if back, err := os.ReadFile(filepath.Join(dir, "y.raw")); err != nil || !bytes.Equal(back, pattern(1000)) {
		t.Errorf("saved %d bytes, %v", len(back), err)
	}
	run("image", "remove", "project", id, project)
	if _, err := tryClient(c, dir, append(as[:len(as):len(as)], "show", id)...); err == nil {
		t.Error("a project that was removed still sees the image")
	}
	run("image", "delete", id)
}

// imageClient logs in with gophercloud.
func imageClient(t *testing.T, c *henged.Cloud) *gophercloud.ServiceClient {
	t.Helper()
	provider, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: c.Environment["OS_AUTH_URL"], Username: c.Environment["OS_USERNAME"], Password: c.Environment["OS_PASSWORD"],
		TenantName: c.Environment["OS_PROJECT_NAME"], DomainName: "Default",
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openstack.NewImageV2(provider, gophercloud.EndpointOpts{Region: c.Environment["OS_REGION_NAME"]})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestGophercloud_Images(t *testing.T) {
	c := sharedCloud(t, 1)
	client := imageClient(t, c)
	ctx := t.Context()
	image, err := images.Create(ctx, client, images.CreateOpts{Name: "gopher", DiskFormat: "raw", ContainerFormat: "bare", Tags: []string{"go"}, Properties: map[string]string{"os_distro": "debian"}}).Extract()
	if err != nil || image.Status != images.ImageStatusQueued {
		t.Fatalf("create: %+v, %v", image, err)
	}
	data := pattern(3 << 20)
	if err := imagedata.Upload(ctx, client, image.ID, bytes.NewReader(data)).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	body, err := imagedata.Download(ctx, client, image.ID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(body); err != nil || !bytes.Equal(back, data) {
		t.Fatalf("%d bytes came back, %v", len(back), err)
	}
	updated, err := images.Update(ctx, client, image.ID, images.UpdateOpts{images.ReplaceImageName{NewName: "ferret"}, images.ReplaceImageMinRam{NewMinRam: 64},
		images.UpdateImageProperty{Op: images.AddOp, Name: "hw_disk_bus", Value: "virtio"}}).Extract()
	if err != nil || updated.Name != "ferret" || updated.MinRAMMegabytes != 64 || updated.Properties["hw_disk_bus"] != "virtio" || updated.SizeBytes != int64(len(data)) {
		t.Fatalf("update: %+v, %v", updated, err)
	}
	pages, err := images.List(client, images.ListOpts{Name: "ferret", Limit: 1}).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := images.ExtractImages(pages); err != nil || len(list) != 1 || list[0].ID != image.ID {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if err := images.Delete(ctx, client, image.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if _, err := images.Get(ctx, client, image.ID).Extract(); !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Fatalf("after the delete: %v", err)
	}
}

// createImage makes the record of a raw image.
func createImage(t *testing.T, client *gophercloud.ServiceClient) string {
	t.Helper()
	image, err := images.Create(t.Context(), client, images.CreateOpts{Name: "half", DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	return image.ID
}

// TestKill_DuringAnImageUpload kills the peer in the midst of an upload: after the restart the image is queued again, nothing is left in the store, and it can be uploaded.
func TestKill_DuringAnImageUpload(t *testing.T) {
	o := henged.Options{Dir: filepath.Join(t.TempDir(), "d"), Binary: binary(t)}
	c, err := henged.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	running := true
	defer func() { // also when the test fails in between
		if running {
			c.Kill()
		}
	}()
	images := imageClient(t, c)
	id := createImage(t, images)
	token := images.Token()
	url := "http://127.0.0.1:" + strconv.Itoa(c.Ports.Image) + "/v2/images/" + id
	in, out := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		req, err := http.NewRequest(http.MethodPut, url+"/file", in)
		if err != nil {
			return
		}
		req.Header.Set("X-Auth-Token", token)
		req.Header.Set("Content-Type", "application/octet-stream")
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	if _, err := out.Write(pattern(70 << 20)); err != nil { // more than a segment
		t.Fatal(err)
	}
	eventually(t, "the image is saving", func() bool {
		_, text, _ := request(t, "GET", url, nil, "X-Auth-Token", token)
		return strings.Contains(text, `"saving"`)
	})
	eventually(t, "a segment is stored", func() bool { return len(dataFiles(t, o.Dir)) > 0 })
	c.Kill()
	running = false
	out.CloseWithError(io.ErrClosedPipe)
	<-ended
	o.Ports = &c.Ports
	if c, err = henged.Start(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the image is queued again", func() bool {
		_, text, _ := request(t, "GET", url, nil, "X-Auth-Token", token)
		return strings.Contains(text, `"queued"`)
	})
	eventually(t, "the segments are gone", func() bool { return len(dataFiles(t, o.Dir)) == 0 })
	status, text, _ := request(t, "PUT", url+"/file", bytes.NewReader(pattern(1000)), "X-Auth-Token", token, "Content-Type", "application/octet-stream")
	if status != http.StatusNoContent {
		t.Fatalf("upload again: %d %s", status, text)
	}
}

// dataFiles are the files of large objects on all devices: small ones lie in the logs.
func dataFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed while we look
		}
		if err == nil && strings.HasSuffix(path, ".obj") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
