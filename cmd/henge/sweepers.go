package main

import (
	"context"
	"time"

	"henge/internal/metrics"
	"henge/proxy/expirer"
	"henge/proxy/reaper"
	"henge/storaged/peerapi"
)

// startExpirer lets the peer remove what expires in the containers that its devices list.
func (p *peer) startExpirer(life context.Context, placed placement) {
	e := expirer.New(expirer.Config{
		Devices: func() []expirer.Device {
			var all []expirer.Device
			for _, l := range p.storage.Locals() {
				all = append(all, l)
			}
			return all
		},
		Replicas: func(container peerapi.Key) []peerapi.Target {
			r := placed.Container()
			if r == nil {
				return nil
			}
			return r.Primaries(r.Partition(container.Hash), nil)
		},
		Objects: p.core, Up: p.devices.Up, Clock: p.clock, Logger: p.logger, Counters: newExpiryCounters(p.metrics), PerSecond: p.cfg.Storage.ExpirePerSec,
	})
	p.metrics.Gauges("henge_expirer_behind_seconds", "For how long the oldest object that is to be removed has been expired.", "device", func() map[string]float64 {
		values := map[string]float64{}
		for device, behind := range e.Behind() {
			values[device] = behind.Seconds()
		}
		return values
	})
	p.run(life, "expirer", e.Run)
}

// expiryCounters count for Prometheus what the expirer does.
type expiryCounters struct{ expired, stale, failed *metrics.Counter }

func newExpiryCounters(r *metrics.Registry) expiryCounters {
	return expiryCounters{
		expired: r.Counter("henge_expirer_removed_total", "Objects removed because their X-Delete-At had come."),
		stale:   r.Counter("henge_expirer_stale_total", "Rows of listings that said of an object that it had expired, when it was gone or had been changed."),
		failed:  r.Counter("henge_expirer_failed_total", "Objects that had expired and could not be removed; they are tried again."),
	}
}

func (c expiryCounters) Expired() { c.expired.Add(1) }
func (c expiryCounters) Stale()   { c.stale.Add(1) }
func (c expiryCounters) Failed()  { c.failed.Add(1) }

// startReaper lets the peer empty the deleted accounts whose listings begin with it.
func (p *peer) startReaper(life context.Context) {
	r := reaper.New(reaper.Config{
		Store: p.core, Projects: p.identity, Clock: p.clock, Logger: p.logger, Counters: newReapCounters(p.metrics),
		Delay: time.Duration(p.cfg.Storage.ReapDelay) * time.Second, PerSecond: p.cfg.Storage.ReapPerSec,
		Mine: func(account string) bool {
			_, replicas := p.accountReplicas(account)
			for _, t := range replicas {
				if p.devices.Up(t) {
					return t.Peer == p.node.ID()
				}
			}
			return false
		},
	})
	p.run(life, "reaper", r.Run)
}

// reapCounters count for Prometheus what the reaper does.
type reapCounters struct{ accounts, containers, objects *metrics.Counter }

func newReapCounters(r *metrics.Registry) reapCounters {
	return reapCounters{
		accounts:   r.Counter("henge_reaper_accounts_total", "Accounts deleted because their project was."),
		containers: r.Counter("henge_reaper_containers_total", "Containers of deleted accounts that were removed."),
		objects:    r.Counter("henge_reaper_objects_total", "Objects of deleted accounts that were removed."),
	}
}

func (c reapCounters) Accounts()   { c.accounts.Add(1) }
func (c reapCounters) Containers() { c.containers.Add(1) }
func (c reapCounters) Objects()    { c.objects.Add(1) }
