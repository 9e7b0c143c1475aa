package ring

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// newRing makes the immutable form of a builder's slots. The devices are shared, the slots copied; slots of devices that are gone become empty.
func newRing(power uint8, version uint64, devices []*Device, slots []uint32, stride, last int) *Ring {
	r := &Ring{power: power, version: version, devices: append([]*Device(nil), devices...), stride: stride, last: last}
	if len(devices) <= noDevice16 {
		r.narrow = make([]uint16, len(slots))
	} else {
		r.wide = make([]uint32, len(slots))
	}
	for i, id := range slots {
		if id != noDevice && devices[id] == nil {
			id = noDevice
		}
		if r.wide != nil {
			r.wide[i] = id
		} else {
			r.narrow[i] = uint16(min(id, noDevice16))
		}
	}
	sum := sha256.New()
	r.encodeBody(sum)
	r.finish(sum)
	return r
}

// finish works out what follows from the slots and devices, and from the sum of the encoded body.
func (r *Ring) finish(sum hash.Hash) {
	r.digest = hex.EncodeToString(sum.Sum(nil)[:16])
	held := make([]bool, len(r.devices))
	for i := range len(r.narrow) + len(r.wide) {
		if id := r.slot(i); id != noDevice {
			held[id] = true
		}
	}
	used := newPlaces()
	for id, d := range r.devices {
		if d != nil {
			r.live = append(r.live, d)
		}
		if held[id] {
			used.add(d)
		}
	}
	r.spread = used.count()
}
