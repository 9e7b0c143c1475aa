package repair

import (
	"context"
	"fmt"
	"slices"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
)

const (
	rowsPage = 1000
	// listedInterval is how often the rows of one busy container are compared: its counts differ at any moment.
	listedInterval = 10 * time.Minute
	listedMax      = 10_000 // containers remembered for that
)

// known is what one fellow says of an index.
type known struct {
	peerapi.Index
	from peerapi.Target
}

// indexes repairs the containers and accounts; false when the rings are not known.
func (p *pass) indexes(ctx context.Context) bool {
	accounts, containers := p.r.cfg.Rings.Account(), p.r.cfg.Rings.Container()
	if accounts == nil || containers == nil {
		return false
	}
	deep := p.standing != peerapi.Joined || p.now.Sub(p.d.deep) > deepInterval && !p.d.deep.IsZero()
	if p.d.deep.IsZero() || deep {
		p.d.deep = p.now
	}
	differing := map[ring.Hash][]known{}
	for _, t := range fellows(p.self, accounts, containers) {
		if !p.up(t) {
			continue
		}
		if err := p.compare(ctx, t, accounts, containers, deep, differing); err != nil {
			p.lost(t, err)
		}
	}
	for _, all := range differing {
		if ctx.Err() != nil {
			return true
		}
		rg := containers
		if all[0].Key.Container == "" {
			rg = accounts
		}
		p.fail(p.repairIndex(ctx, all, len(rg.Primaries(rg.Partition(all[0].Key.Hash), nil))))
	}
	return true
}

// fellows are the devices that share a partition with self.
func fellows(self peerapi.Target, rings ...Ring) []peerapi.Target {
	seen := map[peerapi.Target]bool{self: true}
	var all, primaries []peerapi.Target
	for _, rg := range rings {
		for i := range 1 << rg.Power() {
			primaries = rg.Primaries(ring.Partition(i), primaries[:0])
			if !slices.Contains(primaries, self) {
				continue
			}
			for _, t := range primaries {
				if !seen[t] {
					seen[t] = true
					all = append(all, t)
				}
			}
		}
	}
	return all
}

// compare goes through a fellow's indexes and notes those that differ here.
func (p *pass) compare(ctx context.Context, t peerapi.Target, accounts, containers Ring, deep bool, differing map[ring.Hash][]known) error {
	var q peerapi.IndexesQuery
	var primaries []peerapi.Target
	for {
		page, err := p.r.cfg.Devices.Device(t).Indexes(ctx, q)
		if err != nil {
			return err
		}
		p.heard(t, page.Standing)
		if page.Standing != peerapi.Joined {
			return nil
		}
		for _, x := range page.Indexes {
			q.After = x.Key.Hash
			rg := containers
			if x.Key.Container == "" {
				rg = accounts
			}
			primaries = rg.Primaries(rg.Partition(x.Key.Hash), primaries[:0])
			if !slices.Contains(primaries, p.self) || !slices.Contains(primaries, t) {
				continue
			}
			mine, err := p.local.Listing().Info(x.Key)
			if err != nil {
				p.fail(err)
				continue
			}
			if deep || differs(mine, x.Info) {
				differing[x.Key.Hash] = append(differing[x.Key.Hash], known{x, t})
			}
		}
		if !page.More || len(page.Indexes) == 0 {
			p.reached++
			return nil
		}
	}
}

func differs(a, b peerapi.IndexInfo) bool {
	return a.Created != b.Created || a.Deleted != b.Deleted || a.Timestamp != b.Timestamp || a.Count != b.Count || a.Bytes != b.Bytes
}

// repairIndex brings a container or account to what its fellows know.
func (p *pass) repairIndex(ctx context.Context, all []known, replicas int) error {
	key := all[0].Key
	mine, err := p.local.Listing().Info(key)
	if err != nil {
		return err
	}
	if err := p.bury(ctx, mine, all, replicas); err != nil {
		return fmt.Errorf("repair %s/%s: %w", key.Account, key.Container, err)
	}
	rows := p.due(key.Hash)
	for _, k := range all {
		err := p.adopt(ctx, k)
		if err == nil && rows {
			err = p.pullRows(ctx, k)
		}
		if err != nil {
			return fmt.Errorf("repair %s/%s: %w", key.Account, key.Container, err)
		}
	}
	return nil
}

// due tells whether the rows of an index are to be compared now.
func (p *pass) due(h ring.Hash) bool {
	last, had := p.d.listed[h]
	if had && p.standing == peerapi.Joined && p.now.Sub(last) < listedInterval {
		return false
	}
	if len(p.d.listed) >= listedMax {
		clear(p.d.listed)
	}
	p.d.listed[h] = p.now
	return true
}

