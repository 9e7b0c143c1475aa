// Package neighbourtest has neighbours of compute that live in memory, with the promises of the real ones: for tests.
package neighbourtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/errs"
)

// World is all neighbours at once.
type World struct {
	mu        sync.Mutex // guards the fields below
	images    map[string]neighbour.Image
	bytes     map[string][]byte
	nets      map[string]neighbour.Network
	ports     map[string]neighbour.Port
	shown     map[string]*neighbour.Port // as Ports gave them last
	keys      map[string]string          // of ports made: key to id
	volumes   map[string]neighbour.Volume
	snapshots map[string]neighbour.VolumeSnapshot
	attach    map[string]string // attachment to "volume server"
	groups    map[string]neighbour.GroupDetail
	floating  map[string]neighbour.FloatingDetail
	fail      func(call, id string) error
	next      int
}

// New makes an empty world.
func New() *World {
	return &World{images: map[string]neighbour.Image{}, bytes: map[string][]byte{}, nets: map[string]neighbour.Network{}, ports: map[string]neighbour.Port{}, shown: map[string]*neighbour.Port{}, keys: map[string]string{},
		volumes: map[string]neighbour.Volume{}, snapshots: map[string]neighbour.VolumeSnapshot{}, attach: map[string]string{}, groups: map[string]neighbour.GroupDetail{}, floating: map[string]neighbour.FloatingDetail{}}
}

// Fail makes calls fail; it may block. nil lets all succeed.
func (w *World) Fail(fn func(call, id string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = fn
}

func (w *World) enter(ctx context.Context, call, id string) error {
	w.mu.Lock()
	fail := w.fail
	w.mu.Unlock()
	if fail != nil {
		if err := fail(call, id); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// AddImage adds one, active, in a format.
func (w *World) AddImage(id, format string, minDisk int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.images[id] = neighbour.Image{Image: model.Image{ID: id, Name: "image " + id, Format: format, MinDiskGiB: minDisk}, Status: "active"}
	w.bytes[id] = []byte("bytes of " + id)
}

// SetImageStatus changes one's status.
func (w *World) SetImageStatus(id, status string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.images[id]
	i.Status = status
	w.images[id] = i
}

// ImageBytes are what an image holds.
func (w *World) ImageBytes(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.bytes[id])
}

// AddNetwork adds one with a subnet.
func (w *World) AddNetwork(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nets[id] = neighbour.Network{ID: id, Name: "net-" + id, Subnets: 1}
}

// AddPort adds a free port.
func (w *World) AddPort(id, network string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[id] = w.newPort(id, network, "")
}

func (w *World) newPort(id, network, ip string) neighbour.Port {
	w.next++
	if ip == "" {
		ip = fmt.Sprintf("10.0.%d.%d", w.next/250, w.next%250+2)
	}
	return neighbour.Port{ID: id, NetworkID: network, NetworkName: "net-" + network, MAC: fmt.Sprintf("fa:16:3e:00:%02x:%02x", w.next/256, w.next%256), Status: "ACTIVE",
		Addresses: []model.Address{{IP: ip, SubnetID: "subnet-" + network}}, Groups: []neighbour.SecurityGroup{{ID: "g-default", Name: "default"}}}
}

// AddVolume adds one, available.
func (w *World) AddVolume(id string, gib int, bootable bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.volumes[id] = neighbour.Volume{ID: id, Status: "available", GiB: gib, Bootable: bootable}
}

// Left tells what is still in use: ports with a device, volumes with an attachment.
func (w *World) Left() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, p := range w.ports {
		if p.ServerID != "" {
			all = append(all, "port "+id)
		}
	}
	for id := range w.attach {
		all = append(all, "attachment "+id)
	}
	for id, v := range w.volumes {
		if v.Name == "made" {
			all = append(all, "volume "+id)
		}
	}
	return all
}

// VolumeStatus is a volume's.
func (w *World) VolumeStatus(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.volumes[id].Status
}

// PortServer is the server that has a port.
func (w *World) PortServer(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ports[id].ServerID
}

func find[T any](w *World, rows map[string]T, what, id string) (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	row, ok := rows[id]
	if !ok {
		return row, errs.New(errs.NotFound, "%s %s could not be found.", what, id)
	}
	return row, nil
}

// Images are the world's as a neighbour.
func (w *World) Images() neighbour.Images { return images{w} }

// Networks are the world's as a neighbour.
func (w *World) Networks() neighbour.Networks { return networks{w} }

// Volumes are the world's as a neighbour.
func (w *World) Volumes() neighbour.Volumes { return volumes{w} }

type images struct{ w *World }

func (i images) Describe(ctx context.Context, _ *authn.Identity, id string) (neighbour.Image, error) {
	if err := i.w.enter(ctx, "describe image", id); err != nil {
		return neighbour.Image{}, err
	}
	return find(i.w, i.w.images, "Image", id)
}

func (i images) Open(ctx context.Context, _ *authn.Identity, id string) (io.ReadCloser, error) {
	if err := i.w.enter(ctx, "open image", id); err != nil {
		return nil, err
	}
	raw, err := find(i.w, i.w.bytes, "Image", id)
	return io.NopCloser(bytes.NewReader(raw)), err
}

func (i images) Create(ctx context.Context, _ *authn.Identity, n neighbour.NewImage) (string, error) {
	id := model.NewUUID()
	if err := i.w.enter(ctx, "create image", id); err != nil {
		return "", err
	}
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	i.w.images[id] = neighbour.Image{Image: model.Image{ID: id, Name: n.Name, Format: n.Format, Properties: n.Properties, MinDiskGiB: n.MinDiskGiB}, Status: "queued"}
	return id, nil
}

func (i images) Upload(ctx context.Context, _ *authn.Identity, id string, from io.Reader) error {
	if err := i.w.enter(ctx, "upload image", id); err != nil {
		return err
	}
	raw, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	image, err := find(i.w, i.w.images, "Image", id)
	if err != nil {
		return err
	}
	image.Status = "active"
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	i.w.images[id], i.w.bytes[id] = image, raw
	return nil
}

func (i images) Delete(ctx context.Context, _ *authn.Identity, id string) error {
	if err := i.w.enter(ctx, "delete image", id); err != nil {
		return err
	}
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	delete(i.w.images, id)
	return nil
}

type networks struct{ w *World }

func (n networks) Floating() neighbour.Floating { return floating(n) }

func (n networks) Groups() neighbour.Groups { return groups(n) }

type groups struct{ w *World }

func (g groups) Groups(_ context.Context, who *authn.Identity) (all []neighbour.GroupDetail, err error) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	for _, d := range g.w.groups {
		if d.ProjectID == who.ProjectID {
			all = append(all, d)
		}
	}
	return all, nil
}

