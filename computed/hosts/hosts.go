// Package hosts reads what the state knows of the peers that run guests: which there are, in which zones, and what their servers take of them.
package hosts

import (
	"cmp"

	"henge/cluster/state"
	"henge/computed/fields"
	"henge/computed/model"
	"henge/internal/errs"
)

// All are all peers that run guests, by id; a host's number is its place, for the microversions before 2.53.
func All(r state.Reader) ([]model.Host, error) {
	var all []model.Host
	for h, err := range model.Hosts.All(r) {
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// Named finds one by its name.
func Named(r state.Reader, name string) (model.Host, error) {
	for h, err := range model.Hosts.All(r) {
		if err != nil || h.Name == name {
			return h, err
		}
	}
	return model.Host{}, errs.New(errs.NotFound, "Compute host %s could not be found.", fields.Shorten(name))
}

// Zone is the zone that a host shows: that of its aggregate, or its own.
func Zone(r state.Reader, h model.Host) (string, error) {
	zones, err := Zones(r)
	return cmp.Or(zones[h.Name], h.Zone), err
}

// Zones are the zones that hosts have by their aggregates, by the host's name.
func Zones(r state.Reader) (map[string]string, error) {
	zones := map[string]string{}
	for a, err := range model.Aggregates.All(r) {
		if err != nil {
			return nil, err
		}
		for _, name := range a.Hosts {
			if zones[name] == "" {
				zones[name] = a.Zone
			}
		}
	}
	return zones, nil
}

// Load is what servers take.
type Load struct{ Servers, VCPUs, RAMMiB, DiskGiB int }

func (l *Load) add(s *model.Server) {
	l.Servers++
	l.VCPUs += s.Flavor.VCPUs
	l.RAMMiB += s.Flavor.RAMMiB
	l.DiskGiB += s.Flavor.DiskGiB
}

// LoadOf is what the servers of a host take, and which they are.
func LoadOf(r state.Reader, hostID string) (Load, []model.Server, error) {
	var l Load
	var on []model.Server
	for s, err := range model.Servers.Where(r, "host", hostID) {
		if err != nil {
			return l, nil, err
		}
		l.add(&s)
		on = append(on, s)
	}
	return l, on, nil
}

// Resources are the lines of Nova's os-hosts: what a host has, what is used of it, and what each project has there.
func Resources(r state.Reader, h model.Host) ([]map[string]any, error) {
	docs := []map[string]any{}
	line := func(project string, l Load) {
		docs = append(docs, map[string]any{"resource": map[string]any{"host": h.Name, "project": project, "cpu": l.VCPUs, "memory_mb": l.RAMMiB, "disk_gb": l.DiskGiB}})
	}
	all, on, err := LoadOf(r, h.ID)
	line("(total)", Load{VCPUs: h.VCPUs, RAMMiB: h.MemoryMiB, DiskGiB: h.DiskGiB})
	line("(used_now)", all)
	line("(used_max)", all)
	projects, order := map[string]Load{}, []string{}
	for i := range on {
		l, known := projects[on[i].ProjectID]
		if !known {
			order = append(order, on[i].ProjectID)
		}
		l.add(&on[i])
		projects[on[i].ProjectID] = l
	}
	for _, id := range order {
		line(id, projects[id])
	}
	return docs, err
}
