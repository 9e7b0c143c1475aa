package main

import (
	"context"

	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/errs"
)

// noVolumes refuses everything about volumes: servers and the volume service are not connected yet (docs/compute.md).
type noVolumes struct{}

func missingVolume(id string) error {
	return errs.New(errs.Unsupported, "Volume %s cannot be used: volumes are not attached to servers yet.", id)
}

func (noVolumes) Volume(_ context.Context, _ *authn.Identity, id string) (neighbour.Volume, error) {
	return neighbour.Volume{}, missingVolume(id)
}

func (noVolumes) CreateVolume(context.Context, *authn.Identity, neighbour.VolumeRequest) (neighbour.Volume, error) {
	return neighbour.Volume{}, errs.New(errs.Unsupported, "servers do not boot from volumes yet")
}

func (noVolumes) DeleteVolume(context.Context, *authn.Identity, string) error { return nil }

func (noVolumes) Reserve(_ context.Context, _ *authn.Identity, id, _ string) (string, error) {
	return "", missingVolume(id)
}

func (noVolumes) Connect(_ context.Context, _ *authn.Identity, id, _, _, _ string) (neighbour.Connection, error) {
	return neighbour.Connection{}, missingVolume(id)
}

func (noVolumes) Complete(context.Context, *authn.Identity, string) error     { return nil }
func (noVolumes) Detach(context.Context, *authn.Identity, string) error       { return nil }
func (noVolumes) DetachServer(context.Context, *authn.Identity, string) error { return nil }
func (noVolumes) DeleteMade(context.Context, *authn.Identity, string) error   { return nil }
