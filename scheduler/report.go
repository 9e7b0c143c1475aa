package scheduler

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

// Host is what a compute peer reports of itself.
type Host struct {
	ID         string `json:"id"` // the peer
	Name       string `json:"name"`
	UUID       string `json:"uuid"` // its resource provider's
	Zone       string `json:"zone"`
	Down       string `json:"down,omitempty"` // why no server may go there
	Hypervisor string `json:"hypervisor"`
	VirtType   string `json:"virt_type"`
	Version    int    `json:"version"`
	Arch       string `json:"arch"`
	VCPUs      int64  `json:"vcpus"`
	MemoryMiB  int64  `json:"memory_mib"`
	DiskGiB    int64  `json:"disk_gib"`
	// Capabilities are further attributes for extra specs, "name=value", sorted.
	Capabilities []string `json:"capabilities,omitempty"`
}

// Hosts is the table of what was reported, by peer.
var Hosts = state.NewTable[Host]("scheduler.hosts")

// Report notes what a host is and has, in the caller's transaction. It writes nothing when nothing changed, so it may be called at every heartbeat. An operator's change of the inventory by the Placement
// API holds until the host reports something else.
func (s *Service) Report(w state.Writer, h Host) error {
	old, err := Hosts.Get(w, h.ID)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	if err == nil && same(old, h) {
		return nil
	}
	inventories := map[string]placement.Inventory{}
	for class, i := range map[string]placement.Inventory{
		placement.VCPU:   placement.Plain(h.VCPUs, min(s.cfg.Ratios.ReservedVCPUs, h.VCPUs), s.cfg.Ratios.CPU),
		placement.Memory: placement.Plain(h.MemoryMiB, min(s.cfg.Ratios.ReservedRAMMiB, h.MemoryMiB), s.cfg.Ratios.RAM),
		placement.Disk:   placement.Plain(h.DiskGiB, min(s.cfg.Ratios.ReservedDiskGiB, h.DiskGiB), s.cfg.Ratios.Disk),
	} {
		if i.Total > 0 {
			inventories[class] = i
		}
	}
	traits := []string{"COMPUTE_NODE"}
	if h.Arch == "x86_64" {
		traits = append(traits, "HW_ARCH_X86_64")
	}
	if h.Down != "" {
		traits = append(traits, "COMPUTE_STATUS_DISABLED")
	}
	if err := placement.SetInventory(w, h.UUID, h.Name, inventories, traits); err != nil {
		return err
	}
	return Hosts.Put(w, h.ID, h)
}

func same(a, b Host) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// Forget removes a host that is gone for good. errs.Conflict while servers hold something of it.
func (s *Service) Forget(w state.Writer, id string) error {
	h, err := Hosts.Get(w, id)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := placement.DeleteProvider(w, h.UUID); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return Hosts.Delete(w, id)
}

// knownHost is a host's state, and the rows out of which it was made: rows never change in place, so the same bytes are the same state.
type knownHost struct {
	row, provider []byte
	uuid          string
	state         *HostState
	down          *HostState // the same while the peer is not seen
}

// hosts gives all hosts as they are for this reader.
func (s *Service) hosts(r state.Reader) ([]*HostState, error) {
	providers := map[string][]byte{}
	prefix := placement.Providers.Prefix()
	for key, raw := range r.Scan(prefix) {
		providers[key[len(prefix):]] = raw
	}
	var all []*HostState
	prefix = Hosts.Prefix()
	for key, raw := range r.Scan(prefix) {
		h, err := s.state(key[len(prefix):], raw, func(uuid string) []byte { return providers[uuid] })
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// host gives one; nil when it is gone.
func (s *Service) host(r state.Reader, id string) (*HostState, error) {
	raw, ok := r.Get(Hosts.Prefix() + id)
	if !ok {
		return nil, nil
	}
	return s.state(id, raw, func(uuid string) []byte {
		provider, _ := r.Get(placement.Providers.Prefix() + uuid)
		return provider
	})
}

// state decodes a host's rows, or remembers what they say. The peers that are not seen are down, whatever they said of themselves.
func (s *Service) state(id string, row []byte, provider func(uuid string) []byte) (*HostState, error) {
	s.mu.Lock()
	known := s.known[id]
	s.mu.Unlock()
	if known == nil || !identical(known.row, row) || !identical(known.provider, provider(known.uuid)) {
		var err error
		if known, err = decode(id, row, provider); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.known[id] = known
		s.mu.Unlock()
	}
	if !s.cfg.Alive(id) {
		return known.down, nil
	}
	return known.state, nil
}

func identical(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || bytes.Equal(a, b))
}

func decode(id string, row []byte, provider func(uuid string) []byte) (*knownHost, error) {
	_, h, err := Hosts.Decode(state.Change{Key: Hosts.Prefix() + id, Value: row})
	if err != nil {
		return nil, errs.New(errs.Corrupt, "decode host %q: %w", id, err)
	}
	k := &knownHost{row: row, uuid: h.UUID, provider: provider(h.UUID)}
	var p placement.Provider
	if len(k.provider) > 0 {
		if err := json.Unmarshal(k.provider, &p); err != nil {
			return nil, errs.New(errs.Corrupt, "decode provider %q: %w", h.UUID, err)
		}
	}
	k.state = &HostState{ID: h.ID, Name: h.Name, ProviderID: h.UUID, Zone: h.Zone, Down: h.Down, Hypervisor: h.Hypervisor, VirtType: h.VirtType, Version: h.Version, Arch: h.Arch,
		Capabilities: strings.Join(h.Capabilities, "\n"), Traits: strings.Join(p.Traits, " "), RAM: roomOf(&p, placement.Memory), CPU: roomOf(&p, placement.VCPU), Disk: roomOf(&p, placement.Disk)}
	down := *k.state
	if down.Down == "" {
		down.Down = "its peer is not seen"
	}
	k.down = &down
	return k, nil
}

func roomOf(p *placement.Provider, class string) Room {
	i, ok := p.Inventories[class]
	if !ok {
		return Room{}
	}
	return Room{Capacity: i.Capacity(), OneMax: i.MaxUnit, Used: p.Used[class]}
}

// hasTrait tells whether the host has a trait.
func (h *HostState) hasTrait(name string) bool {
	return slices.Contains(strings.Split(h.Traits, " "), name)
}
