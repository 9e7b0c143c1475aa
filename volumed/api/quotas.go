package api

import (
	"net/http"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

// quotaDocument is a set of limits, with what is used when asked for.
func quotaDocument(id string, limits, used map[string]int64) document {
	d := document{}
	if id != "" {
		d["id"] = id
	}
	for name, n := range limits {
		if used == nil {
			d[name] = n
			continue
		}
		d[name] = document{"limit": n, "in_use": used[name], "reserved": 0, "allocated": 0}
	}
	return d
}

func showQuota(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	project := c.path("target")
	if !c.owns(project) {
		return errs.New(errs.Denied, "Policy doesn't allow volume_extension:quotas:show to be performed for another project.")
	}
	usage := isTrue(c.r.URL.Query().Get("usage"))
	var limits, used map[string]int64
	err := c.view(func(r state.Reader) (err error) {
		if limits, err = model.Limits(r, project); err == nil && usage {
			used, err = model.Usage(r, project)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"quota_set": quotaDocument(project, limits, used)})
}

func showQuotaDefaults(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	return c.showClass("quota_set", c.path("target"), model.DefaultClass)
}

func (c *call) showClass(wrapper, id, class string) error {
	var limits map[string]int64
	err := c.view(func(r state.Reader) (err error) {
		limits, err = model.ClassLimits(r, class)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{wrapper: quotaDocument(id, limits, nil)})
}

func showQuotaClass(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	return c.showClass("quota_class_set", c.path("class"), c.path("class"))
}

// readQuota takes the limits out of a body.
func readQuota(f *openstack.Fields, known []string) (map[string]int64, error) {
	f.Drop("tenant_id", "id", "class_name", "skip_validation")
	given := map[string]int64{}
	for _, name := range known {
		if !f.Has(name) {
			continue
		}
		var n int64
		if integer(f, name, &n); n < model.Unlimited || n > 1<<31-1 {
			f.Fail(name, "%d is less than -1 or more than 2147483647", n)
		}
		given[name] = n
	}
	f.None()
	if f.Err() == nil && len(given) == 0 {
		f.Fail("", "give at least one quota")
	}
	return given, f.Err()
}

func updateQuota(c *call) error {
	return c.updateQuotaRow("quota_set", model.Quotas, c.path("target"))
}

func updateQuotaClass(c *call) error {
	return c.updateQuotaRow("quota_class_set", model.Classes, c.path("class"))
}

func (c *call) updateQuotaRow(wrapper string, table state.Table[model.Quota], id string) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body(wrapper)
	if err != nil {
		return err
	}
	var known []string
	if err := c.view(func(r state.Reader) (err error) { known, err = model.Resources(r); return err }); err != nil {
		return err
	}
	given, err := readQuota(f, known)
	if err != nil {
		return err
	}
	var limits map[string]int64
	err = c.update(func(w state.Writer) error {
		row, _, err := model.Optional(table.Get(w, id))
		if err != nil {
			return err
		}
		merged := map[string]int64{}
		for _, from := range []map[string]int64{row.Limits, given} {
			for name, n := range from {
				merged[name] = n
			}
		}
		if err := table.Put(w, id, model.Quota{ID: id, Limits: merged}); err != nil {
			return err
		}
		if wrapper == "quota_set" {
			limits, err = model.Limits(w, id)
		} else {
			limits, err = model.ClassLimits(w, id)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{wrapper: quotaDocument("", limits, nil)})
}

func deleteQuota(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		_, there, err := model.Optional(model.Quotas.Get(w, c.path("target")))
		if err != nil || !there {
			return err
		}
		return model.Quotas.Delete(w, c.path("target"))
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusOK)
}

// limitNames are the quotas that /limits tells of, by its words.
var limitNames = map[string]string{
	"maxTotalVolumes": "volumes", "maxTotalSnapshots": "snapshots", "maxTotalVolumeGigabytes": "gigabytes", "maxTotalBackups": "backups",
	"maxTotalBackupGigabytes": "backup_gigabytes",
}

var usedNames = map[string]string{
	"totalVolumesUsed": "volumes", "totalSnapshotsUsed": "snapshots", "totalGigabytesUsed": "gigabytes", "totalBackupsUsed": "backups",
	"totalBackupGigabytesUsed": "backup_gigabytes",
}

func showLimits(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	project := c.who.ProjectID
	if p := c.r.URL.Query().Get("project_id"); p != "" && c.isAdmin() && c.version >= 39 {
		project = p
	} else if p := c.r.URL.Query().Get("tenant_id"); p != "" && c.isAdmin() {
		project = p
	}
	absolute := map[string]int64{}
	err := c.view(func(r state.Reader) error {
		limits, err := model.Limits(r, project)
		if err != nil {
			return err
		}
		used, err := model.Usage(r, project)
		for shown, name := range limitNames {
			absolute[shown] = limits[name]
		}
		for shown, name := range usedNames {
			absolute[shown] = used[name]
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"limits": document{"rate": []any{}, "absolute": absolute}})
}
