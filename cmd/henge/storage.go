package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"henge/cluster"
	"henge/cluster/rings"
	"henge/internal/metrics"
	"henge/internal/vfs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
	"henge/storaged/server"
)

// clusterConfig is the cluster's share of a peer's configuration.
func clusterConfig(c config, logger *slog.Logger) cluster.Config {
	return cluster.Config{
		Dir: clusterDir(c), ID: c.PeerID, Address: c.Address, RPCPort: c.Ports.Peers, GossipPort: c.Ports.Gossip,
		Region: fmt.Sprint(c.Region), Zone: fmt.Sprint(c.Zone), Roles: c.Roles, Services: services(c), Seeds: c.Seeds, Logger: logger,
	}
}

// openStorage opens the devices, and the way to those of other peers.
func (p *peer) openStorage(ctx context.Context) error {
	devices := map[string]string{}
	if p.cfg.has("storage") {
		for _, d := range p.cfg.Devices {
			// One that cannot be made cannot be opened either: that device is out of use then, not the peer.
			if err := os.MkdirAll(d.Path, 0o700); err != nil {
				p.logger.Warn("make the folder of a device", "device", d.Name, "error", err)
			}
			devices[d.Name] = d.Path
		}
	}
	var err error
	p.storage, err = server.New(server.Config{
		Self: p.node.ID(), Devices: devices, Clock: p.clock, Log: p.logger, JudgeLater: true, Accounts: p.accountReplicas, Counters: newStorageCounters(p.metrics),
		Open: func(_, dir string) (engine.Engine, error) {
			return engine.Open(ctx, engine.Config{
				FS: vfs.OS{}, Dir: dir, Clock: p.clock, Logger: p.logger,
				Reserve: engine.Reserve{Bytes: p.cfg.Storage.ReserveMiB << 20, Percent: p.cfg.Storage.ReservePercent},
			})
		},
		Connect: func(s *server.Server) peerapi.Devices {
			p.devices = server.NewDevices(p.node.ID(), s.Local, p.node.Caller(), p.up)
			return p.devices
		},
	})
	if err != nil {
		return err
	}
	peerapi.Serve(p.node.Mux(), p.storage.Local)
	p.gauges()
	return nil
}

// up tells whether a peer is believed to be alive.
func (p *peer) up(id string) bool { return p.node.Alive(id) }

// accountReplicas are the devices that list an account's containers; none before the rings are known.
func (p *peer) accountReplicas(account string) (peerapi.Key, []peerapi.Target) {
	placed := p.placed.Load()
	if placed == nil {
		return peerapi.Key{}, nil
	}
	r := placed.book.Ring(rings.Account)
	if r == nil {
		return peerapi.Key{}, nil
	}
	hash := ring.HashPath(placed.secret, account, "", "")
	key := peerapi.Key{Account: account, Hash: hash, Partition: r.Partition(hash)}
	return key, placedRing{r}.Primaries(key.Partition, nil)
}

// announce tells the other peers which rings this one has, and what its devices hold, whenever the rings change.
func (p *peer) announce(ctx context.Context) error {
	book := p.placed.Load().book
	for {
		changed := book.Changed()
		var capacity cluster.Capacity
		for _, d := range p.deviceStatus(ctx) {
			capacity.Devices++
			capacity.BytesTotal += uint64(d.Usage.Size)
			capacity.BytesUsed += uint64(d.Usage.Used)
		}
		err := p.node.Announce(func(a *cluster.Announcement) { a.RingVersions, a.Capacity = book.Versions(), capacity })
		if err != nil {
			p.logger.Warn("tell the other peers of the rings", "error", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// follow tells the devices when peers come back.
func (p *peer) follow(ctx context.Context) error {
	alive := map[string]bool{}
	for members := range p.node.Changes(ctx) {
		for _, m := range members {
			if m.Alive && !alive[m.ID] {
				p.storage.PeerUp(m.ID)
			}
			alive[m.ID] = m.Alive
		}
		p.repair.Wake()
	}
	return nil
}

// deviceStatus is how each configured device does.
func (p *peer) deviceStatus(ctx context.Context) []deviceStatus {
	var all []deviceStatus
	if p.storage == nil {
		return nil
	}
	for _, h := range p.storage.Health(ctx) {
		s := deviceStatus{Name: h.Name, Usage: h.Usage, Repair: p.repairOf(h.Name)}
		if h.Error != nil {
			s.Error = h.Error.Error()
		}
		all = append(all, s)
	}
	return all
}

// gauges shows the devices to Prometheus.
func (p *peer) gauges() {
	for _, g := range []struct {
		name, help string
		value      func(peerapi.Usage) float64
	}{
		{"henge_device_size_bytes", "Size of a device.", func(u peerapi.Usage) float64 { return float64(u.Size) }},
		{"henge_device_free_bytes", "Free space on a device.", func(u peerapi.Usage) float64 { return float64(u.Free) }},
		{"henge_device_objects", "Objects on a device, tombstones included.", func(u peerapi.Usage) float64 { return float64(u.Objects) }},
		{"henge_device_pending_updates", "Listing updates queued on a device.", func(u peerapi.Usage) float64 { return float64(u.Pending) }},
		{"henge_device_quarantined", "Records set aside as corrupt on a device.", func(u peerapi.Usage) float64 { return float64(u.Quarantine) }},
	} {
		p.metrics.Gauges(g.name, g.help, "device", func() map[string]float64 {
			values := map[string]float64{}
			for _, d := range p.deviceStatus(context.Background()) {
				values[d.Name] = g.value(d.Usage)
			}
			return values
		})
	}
}

// storageCounters counts for Prometheus what the devices tell.
type storageCounters struct{ queued, delivered, failed *metrics.Counter }

func newStorageCounters(r *metrics.Registry) storageCounters {
	return storageCounters{
		queued:    r.Counter("henge_listing_updates_queued_total", "Listing updates that could not be delivered at once."),
		delivered: r.Counter("henge_listing_updates_delivered_total", "Queued listing updates that were delivered later."),
		failed:    r.Counter("henge_listing_flushes_failed_total", "Times that listings could not be written to their tree."),
	}
}

func (c storageCounters) Queued(rows int)    { c.queued.Add(float64(rows)) }
func (c storageCounters) Delivered(rows int) { c.delivered.Add(float64(rows)) }
func (c storageCounters) FlushFailed(error)  { c.failed.Add(1) }