func (g groups) GroupDetail(_ context.Context, who *authn.Identity, id string) (neighbour.GroupDetail, error) {
	d, err := find(g.w, g.w.groups, "Security group", id)
	if err == nil && d.ProjectID != who.ProjectID {
		err = errs.New(errs.NotFound, "Security group %s could not be found.", id)
	}
	return d, err
}

func (g groups) CreateGroup(_ context.Context, who *authn.Identity, name, description string) (neighbour.GroupDetail, error) {
	d := neighbour.GroupDetail{SecurityGroup: neighbour.SecurityGroup{ID: model.NewUUID(), Name: name}, Description: description, ProjectID: who.ProjectID}
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.w.groups[d.ID] = d
	return d, nil
}

func (g groups) UpdateGroup(ctx context.Context, who *authn.Identity, id, name, description string) (neighbour.GroupDetail, error) {
	d, err := g.GroupDetail(ctx, who, id)
	if err != nil {
		return d, err
	}
	d.Name, d.Description = name, description
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.w.groups[id] = d
	return d, nil
}

func (g groups) DeleteGroup(ctx context.Context, who *authn.Identity, id string) error {
	_, err := g.GroupDetail(ctx, who, id)
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	delete(g.w.groups, id)
	return err
}

func (g groups) CreateRule(ctx context.Context, who *authn.Identity, r neighbour.GroupRule) (neighbour.GroupRule, error) {
	d, err := g.GroupDetail(ctx, who, r.GroupID)
	if err != nil {
		return r, err
	}
	r.ID = model.NewUUID()
	d.Rules = append(d.Rules, r)
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.w.groups[d.ID] = d
	return r, nil
}

