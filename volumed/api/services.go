package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

// What a peer with volumes is called among the services: it keeps volumes, and whichever answers a request chooses the peer for a new one.
const (
	binary    = "cinder-volume"
	scheduler = "cinder-scheduler"
)

// place is a host with what is said about it.
type place struct {
	model.Host
	said model.Switch
	up   bool
}

func (p place) name() string { return p.Peer + "@" + p.Backend }

func (c *call) places(r state.Reader) ([]place, error) {
	var all []place
	for h, err := range model.Hosts.All(r) {
		if err != nil {
			return nil, err
		}
		s, _, err := model.Optional(model.Switches.Get(r, h.Peer))
		if err != nil {
			return nil, err
		}
		all = append(all, place{h, s, c.Alive(h.Peer)})
	}
	return all, nil
}

func (c *call) readPlaces() (all []place, err error) {
	err = c.view(func(r state.Reader) (err error) {
		all, err = c.places(r)
		return err
	})
	return all, err
}

// seen is when a peer was last known to be there.
func (c *call) seen(p place) time.Time {
	if p.up {
		return c.now()
	}
	return p.Updated
}

func word(yes bool, then, otherwise string) string {
	if yes {
		return then
	}
	return otherwise
}

func listServices(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	all, err := c.readPlaces()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	shown := []document{}
	for _, p := range all {
		for _, d := range c.serviceDocuments(p) {
			host := query.Get("host")
			if host != "" && host != d["host"] && host != p.Peer || query.Has("binary") && query.Get("binary") != d["binary"] ||
				query.Has("service") && query.Get("service") != d["binary"] {
				continue
			}
			shown = append(shown, d)
		}
	}
	return c.json(http.StatusOK, document{"services": shown})
}

// serviceDocuments are the services of a peer.
func (c *call) serviceDocuments(p place) []document {
	volume := document{"binary": binary, "host": p.name(), "zone": p.Zone, "status": word(p.said.Disabled, "disabled", "enabled"), "state": word(p.up, "up", "down"),
		"updated_at": showTime(c.seen(p)), "disabled_reason": orNull(p.said.Reason), "frozen": p.said.Frozen, "replication_status": "disabled", "active_backend_id": nil}
	chooser := document{"binary": scheduler, "host": p.Peer, "zone": p.Zone, "status": "enabled", "state": word(p.up, "up", "down"), "updated_at": showTime(c.seen(p)),
		"disabled_reason": nil}
	if c.version >= 7 {
		volume["cluster"], chooser["cluster"] = nil, nil
	}
	if c.version >= sinceBackendState {
		volume["backend_state"] = word(p.Fault == "", "up", "down")
	}
	return []document{volume, chooser}
}

// serviceAction is PUT /os-services/{action}.
func serviceAction(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	var host, service, program, reason string
	f.Text("host", &host, openstack.Text{})
	f.Text("service", &service, openstack.Text{})
	f.Text("binary", &program, openstack.Text{})
	f.Text("disabled_reason", &reason, openstack.Text{Nullable: true})
	if err := f.Err(); err != nil {
		return err
	}
	verb := c.path("action")
	if !slices.Contains([]string{"enable", "disable", "disable-log-reason", "freeze", "thaw"}, verb) {
		return errs.New(errs.NotFound, "Unknown action.")
	}
	frost := verb == "freeze" || verb == "thaw"
	program = cmp.Or(program, service)
	switch {
	case host == "":
		return invalid("Missing required element 'host' in request body.")
	case program == "" && !frost:
		return invalid("Missing required element 'service' or 'binary' in request body.")
	case verb == "disable-log-reason" && strings.TrimSpace(reason) == "":
		return invalid("Disabled reason contains invalid characters or is too long.")
	}
	s, err := c.setSwitch(host, program, frost, func(s *model.Switch) {
		switch verb {
		case "enable":
			s.Disabled, s.Reason = false, ""
		case "disable", "disable-log-reason":
			s.Disabled, s.Reason = true, reason
		default:
			s.Frozen = verb == "freeze"
		}
	})
	if err != nil {
		return err
	}
	if frost {
		return c.status(http.StatusOK)
	}
	d := document{"host": host, "service": program, "binary": program, "disabled": s.Disabled, "status": word(s.Disabled, "disabled", "enabled")}
	if verb != "disable" {
		d["disabled_reason"] = orNull(s.Reason)
	}
	return c.json(http.StatusOK, d)
}

