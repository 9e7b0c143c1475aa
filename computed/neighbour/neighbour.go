// Package neighbour says what compute needs of the other parts, as small interfaces: images, networks, volumes, and the choice of a host. cmd/henge plugs the
// real ones in; tests plug in the ones of neighbourtest.
//
// Every call is safe to repeat: an agent that was killed in the midst of a boot does it again. Errors carry a kind, and a text that a user can act on:
// it becomes the server's fault as it is.
package neighbour

import (
	"context"
	"io"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/identity/authn"
)

// Image is what compute must know of an image.
type Image struct {
	model.Image
	Status    string
	Container string
}

// NewImage describes an image to be made from a server.
type NewImage struct {
	Name       string
	Format     string // qcow2 or raw
	MinDiskGiB int
	MinRAMMiB  int
	Properties map[string]string
}

// Images is the image service.
type Images interface {
	// Describe finds an image that the caller may see: errs.NotFound otherwise.
	Describe(ctx context.Context, who *authn.Identity, id string) (Image, error)
	// Open gives an image's bytes, from the first to the last.
	Open(ctx context.Context, who *authn.Identity, id string) (io.ReadCloser, error)
	// Create makes an image without bytes (queued).
	Create(ctx context.Context, who *authn.Identity, image NewImage) (id string, err error)
	// Upload fills it.
	Upload(ctx context.Context, who *authn.Identity, id string, bytes io.Reader) error
	// Delete removes one that could not be filled. Not there is no error.
	Delete(ctx context.Context, who *authn.Identity, id string) error
}

// Network is a network that a project may use.
type Network struct {
	ID, Name string
	Subnets  int
	External bool
	Shared   bool
}

// PortRequest describes a port to be made for a server.
type PortRequest struct {
	NetworkID      string
	FixedIP        string
	Groups         []string // security groups, by id or name; empty: the project's default
	ServerID, Host string
	Zone           string
	ProjectID      string
	Key            string // the same key gives the same port: the request may be repeated
}

// Port is a port as compute sees it.
type Port struct {
	ID, ProjectID, NetworkID string
	MAC                      string
	NetworkName              string
	Addresses                []model.Address
	Subnets                  []model.SubnetRef
	Groups                   []SecurityGroup
	FloatingIPs              []FloatingIP
	ServerID                 string // of the device that has it; "" when free
	Host                     string
	Status                   string // ACTIVE, DOWN, ...
}

// SecurityGroup names one.
type SecurityGroup struct{ ID, Name string }

// GroupDetail is a security group whole.
type GroupDetail struct {
	SecurityGroup
	Description, ProjectID string
	Rules                  []GroupRule // of what comes in
}

// GroupRule lets something in.
type GroupRule struct {
	ID, GroupID      string
	Protocol         string // tcp, udp, icmp; "": any
	FromPort, ToPort int    // -1: any
	CIDR             string // of the source; "" with RemoteGroup
	RemoteGroup      SecurityGroup
	RemoteProject    string // of RemoteGroup
}

// Groups are the security groups as Nova's old calls see them, which clients below 2.36 use.
type Groups interface {
	Groups(ctx context.Context, who *authn.Identity) ([]GroupDetail, error)
	GroupDetail(ctx context.Context, who *authn.Identity, id string) (GroupDetail, error)
	CreateGroup(ctx context.Context, who *authn.Identity, name, description string) (GroupDetail, error)
	UpdateGroup(ctx context.Context, who *authn.Identity, id, name, description string) (GroupDetail, error)
	DeleteGroup(ctx context.Context, who *authn.Identity, id string) error
	CreateRule(ctx context.Context, who *authn.Identity, rule GroupRule) (GroupRule, error)
	DeleteRule(ctx context.Context, who *authn.Identity, id string) error
}

// FloatingDetail is a floating IP whole.
type FloatingDetail struct {
	ID, Address, FixedIP string
	Pool                 string // the name of its network
	ServerID             string // that it leads to; "" when none
}

