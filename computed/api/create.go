package api

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/computed/quota"
	"henge/internal/errs"
	"henge/internal/openstack"
)

const (
	userDataBytesMax = 65535
	nicsMax          = 16
	disksMax         = 24
	serversAtOnceMax = 100
	hintsMax         = 64
)

// order is what a request for servers asks for.
type order struct {
	server       model.Server // the part that all of them share
	flavorID     string
	imageID      string
	userData     string
	least, most  int
	reservation  bool
	nics         string // "", auto, none
	namedNetwork bool
	password     string
}

func createServers(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	o, err := c.parseOrder()
	if err != nil {
		return err
	}
	if err := c.lookUp(o); err != nil {
		return err
	}
	made, err := c.place(o)
	if err != nil {
		return err
	}
	if o.reservation {
		return c.json(http.StatusAccepted, document{"reservation_id": made[0].ReservationID})
	}
	s := made[0]
	doc := document{"id": s.ID, "links": c.links("servers", s.ID), "OS-DCF:diskConfig": s.DiskConfig, "adminPass": o.password, "security_groups": groupNames(s.Groups)}
	c.w.Header().Set("Location", c.link("servers", s.ID))
	return c.json(http.StatusAccepted, document{"server": doc})
}

func groupNames(groups []string) []document {
	if len(groups) == 0 {
		groups = []string{"default"}
	}
	docs := []document{}
	for _, g := range groups {
		docs = append(docs, document{"name": g})
	}
	return docs
}

func (c *call) parseOrder() (*order, error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return nil, err
	}
	top, err := openstack.NewFields(raw, "")
	if err != nil {
		return nil, err
	}
	if !top.Has("server") {
		return nil, errs.New(errs.Invalid, "Invalid input for field/attribute server. 'server' is a required property")
	}
	f := top.Object("server")
	o := &order{server: model.Server{ProjectID: c.who.ProjectID, UserID: c.who.UserID, Created: c.Clock.Now()}, least: 1, most: 1, password: password()}
	for _, name := range []string{"os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"} {
		top.Map(name, &o.server.Hints)
	}
	top.None()
	c.parseBasics(f, o)
	c.parseExtras(f, o)
	c.parseDisks(f, o)
	c.parseNetworks(f, o)
	f.None()
	checkHints(f, o.server.Hints)
	return o, f.Err()
}

func checkHints(f *openstack.Fields, hints map[string]any) {
	if len(hints) > hintsMax {
		f.Fail("os:scheduler_hints", "it has %d items; %d are allowed", len(hints), hintsMax)
	}
}

// hostPattern is what may stand in a host name.
var hostPattern = regexp.MustCompile(`[^a-z0-9-]+`)

// hostName makes a host name out of a server's name.
func hostName(name, id string) string {
	h := strings.Trim(hostPattern.ReplaceAllString(strings.ToLower(strings.NewReplacer(" ", "-", "_", "-", ".", "-").Replace(name)), ""), "-")
	if len(h) > 63 {
		h = strings.Trim(h[:63], "-")
	}
	if h == "" {
		return "server-" + id
	}
	return h
}

func (c *call) parseBasics(f *openstack.Fields, o *order) {
	s := &o.server
	f.Require("name", "flavorRef")
	f.Text("name", &s.Name, openstack.Text{MinLength: 1})
	s.Name = strings.TrimSpace(s.Name)
	takeRef(f, "flavorRef", &o.flavorID)
	takeRef(f, "imageRef", &o.imageID)
	f.Text("key_name", &s.KeyName, openstack.Text{Nullable: true})
	f.Text("availability_zone", &s.Zone, openstack.Text{Nullable: true})
	f.Text("adminPass", &o.password, openstack.Text{})
	f.Text("OS-DCF:diskConfig", &s.DiskConfig, openstack.Text{OneOf: []string{"AUTO", "MANUAL"}})
	if s.DiskConfig == "" {
		s.DiskConfig = "MANUAL"
	}
	f.Text("accessIPv4", &s.AccessIPv4, openstack.Text{Nullable: true})
	f.Text("accessIPv6", &s.AccessIPv6, openstack.Text{Nullable: true})
	checkIP(f, "accessIPv4", &s.AccessIPv4, true)
	checkIP(f, "accessIPv6", &s.AccessIPv6, false)
	takeMetadata(f, "metadata", &s.Metadata)
	takeInt(f, "min_count", &o.least, 1, intMax)
	hasMost := f.Has("max_count")
	takeInt(f, "max_count", &o.most, 1, intMax)
	if !hasMost {
		o.most = o.least
	}
	if o.least > o.most {
		f.Fail("min_count", "min_count must be <= max_count")
	}
	if o.most > serversAtOnceMax {
		f.Fail("max_count", "at most %d servers are made by one request", serversAtOnceMax)
	}
	takeBool(f, "return_reservation_id", &o.reservation)
	f.Text("user_data", &o.userData, openstack.Text{MaxLength: userDataBytesMax, Nullable: true})
	if _, err := base64.StdEncoding.DecodeString(o.userData); err != nil {
		f.Fail("user_data", "it is not base64")
	}
	takeConfigDrive(f, &s.ConfigDrive)
}

