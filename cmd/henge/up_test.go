package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPrepare_UnfinishedStartDecidesNothing: a start that ended before there was a cluster (a port in use) must not fix the number of peers.
func TestPrepare_UnfinishedStartDecidesNothing(t *testing.T) {
	l := layout{t.TempDir()}
	for _, peers := range []int{4, 2} {
		configs, err := prepare(l, upOptions{peers: peers, devices: 1, compute: true, virt: virtAuto, address: "127.0.0.1", ports: defaultConfig().Ports, wiring: defaultConfig().Wiring})
		if err != nil || len(configs) != peers {
			t.Fatalf("%d peers: %d configurations, %v", peers, len(configs), err)
		}
	}
	if l.exists(l.peerConfig(3)) {
		t.Error("the peers of the first try are still there")
	}
}

// TestPrepare_Moved starts a directory at another place and at other ports.
func TestPrepare_Moved(t *testing.T) {
	l := layout{filepath.Join(t.TempDir(), "before")}
	o := upOptions{peers: 3, devices: 2, compute: true, virt: virtAuto, address: "127.0.0.1", ports: defaultConfig().Ports, wiring: defaultConfig().Wiring}
	configs, err := prepare(l, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range configs {
		// What tells that a peer has come into a cluster.
		if err := os.MkdirAll(clusterDir(configs[i]), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(clusterDir(configs[i]), "peer.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// On a full disk what is there must start, or nothing could ever be deleted from it.
	if least := leastSpace(l); least >= 256 { // the space that the devices hold back
		t.Errorf("a restart asks for %d MiB", least)
	}
	if least := leastSpace(layout{t.TempDir()}); least <= 256 {
		t.Errorf("a first start takes %d MiB, on which nothing could be written", least)
	}
	moved := layout{filepath.Join(filepath.Dir(l.dir), "after")}
	if err := os.Rename(l.dir, moved.dir); err != nil {
		t.Fatal(err)
	}
	o.peers, o.ports.Gossip = 1, 1234
	if configs, err = prepare(moved, o); err != nil || len(configs) != 3 {
		t.Fatalf("%d configurations, %v", len(configs), err)
	}
	for i, c := range configs {
		if c.Devices[1].Path != moved.device(i+1, 2) {
			t.Errorf("a device of peer %d is at %s", i+1, c.Devices[1].Path)
		}
		if len(c.Seeds) != 3 || c.Seeds[2] != "127.0.0.3:1234" {
			t.Errorf("peer %d looks for the others at %v", i+1, c.Seeds)
		}
	}
}
