package ring

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"henge/internal/errs"
)

// Config is what a ring begins with.
type Config struct {
	Power        uint8   // 2 to the Power partitions; never changes
	Replicas     float64 // copies of each partition; may be fractional
	MinPartHours int     // how long a partition rests after one of its replicas moved
}

// Builder makes Rings. It is not safe for concurrent use. Changes of devices take effect with the next Rebalance.
type Builder struct {
	power        uint8
	replicas     float64
	minPartHours int
	overload     float64
	version      uint64
	changed      bool // since the last rebalance
	waiting      bool // the last rebalance left moves for a later one

	devices []*Device // by number; nil where one was removed
	removed []*Device // since the last rebalance, which still has to give their partitions to others
	slots   []uint32  // stride a partition: the number of the device, or noDevice
	stride  int
	last    int      // how many partitions the last replica covers, as of the last rebalance
	moved   []uint32 // by partition: when one of its replicas last moved, in seconds since 1970; 0 is long ago
}

// NewBuilder makes a ring without devices; errs.Invalid.
func NewBuilder(c Config) (*Builder, error) {
	b := &Builder{power: c.Power}
	if c.Power < 1 || c.Power > PowerMax {
		return nil, errs.New(errs.Invalid, "part power %d is not in 1...%d", c.Power, PowerMax)
	}
	if err := b.SetReplicas(c.Replicas); err != nil {
		return nil, err
	}
	if err := b.SetMinPartHours(c.MinPartHours); err != nil {
		return nil, err
	}
	b.version, b.changed = 1, false
	return b, nil
}

func (b *Builder) touch() {
	b.version++
	b.changed = true
}

// Add takes a device in, under a number that it hands out and returns (d.ID is ignored). errs.Invalid when a field is out of range; errs.Exists when the
// peer has a device of that name already.
func (b *Builder) Add(d Device) (int, error) {
	d.ID = len(b.devices)
	if err := d.check(); err != nil {
		return 0, err
	}
	for _, other := range b.devices {
		if other != nil && other.Peer == d.Peer && other.Name == d.Name {
			return 0, errs.New(errs.Exists, "%s is in the ring already, as %s", d.Peer+"/"+d.Name, other)
		}
	}
	b.devices = append(b.devices, &d)
	b.touch()
	return d.ID, nil
}

// change replaces a device with a copy that fn has modified: Rings made before share the old one.
func (b *Builder) change(id int, fn func(*Device)) error {
	d, err := b.Device(id)
	if err != nil {
		return err
	}
	fn(&d)
	if err := d.check(); err != nil {
		return err
	}
	b.devices[id] = &d
	b.touch()
	return nil
}

// SetWeight gives a device another share. With 0 it is drained: its partitions leave as min_part_hours lets them, and it takes no more.
func (b *Builder) SetWeight(id int, weight float64) error {
	return b.change(id, func(d *Device) { d.Weight = weight })
}

// SetRegion moves a device to another region.
func (b *Builder) SetRegion(id, region int) error {
	return b.change(id, func(d *Device) { d.Region = region })
}

// SetZone moves a device to another zone of its region.
func (b *Builder) SetZone(id, zone int) error {
	return b.change(id, func(d *Device) { d.Zone = zone })
}

// SetInfo changes what people know of a device: its address and meta.
func (b *Builder) SetInfo(id int, address, meta string) error {
	return b.change(id, func(d *Device) { d.Address, d.Meta = address, meta })
}

// Remove takes a device out. The next Rebalance gives its partitions to others at once, whatever min_part_hours says: it is taken for dead.
func (b *Builder) Remove(id int) error {
	if _, err := b.Device(id); err != nil {
		return err
	}
	b.removed = append(b.removed, b.devices[id])
	slices.SortFunc(b.removed, func(x, y *Device) int { return cmp.Compare(x.ID, y.ID) })
	b.devices[id] = nil
	b.touch()
	return nil
}

// Device finds a device by its number; errs.NotFound.
func (b *Builder) Device(id int) (Device, error) {
	if id < 0 || id >= len(b.devices) || b.devices[id] == nil {
		return Device{}, errs.New(errs.NotFound, "no device d%d in the ring", id)
	}
	return *b.devices[id], nil
}

// Devices are all devices by number.
func (b *Builder) Devices() []Device {
	var out []Device
	for _, d := range b.devices {
		if d != nil {
			out = append(out, *d)
		}
	}
	return out
}

// Removed are the devices that were removed since the last Rebalance.
func (b *Builder) Removed() []Device {
	var out []Device
	for _, d := range b.removed {
		out = append(out, *d)
	}
	return out
}