func (c *call) setSwitch(host, program string, frost bool, edit func(*model.Switch)) (s model.Switch, err error) {
	err = c.update(func(w state.Writer) error {
		all, err := c.places(w)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(p place) bool { return (p.name() == host || p.Peer == host) && (frost || program == binary) })
		if at < 0 && frost {
			return invalid("Host %s could not be found.", host)
		}
		if at < 0 {
			return errs.New(errs.NotFound, "Service %s could not be found on host %s.", cmp.Or(program, binary), host)
		}
		s = all[at].said
		edit(&s)
		s.Peer, s.Updated = all[at].Peer, c.now()
		return model.Switches.Put(w, s.Peer, s)
	})
	return s, err
}

const (
	overcommitShown = "20.0"
	bytesPerGB      = 1 << 30
)

func gigabytes(n int64) float64 { return float64(n/(bytesPerGB/100)) / 100 }

// capabilities are what a pool can do, as drivers of Cinder say it.
func (c *call) capabilities(p place) document {
	d := document{"total_capacity_gb": gigabytes(p.Total), "free_capacity_gb": gigabytes(p.Free), "provisioned_capacity_gb": gigabytes(p.Provisioned),
		"allocated_capacity_gb": gigabytes(p.Provisioned), "reserved_percentage": 0, "max_over_subscription_ratio": overcommitShown, "location_info": "", "pool_name": poolName,
		"timestamp": showTime(c.seen(p)), "updated": nil, "backend_state": word(p.Fault == "", "up", "down"), "goodness_function": nil, "filter_function": nil}
	for name, value := range model.Capabilities(p.Host) {
		if d[name] = value; value == "True" || value == "False" {
			d[name] = value == "True"
		}
	}
	return d
}

func listPools(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	all, err := c.readPlaces()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	shown := []document{}
	for _, p := range all {
		d := document{"name": hostName(p.Peer, p.Backend)}
		if name := query.Get("name"); name != "" && c.version >= sincePoolFilter && name != d["name"] {
			continue
		}
		if isTrue(query.Get("detail")) {
			d["capabilities"] = c.capabilities(p)
		}
		shown = append(shown, d)
	}
	return c.json(http.StatusOK, document{"pools": shown})
}

func showCapabilities(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	all, err := c.readPlaces()
	if err != nil {
		return err
	}
	for _, p := range all {
		if c.path("host") != p.name() && c.path("host") != hostName(p.Peer, p.Backend) {
			continue
		}
		return c.json(http.StatusOK, document{"namespace": "OS::Storage::Capabilities::" + p.name(), "vendor_name": "Open Source", "volume_backend_name": p.Backend,
			"pool_name": nil, "driver_version": "1.0", "storage_protocol": "iSCSI", "display_name": nil, "description": nil, "visibility": nil,
			"replication_targets": []any{}, "properties": document{"thin_provisioning": document{"title": "Thin Provisioning", "description": "Sets thin provisioning.", "type": "boolean"}}})
	}
	return errs.New(errs.NotFound, "Host %s could not be found.", c.path("host"))
}

func listZones(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	var all []string
	if err := c.view(func(r state.Reader) (err error) { all, err = zones(r); return err }); err != nil {
		return err
	}
	shown := []document{}
	for _, zone := range all {
		shown = append(shown, document{"zoneName": zone, "zoneState": document{"available": true}})
	}
	return c.json(http.StatusOK, document{"availabilityZoneInfo": shown})
}

