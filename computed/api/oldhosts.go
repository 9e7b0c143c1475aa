package api

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"henge/cluster/state"
	"henge/computed/hosts"
	"henge/computed/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// uptime is since when a host's machine is up, in the words of uptime(1); "" when that is not known, or the host is down.
func (c *call) uptime(h model.Host) string {
	if h.Booted == 0 || !c.up(h) {
		return ""
	}
	now := c.Clock.Now().UTC()
	up := now.Sub(time.Unix(h.Booted, 0))
	days := int(up.Hours()) / 24
	return fmt.Sprintf(" %s up %d days, %2d:%02d", now.Format(time.TimeOnly), days, int(up.Hours())%24, int(up.Minutes())%60)
}

// hypervisorUptime is a call of its own until 2.88.
func hypervisorUptime(c *call) error {
	if err := c.goneSince(88); err != nil {
		return err
	}
	var d document
	err := c.view(func(r state.Reader) error {
		h, number, err := c.findHypervisor(r, c.path("id"))
		if err != nil {
			return err
		}
		d = c.shortHypervisor(number, h)
		d["uptime"] = c.uptime(h)
		if d["uptime"] == "" {
			return errs.New(errs.Invalid, "Compute host %s is down: its uptime is not known.", h.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"hypervisor": d})
}

// oldHosts lets administrators have what Nova removed with 2.43.
func (c *call) oldHosts() error {
	if err := c.goneSince(43); err != nil {
		return err
	}
	return c.adminOnly()
}

func listHosts(c *call) error {
	if err := c.oldHosts(); err != nil {
		return err
	}
	docs := []document{}
	wanted := c.r.URL.Query().Get("zone")
	err := c.view(func(r state.Reader) error {
		all, err := hosts.All(r)
		if err != nil {
			return err
		}
		zones, err := hosts.Zones(r)
		for _, h := range all {
			zone := cmp.Or(zones[h.Name], h.Zone)
			if wanted == "" || wanted == zone {
				docs = append(docs, document{"host_name": h.Name, "service": "compute", "zone": zone})
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"hosts": docs})
}

func showHost(c *call) error {
	if err := c.oldHosts(); err != nil {
		return err
	}
	var docs []document
	err := c.view(func(r state.Reader) error {
		h, err := hosts.Named(r, c.path("name"))
		if err == nil {
			docs, err = hosts.Resources(r, h)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"host": docs})
}

// updateHost switches a host on or off for new servers. Maintenance, which only some of Nova's drivers can do and libvirt's cannot, is refused as there.
func updateHost(c *call) error {
	if err := c.oldHosts(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	status, maintenance := "", ""
	words := openstack.Text{OneOf: []string{"enable", "disable"}}
	f.Text("status", &status, words)
	f.Text("maintenance_mode", &maintenance, words)
	f.None()
	if status == "" && maintenance == "" {
		f.Fail("status", "the body has 'status' or 'maintenance_mode'")
	}
	if err := f.Err(); err != nil {
		return err
	}
	var d document
	err = c.update(func(w state.Writer) error {
		h, err := hosts.Named(w, c.path("name"))
		if err != nil {
			return err
		}
		if maintenance != "" {
			return errs.New(errs.Unsupported, "Virt driver does not implement host maintenance mode.")
		}
		h.Disabled = status == "disable"
		h.DisabledReason = ""
		d = document{"host": h.Name, "status": enabledWord(h.Disabled)}
		if err := model.Hosts.Put(w, h.ID, h); err != nil {
			return err
		}
		return c.Scheduler.Report(w, h)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, d)
}

// powerHost is startup, shutdown and reboot of a host, which libvirt's driver in Nova does not do either.
func powerHost(c *call) error {
	if err := c.oldHosts(); err != nil {
		return err
	}
	action := c.path("action")
	if action != "startup" && action != "shutdown" && action != "reboot" {
		return errs.New(errs.NotFound, "The resource could not be found.")
	}
	err := c.view(func(r state.Reader) error { _, err := hosts.Named(r, c.path("name")); return err })
	if err != nil {
		return err
	}
	return errs.New(errs.Unsupported, "Virt driver does not implement host power management.")
}
