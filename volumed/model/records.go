package model

import "time"

// Status is a volume's or a snapshot's, in Cinder's words. Those that end in "ing" (and reserved) say what somebody is about to do.
type Status string

// The statuses.
const (
	Creating       Status = "creating"
	Downloading    Status = "downloading"
	Available      Status = "available"
	Reserved       Status = "reserved"
	Attaching      Status = "attaching"
	InUse          Status = "in-use"
	Detaching      Status = "detaching"
	Deleting       Status = "deleting"
	Extending      Status = "extending"
	ErrorExtending Status = "error_extending"
	Uploading      Status = "uploading"
	Reverting      Status = "reverting"
	Maintenance    Status = "maintenance"
	Awaiting       Status = "awaiting-transfer"
	Error          Status = "error"
	ErrorDeleting  Status = "error_deleting"
	ErrorManaging  Status = "error_managing"
)

// Task is what the peer that has a volume or snapshot is to do about it. Statuses are for people, and an administrator may set any; tasks are for the agent.
type Task string

// The tasks.
const (
	Nothing  Task = ""
	Make     Task = "make"
	Remove   Task = "remove"
	Grow     Task = "grow"
	SendAway Task = "upload"
	Revert   Task = "revert"
	Reimage  Task = "reimage"
)

// Volume is a volume's row.
type Volume struct {
	ID          string            `json:"id"`
	ProjectID   string            `json:"project_id"`
	UserID      string            `json:"user_id"`
	Name        string            `json:"name,omitempty"`
	Description string            `json:"description,omitempty"`
	NameNull    bool              `json:"name_null,omitempty"` // was never given: shown as null
	TextNull    bool              `json:"text_null,omitempty"` // the same of the description
	GiB         int64             `json:"gib"`
	Status      Status            `json:"status"`
	Task        Task              `json:"task,omitempty"`
	Before      Status            `json:"before,omitempty"` // what Status goes back to after a passing one
	TypeID      string            `json:"type_id,omitempty"`
	Zone        string            `json:"zone"`
	Host        string            `json:"host,omitempty"` // the peer that has it; "" when none could be found
	Metadata    map[string]string `json:"metadata,omitempty"`
	Bootable    bool              `json:"bootable,omitempty"`
	ReadOnly    bool              `json:"read_only,omitempty"`
	ReadOnlySet bool              `json:"read_only_set,omitempty"` // somebody said so: shown in the metadata
	Image       map[string]string `json:"image,omitempty"`         // volume_image_metadata

	// What it is made from, one of them.
	SnapshotID   string `json:"snapshot_id,omitempty"`
	SourceVolume string `json:"source_volume,omitempty"`
	ImageID      string `json:"image_id,omitempty"`

	Epoch     uint64     `json:"epoch,omitempty"` // of the newest connection
	GrowTo    int64      `json:"grow_to,omitempty"`
	RevertTo  string     `json:"revert_to,omitempty"` // snapshot
	Upload    *Upload    `json:"upload,omitempty"`
	RequestID string     `json:"request_id,omitempty"` // of the request that asked for what is under way
	Made      bool       `json:"made,omitempty"`       // the backend has it, whole
	Created   time.Time  `json:"created"`
	Updated   *time.Time `json:"updated,omitempty"`
	Key       string     `json:"key,omitempty"` // of a caller in this process that may repeat itself
	MigStat   string     `json:"migration_status,omitempty"`
}

// Upload is an image that is being made from a volume.
type Upload struct {
	ImageID string `json:"image_id"`
	Format  string `json:"format"`
}

