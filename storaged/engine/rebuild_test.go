package engine_test

import (
	"strings"
	"testing"

	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/storaged/engine"
)

func TestRebuild_FromSegmentsAndDataFiles(t *testing.T) {
	disk, all := damagedDisk(t)
	for _, n := range dataAndLog(t, disk) {
		if strings.HasSuffix(n, ".hint") {
			if err := disk.Damage(n, func([]byte) []byte { return []byte("nonsense") }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := disk.Remove("/disk/format"); err != nil {
		t.Fatal(err)
	}
	r, err := engine.Rebuild(t.Context(), config(disk, "/disk"))
	if err != nil || r.Objects != damagedKeys || r.Quarantine != 0 || r.Segments < 2 || r.Restored != 0 {
		t.Fatalf("%+v, %v, want %d objects", r, err, damagedKeys)
	}
	if lost := survey(t, disk, all, "", "rebuilt"); lost != 0 {
		t.Fatalf("%d objects lost", lost)
	}
}

func TestRebuild_DataFilesAlone(t *testing.T) {
	disk, all := damagedDisk(t)
	for _, n := range dataAndLog(t, disk) {
		if strings.HasPrefix(n, "/disk/log/") {
			if err := disk.Remove(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := engine.Rebuild(t.Context(), config(disk, "/disk"))
	if err != nil || r.Objects != 1 || r.Restored != 1 {
		t.Fatalf("%+v, %v, want the one large object", r, err)
	}
	e := opened(t, config(disk, "/disk"))
	want(t, e, "o3", all["o3"][2])
	if _, err := engine.Rebuild(t.Context(), config(disk, "/disk")); !errs.Is(err, errs.Conflict) {
		t.Fatalf("rebuild of an open device: %v", err)
	}
	if _, err := engine.Rebuild(t.Context(), config(vfs.NewSim(), "/disk")); err == nil {
		t.Fatal("rebuild of nothing: no error")
	}
}
