package repair

import (
	"context"
	"io"

	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// holder is what the collector needs of a device of this process, beside what the auditor does.
type holder interface {
	Holds(key peerapi.Key) (peerapi.State, error)
	Learn(ctx context.Context, r peerapi.Record, body io.Reader) (bool, error)
}

// collect buries a set of fragments that no object needs: its writer died before it wrote the object's record, or could not tell what became of it. All primaries of
// the object must say so, and the set must be so old that a copy of such a record, kept somewhere for one that was down, would be taken for forgotten as well.
func (r *Repair) collect(ctx context.Context, l auditable, key peerapi.Key, m peerapi.Mark) error {
	local, ok := l.(holder)
	if !ok || m.Deleted || m.Lost || r.cfg.Clock.Now().Sub(m.Timestamp.Time()) <= r.cfg.ReclaimAge {
		return nil
	}
	st, err := local.Holds(key)
	if err != nil || st.Timestamp() != m.Timestamp || st.Record.Fragment == nil {
		return err
	}
	f := st.Record.Fragment
	object := peerapi.Key{Account: st.Record.Key.Account, Container: st.Record.Key.Container, Object: f.Object, Policy: key.Policy, Hash: f.Parent}
	needs := func(s peerapi.State) bool {
		return s.Record != nil && s.Record.Coded != nil && s.Record.Coded.Set == f.Coded.Set
	}
	if own, err := local.Holds(object); err != nil || needs(own) {
		return err
	}
	primaries := r.primariesOf(object)
	for _, t := range primaries {
		theirs, err := r.cfg.Devices.Device(t).Head(ctx, object)
		if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout) {
			return nil // it may know better
		}
		if err != nil || needs(theirs) {
			return err
		}
	}
	if len(primaries) == 0 {
		return nil
	}
	// All devices that come to this write the same tombstone, and repair brings it to the others.
	_, err = local.Learn(ctx, peerapi.Record{Key: st.Record.Key, Timestamp: m.Timestamp + 1, Deleted: true}, nil)
	return err
}

// primariesOf are the devices that should hold an object's record.
func (r *Repair) primariesOf(key peerapi.Key) []peerapi.Target {
	for policy, rg := range r.cfg.Rings.Objects() {
		if policy == key.Policy {
			return rg.Primaries(rg.Partition(key.Hash), nil)
		}
	}
	return nil
}
