package memory_test

import (
	"path/filepath"
	"testing"

	"henge/computed/hypervisor"
	"henge/computed/hypervisor/hypervisortest"
	"henge/computed/hypervisor/memory"
	"henge/computed/model"
)

func TestContract(t *testing.T) {
	dir := t.TempDir()
	hypervisortest.Run(t, hypervisortest.Bed{
		Driver: memory.New(),
		Guest: func() hypervisor.Guest {
			return hypervisor.Guest{ID: model.NewUUID(), VCPUs: 1, MemoryMiB: 64, ConsoleLog: filepath.Join(dir, "console.log"), Disks: []hypervisor.Disk{{Device: "vda"}}}
		},
		Disk: func() hypervisor.Disk { return hypervisor.Disk{Device: "vdb", Serial: model.NewUUID()} },
		NIC:  &hypervisor.NIC{MAC: "fa:16:3e:00:00:01", Tap: "tap0"},
	})
}
