package main

import (
	"context"
	"iter"

	"henge/cluster/rings"
	"henge/internal/metrics"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/repair"
)

// startRepair lets the devices be repaired, once the rings are known as far as this peer has heard of them.
func (p *peer) startRepair(life context.Context, placed placement) error {
	if err := p.storage.Judge(func(device string) bool { return placed.names(peerapi.Target{Peer: p.node.ID(), Device: device}) }); err != nil {
		return err
	}
	p.repair = repair.New(repair.Config{
		Locals: p.storage.Locals, Devices: p.devices, Rings: repairRings{placed}, Clock: p.clock, Logger: p.logger, Counters: newRepairCounters(p.metrics),
		BytesPerSecond: unlessNone(p.cfg.Storage.RepairMiB) << 20, AuditBytesPerSecond: unlessNone(p.cfg.Storage.AuditMiB) << 20,
	})
	p.repairs.Store(p.repair)
	p.metrics.Gauges("henge_repair_missing", "Versions that a device lacked, or kept for others, at the end of the last pass of repair.", "device", func() map[string]float64 {
		return p.repairGauge(func(r repair.Report) float64 { return float64(r.Missing) })
	})
	p.metrics.Gauges("henge_repair_complete", "1 when the last pass of repair over a device reached all its fellows and left nothing to do.", "device", func() map[string]float64 {
		return p.repairGauge(func(r repair.Report) float64 {
			if r.Complete {
				return 1
			}
			return 0
		})
	})
	p.run(life, "repair", p.repair.Run)
	p.run(life, "repair after a change of the rings", func(ctx context.Context) error {
		for {
			changed := placed.book.Changed()
			select {
			case <-changed:
				p.repair.Wake()
			case <-ctx.Done():
				return nil
			}
		}
	})
	return nil
}

// unlessNone tells repair that a 0 in the configuration is meant.
func unlessNone(mib int64) int64 {
	if mib == 0 {
		return -1
	}
	return mib
}

func (p *peer) repairGauge(value func(repair.Report) float64) map[string]float64 {
	values := map[string]float64{}
	for t, r := range p.repair.Reports() {
		values[t.Device] = value(r)
	}
	return values
}

// names tells whether a ring gives the device something to hold.
func (p placement) names(t peerapi.Target) bool {
	all := []*ring.Ring{p.book.Ring(rings.Account), p.book.Ring(rings.Container)}
	for _, policy := range p.book.Policies() {
		all = append(all, p.book.Object(policy.Index))
	}
	for _, r := range all {
		if r == nil {
			continue
		}
		for _, d := range r.Devices() {
			if d != nil && target(d) == t {
				return true
			}
		}
	}
	return false
}

// repairRings shows the published rings to repair.
type repairRings struct{ placement }

// Account is repair.Rings'.
func (r repairRings) Account() repair.Ring { return repairRing(r.book.Ring(rings.Account)) }

// Container is repair.Rings'.
func (r repairRings) Container() repair.Ring { return repairRing(r.book.Ring(rings.Container)) }

// Objects is repair.Rings'.
func (r repairRings) Objects() iter.Seq2[uint8, repair.Ring] {
	return func(yield func(uint8, repair.Ring) bool) {
		for _, policy := range r.book.Policies() {
			if rg := r.book.Object(policy.Index); rg != nil && !yield(uint8(policy.Index), placedRing{rg}) {
				return
			}
		}
	}
}

// repairRing is nil as an interface when there is no ring.
func repairRing(r *ring.Ring) repair.Ring {
	if r == nil {
		return nil
	}
	return placedRing{r}
}

// repairCounters counts for Prometheus what repair does.
type repairCounters struct{ pulled, pulledBytes, pushed, pushedBytes, dropped, rows, audited, corrupt *metrics.Counter }

func newRepairCounters(r *metrics.Registry) repairCounters {
	return repairCounters{
		pulled:      r.Counter("henge_repair_pulled_total", "Versions that a device lacked and took from others."),
		pulledBytes: r.Counter("henge_repair_pulled_bytes_total", "Bytes of versions that a device lacked."),
		pushed:      r.Counter("henge_repair_pushed_total", "Copies that were brought home to their primaries."),
		pushedBytes: r.Counter("henge_repair_pushed_bytes_total", "Bytes of copies that were brought home."),
		dropped:     r.Counter("henge_repair_dropped_total", "Copies that were given up because their primaries have them."),
		rows:        r.Counter("henge_repair_rows_total", "Listing rows that a device lacked and took from others."),
		audited:     r.Counter("henge_audit_bytes_total", "Bytes that the auditor has read and found good."),
		corrupt:     r.Counter("henge_audit_corrupt_total", "Versions that the auditor has found corrupt."),
	}
}

func (c repairCounters) Pulled(n int, bytes int64) {
	c.pulled.Add(float64(n))
	c.pulledBytes.Add(float64(bytes))
}

func (c repairCounters) Pushed(n int, bytes int64) {
	c.pushed.Add(float64(n))
	c.pushedBytes.Add(float64(bytes))
}

func (c repairCounters) Dropped(n int)       { c.dropped.Add(float64(n)) }
func (c repairCounters) Rows(n int)          { c.rows.Add(float64(n)) }
func (c repairCounters) Audited(bytes int64) { c.audited.Add(float64(bytes)) }
func (c repairCounters) Corrupt(n int)       { c.corrupt.Add(float64(n)) }
