package model

import (
	"time"

	"henge/computed/lifecycle"
)

// Flavor is a size that servers come in.
type Flavor struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	VCPUs       int               `json:"vcpus"`
	RAMMiB      int               `json:"ram_mib"`
	DiskGiB     int               `json:"disk_gib"`
	EphemeralG  int               `json:"ephemeral_gib,omitempty"`
	SwapMiB     int               `json:"swap_mib,omitempty"`
	RxTx        float64           `json:"rxtx"`
	Public      bool              `json:"public"`
	Disabled    bool              `json:"disabled,omitempty"`
	Projects    []string          `json:"projects,omitempty"` // who may use it when it is not public
	ExtraSpecs  map[string]string `json:"extra_specs,omitempty"`
	Created     time.Time         `json:"created"`
}

// Keypair is a public key of a user.
type Keypair struct {
	UserID      string    `json:"user_id"`
	Name        string    `json:"name"`
	Type        string    `json:"type"` // ssh or x509
	PublicKey   string    `json:"public_key"`
	Fingerprint string    `json:"fingerprint"`
	Created     time.Time `json:"created"`
}

// Image is what a server keeps of the image that it was made from.
type Image struct {
	ID         string            `json:"id"`
	Name       string            `json:"name,omitempty"`
	Format     string            `json:"format,omitempty"`
	Bytes      int64             `json:"bytes,omitempty"`
	Hash       string            `json:"hash,omitempty"` // sha512, hex; "" when the image service knows none
	MinDiskGiB int               `json:"min_disk_gib,omitempty"`
	MinRAMMiB  int               `json:"min_ram_mib,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
}

// NIC is one interface of a server.
type NIC struct {
	PortID    string `json:"port_id,omitempty"` // "" until the agent has made it
	NetworkID string `json:"network_id,omitempty"`
	FixedIP   string `json:"fixed_ip,omitempty"` // asked for
	Tag       string `json:"tag,omitempty"`
	Ours      bool   `json:"ours,omitempty"` // made by us: it goes when the interface goes
	// What the network service said when the port was bound.
	MAC         string      `json:"mac,omitempty"`
	NetworkName string      `json:"network_name,omitempty"`
	Addresses   []Address   `json:"addresses,omitempty"`
	Subnets     []SubnetRef `json:"subnets,omitempty"`
	MTU         int         `json:"mtu,omitempty"`
	Tap         string      `json:"tap,omitempty"`
	State       string      `json:"state,omitempty"` // an Attach... constant
	RequestID   string      `json:"request_id,omitempty"`
}

// Address is one fixed IP of an interface.
type Address struct {
	IP       string `json:"ip"`
	SubnetID string `json:"subnet_id,omitempty"`
}

// SubnetRef is what a guest must know of a subnet to configure itself without DHCP.
type SubnetRef struct {
	ID      string   `json:"id"`
	CIDR    string   `json:"cidr"`
	Gateway string   `json:"gateway,omitempty"`
	DNS     []string `json:"dns,omitempty"`
	DHCP    bool     `json:"dhcp,omitempty"`
}

// Disk is one block device of a server: its own root disk, or a volume.
type Disk struct {
	ID                  string `json:"id"`
	Source              string `json:"source"`                // as asked: image, volume, snapshot, blank
	SourceID            string `json:"source_id,omitempty"`   // image, snapshot
	VolumeID            string `json:"volume_id,omitempty"`   // "" for a local disk, and for a volume that is still to be made
	VolumeType          string `json:"volume_type,omitempty"` // of one to be made
	Local               bool   `json:"local,omitempty"`       // lies on the host
	GiB                 int    `json:"gib,omitempty"`
	Boot                bool   `json:"boot,omitempty"`
	DeleteOnTermination bool   `json:"delete_on_termination,omitempty"`
	Device              string `json:"device,omitempty"` // vda, vdb, ...
	Tag                 string `json:"tag,omitempty"`
	AttachmentID        string `json:"attachment_id,omitempty"`
	State               string `json:"state"`           // an Attach... constant
	Grown               bool   `json:"grown,omitempty"` // the volume is larger now: the guest is to be told
	RequestID           string `json:"request_id,omitempty"`
}

// The states of a Disk or NIC.
const (
	AttachWanted = "wanted"    // to be attached by the agent
	Attached     = "attached"  // in the guest's definition
	Detaching    = "detaching" // to be detached by the agent
)

// Task is what the agent is to do next with a server; there is at most one.
type Task struct {
	Action    lifecycle.Action  `json:"action"`
	RequestID string            `json:"request_id"`
	UserID    string            `json:"user_id,omitempty"`
	ProjectID string            `json:"project_id,omitempty"`
	Started   time.Time         `json:"started"`
	ImageID   string            `json:"image_id,omitempty"` // of a snapshot: the image to fill
	DiskID    string            `json:"disk_id,omitempty"`  // attach, detach of a volume
	PortID    string            `json:"port_id,omitempty"`  // attach, detach of an interface
	Details   map[string]string `json:"details,omitempty"`
}

// Fault is why a server is in error.
type Fault struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Created time.Time `json:"created"`
}

// Server is one guest, wanted and observed. State is changed by package lifecycle only.
type Server struct {
	ID            string            `json:"id"`
	Name          string            `json:"name"`
	Description   string            `json:"description,omitempty"`
	Hostname      string            `json:"hostname"`
	ProjectID     string            `json:"project_id"`
	UserID        string            `json:"user_id"`
	Created       time.Time         `json:"created"`
	Updated       time.Time         `json:"updated"`
	Launched      time.Time         `json:"launched,omitzero"`
	ReservationID string            `json:"reservation_id"`
	LaunchIndex   int               `json:"launch_index,omitempty"`
	Flavor        Flavor            `json:"flavor"`
	Image         Image             `json:"image"` // ID "" when booted from a volume
	KeyName       string            `json:"key_name,omitempty"`
	PublicKey     string            `json:"public_key,omitempty"`
	ConfigDrive   bool              `json:"config_drive,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Tags          []string          `json:"tags,omitempty"`
	Hints         map[string]any    `json:"hints,omitempty"`
	GroupID       string            `json:"group_id,omitempty"`
	Zone          string            `json:"zone,omitempty"` // asked for
	WantHost      string            `json:"want_host,omitempty"`
	Locked        string            `json:"locked,omitempty"` // "", owner, admin
	LockedReason  string            `json:"locked_reason,omitempty"`
	AccessIPv4    string            `json:"access_ipv4,omitempty"`
	AccessIPv6    string            `json:"access_ipv6,omitempty"`
	DiskConfig    string            `json:"disk_config,omitempty"`
	Groups        []string          `json:"groups,omitempty"` // security groups for the ports that we make
	AdminPassword string            `json:"admin_password,omitempty"`
	GuestPassword string            `json:"guest_password,omitempty"` // that the guest left, encrypted for its owner

	Host  string   `json:"host,omitempty"` // the peer that runs it; "" when none was found
	Tried []string `json:"tried,omitempty"`

	lifecycle.State
	Task     *Task  `json:"task,omitempty"`
	Fault    *Fault `json:"fault,omitempty"`
	Progress int    `json:"progress,omitempty"`
	NICs     []NIC  `json:"nics,omitempty"`
	Disks    []Disk `json:"disks,omitempty"`
}

