package core

import (
	"maps"
	"strings"
	"time"

	"henge/internal/clock"
	"henge/storaged/peerapi"
)

// What core keeps in Record.System for itself. Info.System does not show it.
const (
	systemPrefix = "core-"
	// systemOrigin is the timestamp under which a version was first written, when a repair has given it another since.
	systemOrigin = "core-origin"
	// systemBase is the origin of the version that a conditional write was decided upon.
	systemBase = "core-base"
)

// origin is what identifies a version, whatever repairs did to its timestamp.
func origin(r *peerapi.Record) clock.Timestamp {
	if r == nil {
		return 0
	}
	return systemTime(r, systemOrigin, r.Timestamp)
}

func systemTime(r *peerapi.Record, name string, otherwise clock.Timestamp) clock.Timestamp {
	if s, ok := r.System[name]; ok {
		if t, err := clock.Parse(s); err == nil {
			return t
		}
	}
	return otherwise
}

// withSystem gives the record one of core's own values, without touching the map that others may share.
func withSystem(r *peerapi.Record, name string, t clock.Timestamp) {
	m := make(map[string]string, len(r.System)+1)
	maps.Copy(m, r.System)
	m[name] = t.String()
	r.System = m
}

// publicSystem is System without core's own values.
func publicSystem(m map[string]string) map[string]string {
	for name := range m {
		if strings.HasPrefix(name, systemPrefix) {
			out := make(map[string]string, len(m))
			for name, v := range m {
				if !strings.HasPrefix(name, systemPrefix) {
					out[name] = v
				}
			}
			return out
		}
	}
	return m
}

// alive tells whether there is an object for clients: not deleted, and not expired.
func (c *Core) alive(r *peerapi.Record) bool {
	return r != nil && !r.Deleted && (r.DeleteAt == 0 || r.DeleteAt > c.time.Now().Unix())
}

// current is what a Check is shown.
func (c *Core) current(ref Ref, r *peerapi.Record) *Info {
	if !c.alive(r) {
		return nil
	}
	info := infoOf(ref, r)
	return &info
}

func infoOf(ref Ref, r *peerapi.Record) Info {
	t := origin(r)
	return Info{
		Ref: ref, Timestamp: t, Modified: modified(t), Size: r.Size, ETag: r.ETag, ContentType: r.ContentType, Meta: r.Meta,
		System: publicSystem(r.System), DeleteAt: r.DeleteAt, Kind: r.Kind, Upload: r.Upload, Policy: r.Key.Policy,
	}
}

// modified rounds up to whole seconds, as Swift does, so that nothing is ever older than its Last-Modified says.
func modified(t clock.Timestamp) time.Time {
	at := t.Time()
	if whole := at.Truncate(time.Second); whole.Before(at) {
		return whole.Add(time.Second)
	}
	return at
}

// recordOf makes the record of a new object; its timestamp comes later.
func recordOf(key peerapi.Key, size int64, etag string, m Metadata) peerapi.Record {
	if m.ETag != "" {
		etag = m.ETag
	}
	return peerapi.Record{
		Key: key, Size: size, StoredSize: size, ETag: etag, ContentType: m.ContentType, Meta: m.Meta, System: m.System, DeleteAt: m.DeleteAt, Kind: m.Kind,
	}
}

// systemListingChecksum is the value of Record.System that its line in the listing shows.
const systemListingChecksum = "listing-checksum"

// rowOf is a record's line in its container's listing, as storage peers make it.
func rowOf(r *peerapi.Record) peerapi.Row {
	row := peerapi.Row{Name: r.Key.Object, Timestamp: r.Timestamp, Deleted: r.Deleted}
	if r.Deleted {
		return row
	}
	row.Size, row.ETag, row.ContentType, row.Kind = r.Size, r.ETag, r.ContentType, r.Kind
	row.DeleteAt, row.Policy, row.Checksum = r.DeleteAt, r.Key.Policy, r.System[systemListingChecksum]
	return row
}
