package volumed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/attachments"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumetypes"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/volumed/images"
	"henge/volumed/model"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// becomes waits until a volume has a status.
func (h *hall) becomes(c *gophercloud.ServiceClient, id, status string) *volumes.Volume {
	h.t.Helper()
	var v *volumes.Volume
	h.eventually("volume "+id+" becomes "+status, func() bool {
		var err error
		v, err = volumes.Get(h.t.Context(), c, id).Extract()
		must(h.t, err)
		if v.Status == "error" && status != "error" {
			h.t.Fatalf("volume %s is in error: %s", id, h.messages(c))
		}
		return v.Status == status
	})
	return v
}

func (h *hall) gone(c *gophercloud.ServiceClient, id string) {
	h.t.Helper()
	h.eventually("volume "+id+" goes", func() bool {
		_, err := volumes.Get(h.t.Context(), c, id).Extract()
		return gophercloud.ResponseCodeIs(err, http.StatusNotFound)
	})
}

func (h *hall) create(c *gophercloud.ServiceClient, o volumes.CreateOpts) *volumes.Volume {
	h.t.Helper()
	if o.Size == 0 {
		o.Size = 1
	}
	v, err := volumes.Create(h.t.Context(), c, o, nil).Extract()
	must(h.t, err)
	return v
}

// call makes a plain request, and gives what it answers.
func (h *hall) call(who, version, method, path, body string) (status int, answer map[string]any) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, strings.NewReader(body))
	must(h.t, err)
	req.Header.Set("X-Auth-Token", who)
	if version != "" {
		req.Header.Set("OpenStack-API-Version", "volume "+version)
	}
	resp, err := http.DefaultClient.Do(req)
	must(h.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(h.t, err)
	if len(raw) > 0 && json.Unmarshal(raw, &answer) != nil {
		answer = map[string]any{"raw": string(raw)}
	}
	return resp.StatusCode, answer
}

func (h *hall) messages(c *gophercloud.ServiceClient) string {
	_, answer := h.call(c.TokenID, "3.70", "GET", "/v3/messages", "")
	return fmt.Sprint(answer)
}

func TestLife(t *testing.T) {
	h := newHall(t)
	ctx, c := t.Context(), h.client("member", "3.70")
	v := h.create(c, volumes.CreateOpts{Name: "v", Description: "first", Metadata: map[string]string{"k": "x"}})
	if v.Status != "creating" || v.Name != "v" || v.VolumeType != "__DEFAULT__" || v.AvailabilityZone != "nova" {
		t.Fatalf("%+v", v)
	}
	h.becomes(c, v.ID, "available")
	s, err := snapshots.Create(ctx, c, snapshots.CreateOpts{VolumeID: v.ID, Name: "s"}).Extract()
	must(t, err)
	h.eventually("the snapshot is made", func() bool {
		got, err := snapshots.Get(ctx, c, s.ID).Extract()
		must(t, err)
		return got.Status == "available" && got.Progress == "100%"
	})
	clone := h.create(c, volumes.CreateOpts{SourceVolID: v.ID, Size: 2})
	from := h.create(c, volumes.CreateOpts{SnapshotID: s.ID, Size: 1})
	h.becomes(c, clone.ID, "available")
	h.becomes(c, from.ID, "available")
	must(t, volumes.ExtendSize(ctx, c, v.ID, volumes.ExtendSizeOpts{NewSize: 3}).ExtractErr())
	h.eventually("the volume grows", func() bool { return h.becomes(c, v.ID, "available").Size == 3 })
	err = volumes.Delete(ctx, c, v.ID, nil).ExtractErr()
	if !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) || !strings.Contains(err.Error(), "snapshots") {
		t.Fatalf("a volume with a snapshot is deleted: %v", err)
	}
	must(t, volumes.Delete(ctx, c, v.ID, volumes.DeleteOpts{Cascade: true}).ExtractErr())
	h.gone(c, v.ID)
	if _, err := snapshots.Get(ctx, c, s.ID).Extract(); !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Fatalf("the snapshot is still there: %v", err)
	}
	for _, id := range []string{clone.ID, from.ID} {
		must(t, volumes.Delete(ctx, c, id, nil).ExtractErr())
		h.gone(c, id)
	}
	left, err := os.ReadDir(filepath.Join(h.dir, "layers"))
	if must(t, err); len(left) > 0 {
		t.Fatalf("files are left: %v", left)
	}
}

