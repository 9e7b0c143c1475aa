package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/computed/hosts"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/computed/neighbour"
)

// domainName is what the hypervisor calls a server.
func domainName(id string) string { return "instance-" + id }

// shown is what a list needs beside its rows, read once for all of them.
type shown struct {
	hosts map[string]model.Host
	zones map[string]string // by host id
	ports map[string]*neighbour.Port
	data  map[string]string // user data, for admins since 2.3
}

// gather reads what the servers' documents need.
func (c *call) gather(servers []*model.Server) (shown, error) {
	x := shown{hosts: map[string]model.Host{}, zones: map[string]string{}, data: map[string]string{}}
	err := c.view(func(r state.Reader) error {
		for _, s := range servers {
			if err := c.addHost(r, x, s.Host); err != nil {
				return err
			}
			if !c.at(3) || !c.admin() {
				continue
			}
			u, _, err := model.Optional(model.UserDatas.Get(r, s.ID))
			if err != nil {
				return err
			}
			x.data[s.ID] = u.Data
		}
		return nil
	})
	if err != nil {
		return x, err
	}
	var ids []string
	for _, s := range servers {
		for _, n := range s.NICs {
			if n.PortID != "" {
				ids = append(ids, n.PortID)
			}
		}
	}
	if len(ids) > 0 {
		x.ports, err = c.Networks.Ports(c.r.Context(), ids)
	}
	return x, err
}

// addHost reads a server's host, once for all servers that are on it.
func (c *call) addHost(r state.Reader, x shown, id string) error {
	if _, known := x.hosts[id]; known || id == "" {
		return nil
	}
	h, there, err := model.Optional(c.hosts.Get(r, id))
	if err != nil || !there {
		return err
	}
	zones, err := c.zones.Get(r, "", hosts.Zones)
	if err != nil {
		return err
	}
	x.hosts[id], x.zones[id] = *h, h.Zone
	if zone := zones[h.Name]; zone != "" {
		x.zones[id] = zone
	}
	return nil
}

// gatherFor is gather for one server.
func (c *call) gatherFor(s model.Server) (shown, error) { return c.gather([]*model.Server{&s}) }

// groups are the security groups of a port; none when it is gone.
func (x shown) groups(portID string) []neighbour.SecurityGroup {
	if p := x.ports[portID]; p != nil {
		return p.Groups
	}
	return nil
}

func (c *call) shortServer(s model.Server) document {
	return document{"id": s.ID, "name": s.Name, "links": c.links("servers", s.ID)}
}

// hostID hides the host's name from projects, and is the same for all servers of one project on it.
func hostID(project, host string) string {
	if host == "" {
		return ""
	}
	sum := sha256.Sum224([]byte(project + host))
	return hex.EncodeToString(sum[:])
}

// fullServer is a server as show and detail give it.
func (c *call) fullServer(s model.Server, x shown) document {
	d := c.shortServer(s)
	d["status"], d["tenant_id"], d["user_id"], d["metadata"] = lifecycle.Status(s.State), s.ProjectID, s.UserID, orEmpty(s.Metadata)
	d["hostId"], d["created"], d["updated"] = hostID(s.ProjectID, s.Host), stamp(s.Created), stamp(s.Updated)
	d["accessIPv4"], d["accessIPv6"], d["OS-DCF:diskConfig"] = s.AccessIPv4, s.AccessIPv6, s.DiskConfig
	d["config_drive"], d["key_name"] = "", orNull(s.KeyName)
	if s.ConfigDrive {
		d["config_drive"] = "True"
	}
	d["image"] = ""
	if s.Image.ID != "" {
		d["image"] = document{"id": s.Image.ID, "links": []document{{"rel": "bookmark", "href": c.PublicURL(c.r) + "/images/" + s.Image.ID}}}
	}
	d["flavor"] = document{"id": s.Flavor.ID, "links": []document{{"rel": "bookmark", "href": c.PublicURL(c.r) + "/flavors/" + s.Flavor.ID}}}
	if c.at(47) {
		d["flavor"] = embeddedFlavor(s.Flavor)
	}
	if status := d["status"]; status == "ACTIVE" || status == "BUILD" || status == "REBUILD" || status == "REBOOT" || status == "HARD_REBOOT" {
		d["progress"] = s.Progress
	}
	d["addresses"] = addressesOf(s, x)
	c.addExtensions(d, s, x)
	c.addLater(d, s, x)
	if s.Fault != nil && s.VM == lifecycle.Error {
		d["fault"] = faultDocument(s.Fault)
	}
	return d
}

func faultDocument(f *model.Fault) document {
	return document{"code": f.Code, "message": f.Message, "created": stamp(f.Created)}
}

func (c *call) addExtensions(d document, s model.Server, x shown) {
	zone := x.zones[s.Host]
	if s.Host == "" {
		zone = s.Zone
	}
	d["OS-EXT-AZ:availability_zone"] = zone
	d["OS-SRV-USG:launched_at"], d["OS-SRV-USG:terminated_at"] = micros(s.Launched), nil
	d["OS-EXT-STS:vm_state"], d["OS-EXT-STS:task_state"], d["OS-EXT-STS:power_state"] = string(s.VM), taskState(s), int(s.Power)
	volumes := []document{}
	for _, disk := range s.Disks {
		if disk.VolumeID == "" {
			continue
		}
		v := document{"id": disk.VolumeID}
		if c.at(3) {
			v["delete_on_termination"] = disk.DeleteOnTermination
		}
		volumes = append(volumes, v)
	}
	d["os-extended-volumes:volumes_attached"] = volumes
	if groups := groupsOf(s, x); len(groups) > 0 {
		d["security_groups"] = groups
	}
	if c.admin() {
		h := x.hosts[s.Host]
		d["OS-EXT-SRV-ATTR:host"], d["OS-EXT-SRV-ATTR:hypervisor_hostname"], d["OS-EXT-SRV-ATTR:instance_name"] = orNull(h.Name), orNull(h.Name), domainName(s.ID)
	}
}

