package volumeimage

import (
	"context"
	"encoding/json"
	"slices"

	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/errs"
)

// The properties.
const (
	mappingsProperty = "block_device_mapping"
	secondForm       = "bdm_v2"
	rootDevice       = "root_device_name"
)

// mappingsMax bounds what is read of an image.
const mappingsMax = 24

// mapping is one entry of the property block_device_mapping.
type mapping struct {
	Source      string `json:"source_type"`
	Destination string `json:"destination_type"`
	SnapshotID  string `json:"snapshot_id"`
	GiB         int    `json:"volume_size"`
	Type        string `json:"volume_type"`
	Delete      bool   `json:"delete_on_termination"`
	BootIndex   *int   `json:"boot_index"`
	Device      string `json:"device_name"`
	Bus         string `json:"disk_bus"`
	Kind        string `json:"device_type"`
	Tag         string `json:"tag"`
	NoDevice    any    `json:"no_device"`
}

// Snapshot makes snapshots of a server's volumes and adds to properties what an image says of them. undo removes the snapshots again; it is never nil.
func Snapshot(ctx context.Context, volumes neighbour.Volumes, who *authn.Identity, s model.Server, name string, properties map[string]string) (undo func(), err error) {
	var mappings []mapping
	undo = func() {
		for _, m := range mappings {
			_ = volumes.DeleteSnapshot(context.WithoutCancel(ctx), who, m.SnapshotID) // the first reason is told
		}
	}
	for _, d := range s.Disks {
		if d.Local || d.VolumeID == "" {
			continue
		}
		id, err := volumes.CreateSnapshot(ctx, who, d.VolumeID, "snapshot for "+name, "")
		if err != nil {
			return undo, err
		}
		m := mapping{Source: "snapshot", Destination: "volume", SnapshotID: id, GiB: d.GiB, Delete: d.DeleteOnTermination, Device: "/dev/" + d.Device, Bus: "virtio", Kind: "disk", Tag: d.Tag}
		if d.Boot {
			m.BootIndex = new(int)
		}
		mappings = append(mappings, m)
	}
	raw, err := json.Marshal(mappings)
	properties[mappingsProperty], properties[secondForm], properties[rootDevice] = string(raw), "True", "/dev/vda"
	return undo, err
}

// Disks are those that an image names, for a server that boots from it; none when the image has bytes of its own to boot from.
func Disks(image neighbour.Image) (disks []model.Disk, err error) {
	raw := image.Properties[mappingsProperty]
	if raw == "" {
		return nil, nil
	}
	var all []mapping
	if err := json.Unmarshal([]byte(raw), &all); err != nil || len(all) > mappingsMax {
		return nil, errs.New(errs.Invalid, "Image %s has a property %s that cannot be read: it is a JSON list of at most %d mappings", image.ID, mappingsProperty, mappingsMax)
	}
	for _, m := range all {
		if m.Source != "snapshot" || m.SnapshotID == "" || m.GiB < 0 {
			return nil, errs.New(errs.Invalid, "Image %s has a property %s with an entry that is no snapshot: only those are supported", image.ID, mappingsProperty)
		}
		disks = append(disks, model.Disk{Source: m.Source, SourceID: m.SnapshotID, GiB: m.GiB, VolumeType: m.Type, DeleteOnTermination: m.Delete, Tag: m.Tag, Boot: m.BootIndex != nil && *m.BootIndex == 0})
	}
	if !slices.ContainsFunc(disks, func(d model.Disk) bool { return d.Boot }) {
		return nil, nil
	}
	return disks, nil
}
