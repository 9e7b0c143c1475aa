package core

import (
	"iter"

	"henge/ring"
	"henge/storaged/peerapi"
)

// PlaceBy is a ring.Ring as core sees it: target says which device of which peer a device of the ring is.
func PlaceBy(r *ring.Ring, target func(*ring.Device) peerapi.Target) Ring {
	return placedRing{r, target}
}

type placedRing struct {
	*ring.Ring
	target func(*ring.Device) peerapi.Target
}

func (p placedRing) Primaries(part ring.Partition, dst []peerapi.Target) []peerapi.Target {
	var room [replicasMax]*ring.Device
	for _, d := range p.Ring.Primaries(part, room[:0]) {
		dst = append(dst, p.target(d))
	}
	return dst
}

func (p placedRing) Handoffs(part ring.Partition) iter.Seq[peerapi.Target] {
	return func(yield func(peerapi.Target) bool) {
		for d := range p.Ring.Handoffs(part) {
			if !yield(p.target(d)) {
				return
			}
		}
	}
}