// taskState is Nova's word for what is under way.
func taskState(s model.Server) any {
	switch s.State.Task {
	case "":
		return nil
	case "rebooting_hard":
		return "rebooting"
	}
	return s.State.Task
}

func groupsOf(s model.Server, x shown) []document {
	var names []string
	for _, n := range s.NICs {
		for _, g := range x.groups(n.PortID) {
			names = append(names, g.Name)
		}
	}
	docs := []document{}
	for _, n := range unique(names) {
		docs = append(docs, document{"name": n})
	}
	return docs
}

// addLater adds what came with later microversions.
func (c *call) addLater(d document, s model.Server, x shown) {
	if c.at(3) && c.admin() {
		d["OS-EXT-SRV-ATTR:reservation_id"], d["OS-EXT-SRV-ATTR:launch_index"], d["OS-EXT-SRV-ATTR:hostname"] = s.ReservationID, s.LaunchIndex, s.Hostname
		d["OS-EXT-SRV-ATTR:kernel_id"], d["OS-EXT-SRV-ATTR:ramdisk_id"], d["OS-EXT-SRV-ATTR:root_device_name"] = "", "", "/dev/vda"
		d["OS-EXT-SRV-ATTR:user_data"] = orNull(x.data[s.ID])
	}
	if c.at(9) {
		d["locked"] = s.Locked != ""
	}
	if c.at(16) && c.admin() {
		d["host_status"] = ""
		if h, ok := x.hosts[s.Host]; ok {
			d["host_status"] = map[bool]string{true: "UP", false: "DOWN"}[c.up(h)]
			if h.Disabled && c.up(h) {
				d["host_status"] = "MAINTENANCE"
			}
		}
	}
	if c.at(19) {
		d["description"] = orNull(s.Description)
	}
	if c.at(26) {
		d["tags"] = orNone(s.Tags)
	}
	if c.at(63) {
		d["trusted_image_certificates"] = nil
	}
	if c.at(73) {
		d["locked_reason"] = orNull(s.LockedReason)
	}
	if c.at(90) {
		d["OS-EXT-SRV-ATTR:hostname"] = s.Hostname
	}
}

// addressesOf are a server's addresses by network, fixed and floating.
func addressesOf(s model.Server, x shown) document {
	d := document{}
	for _, n := range s.NICs {
		p, now := x.ports[n.PortID]
		if !now {
			p = &neighbour.Port{NetworkName: n.NetworkName, MAC: n.MAC, Addresses: n.Addresses}
		}
		if p.NetworkName == "" {
			continue
		}
		list, _ := d[p.NetworkName].([]document)
		for _, a := range p.Addresses {
			list = append(list, addressDocument(a.IP, p.MAC, "fixed"))
			for _, f := range p.FloatingIPs {
				if f.FixedIP == a.IP {
					list = append(list, addressDocument(f.IP, p.MAC, "floating"))
				}
			}
		}
		if len(list) > 0 {
			d[p.NetworkName] = list
		}
	}
	return d
}

func addressDocument(ip, mac, kind string) document {
	version := 4
	if strings.Contains(ip, ":") {
		version = 6
	}
	return document{"addr": ip, "version": version, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": mac}
}

// sortServers orders a list; what is equal stands by id, so that pages do not shift.
func sortServers(order []sorting, all []*model.Server) {
	slices.SortFunc(all, func(a, b *model.Server) int {
		for _, o := range order {
			n := compareServers(o.Key, a, b)
			if o.Down {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return cmp.Compare(a.ID, b.ID)
	})
}

// serverSortKeys are those of the API.
var serverSortKeys = []string{"access_ip_v4", "access_ip_v6", "auto_disk_config", "availability_zone", "config_drive", "created_at", "display_description", "display_name", "host", "hostname",
	"image_ref", "instance_type_id", "kernel_id", "key_name", "launch_index", "launched_at", "locked", "locked_by", "node", "power_state", "progress", "project_id", "ramdisk_id",
	"root_device_name", "task_state", "terminated_at", "updated_at", "user_id", "uuid", "vm_state"}

func compareServers(key string, a, b *model.Server) int {
	switch key {
	case "created_at":
		return a.Created.Compare(b.Created)
	case "updated_at":
		return a.Updated.Compare(b.Updated)
	case "launched_at":
		return a.Launched.Compare(b.Launched)
	case "launch_index":
		return cmp.Compare(a.LaunchIndex, b.LaunchIndex)
	case "power_state":
		return cmp.Compare(a.Power, b.Power)
	case "progress":
		return cmp.Compare(a.Progress, b.Progress)
	}
	return cmp.Compare(sortText(key, a), sortText(key, b))
}

func sortText(key string, s *model.Server) string {
	switch key {
	case "display_name":
		return s.Name
	case "display_description":
		return s.Description
	case "host", "node":
		return s.Host
	case "hostname":
		return s.Hostname
	case "image_ref":
		return s.Image.ID
	case "instance_type_id":
		return s.Flavor.ID
	case "key_name":
		return s.KeyName
	case "project_id":
		return s.ProjectID
	case "user_id":
		return s.UserID
	case "task_state":
		return s.State.Task
	case "vm_state":
		return string(s.VM)
	case "availability_zone":
		return s.Zone
	case "locked", "locked_by":
		return s.Locked
	case "access_ip_v4":
		return s.AccessIPv4
	case "access_ip_v6":
		return s.AccessIPv6
	case "uuid":
		return s.ID
	}
	return ""
}