func (g groups) DeleteRule(_ context.Context, _ *authn.Identity, id string) error {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	for groupID, d := range g.w.groups {
		for i, r := range d.Rules {
			if r.ID == id {
				d.Rules = append(d.Rules[:i:i], d.Rules[i+1:]...)
				g.w.groups[groupID] = d
				return nil
			}
		}
	}
	return errs.New(errs.NotFound, "Security group rule %s could not be found.", id)
}

func (n networks) Available(context.Context, *authn.Identity) (all []neighbour.Network, err error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, net := range n.w.nets {
		all = append(all, net)
	}
	return all, nil
}

func (n networks) Network(_ context.Context, _ *authn.Identity, id string) (neighbour.Network, error) {
	return find(n.w, n.w.nets, "Network", id)
}

func (n networks) AutoNetwork(context.Context, *authn.Identity) (neighbour.Network, error) {
	return neighbour.Network{}, errs.New(errs.Invalid, "Unable to automatically allocate a network for project")
}

func (n networks) Port(_ context.Context, _ *authn.Identity, id string) (neighbour.Port, error) {
	return find(n.w, n.w.ports, "Port", id)
}

func (n networks) PortsOf(ctx context.Context, serverID string) (all []neighbour.Port, err error) {
	if err := n.w.enter(ctx, "ports of", serverID); err != nil {
		return nil, err
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, p := range n.w.ports {
		if p.ServerID == serverID {
			all = append(all, p)
		}
	}
	return all, nil
}

func (n networks) Ports(_ context.Context, ids []string) (map[string]*neighbour.Port, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	found := map[string]*neighbour.Port{}
	for _, id := range ids {
		p, ok := n.w.ports[id]
		if !ok {
			continue
		}
		if before := n.w.shown[id]; before == nil || !reflect.DeepEqual(*before, p) {
			n.w.shown[id] = &p
		}
		found[id] = n.w.shown[id]
	}
	return found, nil
}

func (n networks) Group(_ context.Context, _ *authn.Identity, name string) (neighbour.SecurityGroup, error) {
	if name == "missing" {
		return neighbour.SecurityGroup{}, errs.New(errs.NotFound, "Security group %s not found.", name)
	}
	return neighbour.SecurityGroup{ID: "g-" + name, Name: name}, nil
}

func (n networks) SetGroups(_ context.Context, _ *authn.Identity, portID string, groups []string) error {
	p, err := find(n.w, n.w.ports, "Port", portID)
	if err != nil {
		return err
	}
	p.Groups = nil
	for _, id := range groups {
		p.Groups = append(p.Groups, neighbour.SecurityGroup{ID: id, Name: id[2:]})
	}
	n.w.put(p)
	return nil
}

func (w *World) put(p neighbour.Port) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[p.ID] = p
}

func (n networks) CreatePort(ctx context.Context, _ *authn.Identity, req neighbour.PortRequest) (neighbour.Port, error) {
	if err := n.w.enter(ctx, "create port", req.NetworkID); err != nil {
		return neighbour.Port{}, err
	}
	p := n.createPort(req)
	return p, n.w.enter(ctx, "after create port", p.ID)
}

func (n networks) createPort(req neighbour.PortRequest) neighbour.Port {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if id := n.w.keys[req.Key]; id != "" {
		if p, there := n.w.ports[id]; there {
			return p
		}
	}
	p := n.w.newPort(model.NewUUID(), req.NetworkID, req.FixedIP)
	p.ServerID, p.Host = req.ServerID, req.Host
	n.w.ports[p.ID], n.w.keys[req.Key] = p, p.ID
	return p
}

func (n networks) BindPort(ctx context.Context, _ *authn.Identity, portID, serverID, host string) (neighbour.Port, error) {
	if err := n.w.enter(ctx, "bind port", portID); err != nil {
		return neighbour.Port{}, err
	}
	p, err := find(n.w, n.w.ports, "Port", portID)
	if err != nil {
		return p, err
	}
	if p.ServerID != "" && p.ServerID != serverID {
		return p, errs.New(errs.Conflict, "Port %s is still in use.", portID)
	}
	p.ServerID, p.Host = serverID, host
	n.w.put(p)
	return p, nil
}