// takeConfigDrive takes the switch; "" means off.
func takeConfigDrive(f *openstack.Fields, on *bool) {
	if f.Null("config_drive") || string(f.Raw("config_drive")) == `""` {
		f.Drop("config_drive")
	}
	takeBool(f, "config_drive", on)
}

// takeRef takes an id, or the address of what has it.
func takeRef(f *openstack.Fields, name string, id *string) {
	if n, ok := number(f, name); ok {
		f.Drop(name)
		*id = formatInt(n)
		return
	}
	f.Text(name, id, openstack.Text{MaxLength: 1024, Nullable: name == "imageRef"})
	*id = (*id)[strings.LastIndexByte(*id, '/')+1:]
}

// checkIP writes an address in its canonical form.
func checkIP(f *openstack.Fields, name string, text *string, four bool) {
	if *text == "" {
		return
	}
	ip, err := netip.ParseAddr(*text)
	if err != nil || ip.Is4() != four {
		f.Fail(name, "'%s' is not an address of this kind", shorten(*text))
		return
	}
	*text = ip.String()
}

// parseExtras takes what came with later microversions.
func (c *call) parseExtras(f *openstack.Fields, o *order) {
	s := &o.server
	if f.Has("personality") {
		f.Fail("personality", "files are not put into servers; give user_data or a config drive")
	}
	if c.at(19) {
		f.Text("description", &s.Description, openstack.Text{Nullable: true})
	}
	if c.at(52) {
		f.Texts("tags", &s.Tags, tagRule, tagsMax)
		checkTags(f, s.Tags)
		s.Tags = unique(s.Tags)
	}
	if c.at(63) && f.Has("trusted_image_certificates") {
		if !f.Null("trusted_image_certificates") {
			f.Fail("trusted_image_certificates", "signatures of images are not checked here; leave it out")
		}
		f.Drop("trusted_image_certificates")
	}
	if c.at(74) {
		other := ""
		f.Text("host", &s.WantHost, openstack.Text{MinLength: 1})
		f.Text("hypervisor_hostname", &other, openstack.Text{MinLength: 1})
		if other != "" {
			s.WantHost = other
		}
	}
	if c.at(90) {
		f.Text("hostname", &s.Hostname, openstack.Text{MinLength: 2, MaxLength: 63})
		if s.Hostname != "" && hostName(s.Hostname, "") != strings.ToLower(s.Hostname) {
			f.Fail("hostname", "'%s' is no host name", shorten(s.Hostname))
		}
	}
	for _, g := range f.Objects("security_groups", nicsMax) {
		name := ""
		g.Require("name")
		g.Text("name", &name, openstack.Text{MinLength: 1})
		g.None()
		s.Groups = append(s.Groups, name)
	}
}

