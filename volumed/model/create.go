package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
)

// StateError says that the state of something forbids what was asked.
type StateError struct{ message string }

func (e *StateError) Error() string { return e.message }

// forbids makes a StateError.
func forbids(format string, args ...any) error {
	return errs.With(errs.Conflict, &StateError{"Invalid volume: " + fmt.Sprintf(format, args...)})
}

// GiB is a gibibyte.
const GiB = 1 << 30

// GiBMax bounds one volume: 64 TiB.
const GiBMax = 64 << 10

// NewVolume is what a new volume is to be like. Where it is made from a snapshot or a volume, SnapshotID or SourceVolume must be ones that the caller may use.
type NewVolume struct {
	Volume
	Alive func(peer string) bool
}

// CreateVolume makes the row of a new volume, and chooses its host. When there is no host for it the volume is in error, with a message that says why.
func CreateVolume(w state.Writer, n NewVolume, now time.Time) (Volume, error) {
	v := n.Volume
	if v.ID == "" {
		v.ID = NewID()
	}
	if err := inherit(w, &v); err != nil {
		return v, err
	}
	if v.TypeID == "" {
		t, err := DefaultTypeOf(w, v.ProjectID)
		if err != nil {
			return v, err
		}
		v.TypeID = t.ID
	}
	if v.GiB < 1 || v.GiB > GiBMax {
		return v, errs.New(errs.Invalid, "Invalid input received: Volume size '%d' must be an integer and greater than 0, and at most %d", v.GiB, GiBMax)
	}
	if err := Check(w, Claim{ProjectID: v.ProjectID, TypeID: v.TypeID, Volumes: 1, GiB: v.GiB, VolumeGiB: v.GiB}); err != nil {
		return v, err
	}
	v.Status, v.Task, v.Created = Creating, Make, now
	if err := place(w, &v, n.Alive); err != nil {
		v.Status, v.Task, v.Host = Error, Nothing, ""
		m := Message{ProjectID: v.ProjectID, RequestID: v.RequestID, ResourceType: "VOLUME", ResourceID: v.ID, Action: ActionSchedule, Detail: DetailBackend, Text: err.Error()}
		if err := Tell(w, m, now); err != nil {
			return v, err
		}
	}
	return v, Volumes.Put(w, v.ID, v)
}

// inherit takes over from what the volume is made of.
func inherit(w state.Writer, v *Volume) error {
	switch {
	case v.SnapshotID != "":
		s, err := Snapshots.Get(w, v.SnapshotID)
		if err != nil {
			return err
		}
		if s.Status != Available {
			return errs.New(errs.Invalid, "Invalid snapshot: Originating snapshot status must be one of 'available' values")
		}
		origin, there, err := Optional(Volumes.Get(w, s.VolumeID))
		if err != nil {
			return err
		}
		if there {
			v.takeAfter(origin)
		}
		v.TypeID, v.Host = cmp.Or(v.TypeID, s.TypeID), s.Host
		return v.atLeast(s.GiB, "snapshot")
	case v.SourceVolume != "":
		origin, err := Volumes.Get(w, v.SourceVolume)
		if err != nil {
			return err
		}
		if !origin.Made || !slices.Contains([]Status{Available, InUse}, origin.Status) {
			return errs.New(errs.Invalid, "Invalid volume: Unable to create a volume from an originating source volume when its status is not one of ('available', 'in-use').")
		}
		v.takeAfter(origin)
		v.TypeID, v.Host = cmp.Or(v.TypeID, origin.TypeID), origin.Host
		return v.atLeast(origin.GiB, "source volume")
	}
	return nil
}

func (v *Volume) takeAfter(origin Volume) {
	v.Bootable = origin.Bootable
	v.Image = origin.Image
}

func (v *Volume) atLeast(gib int64, what string) error {
	if v.GiB == 0 {
		v.GiB = gib
	}
	if v.GiB < gib {
		return errs.New(errs.Invalid, "Invalid input received: Volume size '%d'GB cannot be smaller than the %s size %dGB. They must be >= %s size.", v.GiB, what, gib, what)
	}
	return nil
}