// Snapshot is a snapshot's row.
type Snapshot struct {
	ID          string            `json:"id"`
	ProjectID   string            `json:"project_id"`
	UserID      string            `json:"user_id"`
	VolumeID    string            `json:"volume_id"`
	Name        string            `json:"name,omitempty"`
	Description string            `json:"description,omitempty"`
	NameNull    bool              `json:"name_null,omitempty"`
	TextNull    bool              `json:"text_null,omitempty"`
	GiB         int64             `json:"gib"`
	Status      Status            `json:"status"`
	Task        Task              `json:"task,omitempty"`
	Made        bool              `json:"made,omitempty"`
	Progress    string            `json:"progress,omitempty"` // as somebody else said; "" is for us to say
	Host        string            `json:"host,omitempty"`
	TypeID      string            `json:"type_id,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	RequestID   string            `json:"request_id,omitempty"`
	Created     time.Time         `json:"created"`
	Updated     *time.Time        `json:"updated,omitempty"`
}

// AttachStatus is an attachment's status.
type AttachStatus string

// The statuses of attachments.
const (
	AttachReserved  AttachStatus = "reserved"
	AttachAttaching AttachStatus = "attaching"
	AttachAttached  AttachStatus = "attached"
	AttachDetached  AttachStatus = "detached"
	AttachError     AttachStatus = "error_attaching"
)

// Attachment is a server's hold on a volume.
type Attachment struct {
	ID         string       `json:"id"`
	VolumeID   string       `json:"volume_id"`
	ProjectID  string       `json:"project_id"`
	InstanceID string       `json:"instance_id,omitempty"`
	Status     AttachStatus `json:"status"`
	Mode       string       `json:"mode"`           // rw or ro
	Host       string       `json:"host,omitempty"` // where it is attached
	MountPoint string       `json:"mount_point,omitempty"`
	Old        bool         `json:"old,omitempty"` // made by os-initialize_connection or os-attach, not by the attachments API
	Connection *Connection  `json:"connection,omitempty"`
	Attached   *time.Time   `json:"attached,omitempty"`
	Created    time.Time    `json:"created"`
}

// Connection is how an initiator may reach a volume.
type Connection struct {
	Epoch     uint64            `json:"epoch"`
	Initiator string            `json:"initiator"` // IQN
	Connector map[string]string `json:"connector"` // what the client said of itself, text only
	User      string            `json:"user"`
	Secret    string            `json:"secret"`
	BackUser  string            `json:"back_user"` // what the target proves to the initiator
	BackKey   string            `json:"back_key"`
}

// Export is what a volume's peer has done about connections: observed, not wished.
type Export struct {
	VolumeID string `json:"volume_id"`
	Epoch    uint64 `json:"epoch"` // 0: not exported
	Fault    string `json:"fault,omitempty"`
	OfEpoch  uint64 `json:"of_epoch,omitempty"` // what Fault is about
}

// Host is a peer that keeps volumes, as it describes itself.
type Host struct {
	Peer        string    `json:"peer"`
	Backend     string    `json:"backend"`
	Zone        string    `json:"zone"`
	Portal      string    `json:"portal"` // address and port of its iSCSI target
	Total       int64     `json:"total"`  // bytes
	Free        int64     `json:"free"`
	Provisioned int64     `json:"provisioned"`
	Fault       string    `json:"fault,omitempty"`
	Updated     time.Time `json:"updated"`
}

// Switch is what an administrator says of a host. It is a row of its own: the host writes the other.
type Switch struct {
	Peer     string    `json:"peer"`
	Disabled bool      `json:"disabled,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Frozen   bool      `json:"frozen,omitempty"`
	Updated  time.Time `json:"updated"`
}

// Type is a volume type.
type Type struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	TextNull    bool              `json:"text_null,omitempty"`
	Public      bool              `json:"public"`
	Specs       map[string]string `json:"specs,omitempty"`
	QoSID       string            `json:"qos_id,omitempty"`
	Projects    []string          `json:"projects,omitempty"` // that may use it when it is not public
	Created     time.Time         `json:"created"`
	Updated     *time.Time        `json:"updated,omitempty"`
}

// QoS is a set of specs for types.
type QoS struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Consumer string            `json:"consumer"`
	Specs    map[string]string `json:"specs,omitempty"`
	Created  time.Time         `json:"created"`
}

// Quota is what a project (or a class) may use; what is absent is the class default's.
type Quota struct {
	ID     string           `json:"id"`
	Limits map[string]int64 `json:"limits"`
}

// DefaultType is a project's own default type.
type DefaultType struct {
	ProjectID string `json:"project_id"`
	TypeID    string `json:"type_id"`
}

// Message tells a user why something failed.
type Message struct {
	ID           string    `json:"id"`
	ProjectID    string    `json:"project_id"`
	RequestID    string    `json:"request_id"`
	ResourceType string    `json:"resource_type"`
	ResourceID   string    `json:"resource_id"`
	Action       string    `json:"action"` // three digits, as Cinder numbers them
	Detail       string    `json:"detail"` // the same
	Text         string    `json:"text"`
	Level        string    `json:"level"`
	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires"`
}

// Transfer is a volume on offer to another project.
type Transfer struct {
	ID          string    `json:"id"`
	VolumeID    string    `json:"volume_id"`
	Name        string    `json:"name"`
	KeyHash     string    `json:"key_hash"`
	FromProject string    `json:"from_project"`
	ToProject   string    `json:"to_project,omitempty"`
	NoSnapshots bool      `json:"no_snapshots,omitempty"`
	Accepted    bool      `json:"accepted,omitempty"`
	Created     time.Time `json:"created"`
}
