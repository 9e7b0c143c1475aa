package coretest_test

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"henge/internal/clock"
	"henge/internal/erasure"
	"henge/proxy/core"
	"henge/proxy/core/coretest"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/server/servertest"
)

func TestMemory(t *testing.T) {
	coretest.Run(t, func(*testing.T) core.Service { return coretest.New(clock.System{}) })
}

func TestCore(t *testing.T) {
	coretest.Run(t, func(t *testing.T) core.Service {
		cluster := servertest.NewCluster(t, 3, 1)
		c, err := core.New(core.Config{Rings: places{cluster}, Devices: cluster, Clock: clock.NewHybrid(clock.System{}, 5)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return c
	})
}

// places is core.Rings and core.Ring over a test cluster.
type places struct {
	cluster *servertest.Cluster
}

func (p places) Account() core.Ring      { return p }
func (p places) Container() core.Ring    { return p }
func (p places) Object(uint8) core.Ring  { return p }
func (p places) Policies() []core.Policy { return []core.Policy{{Name: "three", Default: true}} }
func (p places) Secret() ring.Secret     { return ring.Secret{7} }

func (p places) Partition(h ring.Hash) ring.Partition {
	return ring.Partition(h[0])<<8 | ring.Partition(h[1])
}

func (p places) of(n ring.Partition) (primaries, handoffs []peerapi.Target) {
	return p.cluster.Replicas(ring.Hash{byte(n >> 8), byte(n)})
}

func (p places) Primaries(n ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, _ := p.of(n)
	return append(dst, primaries...)
}

func (p places) Handoffs(n ring.Partition) iter.Seq[peerapi.Target] {
	_, handoffs := p.of(n)
	return slices.Values(handoffs)
}

// TestCodedCore is the same contract for an erasure-coded policy, with fragments for all but the empty objects.
func TestCodedCore(t *testing.T) {
	for _, lost := range []int{0, 1} {
		t.Run(fmt.Sprint(lost, " lost"), func(t *testing.T) {
			coretest.Run(t, func(t *testing.T) core.Service {
				cluster := servertest.NewCluster(t, 6, 1)
				c, err := core.New(core.Config{Rings: codedPlaces{places{cluster}}, Devices: cluster, Clock: clock.NewHybrid(clock.System{}, 5), CodedBytesMin: -1})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				})
				for i := range lost {
					cluster.Kill(fmt.Sprint("p", i+1))
				}
				return c
			})
		})
	}
}

// codedPlaces has six replicas of objects, for 4+2.
type codedPlaces struct{ places }

func (p codedPlaces) Object(uint8) core.Ring { return p }
func (p codedPlaces) Shape() *erasure.Shape  { return &erasure.Shape{Data: 4, Parity: 2} }

func (p codedPlaces) Primaries(n ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, handoffs := p.of(n)
	return append(append(dst, primaries...), handoffs[:3]...)
}

func (p codedPlaces) Handoffs(n ring.Partition) iter.Seq[peerapi.Target] {
	_, handoffs := p.of(n)
	return slices.Values(handoffs[3:])
}
