package volumed

import (
	"context"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/volumed/model"
)

// exportWait bounds how long a connection may take to become usable: the agent that does it may be busy, or on a peer that is down.
const exportWait = 30 * time.Second

// TargetName is the IQN of a volume's target.
func TargetName(volumeID string) string { return "iqn.2026-01.org.henge:" + volumeID }

// targetLUN is where a volume is in its target.
const targetLUN = 0

// Ready implements api.Connections.
func (s *Calls) Ready(ctx context.Context, a model.Attachment) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	var portal string
	err := s.await(ctx, a.VolumeID, func(v model.Volume, e model.Export, h model.Host) (bool, error) {
		portal = h.Portal
		switch {
		case v.Epoch > a.Connection.Epoch:
			return false, errs.New(errs.Conflict, "volume %s has been connected elsewhere meanwhile", v.ID)
		case e.OfEpoch == a.Connection.Epoch && e.Fault != "":
			return false, errs.New(errs.Unavailable, "volume %s cannot be exported: %s", v.ID, e.Fault)
		}
		return e.Epoch == a.Connection.Epoch, nil
	})
	if err != nil {
		return nil, err
	}
	c := a.Connection
	return map[string]any{"target_discovered": false, "target_portal": portal, "target_iqn": TargetName(a.VolumeID), "target_lun": targetLUN, "volume_id": a.VolumeID,
		"auth_method": "CHAP", "auth_username": c.User, "auth_password": c.Secret, "encrypted": false, "qos_specs": nil, "access_mode": a.Mode, "discard": true,
		"cacheable": false, "enforce_multipath": false}, nil
}

// Ended implements api.Connections.
func (s *Calls) Ended(ctx context.Context, volumeID string) error {
	ctx, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	err := s.await(ctx, volumeID, func(v model.Volume, e model.Export, _ model.Host) (bool, error) {
		return e.Epoch == 0 || e.Epoch == s.wanted(ctx, v.ID), nil
	})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// wanted is the epoch that a volume's attachments say is to be exported; 0 for none.
func (s *Calls) wanted(ctx context.Context, volumeID string) (epoch uint64) {
	_ = s.cfg.Store.View(ctx, func(r state.Reader) error {
		all, err := model.AttachmentsOf(r, volumeID)
		if newest := model.Newest(all); newest != nil {
			epoch = newest.Connection.Epoch
		}
		return err
	})
	return epoch
}

// await waits until what is true of a volume's export pleases ok.
func (s *Calls) await(ctx context.Context, volumeID string, ok func(model.Volume, model.Export, model.Host) (bool, error)) error {
	for {
		var from state.Index
		done := false
		var host model.Host
		err := s.cfg.Store.View(ctx, func(r state.Reader) error {
			from = r.Index()
			v, err := model.Volumes.Get(r, volumeID)
			if err != nil {
				return err
			}
			e, _, err := model.Optional(model.Exports.Get(r, volumeID))
			if err != nil {
				return err
			}
			if host, _, err = model.Optional(model.Hosts.Get(r, v.Host)); err != nil {
				return err
			}
			done, err = ok(v, e, host)
			return err
		})
		if err != nil || done {
			return err
		}
		if !s.cfg.Alive(host.Peer) {
			return errs.New(errs.Unavailable, "the peer %s, which has volume %s, is down", host.Peer, volumeID)
		}
		if err := s.pauseFor(ctx, model.Exports.Prefix()+volumeID, from); err != nil {
			return errs.New(errs.Timeout, "the peer %s did not export volume %s in time: %w", host.Peer, volumeID, err)
		}
	}
}

// changed waits for a change of a row.
func (s *Calls) changed(ctx context.Context, key string, after state.Index) error {
	for _, err := range s.cfg.Store.Watch(ctx, key, after) {
		return err
	}
	return ctx.Err()
}
