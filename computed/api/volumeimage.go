package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/computed/volumeimage"
)

// createVolumeImage makes the image of a server that boots from a volume.
func createVolumeImage(c *call, s model.Server, name string, properties map[string]string) (err error) {
	delete(properties, "image_location")
	undo, err := volumeimage.Snapshot(c.r.Context(), c.Volumes, c.who, s, name, properties)
	defer func() {
		if err != nil {
			undo()
		}
	}()
	if err != nil {
		return conflictIsInvalid(err)
	}
	id, err := c.Images.Create(c.r.Context(), c.who, neighbour.NewImage{Name: name, Format: "raw", MinRAMMiB: s.Image.MinRAMMiB, Properties: properties})
	if err != nil {
		return err
	}
	if err = c.Images.Upload(c.r.Context(), c.who, id, strings.NewReader("")); err == nil {
		err = c.update(func(w state.Writer) error { return c.record(w, s.ID, string(lifecycle.Snapshot), "") })
	}
	if err != nil {
		return errors.Join(err, c.Images.Delete(context.WithoutCancel(c.r.Context()), c.who, id))
	}
	return c.imageAccepted(id)
}

// takeMappings puts the volumes that an image names in the place of the disk that would be made from its bytes.
func takeMappings(o *order, image neighbour.Image) error {
	s := &o.server
	local := func(d model.Disk) bool { return d.Local && d.Source == "image" && d.SourceID == o.imageID }
	disks, err := volumeimage.Disks(image)
	if err != nil || len(disks) == 0 || !slices.ContainsFunc(s.Disks, local) {
		return err // the request says itself what to boot from
	}
	s.Disks = append(disks, slices.DeleteFunc(s.Disks, local)...)
	s.Image.ID = ""
	nameDevices(s)
	return nil
}
