package ring

import (
	"encoding/binary"
	"iter"
)

// noDevice marks a slot that no device holds: there are fewer devices than replicas, or the last replica does not cover the partition.
const (
	noDevice   = 1<<32 - 1
	noDevice16 = 1<<16 - 1
)

// Ring says which devices hold the replicas of which partition. It never changes; all methods are safe for concurrent use.
type Ring struct {
	power   uint8
	version uint64
	digest  string

	devices []*Device // by number; nil where there is none
	live    []*Device // without the gaps

	// The slots, partition by partition: stride of them each. One of the two is nil: two bytes an entry up to 65535 devices, four above.
	stride int
	narrow []uint16
	wide   []uint32
	last   int // how many partitions the last replica covers

	spread distinct // what the slots use, so that a search for handoffs knows when it has seen all
}

// Partition is where a hash belongs: its top Power bits.
func (r *Ring) Partition(h Hash) Partition {
	return Partition(uint64(binary.BigEndian.Uint32(h[:4])) >> (32 - r.power))
}

// Primaries appends the devices that shall hold the partition to into, and returns it. They are all different; there are fewer than Replicas
// when the ring has fewer devices, and none when the partition is not one of this ring. Their order differs between partitions, so that the first is
// not always the same device. Nothing is allocated when into has room.
func (r *Ring) Primaries(p Partition, into []*Device) []*Device {
	if uint64(p) >= 1<<r.power {
		return into
	}
	from := int(p) * r.stride
	if r.wide != nil {
		for _, id := range r.wide[from : from+r.stride] {
			if id != noDevice {
				into = append(into, r.devices[id])
			}
		}
		return into
	}
	for _, id := range r.narrow[from : from+r.stride] {
		if id != noDevice16 {
			into = append(into, r.devices[id])
		}
	}
	return into
}

// slot is the number of the device in one slot, or noDevice.
func (r *Ring) slot(i int) uint32 {
	if r.wide != nil {
		return r.wide[i]
	}
	if id := r.narrow[i]; id != noDevice16 {
		return uint32(id)
	}
	return noDevice
}

// Devices are the ring's devices by number, those of weight 0 included.
func (r *Ring) Devices() []*Device { return append([]*Device(nil), r.live...) }

// Replicas is how many copies a partition has on average. With 3.25, the fourth replica covers the first quarter of the partitions.
func (r *Ring) Replicas() float64 {
	return float64(r.stride-1) + float64(r.last)/float64(r.Partitions())
}

// Partitions is how many there are: 2 to the Power.
func (r *Ring) Partitions() int { return 1 << r.power }

// Power is how many bits of the hash make the partition.
func (r *Ring) Power() uint8 { return r.power }

// Version grows with each rebalance of the Builder that made the ring.
func (r *Ring) Version() uint64 { return r.version }

// Digest identifies the ring's content in 32 hex digits: two peers with equal digests have the same ring.
func (r *Ring) Digest() string { return r.digest }

// distinct counts different places.
type distinct struct{ regions, zones, peers, devices int }

type zoneKey struct{ region, zone int }

type peerKey struct {
	zoneKey
	peer string
}

// places is a set of tiers and devices that were used.
type places struct {
	regions map[int]struct{}
	zones   map[zoneKey]struct{}
	peers   map[peerKey]struct{}
	devices map[int]struct{}
}

func newPlaces() places {
	return places{map[int]struct{}{}, map[zoneKey]struct{}{}, map[peerKey]struct{}{}, map[int]struct{}{}}
}

func (s places) add(d *Device) {
	z := zoneKey{d.Region, d.Zone}
	s.regions[d.Region] = struct{}{}
	s.zones[z] = struct{}{}
	s.peers[peerKey{z, d.Peer}] = struct{}{}
	s.devices[d.ID] = struct{}{}
}

func (s places) count() distinct {
	return distinct{len(s.regions), len(s.zones), len(s.peers), len(s.devices)}
}

// Handoffs yields the devices that stand in for a partition's primaries, best first: first those in regions that hold nothing of it yet, then in zones, then on
// peers, then all others that hold any partition at all. The order is always the same for one ring. Nothing is computed ahead: taking few is cheap.
func (r *Ring) Handoffs(p Partition) iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		if uint64(p) >= 1<<r.power {
			return
		}
		used := newPlaces()
		var stack [8]*Device
		for _, d := range r.Primaries(p, stack[:0]) {
			used.add(d)
		}
		// Each pass walks the slots of other partitions: devices turn up there as often as their weight says, so handoff work spreads by weight too.
		passes := []struct {
			full func() bool
			new  func(*Device) bool
		}{
			{func() bool { return len(used.regions) == r.spread.regions }, func(d *Device) bool { return !has(used.regions, d.Region) }},
			{func() bool { return len(used.zones) == r.spread.zones }, func(d *Device) bool { return !has(used.zones, zoneKey{d.Region, d.Zone}) }},
			{func() bool { return len(used.peers) == r.spread.peers }, func(d *Device) bool { return !has(used.peers, peerKey{zoneKey{d.Region, d.Zone}, d.Peer}) }},
			{func() bool { return len(used.devices) == r.spread.devices }, func(d *Device) bool { return !has(used.devices, d.ID) }},
		}
		for _, pass := range passes {
			if pass.full() {
				continue
			}
			for d := range r.walk(p) {
				if !pass.new(d) {
					continue
				}
				used.add(d)
				if !yield(d) {
					return
				}
				if pass.full() {
					break
				}
			}
		}
	}
}

func has[K comparable](set map[K]struct{}, k K) bool {
	_, ok := set[k]
	return ok
}

// walk yields the device of every slot, from a place that depends on the partition alone.
func (r *Ring) walk(p Partition) iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		n := r.Partitions()
		start := int(scatter(uint64(p)) & uint64(n-1))
		for i := range n {
			at := (start + i) & (n - 1) * r.stride
			for j := range r.stride {
				id := r.slot(at + j)
				if id != noDevice && !yield(r.devices[id]) {
					return
				}
			}
		}
	}
}

// scatter is the finalizer of SplitMix64: a fixed permutation of the 64-bit numbers that looks random.
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
