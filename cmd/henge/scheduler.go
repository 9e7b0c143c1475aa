package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"henge/identity"
	"henge/internal/errs"
	"henge/scheduler"
)

// placingConfig is the [scheduler] section.
type placingConfig struct {
	PublicURL       string   `toml:"public_url"`
	Filters         []string `toml:"filters"`
	Weighers        []string `toml:"weighers"`
	SubsetSize      int      `toml:"host_subset_size"`
	CPURatio        float64  `toml:"cpu_allocation_ratio"`
	RAMRatio        float64  `toml:"ram_allocation_ratio"`
	DiskRatio       float64  `toml:"disk_allocation_ratio"`
	ReservedCPUs    int64    `toml:"reserved_host_cpus"`
	ReservedRAMMiB  int64    `toml:"reserved_host_memory_mib"`
	ReservedDiskGiB int64    `toml:"reserved_host_disk_gib"`
}

// placementService is the Placement API.
var placementService = service{
	role: "scheduler", help: "Placement", health: "/healthcheck", try: "openstack resource provider list",
	port: func(p *portsConfig) *int { return &p.Placing },
	url:  func(c *config) string { return publicURL(c, c.Placing.PublicURL, c.Ports.Placing) },
	catalog: func(url string) []identity.BootstrapService {
		return []identity.BootstrapService{same("placement", "placement", "OpenStack Placement", url)}
	},
	start: startScheduler,
}

func startScheduler(p *peer, life context.Context) (http.Handler, error) {
	s, err := newScheduler(p)
	if err != nil {
		return nil, err
	}
	p.placing = s
	p.run(life, "scheduler", s.Run)
	return s.Handler(), nil
}

func newScheduler(p *peer) (*scheduler.Service, error) {
	c := p.cfg.Placing
	weighers, err := weigherChoices(c.Weighers)
	if err != nil {
		return nil, err
	}
	return scheduler.New(scheduler.Config{
		Store: p.node.State(), Tokens: p.identity.Tokens(), Logger: p.logger, Alive: p.node.Alive, IdentityURL: p.cfg.identityURL(),
		Chain: scheduler.ChainConfig{Filters: c.Filters, Weighers: weighers, SubsetSize: c.SubsetSize, Random: rand.IntN},
		Ratios: scheduler.Ratios{CPU: c.CPURatio, RAM: c.RAMRatio, Disk: c.DiskRatio,
			ReservedVCPUs: c.ReservedCPUs, ReservedRAMMiB: c.ReservedRAMMiB, ReservedDiskGiB: c.ReservedDiskGiB},
	})
}

// weigherChoices reads "RAM=1.0".
func weigherChoices(lines []string) ([]scheduler.WeigherChoice, error) {
	var all []scheduler.WeigherChoice
	for _, line := range lines {
		name, text, ok := strings.Cut(line, "=")
		multiplier := 1.0
		if ok {
			var err error
			if multiplier, err = strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil {
				return nil, errs.New(errs.Invalid, "%s", fmt.Sprintf("scheduler.weighers: %q has no number as its multiplier", line))
			}
		}
		all = append(all, scheduler.WeigherChoice{Name: strings.TrimSpace(name), Multiplier: multiplier})
	}
	return all, nil
}
