package api

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/computed/hosts"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/computed/quota"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// password is shown once, to clients that want one; nothing is done with it.
func password() string { return rand.Text()[:12] }

// lookUp resolves what an order names, and refuses what cannot become a server.
func (c *call) lookUp(o *order) error {
	s := &o.server
	if err := c.lookUpRows(o); err != nil {
		return err
	}
	if err := c.lookUpImage(o); err != nil {
		return err
	}
	if err := c.lookUpDisks(o); err != nil {
		return err
	}
	if err := checkFits(s); err != nil {
		return err
	}
	return c.lookUpNetworks(o)
}

// lookUpRows resolves what lies in our own tables.
func (c *call) lookUpRows(o *order) error {
	s := &o.server
	return c.view(func(r state.Reader) (err error) {
		if s.Flavor, err = c.findFlavor(r, o.flavorID); err != nil {
			return errs.With(errs.Invalid, err)
		}
		if s.KeyName != "" {
			k, err := c.findKeypair(r, c.who.UserID, s.KeyName)
			if err != nil {
				return errs.New(errs.Invalid, "Invalid key_name provided.")
			}
			s.PublicKey = k.PublicKey
		}
		if id, ok := s.Hints["group"].(string); ok {
			g, err := c.findGroup(r, id)
			if err != nil {
				return errs.With(errs.Invalid, err)
			}
			s.GroupID = g.ID
		}
		limits, err := quota.Of(r, c.who.ProjectID)
		if err == nil && quota.Over(limits["metadata_items"], len(s.Metadata)) {
			err = errs.New(errs.Quota, "Quota exceeded for resources: metadata_items")
		}
		if err != nil {
			return err
		}
		return c.checkPlace(r, s)
	})
}

// checkPlace refuses zones and hosts that are not there.
func (c *call) checkPlace(r state.Reader, s *model.Server) error {
	if s.WantHost != "" || strings.Contains(s.Zone, ":") {
		if err := c.adminOnly(); err != nil {
			return errs.New(errs.Denied, "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")
		}
	}
	if s.Zone == "" {
		return nil
	}
	zone, _, _ := strings.Cut(s.Zone, ":")
	all, err := hosts.All(r)
	if err != nil {
		return err
	}
	for _, h := range all {
		if at, err := hosts.Zone(r, h); err != nil || at == zone {
			return err
		}
	}
	return errs.New(errs.Invalid, "The requested availability zone is not available")
}

func (c *call) lookUpImage(o *order) error {
	if o.imageID == "" {
		return nil
	}
	image, err := c.Images.Describe(c.r.Context(), c.who, o.imageID)
	if errs.Is(err, errs.NotFound) || errs.Is(err, errs.Denied) {
		return errs.New(errs.Invalid, "Can not find requested image")
	}
	if err != nil {
		return err
	}
	if err := checkImage(image); err != nil {
		return err
	}
	o.server.Image = image.Image
	if image.Properties["img_config_drive"] == "mandatory" {
		o.server.ConfigDrive = true
	}
	return takeMappings(o, image)
}

func checkImage(image neighbour.Image) error {
	if image.Status != "active" {
		return errs.New(errs.Invalid, "Image %s is not active.", image.ID)
	}
	if slices.Contains([]string{"aki", "ari", "ami"}, image.Format) && image.Format != "ami" {
		return errs.New(errs.Invalid, "Image %s is unacceptable: a kernel or ramdisk does not boot by itself", image.ID)
	}
	return nil
}