func (n networks) UnbindPort(ctx context.Context, portID, serverID string) error {
	if err := n.w.enter(ctx, "unbind port", portID); err != nil {
		return err
	}
	if p, err := find(n.w, n.w.ports, "Port", portID); err == nil && p.ServerID == serverID {
		p.ServerID, p.Host = "", ""
		n.w.put(p)
	}
	return nil
}

func (n networks) DeletePort(ctx context.Context, portID, _ string) error {
	if err := n.w.enter(ctx, "delete port", portID); err != nil {
		return err
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	delete(n.w.ports, portID)
	return nil
}

func (n networks) Wired(ctx context.Context, portID, _ string) (neighbour.Wire, error) {
	return neighbour.Wire{Tap: "tap" + portID[:min(11, len(portID))], MTU: 1450}, n.w.enter(ctx, "wire", portID)
}

func (n networks) AddFixedIP(_ context.Context, _ *authn.Identity, portID, _ string) (neighbour.Port, error) {
	p, err := find(n.w, n.w.ports, "Port", portID)
	if err == nil {
		p.Addresses = append(p.Addresses, model.Address{IP: "10.9.9.9"})
		n.w.put(p)
	}
	return p, err
}

func (n networks) RemoveFixedIP(_ context.Context, _ *authn.Identity, portID, ip string) (neighbour.Port, error) {
	p, err := find(n.w, n.w.ports, "Port", portID)
	if err == nil {
		var left []model.Address
		for _, a := range p.Addresses {
			if a.IP != ip {
				left = append(left, a)
			}
		}
		p.Addresses = left
		n.w.put(p)
	}
	return p, err
}

type volumes struct{ w *World }

func (v volumes) Volume(_ context.Context, _ *authn.Identity, id string) (neighbour.Volume, error) {
	return find(v.w, v.w.volumes, "Volume", id)
}

func (v volumes) CreateVolume(ctx context.Context, _ *authn.Identity, req neighbour.VolumeRequest) (neighbour.Volume, error) {
	if err := v.w.enter(ctx, "create volume", req.Key); err != nil {
		return neighbour.Volume{}, err
	}
	v.w.mu.Lock()
	vol, there := v.w.volumes[req.Key]
	if !there {
		vol = neighbour.Volume{ID: req.Key, Name: "made", Status: "available", GiB: req.GiB, Bootable: req.ImageID != ""}
		v.w.volumes[vol.ID] = vol
	}
	v.w.mu.Unlock()
	return vol, v.w.enter(ctx, "after create volume", vol.ID)
}

func (v volumes) DeleteVolume(ctx context.Context, _ *authn.Identity, id string) error {
	if err := v.w.enter(ctx, "delete volume", id); err != nil {
		return err
	}
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	delete(v.w.volumes, id)
	return nil
}

func (v volumes) Reserve(ctx context.Context, _ *authn.Identity, volumeID, serverID string) (string, error) {
	if err := v.w.enter(ctx, "reserve", volumeID); err != nil {
		return "", err
	}
	id, err := v.reserve(volumeID, serverID)
	if err != nil {
		return "", err
	}
	return id, v.w.enter(ctx, "after reserve", volumeID)
}

func (v volumes) reserve(volumeID, serverID string) (string, error) {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	for id, pair := range v.w.attach {
		if pair == volumeID+" "+serverID {
			return id, nil
		}
	}
	vol := v.w.volumes[volumeID]
	if vol.Status != "available" {
		return "", errs.New(errs.Conflict, "Invalid volume: status must be available, it is %s", vol.Status)
	}
	vol.Status = "reserved"
	v.w.volumes[volumeID] = vol
	id := model.NewUUID()
	v.w.attach[id] = volumeID + " " + serverID
	return id, nil
}

func (v volumes) Connect(ctx context.Context, _ *authn.Identity, id, _, _, _ string) (neighbour.Connection, error) {
	return neighbour.Connection{Portal: "127.0.0.1:3260", IQN: "iqn.2026-01.test:" + id, LUN: 1, User: "u", Secret: "s"}, v.w.enter(ctx, "connect", id)
}

// set changes the status of an attachment's volume.
func (v volumes) set(id, status string) {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	var volume, server string
	if _, err := fmt.Sscan(v.w.attach[id], &volume, &server); err != nil {
		return
	}
	vol := v.w.volumes[volume]
	vol.Status = status
	v.w.volumes[volume] = vol
}

func (v volumes) Complete(ctx context.Context, _ *authn.Identity, id string) error {
	if err := v.w.enter(ctx, "complete", id); err != nil {
		return err
	}
	v.set(id, "in-use")
	return nil
}

func (v volumes) BeginDetaching(_ context.Context, _ *authn.Identity, volumeID string) error {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	vol := v.w.volumes[volumeID]
	if vol.Status != "in-use" {
		return errs.New(errs.Conflict, "Invalid volume: Volume %s status must be in-use, but the current status is %s.", volumeID, vol.Status)
	}
	vol.Status = "detaching"
	v.w.volumes[volumeID] = vol
	return nil
}

func (v volumes) RollDetaching(_ context.Context, _ *authn.Identity, volumeID string) error {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	vol := v.w.volumes[volumeID]
	if vol.Status == "detaching" {
		vol.Status = "in-use"
		v.w.volumes[volumeID] = vol
	}
	return nil
}

func (v volumes) CreateSnapshot(_ context.Context, _ *authn.Identity, volumeID, _, _ string) (string, error) {
	vol, err := find(v.w, v.w.volumes, "Volume", volumeID)
	if err != nil {
		return "", err
	}
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	s := neighbour.VolumeSnapshot{ID: model.NewUUID(), Status: "available", GiB: vol.GiB, Volume: vol}
	v.w.snapshots[s.ID] = s
	return s.ID, nil
}

func (v volumes) DeleteSnapshot(_ context.Context, _ *authn.Identity, id string) error {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	delete(v.w.snapshots, id)
	return nil
}

func (v volumes) Snapshot(_ context.Context, _ *authn.Identity, id string) (neighbour.VolumeSnapshot, error) {
	s, err := find(v.w, v.w.snapshots, "Snapshot", id)
	return s, err
}

func (v volumes) Detach(ctx context.Context, _ *authn.Identity, id string) error {
	if err := v.w.enter(ctx, "detach", id); err != nil {
		return err
	}
	v.set(id, "available")
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	delete(v.w.attach, id)
	return nil
}

// claims is the table of the scheduler below.
var claims = state.NewTable[claim]("test.claims").Index("host", false, func(c claim) string { return c.Host })

type claim struct {
	Host  string `json:"host"`
	VCPUs int    `json:"vcpus"`
}

// Scheduler puts servers on the first host with a processor to spare for each that it promises.
type Scheduler struct{}

// Place chooses a host.
func (Scheduler) Place(_ context.Context, w state.Writer, c neighbour.Claim) (string, error) {
	full, tried := 0, 0
	for h, err := range model.Hosts.All(w) {
		if err != nil {
			return "", err
		}
		skip := c.Host != "" && c.Host != h.Name
		for _, name := range c.Without {
			skip = skip || name == h.Name
		}
		if skip {
			tried++
			continue
		}
		used := 0
		for other, err := range claims.Where(w, "host", h.ID) {
			if err != nil {
				return "", err
			}
			used += other.VCPUs
		}
		if used+c.VCPUs <= h.VCPUs {
			return h.ID, claims.Put(w, c.ServerID, claim{h.ID, c.VCPUs})
		}
		full++
	}
	return "", errs.New(errs.Unavailable, "No valid host was found. Core removed %d hosts, Tried removed %d.", full, tried)
}

// Release gives back.
func (Scheduler) Release(w state.Writer, serverID string) error {
	if err := claims.Delete(w, serverID); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return nil
}

// Report does nothing: Place reads the hosts themselves.
func (Scheduler) Report(state.Writer, model.Host) error { return nil }

// Claims are the servers that hold a claim.
func Claims(r state.Reader) (n int) {
	for range claims.All(r) {
		n++
	}
	return n
}

func (v volumes) DetachServer(ctx context.Context, who *authn.Identity, serverID string) error {
	v.w.mu.Lock()
	var ids []string
	for id, pair := range v.w.attach {
		if strings.HasSuffix(pair, " "+serverID) {
			ids = append(ids, id)
		}
	}
	v.w.mu.Unlock()
	for _, id := range ids {
		if err := v.Detach(ctx, who, id); err != nil {
			return err
		}
	}
	return nil
}

func (v volumes) DeleteMade(ctx context.Context, who *authn.Identity, key string) error {
	return v.DeleteVolume(ctx, who, key)
}
