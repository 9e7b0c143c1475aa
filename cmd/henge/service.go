package main

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"henge/identity"
)

// service is one API that stands on the object store: all that a part adds to a peer besides its own file here is a line in services.
type service struct {
	role    string                  // who plays it serves it; also its name in logs, metrics, flags and status
	port    func(*portsConfig) *int // where it listens
	help    string                  // of its port's flag
	health  string                  // a path that answers 200 without a token
	try     string                  // a line for a client to try, after reading openrc
	url     func(c *config) string  // its root as clients see it, without a slash at the end
	catalog func(url string) []identity.BootstrapService
	// start makes the part on a peer that plays the role; its tasks are run by p.run until life ends.
	start func(p *peer, life context.Context) (http.Handler, error)
}

// parts are the services that there are.
func parts() []service {
	return []service{imageService, networkService, volumeService(), placementService, computeService}
}

// played are the services of the peer's roles.
func played(c *config) []service {
	var all []service
	for _, s := range parts() {
		if c.has(s.role) {
			all = append(all, s)
		}
	}
	return all
}

// address is where the service listens on a peer.
func (s *service) address(c *config) string { return hostPort(c.Address, *s.port(&c.Ports)) }

// catalogEntries are what the parts add to the catalog.
func catalogEntries(c *config) []identity.BootstrapService {
	var all []identity.BootstrapService
	for _, s := range played(c) {
		all = append(all, s.catalog(s.url(c))...)
	}
	return all
}

// portEntry is one port of a peer, as flags and messages name it.
type portEntry struct {
	name, help string
	port       *int
}

// entries are all ports of a peer.
func (p *portsConfig) entries() []portEntry {
	all := []portEntry{
		{"identity", "Keystone v3", &p.Identity}, {"object", "Swift and S3", &p.Object}, {"peers", "the peers among themselves", &p.Peers},
		{"gossip", "membership", &p.Gossip}, {"metrics", "metrics and health", &p.Metrics},
		{"iscsi", "iSCSI, how guests reach their volumes", &p.ISCSI},
	}
	for _, s := range parts() {
		all = append(all, portEntry{s.role, s.help, s.port(p)})
	}
	all = append(all, portEntry{metadataPort, "the guests' metadata, for a signing proxy", &p.Metadata}, portEntry{consolePort, "the guests' screens, for browsers", &p.Console})
	return all
}

// publicURL is the root of a service: what the configuration says, or the peer's own address.
func publicURL(c *config, configured string, port int) string {
	if configured != "" {
		return strings.TrimSuffix(configured, "/")
	}
	return "http://" + hostPort(c.Address, port)
}

// same is a catalog entry with one URL for all faces.
func same(kind, name, description, url string) identity.BootstrapService {
	return identity.BootstrapService{Type: kind, Name: name, Description: description, Public: url, Internal: url, Admin: url}
}

// portKey is the name of the service's port in the configuration.
func (s *service) portKey() string {
	var ports portsConfig
	want := s.port(&ports)
	v := reflect.ValueOf(&ports).Elem()
	for i := range v.NumField() {
		if v.Field(i).Addr().Interface() == any(want) {
			return v.Type().Field(i).Tag.Get("toml")
		}
	}
	panic("service " + s.role + " has a port that is not in portsConfig")
}

// withNewRoles adds the roles that did not exist when henge up wrote a peer's configuration: their ports are not in it. Roles that were there and were taken out stay out.
func withNewRoles(path string, roles []string) ([]string, error) {
	var file struct {
		Ports map[string]any `toml:"ports"`
	}
	if _, err := toml.DecodeFile(path, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range parts() {
		if _, known := file.Ports[s.portKey()]; !known && !slices.Contains(roles, s.role) {
			roles = append(roles, s.role)
		}
	}
	return roles, nil
}
