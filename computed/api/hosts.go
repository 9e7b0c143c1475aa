package api

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/computed/hosts"
	"henge/computed/listing"
	"henge/computed/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) up(h model.Host) bool { return !h.ForcedDown && h.Problem == "" && c.Alive(h.ID) }

func upWord(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func enabledWord(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func (c *call) serviceDocument(r state.Reader, number int, h model.Host) (document, error) {
	zone, err := hosts.Zone(r, h)
	if err != nil {
		return nil, err
	}
	d := document{"id": any(number), "binary": "nova-compute", "host": h.Name, "zone": zone, "status": enabledWord(h.Disabled), "state": upWord(c.up(h)),
		"updated_at": micros(h.Seen), "disabled_reason": orNull(h.DisabledReason)}
	if h.DisabledReason == "" && h.Problem != "" {
		d["disabled_reason"] = h.Problem
	}
	if c.at(11) {
		d["forced_down"] = h.ForcedDown
	}
	if c.at(53) {
		d["id"] = h.UUID
	}
	return d, nil
}

func listServices(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	docs := []document{}
	err := c.view(func(r state.Reader) error {
		all, err := hosts.All(r)
		if err != nil {
			return err
		}
		for i, h := range all {
			if b := query.Get("binary"); b != "" && b != "nova-compute" || query.Get("host") != "" && query.Get("host") != h.Name {
				continue
			}
			d, err := c.serviceDocument(r, i+1, h)
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
	return c.json(http.StatusOK, document{"services": docs})
}

// updateService handles both forms: PUT /os-services/{uuid} since 2.53, and PUT /os-services/enable, disable, disable-log-reason, force-down before.
func updateService(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	name, binary, status, reason := "", "nova-compute", "", ""
	forced := false
	hasForced := f.Has("forced_down")
	f.Text("host", &name, openstack.Text{})
	f.Text("binary", &binary, openstack.Text{})
	f.Text("status", &status, openstack.Text{OneOf: []string{"enabled", "disabled"}})
	f.Text("disabled_reason", &reason, openstack.Text{})
	takeBool(f, "forced_down", &forced)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	what := c.path("id")
	switch {
	case c.at(53):
	case what == "enable":
		status = "enabled"
	case what == "disable", what == "disable-log-reason":
		status = "disabled"
	case what == "force-down":
		hasForced = true
	default:
		return errs.New(errs.NotFound, "The resource could not be found.")
	}
	var doc document
	err = c.update(func(w state.Writer) error {
		all, err := hosts.All(w)
		if err != nil {
			return err
		}
		for i, h := range all {
			if c.at(53) && h.UUID != what || !c.at(53) && (h.Name != name || binary != "nova-compute") {
				continue
			}
			if status != "" {
				h.Disabled, h.DisabledReason = status == "disabled", reason
			}
			if hasForced {
				h.ForcedDown = forced
			}
			if err := model.Hosts.Put(w, h.ID, h); err != nil {
				return err
			}
			if err := c.Scheduler.Report(w, h); err != nil {
				return err
			}
			doc, err = c.serviceDocument(w, i+1, h)
			return err
		}
		return errs.New(errs.NotFound, "Could not find binary %s on host %s.", binary, shorten(name+strings.TrimPrefix(what, "force-down")))
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"service": doc})
}

// deleteService forgets a host that is down and has no servers.
func deleteService(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		all, err := hosts.All(w)
		if err != nil {
			return err
		}
		for i, h := range all {
			if c.path("id") != h.UUID && c.path("id") != strconv.Itoa(i+1) {
				continue
			}
			for range model.Servers.Where(w, "host", h.ID) {
				return errs.New(errs.Conflict, "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.")
			}
			if c.up(h) {
				return errs.New(errs.Conflict, "Unable to delete the compute service on %s: it is up.", h.Name)
			}
			return model.Hosts.Delete(w, h.ID)
		}
		return errs.New(errs.NotFound, "Service %s could not be found.", shorten(c.path("id")))
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func (c *call) hypervisorID(number int, h model.Host) any {
	if c.at(53) {
		return h.UUID
	}
	return number
}

func (c *call) shortHypervisor(number int, h model.Host) document {
	return document{"id": c.hypervisorID(number, h), "hypervisor_hostname": h.Name, "state": upWord(c.up(h)), "status": enabledWord(h.Disabled)}
}

func (c *call) hypervisorDocument(r state.Reader, number int, h model.Host) (document, error) {
	l, on, err := hosts.LoadOf(r, h.ID)
	if err != nil {
		return nil, err
	}
	d := c.shortHypervisor(number, h)
	d["hypervisor_type"], d["hypervisor_version"], d["host_ip"] = h.Hypervisor, h.Version, h.Address
	if ip := net.ParseIP(h.Address); ip == nil {
		d["host_ip"] = nil
	}
	service := document{"host": h.Name, "id": c.hypervisorID(number, h), "disabled_reason": orNull(h.DisabledReason)}
	d["service"] = service
	if c.at(88) {
		d["uptime"], d["servers"] = orNull(c.uptime(h)), c.serversOn(on)
		return d, nil
	}
	if c.at(53) && isTrue(c.r.URL.Query().Get("with_servers")) {
		d["servers"] = c.serversOn(on)
	}
	info := document{"arch": h.Arch, "model": h.CPUModel, "vendor": "", "features": []string{}, "topology": document{"cores": h.VCPUs, "sockets": 1, "threads": 1}}
	d["cpu_info"] = any(info)
	if !c.at(28) {
		d["cpu_info"] = jsonDocument(info)
	}
	d["vcpus"], d["vcpus_used"], d["memory_mb"], d["memory_mb_used"], d["free_ram_mb"] = h.VCPUs, l.VCPUs, h.MemoryMiB, l.RAMMiB, h.MemoryMiB-l.RAMMiB
	d["local_gb"], d["local_gb_used"], d["free_disk_gb"], d["disk_available_least"] = h.DiskGiB, l.DiskGiB, h.DiskGiB-l.DiskGiB, h.DiskFreeGiB
	d["running_vms"], d["current_workload"] = l.Servers, 0
	return d, nil
}

func (c *call) serversOn(on []model.Server) []document {
	docs := []document{}
	for _, s := range on {
		docs = append(docs, document{"uuid": s.ID, "name": domainName(s.ID)})
	}
	return docs
}

func listHypervisors(c *call) error { return listHypervisorsAs(c, "os-hypervisors", false) }

func listHypervisorsDetail(c *call) error {
	return listHypervisorsAs(c, "os-hypervisors/detail", true)
}

func listHypervisorsAs(c *call, path string, detailed bool) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	p := page{Limit: 1 << 30}
	if c.at(33) {
		var err error
		if p, err = parsePage(query); err != nil {
			return err
		}
	}
	docs := []document{}
	err := c.view(func(r state.Reader) error {
		all, err := hosts.All(r)
		if err != nil {
			return err
		}
		for i, h := range all {
			if pattern := query.Get("hypervisor_hostname_pattern"); pattern != "" && !strings.Contains(h.Name, pattern) {
				continue
			}
			d := c.shortHypervisor(i+1, h)
			if detailed {
				if d, err = c.hypervisorDocument(r, i+1, h); err != nil {
					return err
				}
			}
			docs = append(docs, d)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if pattern := query.Get("hypervisor_hostname_pattern"); pattern != "" && len(docs) == 0 {
		return errs.New(errs.NotFound, "No hypervisor matching '%s' could be found.", shorten(pattern))
	}
	id := func(d document) string { return fmt.Sprint(d["id"]) }
	rows, more, err := listing.Cut(p, docs, id)
	if err != nil {
		return err
	}
	answer := document{"hypervisors": rows}
	if more {
		c.addNext(answer, "hypervisors", id(rows[len(rows)-1]), path)
	}
	return c.json(http.StatusOK, answer)
}

// findHypervisor finds a host by its id or number.
func (c *call) findHypervisor(r state.Reader, id string) (model.Host, int, error) {
	all, err := hosts.All(r)
	if err != nil {
		return model.Host{}, 0, err
	}
	for i, h := range all {
		if h.UUID == id || !c.at(53) && strconv.Itoa(i+1) == id {
			return h, i + 1, nil
		}
	}
	return model.Host{}, 0, errs.New(errs.NotFound, "Hypervisor with ID '%s' could not be found.", shorten(id))
}

func showHypervisor(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	var d document
	err := c.view(func(r state.Reader) error {
		h, number, err := c.findHypervisor(r, c.path("id"))
		if err != nil {
			return err
		}
		d, err = c.hypervisorDocument(r, number, h)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"hypervisor": d})
}

// hypervisorBy serves the older forms: /os-hypervisors/{pattern}/search, /servers, and /{id}/uptime.
func hypervisorBy(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	what := c.path("what")
	if what == "uptime" {
		return hypervisorUptime(c)
	}
	if what != "search" && what != "servers" {
		return errs.New(errs.NotFound, "The resource could not be found.")
	}
	if err := c.goneSince(53); err != nil {
		return err
	}
	docs := []document{}
	err := c.view(func(r state.Reader) error {
		all, err := hosts.All(r)
		if err != nil {
			return err
		}
		for i, h := range all {
			if !strings.Contains(h.Name, c.path("id")) {
				continue
			}
			d := c.shortHypervisor(i+1, h)
			if what == "servers" {
				_, on, err := hosts.LoadOf(r, h.ID)
				if err != nil {
					return err
				}
				d["servers"] = c.serversOn(on)
			}
			docs = append(docs, d)
		}
		return nil
	})
	if err == nil && len(docs) == 0 {
		err = errs.New(errs.NotFound, "No hypervisor matching '%s' could be found.", shorten(c.path("id")))
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"hypervisors": docs})
}

func hypervisorStatistics(c *call) error {
	if err := c.goneSince(88); err != nil {
		return err
	}
	if err := c.adminOnly(); err != nil {
		return err
	}
	sum := map[string]int{}
	err := c.view(func(r state.Reader) error {
		all, err := hosts.All(r)
		if err != nil {
			return err
		}
		for _, h := range all {
			l, _, err := hosts.LoadOf(r, h.ID)
			if err != nil {
				return err
			}
			for name, n := range map[string]int{"count": 1, "vcpus": h.VCPUs, "vcpus_used": l.VCPUs, "memory_mb": h.MemoryMiB, "memory_mb_used": l.RAMMiB, "free_ram_mb": h.MemoryMiB - l.RAMMiB,
				"local_gb": h.DiskGiB, "local_gb_used": l.DiskGiB, "free_disk_gb": h.DiskGiB - l.DiskGiB, "disk_available_least": h.DiskFreeGiB, "running_vms": l.Servers, "current_workload": 0} {
				sum[name] += n
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"hypervisor_statistics": sum})
}

func listZones(c *call) error       { return zones(c, false) }
func listZonesDetail(c *call) error { return zones(c, true) }

func zones(c *call, detailed bool) error {
	if detailed {
		if err := c.adminOnly(); err != nil {
			return err
		}
	}
	docs := []document{}
	err := c.view(func(r state.Reader) error {
		all, err := hosts.All(r)
		if err != nil {
			return err
		}
		at := map[string]int{}
		for _, h := range all {
			zone, err := hosts.Zone(r, h)
			if err != nil {
				return err
			}
			i, there := at[zone]
			if !there {
				i = len(docs)
				at[zone] = i
				docs = append(docs, document{"zoneName": zone, "zoneState": document{"available": false}, "hosts": any(nil)})
			}
			up := c.up(h)
			if up && !h.Disabled {
				docs[i]["zoneState"] = document{"available": true}
			}
			if detailed {
				on, _ := docs[i]["hosts"].(document)
				if on == nil {
					on = document{}
				}
				on[h.Name] = document{"nova-compute": document{"available": up, "active": !h.Disabled, "updated_at": micros(h.Seen)}}
				docs[i]["hosts"] = on
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"availabilityZoneInfo": docs})
}

// listMigrations is empty: no server moves between hosts yet.
func listMigrations(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"migrations": []any{}})
}
