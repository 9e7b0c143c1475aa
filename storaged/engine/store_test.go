package engine_test

import (
	"log/slog"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
)

// device is a disk for the real engine.
type device struct {
	tb  testing.TB
	cfg engine.Config
}

func (d *device) Open() (engine.Engine, error) { return engine.Open(d.tb.Context(), d.cfg) }

func config(fsys vfs.FS, dir string) engine.Config {
	return engine.Config{FS: fsys, Dir: dir, Clock: clock.NewManual(time.Unix(1_800_000_000, 0)), Logger: slog.New(slog.DiscardHandler),
		SegmentBytes: 1 << 20, Reserve: engine.Reserve{Bytes: 1}, ReclaimAge: 100 * 365 * 24 * time.Hour, CompactShare: 0.8, CompactBytes: 1 << 40}
}

func TestContract_OS(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Disk { return &device{t, config(vfs.OS{}, t.TempDir())} })
}

func TestContract_Sim(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Disk { return &device{t, config(vfs.NewSim(), "/disk")} })
}
