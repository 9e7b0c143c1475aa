package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/images"
	"henge/volumed/model"
)

// request is what a client asks a new volume to be.
type volumeRequest struct {
	volume model.Volume
	typ    string // id or name
	image  *images.Image
}

func createVolume(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("volume")
	if err != nil {
		return err
	}
	req, err := readVolume(c, f)
	if err != nil {
		return err
	}
	if req.volume.ImageID != "" {
		if req.image, err = c.imageFor(c.r.Context(), req.volume.ImageID, &req.volume.GiB); err != nil {
			return err
		}
	}
	var made model.Volume
	var s scene
	err = c.update(func(w state.Writer) (err error) {
		if made, err = c.createIn(w, req); err != nil {
			return err
		}
		s, err = readScene(w)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusAccepted, document{"volume": c.volumeDocument(s, made, nil)})
}

// createIn makes the row, after it made sure that the caller may use what it is made of.
func (c *call) createIn(w state.Writer, req volumeRequest) (model.Volume, error) {
	v := req.volume
	if req.typ != "" {
		t, err := c.volumeType(w, req.typ)
		if err != nil {
			return v, err
		}
		v.TypeID = t.ID
	}
	if v.SnapshotID != "" {
		s, err := c.snapshot(w, v.SnapshotID)
		if err != nil {
			return v, err
		}
		v.SnapshotID = s.ID
	}
	if v.SourceVolume != "" {
		if _, err := c.volume(w, v.SourceVolume); err != nil {
			return v, err
		}
	}
	if v.Zone != "" {
		if err := knownZone(w, v.Zone); err != nil {
			return v, err
		}
	}
	return model.CreateVolume(w, model.NewVolume{Volume: v, Alive: c.Alive}, c.now())
}

func knownZone(r state.Reader, zone string) error {
	zones, err := zones(r)
	if err == nil && !slices.Contains(zones, zone) {
		return errs.New(errs.Invalid, "Invalid input received: Availability zone '%s' is invalid.", zone)
	}
	return err
}

func readVolume(c *call, f *openstack.Fields) (volumeRequest, error) {
	v := model.Volume{ProjectID: c.who.ProjectID, UserID: c.who.UserID, NameNull: true, TextNull: true, RequestID: c.requestID()}
	req := volumeRequest{}
	label(f, "name", &v.Name, &v.NameNull)
	label(f, "description", &v.Description, &v.TextNull)
	sized := integer(f, "size", &v.GiB)
	id(f, "snapshot_id", &v.SnapshotID)
	id(f, "source_volid", &v.SourceVolume)
	id(f, "imageRef", &v.ImageID)
	if v.ImageID == "" {
		id(f, "image_id", &v.ImageID)
	}
	id(f, "volume_type", &req.typ)
	id(f, "availability_zone", &v.Zone)
	v.Metadata = texts(f, "metadata")
	multiattach := false
	boolean(f, "multiattach", &multiattach)
	var foreign [3]string
	for i, name := range []string{"consistencygroup_id", "group_id", "backup_id"} {
		id(f, name, &foreign[i])
	}
	f.Drop("status", "user_id", "project_id", "attach_status", "source_replica", "scheduler_hints", "OS-SCH-HNT:scheduler_hints")
	f.None()
	if err := f.Err(); err != nil {
		return req, err
	}
	v.ImageID = v.ImageID[strings.LastIndex(v.ImageID, "/")+1:] // clients may send the image's address
	req.volume = v
	return req, checkVolume(v, sized, multiattach, foreign)
}

func checkVolume(v model.Volume, sized, multiattach bool, foreign [3]string) error {
	sources := 0
	for _, from := range []string{v.SnapshotID, v.SourceVolume, v.ImageID} {
		if from == "" {
			continue
		}
		if sources++; !model.IsID(from) {
			return errs.New(errs.Invalid, "Invalid input received: '%.60s' is not the id of what the volume is to be made from.", from)
		}
	}
	switch {
	case sources > 1:
		return errs.New(errs.Invalid, "Invalid input received: give one of snapshot_id, source_volid and imageRef, not more.")
	case !sized && v.SnapshotID == "" && v.SourceVolume == "":
		return errs.New(errs.Invalid, "Invalid input received: size is required when the volume is not made from a volume or snapshot.")
	case sized && v.GiB < 1 || v.GiB > model.GiBMax:
		return errs.New(errs.Invalid, "Invalid input received: Volume size '%d' must be an integer and greater than 0, and at most %d.", v.GiB, model.GiBMax)
	case multiattach:
		return errs.New(errs.Invalid, "multiattach is not supported: a volume has one writer.")
	case foreign[0] != "" || foreign[1] != "":
		return errs.New(errs.NotFound, "Group %s could not be found: groups are not supported.", cmp.Or(foreign[0], foreign[1]))
	case foreign[2] != "":
		return errs.New(errs.NotFound, "Backup %s could not be found: backups are not supported.", foreign[2])
	}
	return nil
}

// imageFor makes sure that an image can become a volume of that size.
func (c *call) imageFor(ctx context.Context, id string, gib *int64) (*images.Image, error) {
	image, err := c.Images.Describe(ctx, c.who, id)
	switch {
	case errs.Is(err, errs.NotFound), errs.Is(err, errs.Denied):
		return nil, errs.New(errs.Invalid, "Invalid image identifier or unable to access requested image.")
	case err != nil:
		return nil, err
	case image.Status != "active":
		return nil, errs.New(errs.Invalid, "Invalid input received: Image %s is not active: it is %s.", id, image.Status)
	}
	least := (max(image.Size, image.VirtualSize) + model.GiB - 1) / model.GiB
	switch {
	case *gib < least:
		return nil, errs.New(errs.Invalid, "Invalid input received: Size of specified image %dGB is larger than volume size %dGB.", least, *gib)
	case *gib < image.MinDisk:
		return nil, errs.New(errs.Invalid, "Invalid input received: Volume size %dGB cannot be smaller than the image minDisk size %dGB.", *gib, image.MinDisk)
	}
	return &image, nil
}

func showVolume(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	return c.showVolume(http.StatusOK, c.path("volume"), true)
}

// showVolume answers with a volume.
func (c *call) showVolume(status int, id string, full bool) error {
	var d document
	err := c.view(func(r state.Reader) error {
		v, err := c.volume(r, id)
		if err != nil {
			return err
		}
		attachments, err := model.AttachmentsOf(r, v.ID)
		if err != nil {
			return err
		}
		s, err := readScene(r)
		d = c.volumeDocument(s, v, attachments)
		if full {
			d = c.detailed(s, v, d)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(status, document{"volume": d})
}

// volumes says how volumes are listed.
func volumesListing(s scene) listing[model.Volume] {
	return listing[model.Volume]{
		id: func(v model.Volume) string { return v.ID },
		sorts: map[string]func(a, b model.Volume) int{
			"id":         func(a, b model.Volume) int { return cmp.Compare(a.ID, b.ID) },
			"created_at": func(a, b model.Volume) int { return a.Created.Compare(b.Created) },
			"updated_at": func(a, b model.Volume) int {
				return updated(a.Updated, a.Created).Compare(updated(b.Updated, b.Created))
			},
			"name":         func(a, b model.Volume) int { return cmp.Compare(a.Name, b.Name) },
			"display_name": func(a, b model.Volume) int { return cmp.Compare(a.Name, b.Name) },
			"size":         func(a, b model.Volume) int { return cmp.Compare(a.GiB, b.GiB) },
			"status":       func(a, b model.Volume) int { return cmp.Compare(a.Status, b.Status) },
			"host":         func(a, b model.Volume) int { return cmp.Compare(a.Host, b.Host) },
			"bootable": func(a, b model.Volume) int {
				return cmp.Compare(strconv.FormatBool(a.Bootable), strconv.FormatBool(b.Bootable))
			},
			"availability_zone": func(a, b model.Volume) int { return cmp.Compare(a.Zone, b.Zone) },
		},
		texts: map[string]func(model.Volume) string{
			"name": func(v model.Volume) string { return v.Name }, "display_name": func(v model.Volume) string { return v.Name },
			"description": func(v model.Volume) string { return v.Description }, "status": func(v model.Volume) string { return string(v.Status) },
			"availability_zone": func(v model.Volume) string { return v.Zone }, "id": func(v model.Volume) string { return v.ID },
			"user_id": func(v model.Volume) string { return v.UserID }, "project_id": func(v model.Volume) string { return v.ProjectID },
			"snapshot_id": func(v model.Volume) string { return v.SnapshotID }, "source_volid": func(v model.Volume) string { return v.SourceVolume },
			"migration_status": func(v model.Volume) string { return v.MigStat }, "size": func(v model.Volume) string { return strconv.FormatInt(v.GiB, 10) },
			"group_id": func(model.Volume) string { return "" }, "host": func(v model.Volume) string { h, _ := s.host(v.Host).(string); return h },
		},
		filters: map[string]func(model.Volume, string) (bool, error){
			"bootable":       func(v model.Volume, value string) (bool, error) { return v.Bootable == isTrue(value), nil },
			"multiattach":    func(v model.Volume, value string) (bool, error) { return !isTrue(value), nil },
			"encrypted":      func(v model.Volume, value string) (bool, error) { return !isTrue(value), nil },
			"consumes_quota": func(v model.Volume, value string) (bool, error) { return isTrue(value), nil },
			"volume_type": func(v model.Volume, value string) (bool, error) {
				return v.TypeID == value || s.types[v.TypeID].Name == value, nil
			},
			"volume_type_id": func(v model.Volume, value string) (bool, error) { return v.TypeID == value, nil },
			"metadata": func(v model.Volume, value string) (bool, error) {
				m, err := pairs(value)
				return holds(v.Metadata, m), err
			},
			"glance_metadata": func(v model.Volume, value string) (bool, error) {
				m, err := pairs(value)
				return holds(v.Image, m), err
			},
			"created_at": func(v model.Volume, value string) (bool, error) {
				return atTime(func() *time.Time { return &v.Created }, value)
			},
			"updated_at": func(v model.Volume, value string) (bool, error) {
				return atTime(func() *time.Time { return v.Updated }, value)
			},
		},
	}
}

func updated(t *time.Time, created time.Time) time.Time {
	if t == nil {
		return created
	}
	return *t
}

// everyProject tells whether an administrator wants to see those of all projects.
func (c *call) everyProject() bool { return c.isAdmin() && isTrue(c.r.URL.Query().Get("all_tenants")) }

// visible are the rows of a table that the caller's list is made of.
func visible[T any](c *call, r state.Reader, t state.Table[T]) ([]T, error) {
	if c.everyProject() {
		return model.Collect(t.All(r), nil)
	}
	return model.Collect(t.Where(r, "project", c.who.ProjectID), nil)
}

func listVolumes(c *call) error       { return c.listVolumes("volumes", false) }
func listVolumesDetail(c *call) error { return c.listVolumes("volumes/detail", true) }

func (c *call) listVolumes(path string, full bool) error {
	if err := c.reads(); err != nil {
		return err
	}
	var d document
	err := c.view(func(r state.Reader) error {
		rows, err := visible(c, r, model.Volumes)
		if err != nil {
			return err
		}
		s, err := readScene(r)
		if err != nil {
			return err
		}
		page, more, total, err := volumesListing(s).apply(c, rows)
		if err != nil {
			return err
		}
		var shown []document
		last := ""
		for _, v := range page {
			if last = v.ID; !full {
				shown = append(shown, document{"id": v.ID, "name": textOrNull(v.Name, v.NameNull), "links": c.links("volumes", v.ID)})
				continue
			}
			attachments, err := model.AttachmentsOf(r, v.ID)
			if err != nil {
				return err
			}
			shown = append(shown, c.detailed(s, v, c.volumeDocument(s, v, attachments)))
		}
		d = c.page("volumes", path, shown, last, more, total)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, d)
}

func summary(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	var count, gib int64
	metadata := map[string][]string{}
	err := c.view(func(r state.Reader) error {
		rows, err := visible(c, r, model.Volumes)
		for _, v := range rows {
			count, gib = count+1, gib+v.GiB
			for name, value := range v.Metadata {
				if !slices.Contains(metadata[name], value) {
					metadata[name] = append(metadata[name], value)
				}
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	d := document{"total_count": count, "total_size": gib}
	if c.version >= sinceSummaryMetadata {
		d["metadata"] = metadata
	}
	return c.json(http.StatusOK, document{"volume-summary": d})
}

func updateVolume(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("volume")
	if err != nil {
		return err
	}
	var name, text string
	nameNull, textNull := false, false
	named := f.Has("name") || f.Has("display_name")
	described := f.Has("description") || f.Has("display_description")
	label(f, "name", &name, &nameNull)
	label(f, "description", &text, &textNull)
	hasMetadata := f.Has("metadata")
	metadata := texts(f, "metadata")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if !named && !described && !hasMetadata {
		return errs.New(errs.Invalid, "At least one of name, description and metadata must be given.")
	}
	volume := c.path("volume")
	err = c.update(func(w state.Writer) error {
		v, err := c.volume(w, volume)
		if err != nil {
			return err
		}
		if named {
			v.Name, v.NameNull = name, nameNull
		}
		if described {
			v.Description, v.TextNull = text, textNull
		}
		if hasMetadata {
			v.Metadata = metadata
		}
		return model.PutVolume(w, v, c.now())
	})
	if err != nil {
		return err
	}
	return c.showVolume(http.StatusOK, volume, false)
}

func deleteVolume(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	cascade, force := isTrue(query.Get("cascade")), false
	if c.version >= sinceForceDelete && isTrue(query.Get("force")) {
		if err := c.admin(); err != nil {
			return err
		}
		force = true
	}
	err := c.update(func(w state.Writer) error {
		if _, err := c.volume(w, c.path("volume")); err != nil {
			return err
		}
		return model.DeleteVolume(w, c.path("volume"), cascade, force, c.now())
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

// zones are those of the peers that have volumes.
func zones(r state.Reader) ([]string, error) {
	var all []string
	for h, err := range model.Hosts.All(r) {
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, h.Zone) {
			all = append(all, h.Zone)
		}
	}
	slices.Sort(all)
	return all, nil
}

func invalid(format string, args ...any) error {
	return errs.New(errs.Invalid, "Invalid input received: %s", fmt.Sprintf(format, args...))
}
