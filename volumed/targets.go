package volumed

import (
	"context"

	"henge/internal/errs"
	"henge/volumed/agent"
	"henge/volumed/iscsi"
)

// Targets exports volumes by iSCSI.
type Targets struct{ Server *iscsi.Server }

var _ agent.Targets = Targets{}

// Export implements agent.Targets.
func (t Targets) Export(ctx context.Context, a agent.Target) error {
	return t.Server.Export(ctx, iscsi.Target{IQN: TargetName(a.VolumeID), Store: a.Device, Serial: a.VolumeID, Volume: a.VolumeID, Epoch: a.Epoch, ReadOnly: a.ReadOnly,
		Initiators: []string{a.Initiator}, CHAP: iscsi.CHAP{User: a.User, Secret: a.Secret}, Mutual: iscsi.CHAP{User: a.BackUser, Secret: a.BackKey}})
}

// Resize implements agent.Targets.
func (t Targets) Resize(volumeID string) error {
	if err := t.Server.Resize(TargetName(volumeID)); !errs.Is(err, errs.NotFound) {
		return err
	}
	return nil
}

// Unexport implements agent.Targets.
func (t Targets) Unexport(ctx context.Context, volumeID string) error {
	return t.Server.Unexport(ctx, TargetName(volumeID))
}

// Drain implements agent.Targets.
func (t Targets) Drain(ctx context.Context) error { return t.Server.Drain(ctx) }