func unique(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// parseNetworks takes a list of networks and ports, or "auto" or "none".
func (c *call) parseNetworks(f *openstack.Fields, o *order) {
	if !f.Has("networks") || f.Null("networks") && !c.at(37) {
		if c.at(37) {
			f.Require("networks")
		}
		f.Drop("networks")
		return
	}
	o.namedNetwork = true
	if raw := f.Raw("networks"); len(raw) > 0 && raw[0] == '"' {
		f.Text("networks", &o.nics, openstack.Text{OneOf: []string{"auto", "none"}})
		if !c.at(37) {
			f.Fail("networks", "'%s' needs microversion 2.37", o.nics)
		}
		return
	}
	for _, n := range f.Objects("networks", nicsMax) {
		nic := model.NIC{}
		n.Text("uuid", &nic.NetworkID, openstack.Text{MaxLength: 36})
		n.Text("port", &nic.PortID, openstack.Text{MaxLength: 36, Nullable: true})
		n.Text("fixed_ip", &nic.FixedIP, openstack.Text{MaxLength: 64})
		if c.at(42) || c.micro == 32 {
			n.Text("tag", &nic.Tag, tagRule)
		}
		n.None()
		if nic.NetworkID == "" && nic.PortID == "" {
			n.Fail("uuid", "a network needs 'uuid' or 'port'")
		}
		if nic.FixedIP != "" {
			if _, err := netip.ParseAddr(nic.FixedIP); err != nil {
				n.Fail("fixed_ip", "'%s' is no address", shorten(nic.FixedIP))
			}
			if nic.PortID != "" {
				n.Fail("fixed_ip", "Specified Fixed IP '%s' cannot be used with port '%s': the two cannot be specified together.", nic.FixedIP, nic.PortID)
			}
		}
		nic.Ours = nic.PortID == ""
		o.server.NICs = append(o.server.NICs, nic)
	}
	if len(o.server.NICs) == 0 && f.Err() == nil && c.at(37) {
		f.Fail("networks", "[] is too short")
	}
}

// place makes the servers in one transaction: quota, host and claim with each.
func (c *call) place(o *order) ([]model.Server, error) {
	reservationID := reservation()
	ids := make([]string, o.most)
	for i := range ids {
		ids[i] = model.NewUUID()
	}
	// Requests for servers all read what the project has and what hosts have left: at one peer they go one after the other, rather than in each other's way.
	select {
	case c.placing <- struct{}{}:
		defer func() { <-c.placing }()
	case <-c.r.Context().Done():
		return nil, c.r.Context().Err()
	}
	var made []model.Server
	err := c.update(func(w state.Writer) error {
		made = nil
		n := o.most
		err := quota.Check(w, c.who.ProjectID, o.server.Flavor, n)
		for ; err != nil && errs.Is(err, errs.Quota) && n > o.least; err = quota.Check(w, c.who.ProjectID, o.server.Flavor, n) {
			n--
		}
		if err != nil {
			return err
		}
		for i := range n {
			s, err := c.placeOne(w, o, i, ids[i], n)
			if err != nil {
				return err
			}
			s.ReservationID = reservationID
			if err := c.store(w, o, s); err != nil {
				return err
			}
			made = append(made, s)
		}
		return nil
	})
	return made, err
}

// placeOne finds a host for a server. When there is none, the server is there, in error, and says why.
func (c *call) placeOne(w state.Writer, o *order, i int, id string, of int) (model.Server, error) {
	s := o.server
	s.ID, s.LaunchIndex, s.Updated = id, i, s.Created
	s.NICs, s.Disks = slices.Clone(s.NICs), slices.Clone(s.Disks)
	for k := range s.Disks {
		s.Disks[k].ID = model.NewUUID()
	}
	if of > 1 {
		s.Name += "-" + formatInt(int64(i+1))
	}
	if s.Hostname == "" {
		s.Hostname = hostName(s.Name, s.ID)
	}
	s.State = lifecycle.State{VM: lifecycle.Building}
	s.State, _ = lifecycle.Begin(s.ID, s.State, false, lifecycle.Create) // a new server can always be built
	s.Task = &model.Task{Action: lifecycle.Create, RequestID: c.requestID, UserID: c.who.UserID, ProjectID: c.who.ProjectID, Started: s.Created}
	claim, err := neighbour.ClaimOf(w, s)
	if err != nil {
		return s, err
	}
	s.Host, err = c.Scheduler.Place(c.r.Context(), w, claim)
	if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.NotFound) {
		s.Host, s.Task = "", nil
		s.State = lifecycle.Fail(s.State, lifecycle.Create, lifecycle.NoState)
		s.Fault = &model.Fault{Code: 500, Message: err.Error(), Created: s.Created}
		err = nil
	}
	if err != nil || s.GroupID == "" {
		return s, err
	}
	return s, joinGroup(w, s)
}

// joinGroup notes the server among the members of its group.
func joinGroup(w state.Writer, s model.Server) error {
	g, err := model.Groups.Get(w, s.GroupID)
	if err != nil {
		return err
	}
	limits, err := quota.Of(w, g.ProjectID)
	if err != nil {
		return err
	}
	if quota.Over(limits["server_group_members"], len(g.Members)+1) {
		return errs.New(errs.Quota, "Quota exceeded, too many servers in group")
	}
	g.Members = append(slices.Clone(g.Members), s.ID)
	return model.Groups.Put(w, g.ID, g)
}

func (c *call) store(w state.Writer, o *order, s model.Server) error {
	if err := model.Servers.Put(w, s.ID, s); err != nil {
		return err
	}
	if o.userData != "" {
		if err := model.UserDatas.Put(w, s.ID, model.UserData{ServerID: s.ID, Data: o.userData}); err != nil {
			return err
		}
	}
	message := ""
	if s.Fault != nil {
		message = s.Fault.Message
	}
	return c.record(w, s.ID, string(lifecycle.Create), message)
}
