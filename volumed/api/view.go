package api

import (
	"strconv"
	"time"

	"henge/cluster/state"
	"henge/volumed/model"
)

const (
	timeForm = "2006-01-02T15:04:05.000000"
	poolName = "pool"
)

func showTime(t time.Time) string { return t.UTC().Format(timeForm) }

func showTimeOrNull(t *time.Time) any {
	if t == nil {
		return nil
	}
	return showTime(*t)
}

// orNull shows what is not there as null.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// textOrNull tells a text that was never given from an empty one.
func textOrNull(s string, null bool) any {
	if s == "" && null {
		return nil
	}
	return s
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// hostName is a host in Cinder's form: peer@backend#pool.
func hostName(peer, backend string) string { return peer + "@" + backend + "#" + poolName }

// scene is what documents need to know of other rows.
type scene struct {
	types    map[string]model.Type
	backends map[string]string // by peer
}

func readScene(r state.Reader) (scene, error) {
	s := scene{types: map[string]model.Type{}, backends: map[string]string{}}
	for t, err := range model.Types.All(r) {
		if err != nil {
			return s, err
		}
		s.types[t.ID] = t
	}
	for h, err := range model.Hosts.All(r) {
		if err != nil {
			return s, err
		}
		s.backends[h.Peer] = h.Backend
	}
	return s, nil
}

func (s scene) host(peer string) any {
	if peer == "" {
		return nil
	}
	return hostName(peer, s.backends[peer])
}

// readMetadata is a volume's, with what is said by other means added.
func readMetadata(v model.Volume) map[string]string {
	if !v.ReadOnlySet {
		return orEmpty(v.Metadata)
	}
	all := map[string]string{"readonly": map[bool]string{true: "True", false: "False"}[v.ReadOnly]}
	for name, value := range v.Metadata {
		all[name] = value
	}
	return all
}

// volumeDocument is a volume in full. What only show and list/detail tell is added by detailed.
func (c *call) volumeDocument(s scene, v model.Volume, attachments []model.Attachment) document {
	d := document{"id": v.ID, "name": textOrNull(v.Name, v.NameNull), "description": textOrNull(v.Description, v.TextNull), "size": v.GiB, "status": v.Status,
		"availability_zone": orNull(v.Zone), "created_at": showTime(v.Created), "updated_at": showTimeOrNull(v.Updated), "volume_type": orNull(s.types[v.TypeID].Name),
		"snapshot_id": orNull(v.SnapshotID), "source_volid": orNull(v.SourceVolume), "metadata": readMetadata(v), "links": c.links("volumes", v.ID), "user_id": v.UserID,
		"bootable": strconv.FormatBool(v.Bootable), "encrypted": false, "replication_status": nil, "consistencygroup_id": nil, "multiattach": false,
		"migration_status": orNull(v.MigStat), "attachments": attachedDocuments(attachments)}
	if c.version >= sinceGroupID {
		d["group_id"] = nil
	}
	if c.version >= sinceProviderID && c.isAdmin() {
		d["provider_id"] = nil
	}
	if c.version >= sinceSharedTargets {
		d["service_uuid"], d["shared_targets"] = nil, false // each volume has a target of its own
	}
	if c.version >= sinceClusterName && c.isAdmin() {
		d["cluster_name"] = nil
	}
	if c.version >= sinceTypeID {
		d["volume_type_id"] = orNull(v.TypeID)
	}
	if c.version >= sinceConsumesQuota {
		d["consumes_quota"] = true
	}
	return d
}

// detailed adds what show and list/detail tell.
func (c *call) detailed(s scene, v model.Volume, d document) document {
	d["os-vol-tenant-attr:tenant_id"] = v.ProjectID
	if len(v.Image) > 0 {
		d["volume_image_metadata"] = v.Image
	}
	if c.isAdmin() {
		d["os-vol-host-attr:host"] = s.host(v.Host)
		d["os-vol-mig-status-attr:migstat"] = orNull(v.MigStat)
		d["os-vol-mig-status-attr:name_id"] = nil
	}
	return d
}

// attachedDocuments are the attachments as a volume shows them: those that are complete.
func attachedDocuments(all []model.Attachment) []document {
	shown := []document{}
	for _, a := range all {
		if a.Status != model.AttachAttached {
			continue
		}
		shown = append(shown, document{"id": a.VolumeID, "attachment_id": a.ID, "volume_id": a.VolumeID, "server_id": orNull(a.InstanceID),
			"host_name": orNull(a.Host), "device": orNull(a.MountPoint), "attached_at": showTimeOrNull(a.Attached)})
	}
	return shown
}

func (c *call) snapshotDocument(s model.Snapshot) document {
	d := document{"id": s.ID, "name": textOrNull(s.Name, s.NameNull), "description": textOrNull(s.Description, s.TextNull), "volume_id": s.VolumeID, "size": s.GiB,
		"status": s.Status, "created_at": showTime(s.Created), "updated_at": showTimeOrNull(s.Updated), "metadata": orEmpty(s.Metadata)}
	if c.version >= sinceSnapshotUser {
		d["user_id"] = s.UserID
	}
	if c.version >= sinceConsumesQuota {
		d["consumes_quota"] = true
	}
	return d
}

func (c *call) snapshotDetailed(s model.Snapshot) document {
	d := c.snapshotDocument(s)
	progress := s.Progress
	switch {
	case progress != "":
	case s.Made:
		progress = "100%"
	default:
		progress = "0%"
	}
	d["os-extended-snapshot-attributes:progress"] = progress
	d["os-extended-snapshot-attributes:project_id"] = s.ProjectID
	if c.version >= 14 {
		d["group_snapshot_id"] = nil
	}
	return d
}
