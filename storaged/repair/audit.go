package repair

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"henge/internal/errs"
	"henge/internal/job"
	"henge/ring"
	"henge/storaged/peerapi"
)

const (
	auditBytesDefault = 8 << 20
	auditPower        = 10        // the hashes are gone through in 2^auditPower steps
	auditInterval     = time.Hour // between two sweeps, at least
	auditRecordBytes  = 4 << 10   // what reading one record costs the disk at least
)

// audit reads everything that a device holds, over and over, at a bounded rate. What turns out corrupt the engine sets aside; a pass brings it back at once.
func (r *Repair) audit(ctx context.Context, d *device) {
	throttle := job.NewThrottle(r.cfg.AuditBytesPerSecond)
	for {
		first := rand.N(1 << auditPower) // a process that never lives long must not read the same half each time
		for i := range 1 << auditPower {
			if err := r.AuditPart(ctx, d.local, ring.Partition((first+i)%(1<<auditPower)), auditPower, throttle); err != nil && ctx.Err() == nil {
				r.cfg.Logger.Warn("audit", "device", d.local.Self().Device, "error", err)
			}
			if ctx.Err() != nil {
				return
			}
		}
		if !pause(ctx, auditInterval) {
			return
		}
	}
}

// auditable is what the auditor needs of a device.
type auditable interface {
	Self() peerapi.Target
	Marks(ctx context.Context, q peerapi.MarksQuery) (peerapi.Marks, error)
	Examine(ctx context.Context, key peerapi.Key, m peerapi.Mark) (io.ReadCloser, error)
}

// AuditPart reads all that a device holds of one part of the hashes, of 2^power, and wakes repair when something is corrupt.
func (r *Repair) AuditPart(ctx context.Context, l auditable, part ring.Partition, power uint8, throttle *job.Throttle) error {
	corrupt := 0
	var all error
	for policy := range r.cfg.Rings.Objects() {
		q := peerapi.MarksQuery{Policy: policy, Power: power, Partition: part, Limit: peerapi.MarksMax}
		for {
			page, err := l.Marks(ctx, q)
			if err != nil {
				return errors.Join(all, err)
			}
			for _, m := range page.Marks {
				q.After = m.Hash
				bad, err := r.auditOne(ctx, l, peerapi.Key{Policy: policy, Hash: m.Hash}, m, throttle)
				if bad {
					corrupt++
				}
				all = errors.Join(all, err)
				if !bad && err == nil {
					all = errors.Join(all, r.collect(ctx, l, peerapi.Key{Policy: policy, Hash: m.Hash}, m))
				}
				if ctx.Err() != nil {
					return all
				}
			}
			if !page.More || len(page.Marks) == 0 {
				break
			}
		}
	}
	if corrupt > 0 {
		r.cfg.Counters.Corrupt(corrupt)
		r.Wake()
	}
	return all
}

// auditOne reads one version to its end.
func (r *Repair) auditOne(ctx context.Context, l auditable, key peerapi.Key, m peerapi.Mark, throttle *job.Throttle) (corrupt bool, err error) {
	if m.Lost {
		return false, nil // known already
	}
	body, err := l.Examine(ctx, key, m)
	var read int64
	if err == nil {
		read, err = io.Copy(io.Discard, body)
		err = errors.Join(err, body.Close())
	}
	r.cfg.Counters.Audited(read)
	if err := throttle.Wait(ctx, read+auditRecordBytes); err != nil {
		return false, err
	}
	switch {
	case errs.Is(err, errs.Corrupt):
		return true, nil
	case errs.Is(err, errs.NotFound): // replaced meanwhile
		return false, nil
	}
	return false, err
}