// Floating are the floating IPs as Nova's old calls see them, which clients below 2.36 (2.44 for associating) use.
type Floating interface {
	// Pools are the names of the networks that floating IPs come from.
	Pools(ctx context.Context, who *authn.Identity) ([]string, error)
	List(ctx context.Context, who *authn.Identity) ([]FloatingDetail, error)
	Show(ctx context.Context, who *authn.Identity, id string) (FloatingDetail, error)
	// Allocate takes one of a pool, named or by id; "": of any.
	Allocate(ctx context.Context, who *authn.Identity, pool string) (FloatingDetail, error)
	Release(ctx context.Context, who *authn.Identity, id string) error
	// Associate leads a floating IP to an address of a server, wherever it led before; fixed "": to the server's first that it can lead to.
	Associate(ctx context.Context, who *authn.Identity, address, serverID, fixed string) error
	// Disassociate ends that; errs.Conflict when it does not lead to the server.
	Disassociate(ctx context.Context, who *authn.Identity, address, serverID string) error
}

// FloatingIP is a floating IP of a port.
type FloatingIP struct{ FixedIP, IP string }

// Wire is a port's end on this host, ready for a guest.
type Wire struct {
	Tap string
	MTU int
}

// Networks is the network service.
type Networks interface {
	Groups() Groups
	Floating() Floating
	// Available are the networks that the caller's project may put servers on.
	Available(ctx context.Context, who *authn.Identity) ([]Network, error)
	// Network finds one that the caller may see: errs.NotFound otherwise.
	Network(ctx context.Context, who *authn.Identity, id string) (Network, error)
	// AutoNetwork gives the project's automatically made network, making it if it can: errs.Conflict when that is not possible.
	AutoNetwork(ctx context.Context, who *authn.Identity) (Network, error)
	// Port finds one that the caller may see: errs.NotFound otherwise.
	Port(ctx context.Context, who *authn.Identity, id string) (Port, error)
	// PortsOf are the ports of a server.
	PortsOf(ctx context.Context, serverID string) ([]Port, error)
	// Group finds a security group by id or name.
	Group(ctx context.Context, who *authn.Identity, idOrName string) (SecurityGroup, error)
	// SetGroups replaces the security groups of a port.
	SetGroups(ctx context.Context, who *authn.Identity, portID string, groupIDs []string) error
	// CreatePort makes a port and binds it to the host.
	CreatePort(ctx context.Context, who *authn.Identity, req PortRequest) (Port, error)
	// BindPort gives an existing port to the server on the host: errs.Conflict when another has it.
	BindPort(ctx context.Context, who *authn.Identity, portID, serverID, host string) (Port, error)
	// UnbindPort gives a port back. Not there, or no longer the server's, is no error.
	UnbindPort(ctx context.Context, portID, serverID string) error
	// DeletePort removes a port that was made for the server. Not there is no error.
	DeletePort(ctx context.Context, portID, serverID string) error
	// Wired waits until the port's agent on the host has wired it; when that cannot be done, the error says why.
	Wired(ctx context.Context, portID, host string) (Wire, error)
	// Ports are ports as they are now, by id, with their floating IPs; those that are gone are left out. They are shared: do not modify them. A port that has not changed may be the
	// same one as before, so that what was made of it still holds.
	Ports(ctx context.Context, ids []string) (map[string]*Port, error)
	// AddFixedIP gives a port one more address of its network.
	AddFixedIP(ctx context.Context, who *authn.Identity, portID, networkID string) (Port, error)
	// RemoveFixedIP takes an address from a port.
	RemoveFixedIP(ctx context.Context, who *authn.Identity, portID, ip string) (Port, error)
}

// Volume is a volume as compute sees it.
type Volume struct {
	ID, Name, Status string
	GiB              int
	Bootable         bool
	Image            model.Image // what it was made from, if known
}

// VolumeSnapshot is a snapshot of a volume.
type VolumeSnapshot struct {
	ID     string
	Status string
	GiB    int
	Volume Volume // that it is of
}

