// Package metadata tells guests who they are: the tree that they read at 169.254.169.254, in EC2's and in OpenStack's form, and that a config drive holds. The network service finds out
// which guest asks; what comes over the port of this service itself must be signed with the cluster's secret, as Neutron's proxy does.
package metadata

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"path"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/computed/configdrive"
	"henge/computed/model"
	"henge/internal/errs"
)

// Config is what the service stands on.
type Config struct {
	Store  state.Store
	Logger *slog.Logger
	// Floating gives a floating IP of one of the ports; "" when none has one.
	Floating func(ctx context.Context, portIDs []string) (string, error)
}

// Service answers guests. Safe for concurrent use.
type Service struct{ Config }

// New makes the service.
func New(cfg Config) *Service { return &Service{cfg} }

// The dated trees: OpenStack's and EC2's. Guests ask for one they know; all are served alike.
var (
	openstackDates = []string{"2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14", "latest"}
	ec2Dates       = []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04", "latest"}
)

// guest is what a server's documents are made of.
type guest struct {
	model.Server
	userData []byte
	zone     string
	floating string
}

func (s *Service) guest(ctx context.Context, id string) (g guest, err error) {
	err = s.Store.View(ctx, func(r state.Reader) error {
		if g.Server, err = model.Servers.Get(r, id); err != nil {
			return err
		}
		u, _, err := model.Optional(model.UserDatas.Get(r, id))
		if err != nil {
			return err
		}
		if g.userData, err = base64.StdEncoding.DecodeString(u.Data); err != nil {
			return errs.New(errs.Corrupt, "user data of %s: %w", id, err)
		}
		h, _, err := model.Optional(model.Hosts.Get(r, g.Host))
		g.zone = h.Zone
		return err
	})
	if err != nil {
		return g, err
	}
	var ports []string
	for _, n := range g.NICs {
		ports = append(ports, n.PortID)
	}
	g.floating, err = s.Floating(ctx, ports)
	return g, err
}

// Files are what a config drive holds.
func (s *Service) Files(ctx context.Context, serverID string) ([]configdrive.File, error) {
	g, err := s.guest(ctx, serverID)
	if err != nil {
		return nil, err
	}
	var files []configdrive.File
	for _, date := range openstackDates {
		for _, name := range g.openstackFiles() {
			raw, _ := g.openstackFile(name)
			files = append(files, configdrive.File{Path: path.Join("openstack", date, name), Data: raw})
		}
	}
	tree, err := json.MarshalIndent(g.ec2(), "", "  ")
	if err != nil {
		return nil, err
	}
	for _, date := range []string{"2009-04-04", "latest"} {
		files = append(files, configdrive.File{Path: path.Join("ec2", date, "meta-data.json"), Data: tree})
		if len(g.userData) > 0 {
			files = append(files, configdrive.File{Path: path.Join("ec2", date, "user-data"), Data: g.userData})
		}
	}
	return files, nil
}

func (g guest) openstackFiles() []string {
	names := []string{"meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json"}
	if len(g.userData) > 0 {
		names = append(names, "user_data")
	}
	return names
}

func (g guest) openstackFile(name string) ([]byte, bool) {
	var doc any
	switch name {
	case "meta_data.json":
		doc = g.metaData()
	case "network_data.json":
		doc = g.networkData()
	case "vendor_data.json", "vendor_data2.json":
		doc = map[string]any{}
	case "user_data":
		return g.userData, len(g.userData) > 0
	default:
		return nil, false
	}
	raw, err := json.Marshal(doc)
	return raw, err == nil
}

func (g guest) metaData() map[string]any {
	d := map[string]any{"uuid": g.ID, "name": g.Name, "hostname": g.Hostname, "availability_zone": g.zone, "launch_index": g.LaunchIndex, "project_id": g.ProjectID,
		"meta": g.Metadata, "dedicated_cpus": []int{}, "devices": g.devices(), "random_seed": seed()}
	if g.Metadata == nil {
		d["meta"] = map[string]string{}
	}
	if g.PublicKey != "" {
		d["public_keys"] = map[string]string{g.KeyName: g.PublicKey}
		d["keys"] = []map[string]string{{"name": g.KeyName, "type": "ssh", "data": g.PublicKey}}
	}
	return d
}

