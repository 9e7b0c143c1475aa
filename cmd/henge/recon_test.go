package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"henge/cluster"
	"henge/storaged/peerapi"
)

func TestRecon_APeerIsDown(t *testing.T) {
	device := func(pending int64, repair *repairStatus) deviceStatus {
		return deviceStatus{Name: "d1", Usage: peerapi.Usage{Size: 1000, Free: 750, Pending: pending}, Repair: repair}
	}
	reports := []report{
		{member: cluster.Member{ID: "peer-1"}, status: peerStatus{Rings: map[string]uint64{"object": 3}, Devices: []deviceStatus{
			device(4, &repairStatus{Ended: time.Now(), Missing: 7, Complete: true})}}},
		{member: cluster.Member{ID: "peer-2"}, status: peerStatus{Rings: map[string]uint64{"object": 2}, Devices: []deviceStatus{
			device(0, nil), {Name: "d2", Error: "the disk is gone"}}}},
		{member: cluster.Member{ID: "peer-3"}, err: errors.New("not alive")},
	}
	var out strings.Builder
	err := recon(t.Context(), &out, func(context.Context) ([]report, map[string]uint64, error) {
		return reports, map[string]uint64{"object": 3}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "1 peer of 3") {
		t.Errorf("a peer is down: %v", err)
	}
	lines := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"peer-3 does not answer: not alive", "peer-2/d2: the disk is gone", "2 of 3 peers answered, with 2 devices, 1 more out of use", "object 3 1 of 3 peer-2:2",
		"updates queued 0.0 4.0 2.0 4 0", "disk used 25.0% 25.0% 25.0%", "repair left to do 7.0 7.0 7.0 7 1", "left nothing to do on 1 of 2 devices",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
