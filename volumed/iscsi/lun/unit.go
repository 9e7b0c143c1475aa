package lun

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"henge/internal/errs"
	"henge/volumed/iscsi/pool"
)

// Config is what a Unit is made of. All fields are needed.
type Config struct {
	Store      Store
	Name       string // of the target: an IQN
	Serial     string
	BlockBytes int
	ReadOnly   bool
	Pool       *pool.Pool
	Log        *slog.Logger
	// Abort ends the commands of other initiators (PREEMPT AND ABORT), and returns when they are over.
	Abort func([]*Nexus)
}

// Unit is one logical unit.
type Unit struct {
	store    Store
	extents  Extents // nil: everything counts as allocated
	name     string
	serial   string
	shift    uint // block length as a power of two
	readOnly bool
	pool     *pool.Pool
	log      *slog.Logger
	table    [256][]operation
	foreign  *foreign
	abort    func([]*Nexus)

	blocks  atomic.Uint64
	swp     atomic.Bool // software write protect: MODE SELECT
	guarded atomic.Bool // somebody has a reservation or a registration: look it up

	// content is held shared by all that writes, and alone by what reads, compares and writes as one step.
	content sync.RWMutex

	mu         sync.Mutex // guards the fields below
	nexuses    map[*Nexus]bool
	reserved   *Nexus // RESERVE(6)
	persistent persistent
}

// New makes a unit. Nothing is read from the store but its size.
func New(cfg Config) (*Unit, error) {
	u := &Unit{store: cfg.Store, name: cfg.Name, serial: cfg.Serial, readOnly: cfg.ReadOnly, pool: cfg.Pool, log: cfg.Log, abort: cfg.Abort, nexuses: map[*Nexus]bool{}}
	for 1<<u.shift < cfg.BlockBytes {
		u.shift++
	}
	u.extents, _ = cfg.Store.(Extents)
	u.blocks.Store(uint64(cfg.Store.Size()) >> u.shift)
	u.table = operations()
	foreign, err := newForeign(u)
	if err != nil {
		return nil, err
	}
	u.foreign = foreign
	return u, nil
}

// Has says whether a logical unit number, as in a PDU, is ours: number 0, in peripheral or flat addressing.
func (u *Unit) Has(lun uint64) bool { return lun == 0 || lun == 0x4000<<48 }

func (u *Unit) blockBytes() int { return 1 << u.shift }

func (u *Unit) protected() bool { return u.readOnly || u.swp.Load() }

// Resize takes over the store's size, and tells all initiators.
func (u *Unit) Resize() error {
	now := uint64(u.store.Size()) >> u.shift
	before := u.blocks.Load()
	if now < before {
		return errs.New(errs.Invalid, "resize target %s: from %d to %d blocks: a disk does not shrink", u.name, before, now)
	}
	if now == before {
		return nil
	}
	u.blocks.Store(now)
	u.foreign.resize(now)
	u.raise(CapacityChanged, func(*Nexus) bool { return true })
	return nil
}

// Nexus is one initiator port's tie to the unit.
type Nexus struct {
	ID string // the initiator port's name: "iqn...,i,0x<ISID>"

	waits   atomic.Bool
	mu      sync.Mutex // guards pending
	pending []uint16
}

// attentionsMax bounds what a silent initiator gathers.
const attentionsMax = 16

func (n *Nexus) add(code uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) < attentionsMax && !slices.Contains(n.pending, code) {
		n.pending = append(n.pending, code)
		n.waits.Store(true)
	}
}

// attention takes the next unit attention, 0 if there is none.
func (n *Nexus) attention() uint16 {
	if !n.waits.Load() {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) == 0 {
		return 0
	}
	code := n.pending[0]
	n.pending = n.pending[1:]
	n.waits.Store(len(n.pending) > 0)
	return code
}

// Attach begins a nexus. Its first command hears of a power on: what was reserved in an earlier life of the target is not any more.
func (u *Unit) Attach(id string) *Nexus {
	n := &Nexus{ID: id}
	n.add(PowerOn)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.nexuses[n] = true
	return n
}

// Detach ends a nexus. Its RESERVE(6) goes; persistent reservations stay.
func (u *Unit) Detach(n *Nexus) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.nexuses, n)
	if u.reserved == n {
		u.reserved = nil
		u.guard()
	}
}

// Reset is a logical unit reset, asked for by one initiator: all hear of it.
func (u *Unit) Reset() {
	u.mu.Lock()
	u.reserved = nil
	u.guard()
	u.mu.Unlock()
	u.swp.Store(false)
	u.foreign.protect(false)
	u.raise(DeviceReset, func(*Nexus) bool { return true })
}

// Cleared tells a nexus that another one's task management ended its commands.
func (u *Unit) Cleared(n *Nexus) { n.add(CommandsCleared) }

// raise establishes a unit attention.
func (u *Unit) raise(code uint16, to func(*Nexus) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.raiseLocked(code, to)
}

func (u *Unit) raiseLocked(code uint16, to func(*Nexus) bool) {
	for n := range u.nexuses {
		if to(n) {
			n.add(code)
		}
	}
}

// guard is called with u.mu held, after every change of reservations.
func (u *Unit) guard() {
	u.guarded.Store(u.reserved != nil || u.persistent.any())
}