func TestListing(t *testing.T) {
	h := newHall(t)
	ctx, c := t.Context(), h.client("member", "3.45")
	for i := range 5 {
		v := h.create(c, volumes.CreateOpts{Name: fmt.Sprintf("v%d", i), Size: 1 + i%2, Metadata: map[string]string{"n": fmt.Sprint(i)}})
		h.becomes(c, v.ID, "available")
	}
	names := func(o volumes.ListOpts) string {
		pages, err := volumes.List(c, o).AllPages(ctx)
		must(t, err)
		all, err := volumes.ExtractVolumes(pages)
		must(t, err)
		var names []string
		for _, v := range all {
			names = append(names, v.Name)
		}
		return strings.Join(names, " ")
	}
	for want, o := range map[string]volumes.ListOpts{
		"v4 v3 v2 v1 v0": {}, "v0 v1 v2 v3 v4": {Sort: "name:asc", Limit: 2}, "v3 v1 v4 v2 v0": {Sort: "size:desc,name:desc"}, "v2": {Name: "v2"},
		"v3": {Metadata: map[string]string{"n": "3"}}, "": {Status: "error"}, "v1": {Sort: "name:asc", Limit: 10, Offset: 1, Name: ""},
	} {
		got := names(o)
		if o.Offset == 1 {
			got = strings.Fields(got)[0]
		}
		if got != want {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
	}
	if _, answer := h.call("member", "3.45", "GET", "/v3/volumes?with_count=true&limit=1&name~=v", ""); answer["count"] != 5.0 || len(answer["volumes"].([]any)) != 1 {
		t.Errorf("%v", answer)
	}
	if _, answer := h.call("other", "3.45", "GET", "/v3/volumes?all_tenants=1", ""); len(answer["volumes"].([]any)) != 0 {
		t.Errorf("another project sees %v", answer)
	}
	if _, answer := h.call("admin", "3.45", "GET", "/v3/volumes/detail?all_tenants=1", ""); len(answer["volumes"].([]any)) != 5 {
		t.Errorf("an administrator sees %v", answer)
	}
	if _, answer := h.call("member", "3.36", "GET", "/v3/volumes/summary", ""); fmt.Sprint(answer["volume-summary"].(map[string]any)["total_size"]) != "7" {
		t.Errorf("%v", answer)
	}
}

func TestImages(t *testing.T) {
	h := newHall(t)
	c := h.client("member", "3.70")
	content := bytes.Repeat([]byte("henge volume "), 400000)
	raw := filepath.Join(t.TempDir(), "disk.raw")
	must(t, os.WriteFile(raw, content, 0o600))
	qcow2 := filepath.Join(t.TempDir(), "disk.qcow2")
	run(t, "qemu-img", "convert", "-O", "qcow2", "-c", raw, qcow2)
	packed, err := os.ReadFile(qcow2)
	must(t, err)
	add := func(n int, format string, data []byte) string {
		id := fmt.Sprintf("99999999-0000-0000-0000-%012d", n)
		h.shelf.images[id] = images.Image{ID: id, Name: format, Status: "active", DiskFormat: format, ContainerFormat: "bare", Size: int64(len(data)), MinDisk: 1, Properties: map[string]string{"os": "x"}}
		h.shelf.data[id] = data
		return id
	}
	for _, image := range []string{add(1, "raw", content), add(2, "qcow2", packed)} {
		v := h.becomes(c, h.create(c, volumes.CreateOpts{ImageID: image}).ID, "available")
		if v.Bootable != "true" || v.VolumeImageMetadata["image_id"] != image || v.VolumeImageMetadata["os"] != "x" {
			t.Errorf("%+v", v)
		}
		if got := h.content(v.ID, len(content)); !bytes.Equal(got, content) {
			t.Errorf("the volume made from %s holds something else", h.shelf.images[image].DiskFormat)
		}
	}
	broken := h.becomes(c, h.create(c, volumes.CreateOpts{ImageID: add(3, "qcow2", content)}).ID, "error")
	if m := h.messages(c); !strings.Contains(m, "not in qcow2 format") || !strings.Contains(m, broken.ID) {
		t.Errorf("the messages do not tell the cause: %s", m)
	}
}

// TestUpload makes images of a volume: as it is, and in another format.
func TestUpload(t *testing.T) {
	h := newHall(t)
	c := h.client("member", "3.70")
	v := h.create(c, volumes.CreateOpts{})
	h.becomes(c, v.ID, "available")
	content := bytes.Repeat([]byte("from a volume "), 100000)
	d, err := h.service.backend.Open(t.Context(), v.ID)
	must(t, err)
	must(t, d.WriteAt(t.Context(), content, 4096))
	must(t, d.Close())
	for _, format := range []string{"raw", "qcow2"} {
		image, err := volumes.UploadImage(t.Context(), c, v.ID, volumes.UploadImageOpts{ImageName: "i", DiskFormat: format, ContainerFormat: "bare"}).Extract()
		must(t, err)
		h.becomes(c, v.ID, "available")
		h.shelf.mu.Lock()
		data, size := h.shelf.data[image.ImageID], h.shelf.images[image.ImageID].Size
		h.shelf.mu.Unlock()
		if format == "qcow2" {
			data, size = unpacked(t, data)
		}
		if size != 1<<30 || !bytes.Equal(data[4096:4096+len(content)], content) {
			t.Errorf("as %s: %d bytes, and not those of the volume", format, size)
		}
	}
}

// unpacked is the beginning of the disk in a QCOW2 image, and the disk's size.
func unpacked(t *testing.T, image []byte) (data []byte, size int64) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/i.qcow2", image, 0o600))
	run(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", dir+"/i.qcow2", dir+"/i.raw")
	f, err := os.Open(dir + "/i.raw")
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	data = make([]byte, keptMax)
	_, err = f.ReadAt(data, 0)
	must(t, err)
	return data, info.Size()
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// content reads the beginning of a volume.
func (h *hall) content(id string, n int) []byte {
	h.t.Helper()
	d, err := h.service.backend.Open(h.t.Context(), id)
	must(h.t, err)
	p := make([]byte, n)
	must(h.t, d.ReadAt(h.t.Context(), p, 0))
	must(h.t, d.Close())
	return p
}

// TestStoppedCopy stops the service in the midst of a copy from an image; the next one finishes it. A volume that is removed in the midst of one goes at once.
func TestStoppedCopy(t *testing.T) {
	h := newHall(t)
	c := h.client("member", "3.70")
	const image = "99999999-0000-0000-0000-000000000001"
	data := bytes.Repeat([]byte("image"), 1<<20)
	h.shelf.images[image] = images.Image{ID: image, Status: "active", DiskFormat: "raw", Size: int64(len(data))}
	h.shelf.data[image], h.shelf.hold = data, make(chan struct{})
	v := h.create(c, volumes.CreateOpts{ImageID: image})
	h.becomes(c, v.ID, "downloading")
	h.stop()
	h.shelf.hold = nil
	h.start()
	c = h.client("member", "3.70")
	h.becomes(c, v.ID, "available")
	if !bytes.Equal(h.content(v.ID, len(data)), data) {
		t.Error("the volume does not hold the image")
	}
	h.shelf.mu.Lock()
	h.shelf.hold = make(chan struct{})
	h.shelf.mu.Unlock()
	w := h.create(c, volumes.CreateOpts{ImageID: image})
	h.becomes(c, w.ID, "downloading")
	must(t, volumes.ForceDelete(t.Context(), h.client("admin", "3.70"), w.ID).ExtractErr())
	h.gone(c, w.ID)
}

const initiator = "iqn.2026-01.test:one"

// TestAttachment attaches by the attachments API, as nova does, and reads and writes with QEMU's initiator.
func TestAttachment(t *testing.T) {
	h := newHall(t)
	ctx, c := t.Context(), h.client("member", "3.44")
	v := h.create(c, volumes.CreateOpts{})
	h.becomes(c, v.ID, "available")
	server := "12345678-1234-1234-1234-123456789012"
	a, err := attachments.Create(ctx, c, attachments.CreateOpts{VolumeUUID: v.ID, InstanceUUID: server}).Extract()
	must(t, err)
	h.becomes(c, v.ID, "reserved")
	if _, err := attachments.Create(ctx, c, attachments.CreateOpts{VolumeUUID: v.ID, InstanceUUID: "12345678-1234-1234-1234-123456789013"}).Extract(); !gophercloud.ResponseCodeIs(err, 400) {
		t.Fatalf("a second server gets it: %v", err)
	}
	a, err = attachments.Update(ctx, c, a.ID, attachments.UpdateOpts{Connector: map[string]any{"initiator": initiator, "host": "h1", "multipath": false}}).Extract()
	must(t, err)
	h.becomes(c, v.ID, "attaching")
	url := func(info map[string]any) string {
		return fmt.Sprintf("iscsi://%s%%%s@%s/%s/%v", info["auth_username"], info["auth_password"], info["target_portal"], info["target_iqn"], info["target_lun"])
	}
	must(t, attachments.Complete(ctx, c, a.ID).ExtractErr())
	h.becomes(c, v.ID, "in-use")
	h.qemuIO(url(a.ConnectionInfo), initiator, "write -P 7 0 1M", "flush")
	h.qemuIO(url(a.ConnectionInfo), initiator, "read -P 7 0 1M", "read -P 0 1M 1M")
	if out, err := h.tryQemuIO(url(a.ConnectionInfo), "iqn.2026-01.test:two", "read 0 512"); err == nil {
		t.Errorf("another initiator reads: %s", out)
	}
	wrong := map[string]any{}
	for k, v := range a.ConnectionInfo {
		wrong[k] = v
	}
	wrong["auth_password"] = "wrong-wrong-wrong"
	if out, err := h.tryQemuIO(url(wrong), initiator, "read 0 512"); err == nil {
		t.Errorf("a wrong secret reads: %s", out)
	}
	h.stop()
	h.start() // the target comes back by itself
	c = h.client("member", "3.44")
	h.eventually("the target is back", func() bool {
		_, err := h.tryQemuIO(url(a.ConnectionInfo), initiator, "read -P 7 0 1M")
		return err == nil
	})
	must(t, volumes.ExtendSize(ctx, h.client("member", "3.42"), v.ID, volumes.ExtendSizeOpts{NewSize: 2}).ExtractErr())
	h.eventually("the volume grows in use", func() bool { return h.becomes(c, v.ID, "in-use").Size == 2 })
	h.qemuIO(url(a.ConnectionInfo), initiator, "write -P 9 1536M 64k", "read -P 9 1536M 64k")
	must(t, attachments.Delete(ctx, c, a.ID).ExtractErr())
	h.becomes(c, v.ID, "available")
	if out, err := h.tryQemuIO(url(a.ConnectionInfo), initiator, "read 0 512"); err == nil {
		t.Errorf("after it was detached: %s", out)
	}
	must(t, volumes.Delete(ctx, c, v.ID, nil).ExtractErr())
	h.gone(c, v.ID)
}

func (h *hall) tryQemuIO(url, name string, commands ...string) (string, error) {
	args := []string{"--image-opts"}
	for _, command := range commands {
		args = append(args, "-c", command)
	}
	// iscsi://user%secret@portal/iqn/lun, taken apart: the plain URL form gives no place for the initiator's name.
	rest := strings.TrimPrefix(url, "iscsi://")
	login, rest, _ := strings.Cut(rest, "@")
	user, secret, _ := strings.Cut(login, "%")
	parts := strings.Split(rest, "/")
	opts := fmt.Sprintf("driver=raw,file.driver=iscsi,file.transport=tcp,file.portal=%s,file.target=%s,file.lun=%s,file.user=%s,file.password-secret=chap,file.initiator-name=%s",
		parts[0], parts[1], parts[2], user, name)
	args = append([]string{"--object", "secret,id=chap,data=" + secret}, append(args, opts)...)
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-io", args...).CombinedOutput()
	if err == nil && (bytes.Contains(out, []byte("rror")) || bytes.Contains(out, []byte("verification failed"))) {
		err = errs.New(errs.Corrupt, "%s", out)
	}
	return string(out), err
}

func (h *hall) qemuIO(url, name string, commands ...string) {
	h.t.Helper()
	if out, err := h.tryQemuIO(url, name, commands...); err != nil {
		h.t.Fatalf("qemu-io %v: %v\n%s", commands, err, out)
	}
}

// TestOldCalls attaches as clients did before there were attachments.
func TestOldCalls(t *testing.T) {
	h := newHall(t)
	ctx, c := t.Context(), h.client("member", "3.0")
	v := h.create(c, volumes.CreateOpts{})
	h.becomes(c, v.ID, "available")
	must(t, volumes.Reserve(ctx, c, v.ID).ExtractErr())
	h.becomes(c, v.ID, "attaching")
	must(t, volumes.Unreserve(ctx, c, v.ID).ExtractErr())
	h.becomes(c, v.ID, "available")
	must(t, volumes.Reserve(ctx, c, v.ID).ExtractErr())
	info, err := volumes.InitializeConnection(ctx, c, v.ID, volumes.InitializeConnectionOpts{Host: "h1", Initiator: initiator}).Extract()
	must(t, err)
	data := info["data"].(map[string]any)
	must(t, volumes.Attach(ctx, c, v.ID, volumes.AttachOpts{InstanceUUID: "12345678-1234-1234-1234-123456789012", MountPoint: "/dev/vdb", Mode: "rw"}).ExtractErr())
	got := h.becomes(c, v.ID, "in-use")
	if len(got.Attachments) != 1 || got.Attachments[0].Device != "/dev/vdb" {
		t.Fatalf("%+v", got.Attachments)
	}
	h.qemuIO(fmt.Sprintf("iscsi://%s%%%s@%s/%s/0", data["auth_username"], data["auth_password"], data["target_portal"], data["target_iqn"]), initiator, "write -P 1 0 64k")
	must(t, volumes.BeginDetaching(ctx, c, v.ID).ExtractErr())
	h.becomes(c, v.ID, "detaching")
	must(t, volumes.TerminateConnection(ctx, c, v.ID, volumes.TerminateConnectionOpts{Host: "h1", Initiator: initiator}).ExtractErr())
	must(t, volumes.Detach(ctx, c, v.ID, volumes.DetachOpts{AttachmentID: got.Attachments[0].AttachmentID}).ExtractErr())
	h.becomes(c, v.ID, "available")
}

// TestCompute makes the calls of compute.
func TestCompute(t *testing.T) {
	h := newHall(t)
	ctx, who := t.Context(), people["member"]
	v, err := h.service.CreateVolume(ctx, who, NewVolume{Name: "root", GiB: 1, Key: "server-1/vda"})
	must(t, err)
	again, err := h.service.CreateVolume(ctx, who, NewVolume{Name: "root", GiB: 1, Key: "server-1/vda"})
	if must(t, err); again.ID != v.ID {
		t.Fatal("the same key makes another volume")
	}
	a, err := h.service.Reserve(ctx, who, v.ID, "server-1")
	must(t, err)
	if b, err := h.service.Reserve(ctx, who, v.ID, "server-1"); err != nil || b != a {
		t.Fatalf("%v, %v", b, err)
	}
	if _, err := h.service.Reserve(ctx, who, v.ID, "server-2"); !errs.Is(err, errs.Conflict) {
		t.Fatalf("a second server: %v", err)
	}
	if _, err := h.service.Reserve(ctx, people["other"], v.ID, "server-2"); !errs.Is(err, errs.NotFound) {
		t.Fatalf("another project: %v", err)
	}
	first, err := h.service.Connect(ctx, who, a, "h1", initiator, "vdb")
	must(t, err)
	if same, err := h.service.Connect(ctx, who, a, "h1", initiator, "vdb"); err != nil || same != first {
		t.Fatalf("%+v, %v", same, err)
	}
	must(t, h.service.Complete(ctx, who, a))
	second, err := h.service.Connect(ctx, who, a, "h2", initiator+"2", "vdb") // the server has moved
	must(t, err)
	url := func(c Connection) string {
		return fmt.Sprintf("iscsi://%s%%%s@%s/%s/%d", c.User, c.Secret, c.Portal, c.IQN, c.LUN)
	}
	if out, err := h.tryQemuIO(url(first), initiator, "write 0 512"); err == nil {
		t.Fatalf("the host that it was moved from still writes: %s", out)
	}
	h.qemuIO(url(second), initiator+"2", "write -P 3 0 4k")
	for range 2 {
		must(t, h.service.Detach(ctx, who, a))
		must(t, h.service.DeleteVolume(ctx, who, v.ID))
	}
	h.eventually("the volume goes", func() bool { return !h.exists("volumes", v.ID+".json") })
}

func TestQuotas(t *testing.T) {
	h := newHall(t)
	ctx, c := t.Context(), h.client("member", "3.70")
	_, err := quotasets.Update(ctx, h.client("admin", "3.70"), people["member"].ProjectID, quotasets.UpdateOpts{Volumes: gophercloud.IntToPointer(1), Gigabytes: gophercloud.IntToPointer(3)}).Extract()
	must(t, err)
	v := h.create(c, volumes.CreateOpts{})
	h.becomes(c, v.ID, "available")
	_, err = volumes.Create(ctx, c, volumes.CreateOpts{Size: 1}, nil).Extract()
	if !gophercloud.ResponseCodeIs(err, http.StatusRequestEntityTooLarge) || !strings.Contains(err.Error(), "VolumeLimitExceeded") {
		t.Fatalf("over the quota: %v", err)
	}
	err = volumes.ExtendSize(ctx, c, v.ID, volumes.ExtendSizeOpts{NewSize: 4}).ExtractErr()
	if !gophercloud.ResponseCodeIs(err, http.StatusRequestEntityTooLarge) {
		t.Fatalf("extended over the quota: %v", err)
	}
	usage, err := quotasets.GetUsage(ctx, c, people["member"].ProjectID).Extract()
	if must(t, err); usage.Volumes.InUse != 1 || usage.Volumes.Limit != 1 || usage.Gigabytes.InUse != 1 {
		t.Fatalf("%+v", usage)
	}
}

// TestNoHost: a volume that no peer can have is in error, and its messages say why.
func TestNoHost(t *testing.T) {
	h := newHall(t)
	c := h.client("member", "3.70")
	typ, err := volumetypes.Create(t.Context(), h.client("admin", "3.70"), volumetypes.CreateOpts{Name: "fast", ExtraSpecs: map[string]string{"volume_backend_name": "nvme"}}).Extract()
	must(t, err)
	v := h.becomes(c, h.create(c, volumes.CreateOpts{VolumeType: typ.Name}).ID, "error")
	if m := h.messages(c); !strings.Contains(m, "its volume_backend_name is not nvme") || !strings.Contains(m, v.ID) {
		t.Fatalf("the messages do not say why: %s", m)
	}
	must(t, volumes.Delete(t.Context(), c, v.ID, nil).ExtractErr())
	h.gone(c, v.ID)
}

func TestFullDisk(t *testing.T) {
	h := newHall(t)
	h.stop()
	h.reserve = 1 << 60
	h.start()
	c := h.client("member", "3.70")
	h.eventually("the peer says that it is full", func() bool {
		var host model.Host
		must(t, h.store.View(t.Context(), func(r state.Reader) (err error) {
			host, err = model.Hosts.Get(r, "peer-1")
			return err
		}))
		return host.Free == 0
	})
	h.becomes(c, h.create(c, volumes.CreateOpts{}).ID, "error")
	if m := h.messages(c); !strings.Contains(m, "not enough room") {
		t.Fatalf("the messages do not say why: %s", m)
	}
}

// TestBadInput sends what makes no sense; each gets Cinder's own error.
func TestBadInput(t *testing.T) {
	h := newHall(t)
	c := h.client("member", "3.70")
	v := h.create(c, volumes.CreateOpts{})
	h.becomes(c, v.ID, "available")
	const nobody = "/v3/volumes/00000000-0000-0000-0000-000000000000"
	for _, tc := range []struct {
		who, version, method, path, body string
		status                           int
		says                             string
	}{
		{"nobody", "", "GET", "/v3/volumes", "", 401, "requires authentication"},
		{"member", "3.71", "GET", "/v3/volumes", "", 406, "is not supported"},
		{"member", "x", "GET", "/v3/volumes", "", 400, "invalid format"},
		{"member", "", "GET", "/v3/" + people["other"].ProjectID + "/volumes", "", 400, "Malformed request url"},
		{"member", "", "GET", "/v3/nothing", "", 404, "could not be found"},
		{"member", "", "PATCH", "/v3/volumes", "", 405, "not allowed"},
		{"member", "3.26", "GET", "/v3/attachments", "", 404, ""},
		{"member", "", "POST", "/v3/volumes", "", 400, "Malformed"},
		{"member", "", "POST", "/v3/volumes", "[]", 400, "JSON object"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{}}`, 400, "size"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":0}}`, 400, "greater than 0"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":"x"}}`, 400, "not an integer"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1.5}}`, 400, "not an integer"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":99999999}}`, 400, "at most"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"colour":"red"}}`, 400, "colour"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"name":"` + strings.Repeat("x", 256) + `"}}`, 400, "longer"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"metadata":{"a":1}}}`, 400, "not a string"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"volume_type":"none"}}`, 404, "Volume type none"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"imageRef":"00000000-0000-0000-0000-000000000000"}}`, 400, "Invalid image identifier"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"availability_zone":"mars"}}`, 400, "Availability zone"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"multiattach":true}}`, 400, "multiattach"},
		{"member", "", "POST", "/v3/volumes", `{"volume":{"size":1,"snapshot_id":"00000000-0000-0000-0000-000000000000"}}`, 404, "Snapshot"},
		{"other", "", "POST", "/v3/volumes", `{"volume":{"size":1,"source_volid":"` + v.ID + `"}}`, 404, "could not be found"},
		{"reader", "", "POST", "/v3/volumes", `{"volume":{"size":1}}`, 403, "Policy"},
		{"other", "", "GET", "/v3/volumes/" + v.ID, "", 404, "could not be found"},
		{"other", "", "DELETE", "/v3/volumes/" + v.ID, "", 404, "could not be found"},
		{"member", "", "GET", nobody, "", 404, "could not be found"},
		{"member", "", "POST", nobody + "/action", `{"os-extend":{"new_size":2}}`, 404, "could not be found"},
		{"member", "", "POST", "/v3/volumes/" + v.ID + "/action", `{"os-extend":{"new_size":1}}`, 400, "greater than current size"},
		{"member", "", "POST", "/v3/volumes/" + v.ID + "/action", `{"os-extend":{"new_size":null}}`, 400, "integer"},
		{"member", "", "POST", "/v3/volumes/" + v.ID + "/action", `{"os-dance":{}}`, 400, "no such action"},
		{"member", "", "POST", "/v3/volumes/" + v.ID + "/action", `{"os-reset_status":{"status":"error"}}`, 403, "Policy"},
		{"admin", "", "POST", "/v3/volumes/" + v.ID + "/action", `{"os-reset_status":{"status":"happy"}}`, 400, "happy"},
		{"member", "", "POST", "/v3/volumes/" + v.ID + "/action", `{"os-initialize_connection":{"connector":{}}}`, 400, "initiator"},
		{"member", "", "POST", "/v3/volumes/" + v.ID + "/action", `{"os-detach":{}}`, 400, "in-use"},
		{"member", "", "GET", "/v3/volumes?limit=-1", "", 400, "limit"},
		{"member", "", "GET", "/v3/volumes?sort=colour", "", 400, "Sort key"},
		{"member", "", "GET", "/v3/volumes?marker=none", "", 404, "marker"},
		{"member", "3.31", "GET", "/v3/volumes?colour=red", "", 400, "colour"},
		{"member", "", "PUT", "/v3/volumes/" + v.ID, `{"volume":{}}`, 400, "At least one"},
		{"member", "", "PUT", "/v3/volumes/" + v.ID + "/metadata/a", `{"meta":{"b":"c"}}`, 400, "must be a"},
		{"member", "", "DELETE", "/v3/volumes/" + v.ID + "/metadata/a", "", 404, "no metadata item"},
		{"member", "3.44", "POST", "/v3/attachments", `{"attachment":{"volume_uuid":"` + v.ID + `","instance_uuid":"x"}}`, 400, "UUID"},
		{"other", "3.44", "POST", "/v3/attachments", `{"attachment":{"volume_uuid":"` + v.ID + `"}}`, 404, "could not be found"},
		{"member", "", "POST", "/v3/types", `{"volume_type":{"name":"t"}}`, 403, "Policy"},
		{"admin", "", "POST", "/v3/types", `{"volume_type":{"name":""}}`, 400, "too short"},
		{"admin", "", "POST", "/v3/types", `{"volume_type":{"name":"__DEFAULT__"}}`, 409, "already exists"},
		{"member", "", "PUT", "/v3/os-quota-sets/" + people["member"].ProjectID, `{"quota_set":{"volumes":1000}}`, 403, "Policy"},
		{"admin", "", "PUT", "/v3/os-quota-sets/x", `{"quota_set":{"volumes":-2}}`, 400, "less than -1"},
		{"member", "", "GET", "/v3/os-quota-sets/" + people["other"].ProjectID, "", 403, "Policy"},
	} {
		status, answer := h.call(tc.who, tc.version, tc.method, tc.path, tc.body)
		if status != tc.status || !strings.Contains(fmt.Sprint(answer), tc.says) {
			t.Errorf("%s %s %s %s: %d %v, want %d with %q", tc.who, tc.method, tc.path, tc.body, status, answer, tc.status, tc.says)
		}
	}
}
