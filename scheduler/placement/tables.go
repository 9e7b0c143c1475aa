package placement

import (
	"crypto/rand"
	"fmt"

	"henge/cluster/state"
)

// Prefix is where all rows lie.
const Prefix = "placement."

// Provider is something that has resources.
type Provider struct {
	UUID        string               `json:"uuid"`
	Name        string               `json:"name"`
	Generation  int64                `json:"generation"`       // grows with every change of what it has or what is taken of it
	Parent      string               `json:"parent,omitempty"` // "": it is the root of its tree
	Root        string               `json:"root"`
	Inventories map[string]Inventory `json:"inventories,omitempty"` // by resource class
	Used        map[string]int64     `json:"used,omitempty"`        // what allocations have taken, by resource class
	Traits      []string             `json:"traits,omitempty"`      // sorted
	Aggregates  []string             `json:"aggregates,omitempty"`  // sorted
}

// Inventory is how much there is of one resource class.
type Inventory struct {
	Total    int64   `json:"total"`
	Reserved int64   `json:"reserved"`
	MinUnit  int64   `json:"min_unit"`
	MaxUnit  int64   `json:"max_unit"`
	StepSize int64   `json:"step_size"`
	Ratio    float64 `json:"allocation_ratio"`
}

// Capacity is how much may be promised.
func (i Inventory) Capacity() int64 { return int64(float64(i.Total-i.Reserved) * i.Ratio) }

// Takes tells whether one allocation may have this amount, whatever is taken already.
func (i Inventory) Takes(amount int64) bool {
	return amount >= i.MinUnit && amount <= i.MaxUnit && (i.StepSize <= 1 || amount%i.StepSize == 0)
}

// Plain is an inventory without bounds of its own.
func Plain(total, reserved int64, ratio float64) Inventory {
	return Inventory{Total: total, Reserved: reserved, MinUnit: 1, MaxUnit: max(total, 1), StepSize: 1, Ratio: ratio}
}

// Consumer is who holds allocations.
type Consumer struct {
	ID          string                      `json:"id"`
	Generation  int64                       `json:"generation"`
	ProjectID   string                      `json:"project_id"`
	UserID      string                      `json:"user_id"`
	Type        string                      `json:"type"`
	Allocations map[string]map[string]int64 `json:"allocations"` // by provider, then resource class
}

// Holding says that a consumer has something of a provider.
type Holding struct {
	Provider string `json:"provider"`
	Consumer string `json:"consumer"`
}

// Name is a resource class or trait of somebody's own (CUSTOM_...).
type Name struct {
	Name string `json:"name"`
}

// The tables, by id. Index names: see the comments beside them.
var (
	Providers = state.NewTable[Provider](Prefix+"providers").
			Index("name", true, func(p Provider) string { return p.Name }).
			Index("root", false, func(p Provider) string { return p.Root })
	Consumers = state.NewTable[Consumer](Prefix+"consumers").Index("project", false, func(c Consumer) string { return c.ProjectID })
	Holdings  = state.NewTable[Holding](Prefix+"holdings").Index("provider", false, func(h Holding) string { return h.Provider })
	Classes   = state.NewTable[Name](Prefix + "classes")
	Traits    = state.NewTable[Name](Prefix + "traits")
)

// The resource classes of a host.
const (
	VCPU   = "VCPU"
	Memory = "MEMORY_MB"
	Disk   = "DISK_GB"
)

// NewUUID makes a random UUID.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than answer badly
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
