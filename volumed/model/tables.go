package model

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
)

// Prefix is where all rows lie.
const Prefix = "volume."

// The tables.
var (
	Volumes = state.NewTable[Volume](Prefix+"volumes").
		Index("project", false, func(v Volume) string { return v.ProjectID }).
		Index("host", false, func(v Volume) string { return v.Host }).
		Index("type", false, func(v Volume) string { return v.TypeID }).
		Index("key", true, func(v Volume) string { return v.Key })
	Snapshots = state.NewTable[Snapshot](Prefix+"snapshots").
			Index("project", false, func(s Snapshot) string { return s.ProjectID }).
			Index("host", false, func(s Snapshot) string { return s.Host }).
			Index("volume", false, func(s Snapshot) string { return s.VolumeID })
	Attachments = state.NewTable[Attachment](Prefix+"attachments").
			Index("project", false, func(a Attachment) string { return a.ProjectID }).
			Index("volume", false, func(a Attachment) string { return a.VolumeID })
	Exports      = state.NewTable[Export](Prefix + "exports")
	Hosts        = state.NewTable[Host](Prefix + "hosts")
	Switches     = state.NewTable[Switch](Prefix + "switches")
	Types        = state.NewTable[Type](Prefix+"types").Index("name", true, func(t Type) string { return t.Name })
	QoSSpecs     = state.NewTable[QoS](Prefix+"qos").Index("name", true, func(q QoS) string { return q.Name })
	Quotas       = state.NewTable[Quota](Prefix + "quotas")
	Classes      = state.NewTable[Quota](Prefix + "quota_classes")
	DefaultTypes = state.NewTable[DefaultType](Prefix + "default_types")
	Messages     = state.NewTable[Message](Prefix+"messages").Index("project", false, func(m Message) string { return m.ProjectID })
	Transfers    = state.NewTable[Transfer](Prefix+"transfers").
			Index("project", false, func(t Transfer) string { return t.FromProject }).
			Index("volume", false, func(t Transfer) string { return t.VolumeID })
)

// NewID makes an id as Cinder does: a random UUID.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than answer badly
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// IsID tells whether s looks like a UUID, with or without dashes.
func IsID(s string) bool {
	if len(s) != 36 && len(s) != 32 {
		return false
	}
	s = strings.ReplaceAll(s, "-", "")
	return len(s) == 32 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// Collect makes a list of rows that an iterator yields and keep takes; nil keeps all.
func Collect[T any](rows func(yield func(T, error) bool), keep func(T) bool) (all []T, err error) {
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if keep == nil || keep(row) {
			all = append(all, row)
		}
	}
	return all, nil
}

// Optional makes "not there" an answer instead of an error.
func Optional[T any](row T, err error) (T, bool, error) {
	if errs.Is(err, errs.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// PutVolume writes a volume that changed at a time.
func PutVolume(w state.Writer, v Volume, now time.Time) error {
	v.Updated = &now
	return Volumes.Put(w, v.ID, v)
}

// PutSnapshot writes a snapshot that changed at a time.
func PutSnapshot(w state.Writer, s Snapshot, now time.Time) error {
	s.Updated = &now
	return Snapshots.Put(w, s.ID, s)
}

// AttachmentsOf are a volume's, the oldest first.
func AttachmentsOf(r state.Reader, volumeID string) ([]Attachment, error) {
	all, err := Collect(Attachments.Where(r, "volume", volumeID), nil)
	slices.SortStableFunc(all, func(a, b Attachment) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)) })
	return all, err
}

// RemoveVolume takes a volume's row away, and all that belongs to it.
func RemoveVolume(w state.Writer, id string) error {
	attachments, err := AttachmentsOf(w, id)
	if err != nil {
		return err
	}
	for _, a := range attachments {
		if err := Attachments.Delete(w, a.ID); err != nil {
			return err
		}
	}
	transfers, err := Collect(Transfers.Where(w, "volume", id), nil)
	if err != nil {
		return err
	}
	for _, t := range transfers {
		if err := Transfers.Delete(w, t.ID); err != nil {
			return err
		}
	}
	if _, there, err := Optional(Exports.Get(w, id)); err != nil || there {
		if err := errsOr(err, func() error { return Exports.Delete(w, id) }); err != nil {
			return err
		}
	}
	_, there, err := Optional(Volumes.Get(w, id))
	if err != nil || !there {
		return err
	}
	return Volumes.Delete(w, id)
}

func errsOr(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}