// VolumeRequest describes a volume to be made for a server.
type VolumeRequest struct {
	Name, Type          string
	GiB                 int
	ImageID, SnapshotID string
	Key                 string // the same key gives the same volume
}

// Connection is how a guest reaches a volume: iSCSI.
type Connection struct {
	Portal, IQN              string
	LUN                      int
	User, Secret             string // CHAP
	MutualUser, MutualSecret string
}

// Volumes is the volume service.
type Volumes interface {
	Volume(ctx context.Context, who *authn.Identity, id string) (Volume, error)
	// CreateVolume makes a volume and waits until it is available; when it goes to error the error says why.
	CreateVolume(ctx context.Context, who *authn.Identity, req VolumeRequest) (Volume, error)
	// Snapshot finds one that the caller may see: errs.NotFound otherwise.
	Snapshot(ctx context.Context, who *authn.Identity, id string) (VolumeSnapshot, error)
	// CreateSnapshot makes a snapshot of a volume, also of one in use. It may still be under way when this returns.
	CreateSnapshot(ctx context.Context, who *authn.Identity, volumeID, name, description string) (id string, err error)
	// DeleteSnapshot removes one. Not there is no error.
	DeleteSnapshot(ctx context.Context, who *authn.Identity, id string) error
	// DeleteVolume removes a volume. Not there is no error; errs.Conflict when it must stay, for it has snapshots or is attached elsewhere.
	DeleteVolume(ctx context.Context, who *authn.Identity, id string) error
	// Reserve makes an attachment that is not connected yet: errs.Conflict when the volume is not free. For the same volume and server it is the same attachment.
	Reserve(ctx context.Context, who *authn.Identity, volumeID, serverID string) (attachmentID string, err error)
	// Connect exports the volume to the initiator on the host.
	Connect(ctx context.Context, who *authn.Identity, attachmentID, host, initiator, device string) (Connection, error)
	// Complete says that the guest has it.
	Complete(ctx context.Context, who *authn.Identity, attachmentID string) error
	// BeginDetaching says that the server is about to give it back: errs.Conflict when it is not in use.
	BeginDetaching(ctx context.Context, who *authn.Identity, volumeID string) error
	// RollDetaching takes that back. Not there is no error.
	RollDetaching(ctx context.Context, who *authn.Identity, volumeID string) error
	// Detach ends the attachment. Not there is no error.
	Detach(ctx context.Context, who *authn.Identity, attachmentID string) error
	// DetachServer ends whatever attachments of the server there still are: a reservation that was made and not noted.
	DetachServer(ctx context.Context, who *authn.Identity, serverID string) error
	// DeleteMade removes the volume that CreateVolume made for a key, if it made one.
	DeleteMade(ctx context.Context, who *authn.Identity, key string) error
}

// Claim is what a server needs of a host.
type Claim struct {
	ServerID  string
	ProjectID string
	VCPUs     int
	RAMMiB    int
	DiskGiB   int
	Zone      string
	Host      string   // only this one, by name
	Without   []string // not these: they were tried
	Image     model.Image
	Flavor    model.Flavor
	Hints     map[string]any
	Group     *model.Group
}

// Scheduler chooses hosts and keeps count of what is taken. Its functions work in the caller's transaction.
type Scheduler interface {
	// Place chooses a host and claims what the server needs of it. errs.Unavailable, with a text that says which filter removed how many hosts, when there is none.
	Place(ctx context.Context, w state.Writer, claim Claim) (host string, err error)
	// Release gives back what a server had. Nothing claimed is no error.
	Release(w state.Writer, serverID string) error
	// Report says what a host has.
	Report(w state.Writer, host model.Host) error
}

// Fetch opens the bytes of an image.
type Fetch = func(ctx context.Context) (io.ReadCloser, error)

// Root is the root disk of a guest.
type Root struct {
	Path, Format string
	CD           bool
}
