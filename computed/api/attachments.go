package api

import (
	"net/http"
	"net/netip"
	"regexp"
	"slices"

	"henge/cluster/state"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) attachmentDocument(s model.Server, d model.Disk) document {
	doc := document{"device": "/dev/" + d.Device, "serverId": s.ID, "volumeId": d.VolumeID}
	if c.at(89) {
		doc["attachment_id"], doc["bdm_uuid"] = orNull(d.AttachmentID), d.ID
	} else {
		doc["id"] = d.VolumeID
	}
	if c.at(70) {
		doc["tag"] = orNull(d.Tag)
	}
	if c.at(79) {
		doc["delete_on_termination"] = d.DeleteOnTermination
	}
	return doc
}

func listAttachments(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	p, err := parsePage(c.r.URL.Query())
	if err != nil {
		return err
	}
	docs := []document{}
	for _, d := range s.Disks {
		if d.VolumeID != "" {
			docs = append(docs, c.attachmentDocument(s, d))
		}
	}
	return c.json(http.StatusOK, document{"volumeAttachments": docs[:min(p.Limit, len(docs))]})
}

// attached finds a volume of a server.
func attached(s *model.Server, volumeID string) (*model.Disk, error) {
	if d := s.Volume(volumeID); d != nil {
		return d, nil
	}
	return nil, errs.New(errs.NotFound, "Instance %s is not attached to volume %s", s.ID, shorten(volumeID))
}

