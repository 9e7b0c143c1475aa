// Package hypervisor is what compute wants of something that runs guests. The real one is in hypervisor/libvirt, one in memory for tests in hypervisor/memory; both pass
// hypervisortest.Run.
package hypervisor

import (
	"context"
	"errors"
	"io"

	"henge/computed/lifecycle"
)

// Host is what a hypervisor says of its machine.
type Host struct {
	Name      string
	VCPUs     int
	MemoryMiB int
	Type      string // QEMU
	Version   int    // as libvirt counts: major * 1e6 + minor * 1e3 + release
	VirtType  string // kvm or qemu
	CPUModel  string
	Arch      string
}

// Disk is a block device of a guest: a file, or an iSCSI LUN.
type Disk struct {
	Device   string // vda
	Bus      string // virtio, ide, sata, scsi; "": virtio
	Serial   string
	Boot     int // order; 0: not booted from
	CDROM    bool
	ReadOnly bool

	Path   string // of a file
	Format string // raw or qcow2

	ISCSI *ISCSI
}

// ISCSI is where a volume is.
type ISCSI struct {
	Portal       string // address:port
	IQN          string
	LUN          int
	Initiator    string
	User, Secret string
}

// NIC is an interface whose tap device is there already.
type NIC struct {
	MAC   string
	Tap   string
	MTU   int
	Model string // "": virtio
}

// Guest describes a guest to be defined.
type Guest struct {
	ID         string // a UUID
	Name       string // of the libvirt domain
	Title      string
	Metadata   string // the name that the user gave
	VCPUs      int
	MemoryMiB  int
	VirtType   string
	Disks      []Disk
	NICs       []NIC
	ConsoleLog string
}

// Seen is a guest that is there.
type Seen struct {
	ID    string
	Power lifecycle.Power
	// Interrupted says why a guest stands still that should run: an I/O error.
	Interrupted string
}

// ErrDown says that the hypervisor itself does not answer: its guests may be well.
var ErrDown = errors.New("the hypervisor does not answer")

// Event says that a guest changed by itself. ID is "" when anything may have changed.
type Event struct{ ID string }

// Driver runs guests. Every call may be repeated; all are safe for concurrent use, for different guests. Errors carry what the hypervisor itself said.
// Calls on a guest that is not there are errs.NotFound, unless they make it go away.
type Driver interface {
	Host(ctx context.Context) (Host, error)
	// Guests are those that were defined by us.
	Guests(ctx context.Context) ([]Seen, error)
	Guest(ctx context.Context, id string) (Seen, error)
	// Define makes or replaces the guest's lasting description. It starts nothing.
	Define(ctx context.Context, g Guest) error
	// Start runs a guest that is defined, or resumes one that was saved. Running already is no error.
	Start(ctx context.Context, id string) error
	// Screen is the Unix socket on which a running guest's display speaks VNC. errs.Conflict when it does not run.
	Screen(ctx context.Context, id string) (socket string, err error)
	// PowerButton asks the guest to shut down; it may take no notice.
	PowerButton(ctx context.Context, id string) error
	// PowerOff stops it at once. Not running, or not there, is no error.
	PowerOff(ctx context.Context, id string) error
	// Reset asks the guest to reboot by itself.
	Reset(ctx context.Context, id string) error
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	// Save stops the guest and keeps its memory on disk, for Start.
	Save(ctx context.Context, id string) error
	// Undefine removes all that the hypervisor has of a guest, which it powers off. Not there is no error.
	Undefine(ctx context.Context, id string) error
	// AttachDisk adds a disk, to the guest that runs and to its description. There already is no error.
	AttachDisk(ctx context.Context, id string, d Disk) error
	// DetachDisk takes the disk with a serial away, and waits until the guest has let go. Not there is no error.
	DetachDisk(ctx context.Context, id, serial string) error
	// GrowDisk tells the guest that the disk with a serial has more bytes now. Not running is no error.
	GrowDisk(ctx context.Context, id, serial string, bytes int64) error
	AttachNIC(ctx context.Context, id string, n NIC) error
	DetachNIC(ctx context.Context, id, mac string) error
	// CopyDisk writes what the disk holds at one moment into a new qcow2 file, whether the guest runs or not.
	CopyDisk(ctx context.Context, id, device, path string) error
	// Events delivers changes until ctx ends.
	Events(ctx context.Context) <-chan Event
	io.Closer
}
