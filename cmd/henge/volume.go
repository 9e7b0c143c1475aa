package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"henge/identity"
	"henge/internal/clock"
	"henge/volumed"
	"henge/volumed/iscsi"
)

// volumeConfig is the [volume] section.
type volumeConfig struct {
	PublicURL  string `toml:"public_url"`
	Zone       string `toml:"zone"`
	Dir        string `toml:"dir"`
	ReserveMiB int64  `toml:"reserve_mib"`
}

// volumeService is Cinder's API, and the iSCSI target.
func volumeService() service {
	return service{
		role: "volume", help: "Cinder v3", health: "/healthcheck", try: "openstack volume create --size 1 v1",
		port: func(p *portsConfig) *int { return &p.Volume },
		url:  func(c *config) string { return publicURL(c, c.Volume.PublicURL, c.Ports.Volume) },
		catalog: func(url string) []identity.BootstrapService {
			url += "/v3/%(project_id)s"
			return []identity.BootstrapService{same("volumev3", "cinderv3", "OpenStack Block Storage", url), same("block-storage", "cinder", "OpenStack Block Storage", url)}
		},
		start: startVolumes,
	}
}

// volumesDir is where a peer's volumes lie.
func (c *config) volumesDir() string {
	if c.Volume.Dir != "" {
		return c.Volume.Dir
	}
	return filepath.Join(c.DataDir, "volumes")
}

func startVolumes(p *peer, life context.Context) (http.Handler, error) {
	images := p.images
	if images == nil {
		var err error
		if images, err = p.openImages(); err != nil {
			return nil, err
		}
	}
	portal := hostPort(p.cfg.Address, p.cfg.Ports.ISCSI)
	ln, err := net.Listen("tcp", portal)
	if err != nil {
		return nil, fmt.Errorf("the iSCSI port: %w", err)
	}
	target := iscsi.NewServer(iscsi.Config{Log: p.logger, Portals: []string{portal}})
	v := volumeService()
	volumes, err := volumed.New(volumed.Config{
		Store: p.node.State(), Tokens: p.identity.Tokens(), Clock: clock.System{}, Logger: p.logger, Peer: p.node.ID(), Zone: p.cfg.Volume.Zone, Portal: portal,
		Dir: p.cfg.volumesDir(), ReserveBytes: p.cfg.Volume.ReserveMiB << 20, Targets: volumed.Targets{Server: target}, Alive: p.node.Alive, IdentityURL: p.cfg.identityURL(),
		Images:    volumeImages{images},
		Grown:     p.volumeGrown,
		PublicURL: func(*http.Request) string { return v.url(&p.cfg) },
	})
	if err != nil {
		ln.Close()
		return nil, err
	}
	p.run(life, "iSCSI", func(context.Context) error { return target.Serve(ln) })
	p.run(life, "volumes", func(ctx context.Context) error {
		defer target.Close()
		return volumes.Run(ctx)
	})
	return volumes.Handler(), nil
}
