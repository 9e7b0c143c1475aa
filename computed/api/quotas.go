package api

import (
	"maps"
	"net/http"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/quota"
	"henge/computed/usage"
	"henge/internal/errs"
	"henge/internal/openstack"
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

// defaults are the limits of projects for which nothing else was set.
func (c *call) defaults() (limits map[string]int, err error) {
	err = c.view(func(r state.Reader) (err error) { limits, err = quota.Defaults(r); return err })
	return limits, err
}

func defaultQuota(c *call) error {
	limits, err := c.defaults()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota_set": c.quotaDocument(c.path("project"), limits)})
}

func quotaClass(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	limits, err := c.defaults()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota_class_set": c.quotaDocument(c.path("class"), limits)})
}

// takeQuotas reads limits.
func (c *call) takeQuotas(f *openstack.Fields) map[string]int {
	asked := map[string]int{}
	for _, name := range c.quotaNames() {
		n := 0
		if f.Has(name) {
			takeInt(f, name, &n, -1, intMax)
			asked[name] = n
		}
	}
	f.None()
	return asked
}

// updateQuotaClass changes the defaults. Nova keeps limits for classes of other names, and uses them for nothing: there is one class here.
func updateQuotaClass(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	if class := c.path("class"); class != "default" {
		return errs.New(errs.Invalid, "There is no quota class '%s': the one class is 'default'.", shorten(class))
	}
	f, err := c.body("quota_class_set")
	if err != nil {
		return err
	}
	asked := c.takeQuotas(f)
	if err := f.Err(); err != nil {
		return err
	}
	var limits map[string]int
	err = c.update(func(w state.Writer) (err error) {
		own, _, err := model.Optional(model.Quotas.Get(w, quota.DefaultClass))
		if err != nil {
			return err
		}
		changed := maps.Clone(own.Limits)
		if changed == nil {
			changed = map[string]int{}
		}
		maps.Copy(changed, asked)
		if err := model.Quotas.Put(w, quota.DefaultClass, model.Quota{ProjectID: quota.DefaultClass, Limits: changed}); err != nil {
			return err
		}
		limits, err = quota.Defaults(w)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota_class_set": c.quotaDocument("", limits)})
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
	asked := c.takeQuotas(f)
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

func showUsage(c *call) error {
	if err := c.mayReadQuota(c.path("project")); err != nil {
		return err
	}
	start, stop, err := usage.Range(c.r.URL.Query(), c.Clock.Now())
	if err != nil {
		return err
	}
	var d document
	err = c.view(func(r state.Reader) (err error) {
		d, err = usage.Of(r, c.path("project"), start, stop, c.Clock.Now(), true)
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
	start, stop, err := usage.Range(c.r.URL.Query(), c.Clock.Now())
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
			d, err := usage.Of(r, s.ProjectID, start, stop, c.Clock.Now(), c.r.URL.Query().Get("detailed") == "1")
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
