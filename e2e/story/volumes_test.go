package story

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"

	"henge/e2e/henged"
)

// A volume goes from guest to guest with what was written on it; meanwhile it grows, and the peer that serves it, and runs the guest, is killed and comes again.
func TestVolumeOfGuests(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	v, err := volumes.Create(ctx, h.volume, volumes.CreateOpts{Size: 1, Name: "data"}, nil).Extract()
	must(t, err)
	h.volumeBecomes(v.ID, "available")
	first := h.boot(servers.CreateOpts{Name: "first", ImageRef: h.image})
	h.says(first, "login:", 0)
	_, err = volumeattach.Create(ctx, h.compute, first, volumeattach.CreateOpts{VolumeID: v.ID}).Extract()
	must(t, err)
	h.volumeBecomes(v.ID, "in-use")
	h.says(first, "SAW "+v.ID[:20], 0)
	sum := h.says(first, "SUM ([0-9a-f]{32})", 0)[1]
	_, err = volumeattach.Create(ctx, h.compute, first, volumeattach.CreateOpts{VolumeID: v.ID}).Extract()
	if !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
		t.Errorf("attached a second time: %v", err)
	}

	must(t, volumes.ExtendSize(ctx, h.volume, v.ID, volumes.ExtendSizeOpts{NewSize: 2}).ExtractErr())
	h.says(first, "WROTE [0-9]+ of 4194304", 0)
	h.volumeBecomes(v.ID, "in-use")

	h.killAndStart()
	h.becomes(first, "ACTIVE")
	h.says(first, "WROTE [0-9]+ of 4194304", len(h.console(first)))

	must(t, volumeattach.Delete(ctx, h.compute, first, v.ID).ExtractErr())
	h.volumeBecomes(v.ID, "available")
	h.says(first, "GONE", 0)
	if broken := h.console(first); strings.Contains(broken, "BROKEN") {
		t.Errorf("the guest saw an error:\n%s", broken)
	}
	h.remove(first)

	second := h.boot(servers.CreateOpts{Name: "second", BlockDevice: []servers.BlockDevice{
		{SourceType: servers.SourceImage, DestinationType: servers.DestinationVolume, UUID: h.image, BootIndex: 0, VolumeSize: 1, DeleteOnTermination: true},
		{SourceType: servers.SourceVolume, DestinationType: servers.DestinationVolume, UUID: v.ID, BootIndex: -1},
	}})
	if again := h.says(second, "SUM ([0-9a-f]{32})", 0)[1]; again != sum {
		t.Errorf("the second guest reads %s, the first wrote %s", again, sum)
	}
	h.remove(second)
	h.volumeBecomes(v.ID, "available")
	pages, err := volumes.List(h.volume, nil).AllPages(ctx)
	must(t, err)
	left, err := volumes.ExtractVolumes(pages)
	must(t, err)
	for _, o := range left {
		if o.ID != v.ID && o.Status != "deleting" {
			t.Errorf("volume %s is left, %s", o.ID, o.Status)
		}
	}
	h.nothingLeft()
}

// killAndStart kills henge and starts it again, while the guests run on.
func (h *house) killAndStart() {
	h.Helper()
	h.cloud.Kill()
	var err error
	h.cloud, err = henged.Start(h.Context(), h.options)
	must(h.T, err)
	h.connect()
}
