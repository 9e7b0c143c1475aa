package guests

import (
	"context"
	"slices"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/scheduler"
)

// Scheduler shows the scheduler to compute.
type Scheduler struct{ *scheduler.Service }

func (g Scheduler) Place(ctx context.Context, w state.Writer, c neighbour.Claim) (string, error) {
	r := scheduler.Request{ServerID: c.ServerID, ProjectID: c.ProjectID, VCPUs: int64(c.VCPUs), RAMMiB: int64(c.RAMMiB), DiskGiB: int64(c.DiskGiB), Zone: c.Zone, Host: c.Host, Without: c.Without,
		ExtraSpecs: c.Flavor.ExtraSpecs, Image: c.Image.Properties, SameHost: hint(c.Hints, "same_host"), DifferentHost: hint(c.Hints, "different_host")}
	if c.Group != nil {
		r.Group = &scheduler.Group{Policy: c.Group.Policy, MaxPer: c.Group.MaxPer, Members: c.Group.Members}
	}
	return g.Service.Place(ctx, w, r)
}

// hint reads a list of servers; one alone may stand without brackets.
func hint(hints map[string]any, name string) []string {
	switch v := hints[name].(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

func (g Scheduler) Report(w state.Writer, h model.Host) error {
	down := h.Problem
	switch {
	case h.Disabled:
		down = "it is disabled: " + h.DisabledReason
	case h.ForcedDown:
		down = "it was forced down"
	}
	zone := h.Zone
	for a, err := range model.Aggregates.All(w) {
		if err != nil {
			return err
		}
		if a.Zone != "" && slices.Contains(a.Hosts, h.Name) {
			zone = a.Zone
		}
	}
	return g.Service.Report(w, scheduler.Host{ID: h.ID, Name: h.Name, UUID: h.UUID, Zone: zone, Down: down, Hypervisor: h.Hypervisor, VirtType: h.VirtType, Version: h.Version, Arch: h.Arch,
		VCPUs: int64(h.VCPUs), MemoryMiB: int64(h.MemoryMiB), DiskGiB: int64(h.DiskGiB)})
}