// overcommit is how many bytes may be promised for each that is there: what volumes are made of is given out only as it is written.
const overcommit = 20

// place chooses the host of a volume: that of what it is made from, or the one with the most free room that its type and zone allow.
func place(r state.Reader, v *Volume, alive func(peer string) bool) error {
	t, err := Types.Get(r, v.TypeID)
	if err != nil {
		return err
	}
	removed := map[string]int{}
	var best *Host
	asked := 0
	for h, err := range Hosts.All(r) {
		if err != nil {
			return err
		}
		asked++
		if why := unfit(r, h, v, t, alive); why != "" {
			removed[why]++
			continue
		}
		if best == nil || h.Free-h.Provisioned/overcommit > best.Free-best.Provisioned/overcommit {
			best = &h
		}
	}
	if best == nil {
		return noHost(asked, removed)
	}
	v.Host, v.Zone = best.Peer, best.Zone
	return nil
}

func unfit(r state.Reader, h Host, v *Volume, t Type, alive func(peer string) bool) string {
	s, _, err := Optional(Switches.Get(r, h.Peer))
	switch bytes := v.GiB * GiB; {
	case v.Host != "" && h.Peer != v.Host:
		return "it does not have what the volume is made from"
	case err != nil || s.Disabled:
		return "it is disabled"
	case !alive(h.Peer):
		return "it is down"
	case h.Fault != "":
		return "its backend failed: " + h.Fault
	case v.Zone != "" && h.Zone != v.Zone:
		return "it is not in the availability zone " + v.Zone
	case lacks(h, t) != "":
		return lacks(h, t)
	case h.Free <= 0 || h.Provisioned+bytes > h.Total*overcommit:
		return "it has not enough room"
	}
	return ""
}

func noHost(asked int, removed map[string]int) error {
	var reasons []string
	for why, n := range removed {
		reasons = append(reasons, fmt.Sprintf("%d because %s", n, why))
	}
	slices.Sort(reasons)
	if len(reasons) == 0 {
		return errs.New(errs.Unavailable, "No valid backend was found: no peer plays the role volume")
	}
	return errs.New(errs.Unavailable, "No valid backend was found. Of %d peers with volumes were left out: %s", asked, strings.Join(reasons, "; "))
}

// The type that volumes have when nobody says otherwise.
const firstTypeName = "__DEFAULT__"

// DefaultTypeOf is a project's default type.
func DefaultTypeOf(r state.Reader, projectID string) (Type, error) {
	if d, there, err := Optional(DefaultTypes.Get(r, projectID)); err != nil {
		return Type{}, err
	} else if there {
		if t, there, err := Optional(Types.Get(r, d.TypeID)); err != nil || there {
			return t, err
		}
	}
	return Types.First(r, "name", firstTypeName)
}

// SeedTypes makes the default type where there is none. Repeating it changes nothing.
func SeedTypes(w state.Writer, now time.Time) error {
	_, there, err := Optional(Types.First(w, "name", firstTypeName))
	if err != nil || there {
		return err
	}
	id := NewID()
	return Types.Put(w, id, Type{ID: id, Name: firstTypeName, Description: "Default Volume Type", Public: true, Created: now})
}

// CreateSnapshot makes the row of a new snapshot.
func CreateSnapshot(w state.Writer, s Snapshot, force bool, now time.Time) (Snapshot, error) {
	v, err := Volumes.Get(w, s.VolumeID)
	if err != nil {
		return s, err
	}
	if v.Status != Available && (!force || v.Status != InUse) || !v.Made {
		return s, forbids("Volume %s status must be available, but current status is: %s.", v.ID, v.Status)
	}
	s.ID, s.GiB, s.Host, s.TypeID = cmp.Or(s.ID, NewID()), v.GiB, v.Host, v.TypeID
	if err := Check(w, Claim{ProjectID: s.ProjectID, TypeID: v.TypeID, Snapshots: 1, GiB: v.GiB}); err != nil {
		return s, err
	}
	s.Status, s.Task, s.Created = Creating, Make, now
	return s, Snapshots.Put(w, s.ID, s)
}