// UserData is a server's user data, as sent: base64. It lies beside the server, so that lists need not carry it.
type UserData struct {
	ServerID string `json:"server_id"`
	Data     string `json:"data"`
}

// Event is one step of an action.
type Event struct {
	Name    string    `json:"name"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Result  string    `json:"result,omitempty"` // Success or Error
	Details string    `json:"details,omitempty"`
	Host    string    `json:"host,omitempty"`
}

// ActionRecord is one thing that was asked of a server.
type ActionRecord struct {
	ServerID  string    `json:"server_id"`
	RequestID string    `json:"request_id"`
	Action    string    `json:"action"`
	UserID    string    `json:"user_id"`
	ProjectID string    `json:"project_id"`
	Started   time.Time `json:"started"`
	Updated   time.Time `json:"updated"`
	Message   string    `json:"message,omitempty"`
	Events    []Event   `json:"events,omitempty"`
}

// Group is a server group.
type Group struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	ProjectID string   `json:"project_id"`
	UserID    string   `json:"user_id"`
	Policy    string   `json:"policy"`
	MaxPer    int      `json:"max_server_per_host,omitempty"`
	Members   []string `json:"members,omitempty"`
}

// Host is a peer that runs guests, as its agent describes it.
type Host struct {
	ID             string    `json:"id"` // the peer
	UUID           string    `json:"uuid"`
	Name           string    `json:"name"`
	Address        string    `json:"address"`
	ConsoleURL     string    `json:"console_url"`
	Zone           string    `json:"zone"`
	VCPUs          int       `json:"vcpus"`
	MemoryMiB      int       `json:"memory_mib"`
	DiskGiB        int       `json:"disk_gib"`
	DiskFreeGiB    int       `json:"disk_free_gib"`
	Hypervisor     string    `json:"hypervisor"` // QEMU
	Version        int       `json:"version"`
	VirtType       string    `json:"virt_type"` // kvm or qemu
	CPUModel       string    `json:"cpu_model,omitempty"`
	Arch           string    `json:"arch"`
	Initiator      string    `json:"initiator"`
	Seen           time.Time `json:"seen"`
	Booted         int64     `json:"booted,omitempty"`  // the machine, in Unix seconds
	Problem        string    `json:"problem,omitempty"` // why it runs no guests now
	Disabled       bool      `json:"disabled,omitempty"`
	DisabledReason string    `json:"disabled_reason,omitempty"`
	ForcedDown     bool      `json:"forced_down,omitempty"`
}

// Aggregate is a set of hosts.
type Aggregate struct {
	Number   int               `json:"number"`
	UUID     string            `json:"uuid"`
	Name     string            `json:"name"`
	Zone     string            `json:"zone,omitempty"`
	Hosts    []string          `json:"hosts,omitempty"` // names
	Metadata map[string]string `json:"metadata,omitempty"`
	Created  time.Time         `json:"created"`
	Updated  time.Time         `json:"updated,omitzero"`
}

// Quota is what differs from the defaults for a project.
type Quota struct {
	ProjectID string         `json:"project_id"`
	Limits    map[string]int `json:"limits"`
}

// ConsoleToken lets one WebSocket in, once. The row's id is a hash of the token.
type ConsoleToken struct {
	Hash     string    `json:"hash"`
	ServerID string    `json:"server_id"`
	Host     string    `json:"host"`
	Expires  time.Time `json:"expires"`
}
