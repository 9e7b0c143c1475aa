package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"henge/cluster/rpc"
	"henge/cmd/henge/guests"
	"henge/computed"
	"henge/computed/hypervisor"
	"henge/computed/hypervisor/libvirt"
	"henge/computed/model"
	"henge/identity"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/netd"
	wiring "henge/netd/agent"
)

// computeConfig is the [compute] section.
type computeConfig struct {
	PublicURL     string `toml:"public_url"`
	ConsoleURL    string `toml:"console_url"`
	VirtType      string `toml:"virt_type"`
	LibvirtSocket string `toml:"libvirt_socket"`
	Dir           string `toml:"dir"`
	ImageCacheGiB int64  `toml:"image_cache_gib"`
}

// computeService is Nova's API; the agent of this host's guests, their metadata and their consoles come with it.
var computeService = service{
	role: "compute", help: "Nova v2.1", health: "/", try: "openstack server list",
	port: func(p *portsConfig) *int { return &p.Compute },
	url:  func(c *config) string { return publicURL(c, c.Compute.PublicURL, c.Ports.Compute) },
	catalog: func(url string) []identity.BootstrapService {
		return []identity.BootstrapService{same("compute", "nova", "OpenStack Compute", url+"/v2.1")}
	},
	start: startCompute,
}

const (
	virtAuto = "auto"
	virtOff  = "off"
)

func checkCompute(c computeConfig) error {
	switch c.VirtType {
	case virtAuto, virtOff, "kvm", "qemu":
		return nil
	}
	return fmt.Errorf("compute.virt_type %q: it is auto, kvm, qemu or off", c.VirtType)
}

// decideCompute sets what the flags of henge up say, for its peer i.
func (c *config) decideCompute(o upOptions, i int) {
	c.Roles = slices.DeleteFunc(c.Roles, func(role string) bool { return role == "compute" })
	if o.compute {
		c.Roles = append(c.Roles, "compute")
	}
	c.Compute.VirtType = o.virt
	if i > 1 {
		c.Compute.VirtType = virtOff // the machine has one libvirt
	}
}

func startCompute(p *peer, life context.Context) (http.Handler, error) {
	c := p.cfg.Compute
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(p.cfg.DataDir, "compute")
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("the directory of guests: %w", err)
	}
	driver, err := p.openHypervisor(life, dir)
	if err != nil && c.VirtType != virtOff {
		p.cannot(lack{"compute", "it runs no guests: " + err.Error(), true})
	}
	if p.images == nil || p.placing == nil {
		return nil, errs.New(errs.Invalid, "a peer with the role compute needs the roles image and scheduler, too")
	}
	networks, err := netd.New(netd.Config{Store: p.node.State(), Clock: clock.System{}, Logger: p.logger, Tokens: p.identity.Tokens(), Alive: p.node.Alive})
	if err != nil {
		return nil, err
	}
	cfg := computed.Config{Store: p.node.State(), Tokens: p.identity.Tokens(), Clock: clock.System{}, Logger: p.logger, Images: guests.Images{Service: p.images},
		Networks: guests.NewNetworks(p.node.State(), networks), Volumes: p.guestVolumes(p.images), Scheduler: guests.Scheduler{Service: p.placing}, Alive: p.node.Alive, Remote: p.remoteConsole,
		Driver: driver, Host: p.computeHost(), Dir: dir, ImageBytesMax: c.ImageCacheGiB << 30}
	s, err := computed.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := computed.Seed(life, p.node.State(), clock.System{}); err != nil {
		return nil, fmt.Errorf("make the first flavors: %w", err)
	}
	var metadata wiring.Metadata = s
	p.guestMetadata.inside.Store(&metadata)
	p.compute.Store(s)
	p.more = append(p.more, listener{metadataPort, p.cfg.Ports.Metadata, s.MetadataHandler(), true})
	if driver != nil {
		p.more = append(p.more, listener{consolePort, p.cfg.Ports.Console, s.ConsoleHandler(), true})
		p.run(life, "compute", func(ctx context.Context) error {
			defer driver.Close()
			return s.Run(ctx)
		})
	}
	return s.Handler(), nil
}

// The ports that compute opens beside its API.
const (
	metadataPort = "metadata"
	consolePort  = "console"
)

// addGuestDoors adds the addresses of the metadata service and of the consoles, where the peer serves them.
func (p *peer) addGuestDoors(at map[string]string) {
	s := p.compute.Load()
	if s == nil {
		return
	}
	at[metadataPort] = hostPort(p.cfg.Address, p.cfg.Ports.Metadata)
	if s.ConsoleHandler() != nil {
		at[consolePort] = hostPort(p.cfg.Address, p.cfg.Ports.Console)
	}
}

// openHypervisor connects to libvirt, and finds out how guests, whose files are in dir, are best run here.
func (p *peer) openHypervisor(ctx context.Context, dir string) (hypervisor.Driver, error) {
	kind := p.cfg.Compute.VirtType
	if kind == virtOff {
		return nil, errs.New(errs.Unsupported, "it is switched off (compute.virt_type)")
	}
	d, err := libvirt.New(libvirt.Config{Socket: p.cfg.Compute.LibvirtSocket, Owner: p.node.ID(), VirtType: kind})
	if err != nil {
		return nil, err
	}
	if kind == virtAuto {
		var why string
		if d.VirtType, why = libvirt.VirtType(ctx, dir); why != "" {
			p.cannot(lack{"compute", "guests run without KVM, slowly: " + why, false})
		}
	}
	why, err := d.Reach(ctx, dir)
	if why != "" {
		p.cannot(lack{"compute", why, false})
	}
	return d, err
}

func (p *peer) computeHost() model.Host {
	console := p.cfg.Compute.ConsoleURL
	if console == "" {
		console = "http://" + hostPort(p.cfg.Address, p.cfg.Ports.Console)
	}
	return model.Host{ID: p.node.ID(), Name: p.node.ID(), Address: p.cfg.Address, ConsoleURL: console, Zone: "zone-" + strconv.Itoa(p.cfg.Zone),
		Initiator: "iqn.2026-01.org.henge:" + p.node.ID(), Booted: guests.Booted()}
}

// methodConsole reads a guest's console log at its host.
const methodConsole = "compute.console"

type consoleRequest struct {
	Server   string `json:"server"`
	BytesMax int    `json:"bytes_max"`
}

func (p *peer) remoteConsole(ctx context.Context, host, serverID string, bytesMax int) ([]byte, error) {
	ask, err := json.Marshal(consoleRequest{serverID, bytesMax})
	if err != nil {
		return nil, err
	}
	return p.node.Caller().Call(ctx, host, methodConsole, ask)
}

// serveConsole answers another peer.
func (p *peer) serveConsole(_ context.Context, s rpc.Stream) error {
	raw, err := s.Recv()
	if err != nil {
		return err
	}
	var ask consoleRequest
	if err := json.Unmarshal(raw, &ask); err != nil {
		return errs.New(errs.Invalid, "decode the request for a console log: %w", err)
	}
	c := p.compute.Load()
	if c == nil {
		return errs.New(errs.Unavailable, "peer %s runs no guests", p.node.ID())
	}
	log, err := c.LocalConsoleLog(ask.Server, min(ask.BytesMax, limits.RPCMessageBytesMax/2))
	if err != nil {
		return err
	}
	return s.Send(log)
}
