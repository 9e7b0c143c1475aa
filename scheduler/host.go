package scheduler

// HostState is a host as filters and weighers see it.
type HostState struct {
	ID         string // the peer
	Name       string
	ProviderID string // its resource provider in placement
	Zone       string
	Down       string // why no server may go there now; "" when one may
	Hypervisor string // QEMU
	VirtType   string // kvm or qemu
	Version    int    // of the hypervisor, as libvirt counts: 7002000 is 7.2.0
	Arch       string // x86_64
	// Capabilities are further attributes that flavors' extra specs may ask for: lines of name=value. Traits are those of its provider, with blanks between. (Plain text, so that two states
	// can be compared.)
	Capabilities   string
	Traits         string
	RAM, CPU, Disk Room // MiB, VCPUs, GiB
}

// Room is how much of a resource a host may promise, and has promised.
type Room struct {
	Capacity int64 // with the allocation ratio
	OneMax   int64 // what one server may have: the most that is really there
	Used     int64
}

// Free is what can still be promised.
func (r Room) Free() int64 { return r.Capacity - r.Used }

// Fits tells whether a server may have this amount. Nothing always fits.
func (r Room) Fits(amount int64) bool {
	return amount <= 0 || amount <= r.OneMax && amount <= r.Free()
}

// Request is what a server needs of a host.
type Request struct {
	ServerID, ProjectID, UserID string
	VCPUs, RAMMiB, DiskGiB      int64
	Zone                        string            // "": any
	Host                        string            // only this one, by name; "": any
	Without                     []string          // not these, by name: they were tried
	ExtraSpecs                  map[string]string // the flavor's
	Image                       map[string]string // the image's properties
	SameHost, DifferentHost     []string          // servers to be beside, and not to be beside
	Group                       *Group

	// Filled in by Place out of placement: the providers of the servers above, and how many members of the group each provider has.
	sameHost, differentHost map[string]bool
	members                 map[string]int
}

// Group is a server group.
type Group struct {
	Policy  string // affinity, anti-affinity, soft-affinity, soft-anti-affinity
	MaxPer  int    // of anti-affinity: members on one host; 0 is 1
	Members []string
}