func listHosts(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	all, err := c.readPlaces()
	if err != nil {
		return err
	}
	shown := []document{}
	for _, p := range all {
		if zone := c.r.URL.Query().Get("zone"); zone != "" && zone != p.Zone {
			continue
		}
		for _, d := range c.serviceDocuments(p) {
			shown = append(shown, document{"host_name": d["host"], "service": d["binary"], "zone": p.Zone, "service-status": word(p.up, "available", "unavailable"),
				"service-state": d["status"], "last-update": d["updated_at"]})
		}
	}
	return c.json(http.StatusOK, document{"hosts": shown})
}

// showHost counts what a host has, in all and for each project.
func showHost(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	peer, _, _ := strings.Cut(c.path("host"), "@")
	type counts struct{ volumes, gib, snapshots, snapshotGiB int64 }
	per := map[string]*counts{"(total)": {}}
	of := func(project string) []*counts {
		if per[project] == nil {
			per[project] = &counts{}
		}
		return []*counts{per["(total)"], per[project]}
	}
	err := c.view(func(r state.Reader) error {
		if _, err := model.Hosts.Get(r, peer); err != nil {
			return errs.New(errs.NotFound, "Host %s could not be found.", c.path("host"))
		}
		for v, err := range model.Volumes.Where(r, "host", peer) {
			if err != nil {
				return err
			}
			for _, n := range of(v.ProjectID) {
				n.volumes, n.gib = n.volumes+1, n.gib+v.GiB
			}
		}
		for s, err := range model.Snapshots.Where(r, "host", peer) {
			if err != nil {
				return err
			}
			for _, n := range of(s.ProjectID) {
				n.snapshots, n.snapshotGiB = n.snapshots+1, n.snapshotGiB+s.GiB
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	shown := []document{}
	for project, n := range per {
		one := document{"resource": document{"host": c.path("host"), "project": project, "volume_count": text(n.volumes), "total_volume_gb": text(n.gib),
			"snapshot_count": text(n.snapshots), "total_snapshot_gb": text(n.snapshotGiB)}}
		if project == "(total)" {
			shown = append([]document{one}, shown...)
		} else {
			shown = append(shown, one)
		}
	}
	return c.json(http.StatusOK, document{"host": shown})
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

// extensions are those whose calls are here.
var extensions = map[string]string{
	"os-availability-zone": "AvailabilityZones", "os-extended-snapshot-attributes": "ExtendedSnapshotAttributes", "os-hosts": "Hosts", "qos-specs": "Qos_specs_manage",
	"os-quota-class-sets": "QuotaClasses", "os-quota-sets": "Quotas", "os-services": "Services", "os-snapshot-actions": "SnapshotActions",
	"os-types-extra-specs": "TypesExtraSpecs", "os-types-manage": "TypesManage", "os-volume-actions": "VolumeActions", "os-vol-host-attr": "VolumeHostAttribute",
	"os-vol-image-meta": "VolumeImageMetadata", "os-vol-mig-status-attr": "VolumeMigStatusAttribute", "os-vol-tenant-attr": "VolumeTenantAttribute",
	"os-volume-transfer": "VolumeTransfer", "os-volume-type-access": "VolumeTypeAccess", "os-used-limits": "UsedLimits", "os-admin-actions": "AdminActions",
	"scheduler-stats": "Scheduler_stats", "capabilities": "Capabilities",
}

func listExtensions(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	shown := []document{}
	for alias, name := range extensions {
		shown = append(shown, document{"alias": alias, "name": name, "description": name + ".", "updated": "2016-01-01T00:00:00+00:00", "links": []any{}})
	}
	slices.SortFunc(shown, func(a, b document) int { return strings.Compare(a["alias"].(string), b["alias"].(string)) })
	return c.json(http.StatusOK, document{"extensions": shown})
}