// seed gives guests that start alike some randomness of their own.
func seed() string {
	var b [512]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// devices are those with a tag.
func (g guest) devices() []map[string]any {
	all := []map[string]any{}
	for _, n := range g.NICs {
		if n.Tag != "" {
			all = append(all, map[string]any{"type": "nic", "bus": "pci", "mac": n.MAC, "tags": []string{n.Tag}})
		}
	}
	for _, d := range g.Disks {
		if d.Tag != "" {
			all = append(all, map[string]any{"type": "disk", "bus": "virtio", "serial": d.VolumeID, "path": "/dev/" + d.Device, "tags": []string{d.Tag}})
		}
	}
	return all
}

// networkData describes the interfaces to guests that do not use DHCP.
func (g guest) networkData() map[string]any {
	links, networks, services := []map[string]any{}, []map[string]any{}, []map[string]any{}
	seen := map[string]bool{}
	for i, n := range g.NICs {
		if n.PortID == "" || n.MAC == "" {
			continue
		}
		link := "tap" + n.PortID[:min(11, len(n.PortID))]
		links = append(links, map[string]any{"id": link, "vif_id": n.PortID, "type": "bridge", "mtu": orNull(n.MTU), "ethernet_mac_address": n.MAC})
		for k, a := range n.Addresses {
			networks = append(networks, network(n, a, link, "network"+string(rune('0'+i))+suffix(k)))
		}
		for _, s := range n.Subnets {
			for _, dns := range s.DNS {
				if !seen[dns] {
					services = append(services, map[string]any{"type": "dns", "address": dns})
				}
				seen[dns] = true
			}
		}
	}
	return map[string]any{"links": links, "networks": networks, "services": services}
}

func suffix(k int) string {
	if k == 0 {
		return ""
	}
	return "-" + string(rune('0'+k))
}

func orNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

func network(n model.NIC, a model.Address, link, id string) map[string]any {
	kind := "ipv4"
	if strings.Contains(a.IP, ":") {
		kind = "ipv6"
	}
	d := map[string]any{"id": id, "link": link, "type": kind, "network_id": n.NetworkID, "ip_address": a.IP}
	for _, s := range n.Subnets {
		if s.ID != a.SubnetID {
			continue
		}
		if s.DHCP && kind == "ipv4" {
			return map[string]any{"id": id, "link": link, "type": "ipv4_dhcp", "network_id": n.NetworkID}
		}
		d["netmask"] = netmask(s.CIDR)
		routes := []map[string]any{}
		if s.Gateway != "" {
			all := map[bool]string{true: "::", false: "0.0.0.0"}[kind == "ipv6"]
			routes = append(routes, map[string]any{"network": all, "netmask": all, "gateway": s.Gateway})
		}
		d["routes"] = routes
	}
	return d
}

// ec2 is EC2's tree: what is a map is a directory.
func (g guest) ec2() map[string]any {
	local := ""
	for _, n := range g.NICs {
		for _, a := range n.Addresses {
			if local == "" && !strings.Contains(a.IP, ":") {
				local = a.IP
			}
		}
	}
	d := map[string]any{"ami-id": "ami-" + short(g.Image.ID), "ami-launch-index": g.LaunchIndex, "hostname": g.Hostname, "instance-action": "none",
		"instance-id": "i-" + short(g.ID), "instance-type": g.Flavor.Name, "local-hostname": g.Hostname, "local-ipv4": local, "public-hostname": g.Hostname, "public-ipv4": g.floating,
		"reservation-id": g.ReservationID, "security-groups": strings.Join(slices.Concat(g.Groups), "\n"), "placement": map[string]any{"availability-zone": g.zone},
		"block-device-mapping": map[string]any{"ami": "vda", "root": "/dev/vda"}}
	if g.PublicKey != "" {
		d["public-keys"] = map[string]any{"0": map[string]any{"openssh-key": g.PublicKey}}
	}
	return d
}

func short(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:4])
}
