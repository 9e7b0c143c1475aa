package memory_test

import (
	"testing"

	"henge/internal/errs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/engine/memory"
	"henge/storaged/peerapi"
)

func TestContract(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Disk { return memory.NewDisk() })
}

func TestSetFull(t *testing.T) {
	d := memory.NewDisk()
	e, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	d.SetFull(true)
	if _, err := e.Commit(t.Context(), engine.Write{Record: enginetest.Record("a", 1)}, nil); !errs.Is(err, errs.NoSpace) {
		t.Fatalf("commit: %v, want no space", err)
	}
	if out, err := e.Commit(t.Context(), engine.Write{Record: peerapi.Record{Key: enginetest.Key("a"), Timestamp: 2, Deleted: true}}, nil); err != nil || !out.Accepted {
		t.Fatalf("tombstone: %+v, %v", out, err)
	}
	if !e.Usage().Full {
		t.Fatal("usage does not say that it is full")
	}
}
