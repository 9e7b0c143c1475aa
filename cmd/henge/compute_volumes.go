package main

import (
	"context"
	"slices"
	"strconv"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/imaged"
	"henge/internal/clock"
	"henge/volumed"
)

// guestVolumes shows the volume service to compute. Its calls work on what is replicated: the volumes may lie on any peer.
type guestVolumes struct{ *volumed.Calls }

var _ neighbour.Volumes = guestVolumes{}

func (p *peer) guestVolumes(images *imaged.Service) guestVolumes {
	return guestVolumes{volumed.NewCalls(volumed.Config{Store: p.node.State(), Clock: clock.System{}, Logger: p.logger, Images: volumeImages{images}, Alive: p.node.Alive})}
}

// Volume implements neighbour.Volumes.
func (g guestVolumes) Volume(ctx context.Context, who *authn.Identity, id string) (neighbour.Volume, error) {
	v, err := g.Calls.Volume(ctx, who, id)
	return guestVolume(v), err
}

func guestVolume(v volumed.Volume) neighbour.Volume {
	out := neighbour.Volume{ID: v.ID, Name: v.Name, Status: v.Status, GiB: int(v.GiB), Bootable: v.Bootable}
	out.Image = model.Image{ID: v.Image["image_id"], Name: v.Image["image_name"], Properties: imageProperties(v.Image)}
	out.Image.MinRAMMiB, _ = strconv.Atoi(v.Image["min_ram"]) // absent: none
	return out
}

// imageProperties are an image's own properties that a volume keeps.
func imageProperties(about map[string]string) map[string]string {
	own := map[string]string{}
	for name, value := range about {
		if !slices.Contains([]string{"image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size"}, name) {
			own[name] = value
		}
	}
	return own
}

// CreateVolume implements neighbour.Volumes.
func (g guestVolumes) CreateVolume(ctx context.Context, who *authn.Identity, n neighbour.VolumeRequest) (neighbour.Volume, error) {
	v, err := g.Calls.CreateVolume(ctx, who, volumed.NewVolume{Name: n.Name, Type: n.Type, GiB: int64(n.GiB), ImageID: n.ImageID, SnapshotID: n.SnapshotID, Key: n.Key})
	return guestVolume(v), err
}

// Connect implements neighbour.Volumes.
func (g guestVolumes) Connect(ctx context.Context, who *authn.Identity, attachmentID, host, initiator, device string) (neighbour.Connection, error) {
	c, err := g.Calls.Connect(ctx, who, attachmentID, host, initiator, device)
	return neighbour.Connection{Portal: c.Portal, IQN: c.IQN, LUN: c.LUN, User: c.User, Secret: c.Secret, MutualUser: c.MutualUser, MutualSecret: c.MutualSecret}, err
}

// Snapshot implements neighbour.Volumes.
func (g guestVolumes) Snapshot(ctx context.Context, who *authn.Identity, id string) (neighbour.VolumeSnapshot, error) {
	s, err := g.Calls.Snapshot(ctx, who, id)
	return neighbour.VolumeSnapshot{ID: s.ID, Status: s.Status, GiB: int(s.GiB), Volume: guestVolume(s.Of)}, err
}

// volumeGrown notes with a server that a volume of its grew: the host that runs it, whichever that is, tells the guest.
func (p *peer) volumeGrown(ctx context.Context, serverID, volumeID string, gib int64) error {
	return p.node.State().Update(ctx, func(w state.Writer) error {
		_, err := model.GrowVolume(w, serverID, volumeID, int(gib))
		return err
	})
}