// checkFits refuses a flavor that is too small for the image.
func checkFits(s *model.Server) error {
	im, f := s.Image, s.Flavor
	if im.ID == "" && !slices.ContainsFunc(s.Disks, func(d model.Disk) bool { return d.Boot }) {
		return errs.New(errs.Invalid, "Block Device Mapping is Invalid: You specified more local devices than the limit allows, or no boot disk: give an image or a bootable volume")
	}
	if im.MinRAMMiB > f.RAMMiB {
		return errs.New(errs.Invalid, "Flavor's memory is too small for requested image: it has %d MB, the image wants %d.", f.RAMMiB, im.MinRAMMiB)
	}
	for _, d := range s.Disks {
		if !d.Local || !d.Boot || f.DiskGiB == 0 {
			continue
		}
		if im.MinDiskGiB > f.DiskGiB {
			return errs.New(errs.Invalid, "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is %d bytes, minimum size is %d bytes.",
				int64(f.DiskGiB)<<30, int64(im.MinDiskGiB)<<30)
		}
		if im.Bytes > int64(f.DiskGiB)<<30 {
			return errs.New(errs.Invalid, "Flavor's disk is too small for requested image. Flavor disk is %d bytes, image is %d bytes.", int64(f.DiskGiB)<<30, im.Bytes)
		}
	}
	return nil
}

// lookUpNetworks resolves networks, ports and security groups, as this caller sees them.
func (c *call) lookUpNetworks(o *order) error {
	s := &o.server
	for i, name := range s.Groups {
		g, err := c.Networks.Group(c.r.Context(), c.who, name)
		if err != nil {
			return asInvalid(err)
		}
		s.Groups[i] = g.Name
	}
	s.Groups = unique(s.Groups)
	switch {
	case o.nics == "none":
		return nil
	case o.nics == "auto":
		n, err := c.Networks.AutoNetwork(c.r.Context(), c.who)
		if err != nil {
			return asInvalid(err)
		}
		s.NICs = []model.NIC{{NetworkID: n.ID, Ours: true}}
		return nil
	case len(s.NICs) == 0:
		return c.onlyNetwork(o)
	}
	for i := range s.NICs {
		if err := c.lookUpNIC(&s.NICs[i], o); err != nil {
			return err
		}
	}
	return nil
}

func asInvalid(err error) error {
	if errs.Is(err, errs.NotFound) || errs.Is(err, errs.Denied) {
		return errs.With(errs.Invalid, err)
	}
	return err
}

// onlyNetwork is for requests that name none: the one network that there is, or nothing.
func (c *call) onlyNetwork(o *order) error {
	all, err := c.Networks.Available(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(n neighbour.Network) bool { return n.External })
	switch len(all) {
	case 0:
		return nil
	case 1:
		if all[0].Subnets == 0 {
			return nil
		}
		o.server.NICs = []model.NIC{{NetworkID: all[0].ID, Ours: true}}
		return nil
	}
	return errs.New(errs.Conflict, "Multiple possible networks found, use a Network ID to be more specific.")
}

func (c *call) lookUpNIC(n *model.NIC, o *order) error {
	if n.PortID != "" {
		if o.most > 1 {
			return errs.New(errs.Invalid, "Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.")
		}
		p, err := c.Networks.Port(c.r.Context(), c.who, n.PortID)
		if err != nil {
			return asInvalid(err)
		}
		if p.ServerID != "" {
			return errs.New(errs.Conflict, "Port %s is still in use.", n.PortID)
		}
		if len(p.Addresses) == 0 {
			return errs.New(errs.Invalid, "Port %s requires a FixedIP in order to be used.", n.PortID)
		}
		n.NetworkID = p.NetworkID
		return nil
	}
	if n.FixedIP != "" && o.most > 1 {
		return errs.New(errs.Invalid, "Invalid fixed IP Address %s in server create request: it is for one server only", n.FixedIP)
	}
	network, err := c.Networks.Network(c.r.Context(), c.who, n.NetworkID)
	if err != nil {
		return asInvalid(err)
	}
	if network.External && !network.Shared && !c.admin() {
		return errs.New(errs.Denied, "It is not allowed to create an interface on external network %s", n.NetworkID)
	}
	if network.Subnets == 0 {
		return errs.New(errs.Invalid, "Network %s requires a subnet in order to boot instances on.", n.NetworkID)
	}
	return nil
}

