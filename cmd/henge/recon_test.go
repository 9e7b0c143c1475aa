package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
		{member: cluster.Member{ID: "peer-1"}, status: peerStatus{Rings: map[string]uint64{"object": 3}, Digests: map[string]string{"object": "aabbccddeeff0011"}, Devices: []deviceStatus{
			device(4, &repairStatus{Ended: time.Now(), Missing: 7, Complete: true})}}},
		{member: cluster.Member{ID: "peer-2"}, status: peerStatus{Rings: map[string]uint64{"object": 2}, Devices: []deviceStatus{
			device(0, nil), {Name: "d2", Error: "the disk is gone"}}}},
		{member: cluster.Member{ID: "peer-3"}, err: errors.New("not alive")},
	}
	var out strings.Builder
	ask := func(context.Context) ([]report, map[string]uint64, error) {
		return reports, map[string]uint64{"object": 3}, nil
	}
	err := recon(t.Context(), &out, false, ask)
	if err == nil || !strings.Contains(err.Error(), "1 peer of 3") {
		t.Errorf("a peer is down: %v", err)
	}
	lines := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"peer-3 does not answer: not alive", "peer-2/d2: the disk is gone", "2 of 3 peers answered, with 2 devices, 1 more out of use", "object 3 aabbccddeeff 1 of 3 peer-2:2", "The emptiest disk is peer-1/d1, 25.0% used, the fullest peer-2/d1, 25.0%; balance 0.0%.",
		"updates queued 0.0 4.0 2.0 4 0", "disk used 25.0% 25.0% 25.0%", "repair left to do 7.0 7.0 7.0 7 1", "left nothing to do on 1 of 2 devices",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := recon(t.Context(), &out, true, ask); err == nil {
		t.Error("in JSON: a peer is down, and the status is 0")
	}
	var all struct {
		Rings map[string]uint64
		Peers map[string]struct {
			Error  string
			Status *peerStatus
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &all); err != nil || all.Rings["object"] != 3 || all.Peers["peer-3"].Error == "" || all.Peers["peer-1"].Status.Devices[0].Usage.Pending != 4 {
		t.Errorf("in JSON: %+v, %v", all, err)
	}
}

func TestRecon_ARingThatIsNotWhatItSays(t *testing.T) {
	var reports []report
	for i, digest := range []string{"aa", "bb", "aa"} {
		reports = append(reports, report{member: cluster.Member{ID: fmt.Sprint("peer-", i+1)}, status: peerStatus{Rings: map[string]uint64{"object": 3}, Digests: map[string]string{"object": digest}}})
	}
	have, digest, others := ringHolders(reports, "object", 3)
	if have != 2 || digest != "aa" || len(others) != 1 || others[0] != "peer-2:3:bb" {
		t.Errorf("%d have %s, others %v", have, digest, others)
	}
}
