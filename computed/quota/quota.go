// Package quota counts what projects have of compute, and what they may have. The rules are read in the transaction that makes something, so that two requests cannot both take the last place.
package quota

import (
	"maps"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/internal/errs"
)

// Standard is Nova's; -1 is no limit.
var Standard = map[string]int{"instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "key_pairs": 100, "server_groups": 10, "server_group_members": 10,
	"injected_files": 0, "injected_file_content_bytes": 0, "injected_file_path_bytes": 0, "floating_ips": -1, "fixed_ips": -1, "security_groups": -1, "security_group_rules": -1}

// DefaultClass is the row of the defaults that were changed, beside those of projects. (No project has such an id.)
const DefaultClass = "class:default"

// Of are the limits of a project.
func Of(r state.Reader, project string) (map[string]int, error) {
	limits, err := Defaults(r)
	if err != nil {
		return nil, err
	}
	own, _, err := model.Optional(model.Quotas.Get(r, project))
	maps.Copy(limits, own.Limits)
	return limits, err
}

// Defaults are the limits of a project for which nothing else was set.
func Defaults(r state.Reader) (map[string]int, error) {
	limits := maps.Clone(Standard)
	changed, _, err := model.Optional(model.Quotas.Get(r, DefaultClass))
	maps.Copy(limits, changed.Limits)
	return limits, err
}

// Over tells whether a limit does not allow a number.
func Over(limit, n int) bool { return limit >= 0 && n > limit }

// Usage is what a project has of what quotas count.
type Usage struct{ Instances, Cores, RAM int }

// UsageOf counts it.
func UsageOf(r state.Reader, project string) (Usage, error) {
	var u Usage
	for s, err := range model.Servers.Where(r, "project", project) {
		if err != nil {
			return u, err
		}
		u.Instances++
		u.Cores += s.Flavor.VCPUs
		u.RAM += s.Flavor.RAMMiB
	}
	return u, nil
}

// Check refuses n more servers of a flavor that the project has no room for.
func Check(r state.Reader, project string, f model.Flavor, n int) error {
	limits, err := Of(r, project)
	if err != nil {
		return err
	}
	used, err := UsageOf(r, project)
	if err != nil {
		return err
	}
	for _, q := range []struct {
		name       string
		used, want int
	}{{"instances", used.Instances, n}, {"cores", used.Cores, n * f.VCPUs}, {"ram", used.RAM, n * f.RAMMiB}} {
		if Over(limits[q.name], q.used+q.want) {
			return errs.New(errs.Quota, "Quota exceeded for %s: Requested %d, but already used %d of %d %s", q.name, q.want, q.used, limits[q.name], q.name)
		}
	}
	return nil
}