// parseDisks takes block_device_mapping_v2, or the older block_device_mapping, or makes the one disk that a server from an image has.
func (c *call) parseDisks(f *openstack.Fields, o *order) {
	if f.Has("block_device_mapping") && f.Has("block_device_mapping_v2") {
		f.Fail("block_device_mapping", "Using different block_device_mapping syntaxes is not allowed in the same request.")
	}
	for _, m := range f.Objects("block_device_mapping_v2", disksMax) {
		c.parseMapping(m, o)
	}
	for _, m := range f.Objects("block_device_mapping", disksMax) {
		parseOldMapping(m, o)
	}
	s := &o.server
	boots := 0
	for _, d := range s.Disks {
		if d.Boot {
			boots++
		}
	}
	switch {
	case boots > 1:
		f.Fail("block_device_mapping_v2", "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
	case boots == 0 && o.imageID != "":
		s.Disks = append([]model.Disk{{Source: "image", SourceID: o.imageID, Local: true, Boot: true, DeleteOnTermination: true}}, s.Disks...)
	case boots == 0 && len(s.Disks) > 0:
		s.Disks[0].Boot = true
	}
	nameDevices(s)
}

// nameDevices gives each disk its place: the boot disk first.
func nameDevices(s *model.Server) {
	slices.SortStableFunc(s.Disks, func(a, b model.Disk) int {
		switch {
		case a.Boot == b.Boot:
			return 0
		case a.Boot:
			return -1
		}
		return 1
	})
	for i := range s.Disks {
		s.Disks[i].Device = ""
	}
	for i := range s.Disks {
		s.Disks[i].Device = s.FreeDevice()
		s.Disks[i].State = model.AttachWanted
	}
}

func (c *call) parseMapping(m *openstack.Fields, o *order) {
	d := model.Disk{}
	destination, id := "", ""
	m.Require("source_type")
	m.Text("source_type", &d.Source, openstack.Text{OneOf: []string{"blank", "image", "snapshot", "volume"}})
	m.Text("destination_type", &destination, openstack.Text{OneOf: []string{"local", "volume"}})
	m.Text("uuid", &id, openstack.Text{Nullable: true})
	takeInt(m, "volume_size", &d.GiB, 1, intMax)
	takeBool(m, "delete_on_termination", &d.DeleteOnTermination)
	index := -1
	if m.Null("boot_index") {
		m.Drop("boot_index")
	}
	takeInt(m, "boot_index", &index, -intMax, intMax)
	m.Drop("device_name", "guest_format", "device_type", "disk_bus", "no_device")
	if c.at(42) || c.micro == 32 {
		m.Text("tag", &d.Tag, tagRule)
	}
	if c.at(67) {
		m.Text("volume_type", &d.VolumeType, openstack.Text{Nullable: true})
	}
	m.None()
	d.Boot = index == 0
	d.SourceID = id
	if destination == "" {
		destination = map[string]string{"volume": "volume", "snapshot": "volume", "image": "local", "blank": "local"}[d.Source]
	}
	d.Local = destination == "local"
	switch {
	case d.Source == "volume" && d.Local, d.Source == "snapshot" && d.Local:
		m.Fail("destination_type", "a %s cannot become a local disk", d.Source)
	case d.Source == "blank" && d.Local:
		m.Fail("destination_type", "local blank disks (ephemeral, swap) are not built; use destination_type volume")
	case d.Source != "blank" && id == "":
		m.Fail("uuid", "'uuid' is a required property of source_type %s", d.Source)
	case d.Source == "blank" && d.GiB == 0, d.Source == "image" && !d.Local && d.GiB == 0:
		m.Fail("volume_size", "Blank volumes and volumes from images must have an explicit size")
	case d.Source == "image" && d.Local && id != o.imageID:
		m.Fail("uuid", "Mapping image to local is not supported, but for the boot disk")
	}
	if d.Source == "volume" {
		d.VolumeID = id
	}
	o.server.Disks = append(o.server.Disks, d)
}

// parseOldMapping takes the first form: device, volume_id or snapshot_id.
func parseOldMapping(m *openstack.Fields, o *order) {
	d := model.Disk{Source: "volume"}
	device, snapshot := "", ""
	m.Text("volume_id", &d.VolumeID, openstack.Text{MaxLength: 36})
	m.Text("snapshot_id", &snapshot, openstack.Text{MaxLength: 36})
	m.Text("device_name", &device, openstack.Text{})
	takeInt(m, "volume_size", &d.GiB, 1, intMax)
	takeBool(m, "delete_on_termination", &d.DeleteOnTermination)
	m.Drop("virtual_name", "no_device", "connection_info")
	m.None()
	if d.SourceID = d.VolumeID; snapshot != "" {
		d.Source, d.SourceID = "snapshot", snapshot
	}
	if d.SourceID == "" {
		m.Fail("volume_id", "it needs 'volume_id' or 'snapshot_id'")
	}
	d.Boot = o.imageID == "" && (device == "vda" || device == "/dev/vda")
	o.server.Disks = append(o.server.Disks, d)
}

// lookUpDisks checks volumes, and sizes the local disk.
func (c *call) lookUpDisks(o *order) error {
	s := &o.server
	for i := range s.Disks {
		d := &s.Disks[i]
		switch {
		case d.Local:
			if d.GiB == 0 {
				d.GiB = s.Flavor.DiskGiB
			}
		case d.Source == "volume":
			if err := c.lookUpVolume(o, d); err != nil {
				return err
			}
		case d.Source == "snapshot":
			if err := c.lookUpSnapshot(o, d); err != nil {
				return err
			}
		case d.Source == "image":
			image, err := c.Images.Describe(c.r.Context(), c.who, d.SourceID)
			if err != nil {
				return asInvalid(err)
			}
			if err := checkImage(image); err != nil {
				return err
			}
			if d.Boot {
				image.Image.ID = ""
				s.Image = image.Image
			}
		}
	}
	return nil
}

func (c *call) lookUpSnapshot(o *order, d *model.Disk) error {
	snap, err := c.Volumes.Snapshot(c.r.Context(), c.who, d.SourceID)
	switch {
	case err != nil:
		return errs.New(errs.Invalid, "Block Device Mapping is Invalid: failed to get snapshot %s.", shorten(d.SourceID))
	case snap.Status != "available":
		return errs.New(errs.Invalid, "Block Device Mapping is Invalid: snapshot %s is %s, not available.", d.SourceID, snap.Status)
	case d.GiB != 0 && d.GiB < snap.GiB:
		return errs.New(errs.Invalid, "Volume size %dGB cannot be smaller than the snapshot size %dGB. They must be >= snapshot size.", d.GiB, snap.GiB)
	case d.Boot && snap.Volume.ID != "" && !snap.Volume.Bootable:
		return errs.New(errs.Invalid, "Block Device %s is not bootable.", d.SourceID)
	}
	if d.GiB == 0 {
		d.GiB = snap.GiB
	}
	if d.Boot {
		image := snap.Volume.Image
		image.ID = ""
		o.server.Image = image
	}
	return nil
}

func (c *call) lookUpVolume(o *order, d *model.Disk) error {
	if o.most > 1 {
		return errs.New(errs.Invalid, "Cannot attach one or more volumes to multiple instances")
	}
	v, err := c.Volumes.Volume(c.r.Context(), c.who, d.VolumeID)
	if err != nil {
		return errs.New(errs.Invalid, "Block Device Mapping is Invalid: failed to get volume %s.", d.VolumeID)
	}
	if v.Status != "available" {
		return &statusError{http.StatusBadRequest, errs.New(errs.Invalid, "Invalid volume: volume '%s' status must be 'available'. Currently in '%s'", v.ID, v.Status)}
	}
	if d.Boot && !v.Bootable {
		return errs.New(errs.Invalid, "Block Device %s is not bootable.", v.ID)
	}
	if d.Boot {
		image := v.Image
		image.ID = ""
		o.server.Image = image
	}
	d.GiB = v.GiB
	return nil
}

var tagRule = openstack.Text{MinLength: 1, MaxLength: 60}

// tagsMax bounds the tags of a server.
const tagsMax = 50

func checkTags(f *openstack.Fields, tags []string) {
	for _, t := range tags {
		if strings.ContainsAny(t, ",/") {
			f.Fail("tags", "'%s' holds a comma or a slash", shorten(t))
		}
	}
}
