package ring

import (
	"fmt"
	"slices"
)

// Level is a height in the tree of places: how far apart two replicas are.
type Level uint8

// The levels, farthest apart first.
const (
	LevelCluster Level = iota
	LevelRegion
	LevelZone
	LevelPeer
	LevelDevice
)

// String is the word that people use.
func (l Level) String() string {
	return [...]string{"cluster", "region", "zone", "host", "device"}[min(l, LevelDevice)]
}

// Tier is a place in the tree: a region, a zone in it, a host (peer) in that, a device of that. Fields below Level are zero.
type Tier struct {
	Level  Level
	Region int
	Zone   int
	Peer   string
	ID     int
	Name   string
}

// String is the tier in search syntax: "r1", "r1z2", "r1z2-peer", "r1z2-peer/d1".
func (t Tier) String() string {
	switch t.Level {
	case LevelRegion:
		return fmt.Sprintf("r%d", t.Region)
	case LevelZone:
		return fmt.Sprintf("r%dz%d", t.Region, t.Zone)
	case LevelPeer:
		return fmt.Sprintf("r%dz%d-%s", t.Region, t.Zone, t.Peer)
	case LevelDevice:
		return fmt.Sprintf("r%dz%d-%s/%s", t.Region, t.Zone, t.Peer, t.Name)
	}
	return "cluster"
}

// tierOf is the place of a device at a level.
func tierOf(d *Device, l Level) Tier {
	t := Tier{Level: l}
	if l >= LevelRegion {
		t.Region = d.Region
	}
	if l >= LevelZone {
		t.Zone = d.Zone
	}
	if l >= LevelPeer {
		t.Peer = d.Peer
	}
	if l >= LevelDevice {
		t.ID, t.Name = d.ID, d.Name
	}
	return t
}

// node is one tier in the tree that a rebalance works on.
type node struct {
	tier     Tier
	parent   int // -1 above the cluster
	children []int
	device   *Device // of a leaf
	usable   int     // devices below it with weight
}

// tree is the places of all devices; nodes[0] is the cluster, parents come before their children.
type tree struct {
	nodes  []node
	leaves []int // by device number; -1 where there is none
}

// newTree sorts the devices into their places. devices is by number, nil where there is none.
func newTree(devices []*Device) *tree {
	t := &tree{nodes: []node{{parent: -1}}, leaves: make([]int, len(devices))}
	for i := range t.leaves {
		t.leaves[i] = -1
	}
	sorted := make([]*Device, 0, len(devices))
	for _, d := range devices {
		if d != nil {
			sorted = append(sorted, d)
		}
	}
	slices.SortFunc(sorted, compareDevices)
	var at [LevelDevice + 1]int // the node at each level on the path to the latest device
	for _, d := range sorted {
		for l := LevelRegion; l <= LevelDevice; l++ {
			tier := tierOf(d, l)
			if t.nodes[at[l]].tier == tier {
				continue
			}
			parent := at[l-1]
			at[l] = len(t.nodes)
			t.nodes = append(t.nodes, node{tier: tier, parent: parent})
			t.nodes[parent].children = append(t.nodes[parent].children, at[l])
		}
		leaf := at[LevelDevice]
		t.nodes[leaf].device = d
		t.leaves[d.ID] = leaf
		if d.Weight > 0 {
			for n := leaf; n >= 0; n = t.nodes[n].parent {
				t.nodes[n].usable++
			}
		}
	}
	return t
}