// SetReplicas changes how many copies there are. The next Rebalance gives the new replicas places, or forgets those that are too many. errs.Invalid.
func (b *Builder) SetReplicas(replicas float64) error {
	if math.IsNaN(replicas) || replicas < 1 || replicas > ReplicasMax {
		return errs.New(errs.Invalid, "%g replicas: not a number from 1 to %d", replicas, ReplicasMax)
	}
	if int(math.Ceil(replicas))<<b.power > entriesMax {
		return errs.New(errs.Invalid, "%g replicas of 2^%d partitions: more than %d entries", replicas, b.power, entriesMax)
	}
	b.replicas = replicas
	b.touch()
	return nil
}

// SetMinPartHours changes how long a partition rests after a move; errs.Invalid.
func (b *Builder) SetMinPartHours(hours int) error {
	if hours < 0 || hours > 255 {
		return errs.New(errs.Invalid, "min_part_hours %d is not in 0...255", hours)
	}
	b.minPartHours = hours
	b.touch()
	return nil
}

// SetOverload lets devices take up to that share more than their weight says (0.1 is 10 %) where it puts replicas farther apart; errs.Invalid.
func (b *Builder) SetOverload(overload float64) error {
	if math.IsNaN(overload) || overload < 0 || overload > 1e6 {
		return errs.New(errs.Invalid, "overload %g is not a number from 0", overload)
	}
	b.overload = overload
	b.touch()
	return nil
}

// PretendMinPartHoursPassed makes every partition free to move in the next Rebalance. Replicas that are still being copied may then move again:
// data can be unreadable for a while.
func (b *Builder) PretendMinPartHoursPassed() {
	clear(b.moved)
	b.version++
}

// Power is the number of bits of the hash that make the partition.
func (b *Builder) Power() uint8 { return b.power }

// Partitions is how many there are.
func (b *Builder) Partitions() int { return 1 << b.power }

// Replicas is how many copies a partition has on average.
func (b *Builder) Replicas() float64 { return b.replicas }

// MinPartHours is how long a partition rests after a move.
func (b *Builder) MinPartHours() int { return b.minPartHours }

// Overload is the share over their weight that devices may take for the sake of distance.
func (b *Builder) Overload() float64 { return b.overload }

// Version grows with every change.
func (b *Builder) Version() uint64 { return b.version }

// Changed tells whether something changed since the last Rebalance.
func (b *Builder) Changed() bool { return b.changed }

// Waiting tells whether the last Rebalance left moves for a later one.
func (b *Builder) Waiting() bool { return b.waiting }

// extra is how many partitions the last, fractional replica covers; all of them when the count is whole.
func (b *Builder) extra() int {
	whole := math.Ceil(b.replicas) - 1
	return int(math.Round((b.replicas - whole) * float64(b.Partitions())))
}

// replicasOf is how many slots a partition has.
func (b *Builder) replicasOf(p int) int {
	n := int(math.Ceil(b.replicas))
	if p >= b.extra() {
		n--
	}
	return n
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, scatter(seed))) }

// Ring is the ring as of the last Rebalance; errs.Invalid before the first one.
func (b *Builder) Ring() (*Ring, error) {
	if b.slots == nil {
		return nil, errs.New(errs.Invalid, "the ring was never rebalanced")
	}
	return newRing(b.power, b.version, b.devices, b.slots, b.stride, b.last), nil
}

// BuilderOf makes a builder again from a ring whose builder is lost. The settings that a ring does not tell are set anew; every partition counts as
// moved just now, so that none moves before minPartHours have passed. errs.Invalid.
func BuilderOf(r *Ring, minPartHours int, now time.Time) (*Builder, error) {
	b, err := NewBuilder(Config{Power: r.power, Replicas: r.Replicas(), MinPartHours: minPartHours})
	if err != nil {
		return nil, err
	}
	b.devices = append([]*Device(nil), r.devices...)
	b.stride, b.last, b.version = r.stride, r.last, r.version
	b.slots = make([]uint32, b.Partitions()*b.stride)
	for i := range b.slots {
		b.slots[i] = r.slot(i)
	}
	b.moved = make([]uint32, b.Partitions())
	for p := range b.moved {
		b.moved[p] = seconds(now)
	}
	return b, nil
}

// seconds is how moves are dated; 0 is kept for long ago.
func seconds(t time.Time) uint32 { return uint32(max(1, min(t.Unix(), math.MaxUint32))) }
