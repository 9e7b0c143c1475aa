package model

import (
	"maps"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
)

// The resources that quotas count.
const (
	CountVolumes   = "volumes"
	CountSnapshots = "snapshots"
	CountGigabytes = "gigabytes"
	perVolume      = "per_volume_gigabytes"
	DefaultClass   = "default"
	Unlimited      = -1
)

// builtIn are Cinder's defaults.
var builtIn = map[string]int64{
	CountVolumes: 10, CountSnapshots: 10, CountGigabytes: 1000, perVolume: Unlimited, "backups": 10, "backup_gigabytes": 1000, "groups": 10,
}

// Resources names what quotas can be set for, those of each type included.
func Resources(r state.Reader) ([]string, error) {
	names := slices.Collect(maps.Keys(builtIn))
	for t, err := range Types.All(r) {
		if err != nil {
			return nil, err
		}
		for _, count := range []string{CountVolumes, CountSnapshots, CountGigabytes} {
			names = append(names, count+"_"+t.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// ClassLimits are what a class grants.
func ClassLimits(r state.Reader, class string) (map[string]int64, error) {
	names, err := Resources(r)
	if err != nil {
		return nil, err
	}
	limits := map[string]int64{}
	for _, name := range names {
		limits[name] = Unlimited
		if n, ok := builtIn[name]; ok {
			limits[name] = n
		}
	}
	row, _, err := Optional(Classes.Get(r, class))
	for name, n := range row.Limits {
		if _, known := limits[name]; known {
			limits[name] = n
		}
	}
	return limits, err
}

// Limits are what a project may use.
func Limits(r state.Reader, projectID string) (map[string]int64, error) {
	limits, err := ClassLimits(r, DefaultClass)
	if err != nil {
		return nil, err
	}
	row, _, err := Optional(Quotas.Get(r, projectID))
	for name, n := range row.Limits {
		if _, known := limits[name]; known {
			limits[name] = n
		}
	}
	return limits, err
}

// Usage is what a project uses.
func Usage(r state.Reader, projectID string) (map[string]int64, error) {
	names := map[string]string{}
	for t, err := range Types.All(r) {
		if err != nil {
			return nil, err
		}
		names[t.ID] = t.Name
	}
	used := map[string]int64{}
	add := func(what, typeID string, gib int64) {
		for resource, n := range map[string]int64{what: 1, CountGigabytes: gib} {
			used[resource] += n
			if name := names[typeID]; name != "" {
				used[resource+"_"+name] += n
			}
		}
	}
	for v, err := range Volumes.Where(r, "project", projectID) {
		if err != nil {
			return nil, err
		}
		add(CountVolumes, v.TypeID, v.GiB)
	}
	for s, err := range Snapshots.Where(r, "project", projectID) {
		if err != nil {
			return nil, err
		}
		add(CountSnapshots, s.TypeID, s.GiB)
	}
	return used, nil
}

// Claim is what a request is about to use. Nothing is written: the rows that it makes are the count.
type Claim struct {
	ProjectID, TypeID  string
	Volumes, Snapshots int64
	GiB                int64
	VolumeGiB          int64 // the size that a volume will have, 0 when none changes
	Retyped            int64 // the size of a volume that changes to the type: only the type's own quotas count it
}

// Check tells whether a claim fits.
func Check(r state.Reader, c Claim) error {
	limits, err := Limits(r, c.ProjectID)
	if err != nil {
		return err
	}
	used, err := Usage(r, c.ProjectID)
	if err != nil {
		return err
	}
	if most := limits[perVolume]; most >= 0 && c.VolumeGiB > most {
		return errs.New(errs.TooLarge, "VolumeSizeExceedsLimit: Requested volume size %dG is larger than maximum allowed limit %dG.", c.VolumeGiB, most)
	}
	claims := map[string]int64{CountVolumes: c.Volumes, CountSnapshots: c.Snapshots, CountGigabytes: c.GiB}
	if c.TypeID != "" {
		t, err := Types.Get(r, c.TypeID)
		if err != nil {
			return err
		}
		for what, n := range maps.Clone(claims) {
			claims[what+"_"+t.Name] = n
		}
		if c.Retyped > 0 {
			claims[CountVolumes+"_"+t.Name], claims[CountGigabytes+"_"+t.Name] = 1, c.Retyped
		}
	}
	for _, what := range slices.Sorted(maps.Keys(claims)) {
		if n, most := claims[what], limits[what]; n > 0 && most >= 0 && used[what]+n > most {
			return over(what, n, used[what], most)
		}
	}
	return nil
}

func over(what string, n, used, most int64) error {
	switch {
	case strings.HasPrefix(what, CountGigabytes):
		return errs.New(errs.TooLarge, "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed %s quota. Requested %dG, quota is %dG and %dG has been consumed.",
			what, n, most, used)
	case strings.HasPrefix(what, CountSnapshots):
		return errs.New(errs.TooLarge, "SnapshotLimitExceeded: Maximum number of snapshots allowed (%d) exceeded for quota '%s'.", most, what)
	default:
		return errs.New(errs.TooLarge, "VolumeLimitExceeded: Maximum number of volumes allowed (%d) exceeded for quota '%s'.", most, what)
	}
}
