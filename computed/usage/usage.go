// Package usage counts what projects have used, for Nova's os-simple-tenant-usage.
package usage

import (
	"net/url"
	"time"

	"henge/cluster/state"
	"henge/computed/listing"
	"henge/computed/model"
	"henge/internal/errs"
)

// Of counts the servers that are there now; those that are gone are not kept.
func Of(r state.Reader, project string, start, stop, now time.Time, detailed bool) (map[string]any, error) {
	var hours, ramHours, coreHours, diskHours float64
	servers := []map[string]any{}
	for s, err := range model.Servers.Where(r, "project", project) {
		if err != nil {
			return nil, err
		}
		from := s.Created
		if from.Before(start) {
			from = start
		}
		h := max(0, stop.Sub(from).Hours())
		hours += h
		ramHours += h * float64(s.Flavor.RAMMiB)
		coreHours += h * float64(s.Flavor.VCPUs)
		diskHours += h * float64(s.Flavor.DiskGiB)
		servers = append(servers, map[string]any{"instance_id": s.ID, "name": s.Name, "tenant_id": project, "flavor": s.Flavor.Name, "hours": h, "vcpus": s.Flavor.VCPUs,
			"memory_mb": s.Flavor.RAMMiB, "local_gb": s.Flavor.DiskGiB, "state": string(s.VM), "started_at": listing.Micros(s.Created), "ended_at": nil,
			"uptime": int(now.Sub(s.Created).Seconds())})
	}
	d := map[string]any{"tenant_id": project, "start": listing.Micros(start), "stop": listing.Micros(stop), "total_hours": hours, "total_memory_mb_usage": ramHours,
		"total_vcpus_usage": coreHours, "total_local_gb_usage": diskHours}
	if detailed {
		d["server_usages"] = servers
	}
	return d, nil
}

// Range reads from when to when a usage is wanted: by default the last day.
func Range(query url.Values, now time.Time) (start, stop time.Time, err error) {
	stop = now.UTC()
	start = stop.Add(-24 * time.Hour)
	if text := query.Get("start"); text != "" {
		if start, err = listing.ParseTime("start", text); err != nil {
			return start, stop, err
		}
	}
	if text := query.Get("end"); text != "" {
		if stop, err = listing.ParseTime("end", text); err != nil {
			return start, stop, err
		}
	}
	if stop.Before(start) {
		err = errs.New(errs.Invalid, "Invalid start time. The start time cannot occur after the end time.")
	}
	return start, stop, err
}
