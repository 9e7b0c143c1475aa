package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// hanging are devices of which those of peer "hung" never answer.
type hanging struct{}

func (hanging) Up(peerapi.Target) bool                 { return true }
func (hanging) Device(t peerapi.Target) peerapi.Device { return hangingDevice{peer: t.Peer} }

type hangingDevice struct {
	peerapi.Device
	peer string
}

func (d hangingDevice) Merge(ctx context.Context, _ peerapi.Merge) error {
	if d.peer != "hung" {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// A container's replica that hangs does not keep the client, who waits for the row, longer than it takes to see that: the row is left to be queued.
func TestTell_ReplicaHangs(t *testing.T) {
	hung, well := peerapi.Target{Peer: "hung", Device: "d1"}, peerapi.Target{Peer: "well", Device: "d1"}
	for _, targets := range [][]peerapi.Target{{hung}, {hung, well}, {well, hung}} {
		synctest.Test(t, func(t *testing.T) {
			l := &Local{devices: hanging{}}
			begun := time.Now()
			told := l.tell(t.Context(), targets, peerapi.Merge{})
			if took := time.Since(begun); took != limits.PeerRowTimeout {
				t.Errorf("it took %v", took)
			}
			if told.listed != len(targets)-1 || len(told.left) != 1 || told.left[0] != hung {
				t.Errorf("%d listed, left is %v", told.listed, told.left)
			}
		})
	}
}
