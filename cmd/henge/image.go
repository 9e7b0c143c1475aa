package main

import (
	"context"
	"fmt"
	"net/http"

	"henge/identity"
	"henge/imaged"
	"henge/imaged/fetch"
	"henge/imaged/library"
	"henge/internal/clock"
)

// imageConfig is the [image] section.
type imageConfig struct {
	PublicURL     string   `toml:"public_url"`
	ImageGiB      int64    `toml:"image_gib_max"`
	ProjectImages int      `toml:"project_images_max"`
	ProjectGiB    int64    `toml:"project_gib_max"`
	Download      bool     `toml:"web_download"`
	Allow         []string `toml:"web_download_allow"`
}

// imageService is Glance's API.
var imageService = service{
	role: "image", help: "Glance v2", health: "/healthcheck", try: "openstack image create --disk-format qcow2 --file disk.qcow2 disk",
	port: func(p *portsConfig) *int { return &p.Image },
	url:  func(c *config) string { return publicURL(c, c.Image.PublicURL, c.Ports.Image) },
	catalog: func(url string) []identity.BootstrapService {
		return []identity.BootstrapService{same("image", "glance", "OpenStack Image", url)}
	},
	start: startImages,
}

func startImages(p *peer, life context.Context) (http.Handler, error) {
	images, err := p.openImages()
	if err != nil {
		return nil, err
	}
	p.images = images
	p.run(life, "images", images.Run)
	return images.Handler(), nil
}

// openImages gives access to the images of the cluster; whoever plays the role also runs their upkeep.
func (p *peer) openImages() (*imaged.Service, error) {
	limits := p.cfg.Image
	var web library.Fetcher // nil as an interface when it is off
	if limits.Download {
		f, err := fetch.New(limits.Allow)
		if err != nil {
			return nil, fmt.Errorf("web_download_allow: %w", err)
		}
		web = f
	}
	return imaged.New(imaged.Config{
		Store: p.node.State(), Objects: p.core, Tokens: p.identity.Tokens(), Clock: clock.System{}, Logger: p.logger, Peer: p.node.ID(), IdentityURL: p.cfg.identityURL(),
		Fetch:  web,
		Quotas: imaged.Quotas{ImageBytes: limits.ImageGiB << 30, ProjectImages: limits.ProjectImages, ProjectBytes: limits.ProjectGiB << 30},
	})
}