func showAttachment(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	d, err := attached(&s, c.path("volume"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"volumeAttachment": c.attachmentDocument(s, *d)})
}

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$`)

func attachVolume(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	f, err := c.body("volumeAttachment")
	if err != nil {
		return err
	}
	d := model.Disk{ID: model.NewUUID(), Source: "volume", State: model.AttachWanted, RequestID: c.requestID}
	device := ""
	f.Require("volumeId")
	f.Text("volumeId", &d.VolumeID, openstack.Text{})
	f.Text("device", &device, openstack.Text{Nullable: true})
	if c.at(49) {
		f.Text("tag", &d.Tag, tagRule)
	}
	if c.at(79) {
		takeBool(f, "delete_on_termination", &d.DeleteOnTermination)
	}
	f.None()
	if f.Err() == nil && !uuidPattern.MatchString(d.VolumeID) {
		f.Fail("volumeId", "'%s' is not a 'uuid'", shorten(d.VolumeID))
	}
	if err := f.Err(); err != nil {
		return err
	}
	s, err := c.server()
	if err != nil {
		return err
	}
	v, err := c.Volumes.Volume(c.r.Context(), c.who, d.VolumeID)
	if err != nil {
		return err
	}
	d.GiB, d.SourceID = v.GiB, d.VolumeID
	if err := c.canAttach(&s, d); err != nil {
		return err
	}
	if d.AttachmentID, err = c.Volumes.Reserve(c.r.Context(), c.who, d.VolumeID, s.ID); err != nil {
		return conflictIsInvalid(err)
	}
	s, err = c.changeServer(func(w state.Writer, s *model.Server) error {
		if err := c.canAttach(s, d); err != nil {
			return err
		}
		d.Device = s.FreeDevice()
		s.Disks = append(slices.Clone(s.Disks), d)
		return c.record(w, s.ID, "attach_volume", "")
	})
	if err != nil {
		// The caller hears the first reason.
		_ = c.Volumes.Detach(c.r.Context(), c.who, d.AttachmentID)
		return err
	}
	return c.json(http.StatusOK, document{"volumeAttachment": c.attachmentDocument(s, d)})
}

func (c *call) canAttach(s *model.Server, d model.Disk) error {
	if err := c.unlocked(s); err != nil {
		return err
	}
	if _, err := lifecycle.Begin(s.ID, s.State, s.Task != nil, lifecycle.AttachVolume); err != nil {
		return err
	}
	if s.Volume(d.VolumeID) != nil {
		return errs.New(errs.Invalid, "Invalid volume: volume %s is already attached to instance %s", d.VolumeID, s.ID)
	}
	if len(s.Disks) >= disksMax || s.FreeDevice() == "" {
		return errs.New(errs.Denied, "maximum number of disks exceeded: a server has at most %d", disksMax)
	}
	return nil
}

func updateAttachment(c *call) error {
	f, err := c.body("volumeAttachment")
	if err != nil {
		return err
	}
	volume, keep := "", false
	f.Require("volumeId")
	f.Text("volumeId", &volume, openstack.Text{})
	if c.at(85) {
		takeBool(f, "delete_on_termination", &keep)
		f.Drop("device", "serverId", "tag", "id")
	}
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if volume != c.path("volume") {
		return errs.New(errs.Unsupported, "Swapping one volume for another in a running server is not built here.")
	}
	if !c.at(85) {
		return errs.New(errs.Invalid, "The volumeId of the body is the one of the address: nothing to change before microversion 2.85")
	}
	_, err = c.changeServer(func(_ state.Writer, s *model.Server) error {
		s.Disks = slices.Clone(s.Disks)
		d, err := attached(s, volume)
		if err == nil {
			d.DeleteOnTermination = keep
		}
		return err
	})
	return orAccepted(c, err)
}

func detachVolume(c *call) error {
	volume := c.path("volume")
	s, err := c.server()
	if err != nil {
		return err
	}
	if err := c.canDetach(&s, volume); err != nil {
		return err
	}
	if err := c.Volumes.BeginDetaching(c.r.Context(), c.who, volume); err != nil {
		return conflictIsInvalid(err)
	}
	_, err = c.changeServer(func(w state.Writer, s *model.Server) error {
		if err := c.canDetach(s, volume); err != nil {
			return err
		}
		s.Disks = slices.Clone(s.Disks)
		d := s.Volume(volume)
		d.State, d.RequestID = model.Detaching, c.requestID
		return c.record(w, s.ID, "detach_volume", "")
	})
	if err != nil {
		// The caller hears the first reason.
		_ = c.Volumes.RollDetaching(c.r.Context(), c.who, volume)
	}
	return orAccepted(c, err)
}

func (c *call) canDetach(s *model.Server, volume string) error {
	d, err := attached(s, volume)
	if err != nil {
		return err
	}
	if err := c.unlocked(s); err != nil {
		return err
	}
	if d.Boot {
		return errs.New(errs.Denied, "Cannot detach a root device volume")
	}
	if _, err := lifecycle.Begin(s.ID, s.State, s.Task != nil, lifecycle.DetachVolume); err != nil {
		return err
	}
	if d.State != model.Attached {
		return errs.New(errs.Invalid, "Invalid volume: volume %s must be attached in order to detach it: it is %s", d.VolumeID, d.State)
	}
	return nil
}

// conflictIsInvalid is for states of volumes that forbid something: Nova says 400.
func conflictIsInvalid(err error) error {
	if errs.Is(err, errs.Conflict) {
		return errs.With(errs.Invalid, err)
	}
	return err
}

func (c *call) interfaceDocument(p *neighbour.Port, tag string) document {
	ips := []document{}
	for _, a := range p.Addresses {
		ips = append(ips, document{"ip_address": a.IP, "subnet_id": a.SubnetID})
	}
	d := document{"port_id": p.ID, "net_id": p.NetworkID, "mac_addr": p.MAC, "port_state": p.Status, "fixed_ips": ips}
	if c.at(70) {
		d["tag"] = orNull(tag)
	}
	return d
}

func listInterfaces(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	x, err := c.gatherFor(s)
	if err != nil {
		return err
	}
	docs := []document{}
	for _, n := range s.NICs {
		if p, ok := x.ports[n.PortID]; ok {
			docs = append(docs, c.interfaceDocument(p, n.Tag))
		}
	}
	return c.json(http.StatusOK, document{"interfaceAttachments": docs})
}

func showInterface(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	n := s.Port(c.path("port"))
	if n == nil {
		return errs.New(errs.NotFound, "Instance %s does not have a port with id %s", s.ID, shorten(c.path("port")))
	}
	ports, err := c.Networks.Ports(c.r.Context(), []string{n.PortID})
	if err != nil {
		return err
	}
	p, ok := ports[n.PortID]
	if !ok {
		return errs.New(errs.NotFound, "Port id %s could not be found.", n.PortID)
	}
	return c.json(http.StatusOK, document{"interfaceAttachment": c.interfaceDocument(p, n.Tag)})
}

func (c *call) parseInterface() (model.NIC, error) {
	n := model.NIC{State: model.AttachWanted, RequestID: c.requestID}
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return n, err
	}
	top, err := openstack.NewFields(raw, "")
	if err != nil {
		return n, err
	}
	f := top.Object("interfaceAttachment") // it may be absent, or null: any network of the project
	f.Text("net_id", &n.NetworkID, openstack.Text{MaxLength: 36})
	f.Text("port_id", &n.PortID, openstack.Text{MaxLength: 36, Nullable: true})
	for _, ip := range f.Objects("fixed_ips", 1) {
		ip.Require("ip_address")
		ip.Text("ip_address", &n.FixedIP, openstack.Text{MaxLength: 64})
		ip.None()
		if _, err := netip.ParseAddr(n.FixedIP); err != nil {
			ip.Fail("ip_address", "'%s' is no address", shorten(n.FixedIP))
		}
	}
	if c.at(49) {
		f.Text("tag", &n.Tag, tagRule)
	}
	f.None()
	switch {
	case f.Err() != nil:
		return n, f.Err()
	case n.NetworkID != "" && n.PortID != "":
		return n, errs.New(errs.Invalid, "Must not input both network_id and port_id")
	case n.FixedIP != "" && n.NetworkID == "":
		return n, errs.New(errs.Invalid, "Must input network_id when request IP address")
	}
	n.Ours = n.PortID == ""
	return n, nil
}

func attachInterface(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	n, err := c.parseInterface()
	if err != nil {
		return err
	}
	s, err := c.server()
	if err != nil {
		return err
	}
	if err := c.canPlug(&s); err != nil {
		return err
	}
	o := &order{most: 1, server: model.Server{NICs: []model.NIC{n}}}
	if n.NetworkID == "" && n.PortID == "" {
		o.server.NICs = nil
	}
	if err := c.lookUpNetworks(o); err != nil {
		return err
	}
	if len(o.server.NICs) == 0 {
		return errs.New(errs.Invalid, "No network to attach to: give net_id or port_id")
	}
	n.NetworkID = o.server.NICs[0].NetworkID
	var p neighbour.Port
	if n.Ours {
		p, err = c.Networks.CreatePort(c.r.Context(), c.who, neighbour.PortRequest{NetworkID: n.NetworkID, FixedIP: n.FixedIP, ServerID: s.ID, Host: s.Host, ProjectID: s.ProjectID,
			Key: c.requestID})
	} else {
		p, err = c.Networks.BindPort(c.r.Context(), c.who, n.PortID, s.ID, s.Host)
	}
	if err != nil {
		return err
	}
	n.PortID = p.ID
	neighbour.Describe(&n, p)
	_, err = c.changeServer(func(w state.Writer, s *model.Server) error {
		if err := c.canPlug(s); err != nil {
			return err
		}
		s.NICs = append(slices.Clone(s.NICs), n)
		return c.record(w, s.ID, "attach_interface", "")
	})
	if err != nil {
		// The caller hears the first reason.
		if n.Ours {
			_ = c.Networks.DeletePort(c.r.Context(), p.ID, s.ID)
		} else {
			_ = c.Networks.UnbindPort(c.r.Context(), p.ID, s.ID)
		}
		return err
	}
	return c.json(http.StatusOK, document{"interfaceAttachment": c.interfaceDocument(&p, n.Tag)})
}

func (c *call) canPlug(s *model.Server) error {
	if err := c.unlocked(s); err != nil {
		return err
	}
	if _, err := lifecycle.Begin(s.ID, s.State, s.Task != nil, lifecycle.AttachInterface); err != nil {
		return err
	}
	if len(s.NICs) >= nicsMax {
		return errs.New(errs.Denied, "a server has at most %d interfaces", nicsMax)
	}
	return nil
}

func detachInterface(c *call) error {
	_, err := c.changeServer(func(w state.Writer, s *model.Server) error {
		s.NICs = slices.Clone(s.NICs)
		n := s.Port(c.path("port"))
		if n == nil {
			return errs.New(errs.NotFound, "Instance %s does not have a port with id %s", s.ID, shorten(c.path("port")))
		}
		if err := c.unlocked(s); err != nil {
			return err
		}
		if _, err := lifecycle.Begin(s.ID, s.State, s.Task != nil, lifecycle.DetachInterface); err != nil {
			return err
		}
		n.State, n.RequestID = model.Detaching, c.requestID
		return c.record(w, s.ID, "detach_interface", "")
	})
	return orAccepted(c, err)
}