// deletable are the statuses in which a volume can be deleted.
var deletable = []Status{Available, Error, ErrorExtending, ErrorManaging, "error_restoring", "error_deleting"}

// DeleteVolume begins to remove a volume; with cascade its snapshots too, and with force whatever its status is.
func DeleteVolume(w state.Writer, id string, cascade, force bool, now time.Time) error {
	v, err := Volumes.Get(w, id)
	if err != nil {
		return err
	}
	snapshots, err := Collect(Snapshots.Where(w, "volume", id), nil)
	if err != nil {
		return err
	}
	attachments, err := AttachmentsOf(w, id)
	if err != nil {
		return err
	}
	switch {
	case !force && !slices.Contains(deletable, v.Status):
		return forbids("Volume status must be available or error or error_restoring or error_extending or error_managing and must not be migrating, attached, "+
			"belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer. It is %s.", v.Status)
	case !force && len(attachments) > 0 || hasAttached(attachments):
		return forbids("Volume %s is still attached, detach volume first.", id)
	case len(snapshots) > 0 && !cascade && !force:
		return forbids("Volume status must be available or error and must not have snapshots: it has %d.", len(snapshots))
	}
	for _, s := range snapshots {
		if cascade && !force && !slices.Contains([]Status{Available, Error, Deleting, ErrorDeleting}, s.Status) {
			return forbids("Snapshot %s of it is %s.", s.ID, s.Status)
		}
		s.Status, s.Task = Deleting, Remove
		if err := PutSnapshot(w, s, now); err != nil {
			return err
		}
	}
	v.Status, v.Task = Deleting, Remove
	if v.Host == "" { // nobody has it
		return RemoveVolume(w, id)
	}
	return PutVolume(w, v, now)
}

func hasAttached(all []Attachment) bool {
	return slices.ContainsFunc(all, func(a Attachment) bool { return a.Status == AttachAttached })
}

// DeleteSnapshot begins to remove a snapshot.
func DeleteSnapshot(w state.Writer, id string, force bool, now time.Time) error {
	s, err := Snapshots.Get(w, id)
	if err != nil {
		return err
	}
	if !force && !slices.Contains([]Status{Available, Error, ErrorDeleting}, s.Status) {
		return errs.With(errs.Conflict, &StateError{fmt.Sprintf("Invalid snapshot: Snapshot status must be available or error, but it is %s.", s.Status)})
	}
	s.Status, s.Task = Deleting, Remove
	if s.Host == "" {
		return Snapshots.Delete(w, id)
	}
	return PutSnapshot(w, s, now)
}

// Extend begins to make a volume larger.
func Extend(w state.Writer, id string, gib int64, attachedToo bool, requestID string, now time.Time) error {
	v, err := Volumes.Get(w, id)
	if err != nil {
		return err
	}
	switch {
	case v.Status != Available && (!attachedToo || v.Status != InUse) || !v.Made:
		return forbids("Volume %s status must be '%s' to extend, but current status is: %s.", id, Available, v.Status)
	case gib <= v.GiB:
		return errs.New(errs.Invalid, "Invalid input received: New size for extend must be greater than current size. (current: %d, extended: %d).", v.GiB, gib)
	case gib > GiBMax:
		return errs.New(errs.Invalid, "Invalid input received: New size for extend must be at most %d.", GiBMax)
	}
	if err := Check(w, Claim{ProjectID: v.ProjectID, TypeID: v.TypeID, GiB: gib - v.GiB, VolumeGiB: gib}); err != nil {
		return err
	}
	v.Before, v.Status, v.Task, v.GrowTo, v.RequestID = v.Status, Extending, Grow, gib, requestID
	return PutVolume(w, v, now)
}
