package api

import (
	"net/http"
	"time"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/quota"
	"henge/internal/errs"
)

// quotaNames are the ones that a microversion shows.
func (c *call) quotaNames() []string {
	names := []string{"instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members"}
	if !c.at(57) {
		names = append(names, "injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
	}
	if !c.at(36) {
		names = append(names, "floating_ips", "fixed_ips", "security_groups", "security_group_rules")
	}
	return names
}

func showLimits(c *call) error {
	if c.who.ProjectID == "" {
		return c.denied()
	}
	project := c.who.ProjectID
	if asked := c.r.URL.Query().Get("tenant_id"); asked != "" && asked != project {
		if err := c.adminOnly(); err != nil {
			return err
		}
		project = asked
	}
	var limits map[string]int
	var used quota.Usage
	groups := 0
	err := c.view(func(r state.Reader) (err error) {
		if limits, err = quota.Of(r, project); err != nil {
			return err
		}
		for _, err := range model.Groups.Where(r, "project", project) {
			if err != nil {
				return err
			}
			groups++
		}
		used, err = quota.UsageOf(r, project)
		return err
	})
	if err != nil {
		return err
	}
	absolute := document{"maxTotalInstances": limits["instances"], "maxTotalCores": limits["cores"], "maxTotalRAMSize": limits["ram"], "maxServerMeta": limits["metadata_items"],
		"maxTotalKeypairs": limits["key_pairs"], "maxServerGroups": limits["server_groups"], "maxServerGroupMembers": limits["server_group_members"],
		"totalInstancesUsed": used.Instances, "totalCoresUsed": used.Cores, "totalRAMUsed": used.RAM, "totalServerGroupsUsed": groups}
	if !c.at(36) {
		absolute["maxTotalFloatingIps"], absolute["totalFloatingIpsUsed"] = limits["floating_ips"], 0
		absolute["maxSecurityGroups"], absolute["maxSecurityGroupRules"], absolute["totalSecurityGroupsUsed"] = limits["security_groups"], limits["security_group_rules"], 0
	}
	if !c.at(39) {
		absolute["maxImageMeta"] = limits["metadata_items"]
	}
	if !c.at(57) {
		absolute["maxPersonality"], absolute["maxPersonalitySize"] = 0, 0
	}
	return c.json(http.StatusOK, document{"limits": document{"rate": []any{}, "absolute": absolute}})
}

func (c *call) quotaDocument(project string, limits map[string]int) document {
	d := document{}
	if project != "" {
		d["id"] = project
	}
	for _, name := range c.quotaNames() {
		d[name] = limits[name]
	}
	return d
}

func (c *call) mayReadQuota(project string) error {
	if c.admin() || project == c.who.ProjectID {
		return nil
	}
	return c.denied()
}

func showQuota(c *call) error {
	project := c.path("project")
	if err := c.mayReadQuota(project); err != nil {
		return err
	}
	var limits map[string]int
	if err := c.view(func(r state.Reader) (err error) { limits, err = quota.Of(r, project); return err }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota_set": c.quotaDocument(project, limits)})
}

func defaultQuota(c *call) error {
	return c.json(http.StatusOK, document{"quota_set": c.quotaDocument(c.path("project"), quota.Standard)})
}

func quotaClass(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota_class_set": c.quotaDocument(c.path("class"), quota.Standard)})
}

func detailQuota(c *call) error {
	project := c.path("project")
	if err := c.mayReadQuota(project); err != nil {
		return err
	}
	var limits map[string]int
	var used quota.Usage
	err := c.view(func(r state.Reader) (err error) {
		if limits, err = quota.Of(r, project); err != nil {
			return err
		}
		used, err = quota.UsageOf(r, project)
		return err
	})
	if err != nil {
		return err
	}
	in := map[string]int{"instances": used.Instances, "cores": used.Cores, "ram": used.RAM}
	d := document{"id": project}
	for _, name := range c.quotaNames() {
		d[name] = document{"limit": limits[name], "in_use": in[name], "reserved": 0}
	}
	return c.json(http.StatusOK, document{"quota_set": d})
}

func updateQuota(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	f, err := c.body("quota_set")
	if err != nil {
		return err
	}
	force := false
	takeBool(f, "force", &force)
	f.Drop("tenant_id")
	asked := map[string]int{}
	for _, name := range c.quotaNames() {
		n := 0
		if f.Has(name) {
			takeInt(f, name, &n, -1, intMax)
			asked[name] = n
		}
	}
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	project := c.path("project")
	var limits map[string]int
	err = c.update(func(w state.Writer) error {
		own, _, err := model.Optional(model.Quotas.Get(w, project))
		if err != nil {
			return err
		}
		used, err := quota.UsageOf(w, project)
		if err != nil {
			return err
		}
		in := map[string]int{"instances": used.Instances, "cores": used.Cores, "ram": used.RAM}
		merged := map[string]int{}
		for k, v := range own.Limits {
			merged[k] = v
		}
		for k, v := range asked {
			if !force && quota.Over(v, in[k]) {
				return errs.New(errs.Invalid, "Quota limit %d for %s must be greater than or equal to already used and reserved %d.", v, k, in[k])
			}
			merged[k] = v
		}
		if err := model.Quotas.Put(w, project, model.Quota{ProjectID: project, Limits: merged}); err != nil {
			return err
		}
		limits, err = quota.Of(w, project)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota_set": c.quotaDocument("", limits)})
}

func deleteQuota(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error { return model.Quotas.Delete(w, c.path("project")) })
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return c.empty(http.StatusAccepted)
}

// usageDocument counts the servers that are there now; those that are gone are not kept.
func (c *call) usageDocument(r state.Reader, project string, start, stop time.Time, detailed bool) (document, error) {
	var hours, ramHours, coreHours, diskHours float64
	servers := []document{}
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
		servers = append(servers, document{"instance_id": s.ID, "name": s.Name, "tenant_id": project, "flavor": s.Flavor.Name, "hours": h, "vcpus": s.Flavor.VCPUs,
			"memory_mb": s.Flavor.RAMMiB, "local_gb": s.Flavor.DiskGiB, "state": string(s.VM), "started_at": micros(s.Created), "ended_at": nil,
			"uptime": int(c.Clock.Now().Sub(s.Created).Seconds())})
	}
	d := document{"tenant_id": project, "start": micros(start), "stop": micros(stop), "total_hours": hours, "total_memory_mb_usage": ramHours,
		"total_vcpus_usage": coreHours, "total_local_gb_usage": diskHours}
	if detailed {
		d["server_usages"] = servers
	}
	return d, nil
}

func (c *call) usageRange() (start, stop time.Time, err error) {
	query := c.r.URL.Query()
	stop = c.Clock.Now().UTC()
	start = stop.Add(-24 * time.Hour)
	if text := query.Get("start"); text != "" {
		if start, err = parseTime("start", text); err != nil {
			return start, stop, err
		}
	}
	if text := query.Get("end"); text != "" {
		if stop, err = parseTime("end", text); err != nil {
			return start, stop, err
		}
	}
	if stop.Before(start) {
		err = errs.New(errs.Invalid, "Invalid start time. The start time cannot occur after the end time.")
	}
	return start, stop, err
}

func showUsage(c *call) error {
	if err := c.mayReadQuota(c.path("project")); err != nil {
		return err
	}
	start, stop, err := c.usageRange()
	if err != nil {
		return err
	}
	var d document
	err = c.view(func(r state.Reader) (err error) {
		d, err = c.usageDocument(r, c.path("project"), start, stop, true)
		return err
	})
	if err != nil {
		return err
	}
	if len(d["server_usages"].([]document)) == 0 {
		d = document{}
	}
	return c.json(http.StatusOK, document{"tenant_usage": d})
}

func listUsage(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	start, stop, err := c.usageRange()
	if err != nil {
		return err
	}
	docs := []document{}
	err = c.view(func(r state.Reader) error {
		projects := map[string]bool{}
		for s, err := range model.Servers.All(r) {
			if err != nil {
				return err
			}
			if projects[s.ProjectID] {
				continue
			}
			projects[s.ProjectID] = true
			d, err := c.usageDocument(r, s.ProjectID, start, stop, c.r.URL.Query().Get("detailed") == "1")
			if err != nil {
				return err
			}
			docs = append(docs, d)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"tenant_usages": docs})
}
