package model

import "time"

// Status is where an image is in its life.
type Status string

// The statuses. Deleted is never stored: a deleted image's row is gone.
const (
	Queued      Status = "queued"      // described, without data
	Saving      Status = "saving"      // data is being uploaded
	Uploading   Status = "uploading"   // data is staged, for an import
	Importing   Status = "importing"   // an import is under way
	Active      Status = "active"      // ready for use
	Deactivated Status = "deactivated" // its data is for administrators only
	Killed      Status = "killed"      // its data was refused
	Deleted     Status = "deleted"
)

// Visibility says who sees an image.
type Visibility string

// The visibilities.
const (
	Public    Visibility = "public"    // everybody, in lists too
	Community Visibility = "community" // everybody who knows it
	Shared    Visibility = "shared"    // its members
	Private   Visibility = "private"   // its owner
)

// Image is one image's record.
type Image struct {
	ID              string             `json:"id"`
	Name            *string            `json:"name"`
	Owner           string             `json:"owner"`
	Status          Status             `json:"status"`
	Visibility      Visibility         `json:"visibility"`
	Protected       bool               `json:"protected,omitempty"`
	Hidden          bool               `json:"hidden,omitempty"`
	DiskFormat      string             `json:"disk_format,omitempty"`
	ContainerFormat string             `json:"container_format,omitempty"`
	MinDisk         int64              `json:"min_disk,omitempty"` // GiB
	MinRAM          int64              `json:"min_ram,omitempty"`  // MiB
	Tags            []string           `json:"tags,omitempty"`     // sorted, each once
	Properties      map[string]*string `json:"properties,omitempty"`
	Created         time.Time          `json:"created"`
	Updated         time.Time          `json:"updated"`

	Data     *Data  `json:"data,omitempty"`    // of an active or deactivated image; what is staged, of an uploading one
	UploadID string `json:"upload,omitempty"`  // of the upload or import that is under way
	Failure  string `json:"failure,omitempty"` // why the last import came to nothing, or why the image was killed
}

// Data is an image's bytes: where they lie, and what they are.
type Data struct {
	UploadID     string `json:"upload"` // the upload that wrote them; it names the segments
	SegmentBytes int64  `json:"segment_bytes"`
	Size         int64  `json:"size"`
	MD5          string `json:"md5"`
	SHA512       string `json:"sha512"`
	Format       string `json:"format"` // what the content was found to be; "raw" when it is nothing else
	VirtualSize  int64  `json:"virtual_size"`
	Unsafe       string `json:"unsafe,omitempty"` // of staged data: why it will be refused
}

// Member is a project that a shared image is shared with.
type Member struct {
	ImageID string    `json:"image"`
	Project string    `json:"project"`
	Status  string    `json:"status"` // pending, accepted, rejected
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// Upload is a set of segments that no image's Data names, or not yet: it is there before the first segment is written, and goes when the image has taken the
// data over, or when the segments are gone. So no segment is ever forgotten, wherever a peer dies.
type Upload struct {
	ID      string    `json:"id"`
	ImageID string    `json:"image"`
	Peer    string    `json:"peer"`           // the process that writes
	Beat    int64     `json:"beat"`           // grows while it is at it
	Dead    bool      `json:"dead,omitempty"` // nobody may use the segments any more
	Since   time.Time `json:"since"`          // when it began, or died
	TaskID  string    `json:"task,omitempty"` // the import that it belongs to
}

// Task is an import, as its owner sees it afterwards.
type Task struct {
	ID        string            `json:"id"`
	ImageID   string            `json:"image"`
	Owner     string            `json:"owner"`
	UserID    string            `json:"user"`
	RequestID string            `json:"request"`
	Status    string            `json:"status"` // processing, success, failure
	Method    string            `json:"method"`
	Input     map[string]string `json:"input,omitempty"`
	Message   string            `json:"message"`
	Created   time.Time         `json:"created"`
	Updated   time.Time         `json:"updated"`
	Expires   time.Time         `json:"expires,omitzero"`
}