// bury makes up for a deletion that this replica slept through. One other replica is not enough: a deletion that the others refused is taken back.
func (p *pass) bury(ctx context.Context, mine peerapi.IndexInfo, all []known, replicas int) error {
	key := all[0].Key
	var deleted []clock.Timestamp
	for _, k := range all {
		if k.Info.Deleted > mine.Deleted && !p.young(k.Info.Deleted) {
			deleted = append(deleted, k.Info.Deleted)
		}
	}
	majority := replicas/2 + 1
	if key.Container == "" || !mine.Exists() || len(deleted) < majority {
		return nil
	}
	slices.Sort(deleted)
	at := deleted[len(deleted)-majority]
	if mine.Created > at {
		return nil // it was made anew here; what came before is over already
	}
	// What it lists is of a life that is over.
	err := p.eachPage(ctx, p.local.Listing().List, key, func(page peerapi.ListPage) error {
		var gone []peerapi.Row
		for _, r := range page.Rows {
			if !r.Deleted && r.Timestamp <= at {
				gone = append(gone, peerapi.Row{Name: r.Name, Timestamp: at, Deleted: true})
			}
		}
		if len(gone) == 0 {
			return nil
		}
		return p.local.Listing().Merge(ctx, peerapi.Merge{Key: key, Rows: gone})
	})
	if err != nil {
		return err
	}
	_, _, err = p.local.Listing().Change(ctx, peerapi.IndexChange{Key: key, Timestamp: at, Delete: true})
	if errs.Is(err, errs.Conflict) || errs.Is(err, errs.NotFound) {
		return nil // something newer came meanwhile: the next pass looks again
	}
	return err
}

// eachPage goes through a listing of this process.
func (p *pass) eachPage(ctx context.Context, list func(peerapi.ListQuery) (peerapi.ListPage, error), key peerapi.Key, fn func(peerapi.ListPage) error) error {
	q := peerapi.ListQuery{Key: key, Limit: rowsPage}
	for ctx.Err() == nil {
		page, err := list(q)
		if err != nil {
			return err
		}
		if err := fn(page); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		q.Marker = page.End
	}
	return ctx.Err()
}

// adopt brings the life and the metadata of a container or account here.
func (p *pass) adopt(ctx context.Context, k known) error {
	mine, err := p.local.Listing().Info(k.Key)
	if err != nil || !k.Info.Exists() || k.Info.Created <= mine.Deleted || p.young(k.Info.Created) {
		return err
	}
	if mine.Timestamp >= k.Info.Timestamp && mine.Created >= k.Info.Created && !missesMeta(mine, k.Info) {
		return nil
	}
	for _, at := range []clock.Timestamp{k.Info.First, k.Info.Created} {
		if at == 0 {
			continue
		}
		_, _, err := p.local.Listing().Change(ctx, peerapi.IndexChange{Key: k.Key, Timestamp: at, Create: true, Policy: k.Info.Policy, Meta: k.Info.Meta})
		if err != nil && !errs.Is(err, errs.Conflict) {
			return err
		}
	}
	return nil
}

func missesMeta(mine, theirs peerapi.IndexInfo) bool {
	for name, v := range theirs.Meta {
		if mine.Meta[name].Timestamp < v.Timestamp {
			return true
		}
	}
	return false
}

// pullRows takes the rows that a fellow has and this replica lacks.
func (p *pass) pullRows(ctx context.Context, k known) error {
	if !k.Info.Exists() {
		return nil
	}
	device := p.r.cfg.Devices.Device(k.from)
	remote := func(q peerapi.ListQuery) (peerapi.ListPage, error) { return device.List(ctx, q) }
	marker := ""
	err := p.eachPage(ctx, remote, k.Key, func(page peerapi.ListPage) error {
		defer func() { marker = page.End }()
		mine, err := p.local.Listing().List(peerapi.ListQuery{Key: k.Key, Marker: marker, Limit: rowsPage})
		if err != nil {
			return err
		}
		return p.mergeRows(ctx, k, page.Rows, mine)
	})
	if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout) {
		p.lost(k.from, err)
		return nil
	}
	return err
}

func (p *pass) mergeRows(ctx context.Context, k known, theirs []peerapi.Row, mine peerapi.ListPage) error {
	have := make(map[string]peerapi.Row, len(mine.Rows))
	for _, r := range mine.Rows {
		have[r.Name] = r
	}
	var news []peerapi.Row
	for _, r := range theirs {
		old, had := have[r.Name]
		switch {
		case had && !r.Supersedes(old), p.young(r.Timestamp), r.Deleted && p.forgotten(r.Timestamp):
		case k.Key.Container != "" && r.Timestamp <= mine.Info.Deleted:
		default:
			news = append(news, r)
		}
	}
	for batch := range slices.Chunk(news, rowsPage) {
		err := p.local.Listing().Merge(ctx, peerapi.Merge{Key: k.Key, Rows: batch, Created: k.Info.First, Policy: k.Info.Policy})
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		p.report.Rows += len(batch)
		p.r.cfg.Counters.Rows(len(batch))
	}
	return nil
}
