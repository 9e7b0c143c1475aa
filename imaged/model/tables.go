package model

import (
	"crypto/rand"
	"fmt"

	"henge/cluster/state"
	"henge/internal/errs"
)

// Prefix is where all of the image service's rows lie.
const Prefix = "image."

// The tables. Their ids: an image's own; image ":" project; an upload's own; a task's own.
var (
	Images = state.NewTable[Image](Prefix+"images").
		Index("owner", false, func(i Image) string { return i.Owner })
	Members = state.NewTable[Member](Prefix+"members").
		Index("image", false, func(m Member) string { return m.ImageID }).
		Index("project", false, func(m Member) string { return m.Project })
	Uploads = state.NewTable[Upload](Prefix+"uploads").
		Index("image", false, func(u Upload) string { return u.ImageID })
	Tasks = state.NewTable[Task](Prefix+"tasks").
		Index("image", false, func(t Task) string { return t.ImageID })
)

// MemberID is where a member's row lies.
func MemberID(image, project string) string { return image + ":" + project }

// NewID makes a random UUID, as Glance's ids are.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than answer badly
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// MembersOf are an image's members.
func MembersOf(r state.Reader, image string) ([]Member, error) {
	var all []Member
	for m, err := range Members.Where(r, "image", image) {
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// DropImage removes an image with all that hangs on it. Its data is left to a dead upload of the same id, for the segments to be removed.
func DropImage(w state.Writer, i Image, dead Upload) error {
	members, err := MembersOf(w, i.ID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := Members.Delete(w, MemberID(m.ImageID, m.Project)); err != nil {
			return err
		}
	}
	if i.Data != nil {
		dead.ID, dead.ImageID, dead.Dead = i.Data.UploadID, i.ID, true
		if err := Uploads.Put(w, dead.ID, dead); err != nil {
			return err
		}
	}
	return Images.Delete(w, i.ID)
}

// Usage is what a project's images take.
type Usage struct {
	Images    int
	Uploading int   // without data yet, and at it
	Bytes     int64 // of active and deactivated ones
	Staged    int64
}

// UsageOf counts a project's images.
func UsageOf(r state.Reader, project string) (Usage, error) {
	var u Usage
	for i, err := range Images.Where(r, "owner", project) {
		if err != nil {
			return u, err
		}
		u.add(i)
	}
	return u, nil
}

func (u *Usage) add(i Image) {
	u.Images++
	switch i.Status {
	case Saving, Importing, Uploading:
		u.Uploading++
	}
	if i.Data == nil {
		return
	}
	if i.Status == Uploading || i.Status == Importing {
		u.Staged += i.Data.Size
		return
	}
	u.Bytes += i.Data.Size
}

// Optional makes "not there" an answer instead of an error.
func Optional[T any](row T, err error) (T, bool, error) {
	if errs.Is(err, errs.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}
