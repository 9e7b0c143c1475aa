package core

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// ListObjects gives a page of a container's objects, merged from a quorum of replicas.
func (c *Core) ListObjects(ctx context.Context, account, container string, o ListOptions) (Listing, error) {
	if _, err := c.findContainer(ctx, account, container, false); err != nil {
		return Listing{}, err
	}
	r, err := c.placeContainer(account, container)
	if err != nil {
		return Listing{}, err
	}
	return c.list(ctx, r, o)
}

// edge is a place in a listing: at a name, or right after it in the listing's direction.
type edge struct {
	name  string
	after bool
	set   bool
}

// lister merges the pages of several replicas into one. Up to where every replica has spoken, the newest row of each name is what holds.
type lister struct {
	core    *Core
	r       replicas
	o       ListOptions
	query   peerapi.ListQuery
	entries []Entry
	folder  string // the last one given or skipped
	skipped bool   // folder is set
}

// list gives a page of a container's or account's rows.
func (c *Core) list(ctx context.Context, r replicas, o ListOptions) (Listing, error) {
	o.Limit = min(max(o.Limit, 0), limits.ListingMax)
	l := &lister{core: c, r: r, o: o, query: peerapi.ListQuery{
		Key: r.key, Marker: o.Marker, EndMarker: o.EndMarker, Prefix: o.Prefix, Delimiter: o.Delimiter, Reverse: o.Reverse,
	}}
	if o.Delimiter != "" && o.Marker != "" && strings.HasPrefix(o.Marker, o.Prefix) && strings.HasSuffix(o.Marker, o.Delimiter) {
		if f := l.folderOf(o.Marker); f == o.Marker {
			l.leave(f) // a page that ended with a folder goes on behind it
		}
	}
	more := true
	for more && len(l.entries) <= o.Limit {
		var err error
		if more, err = l.step(ctx); err != nil {
			return Listing{}, err
		}
	}
	out := Listing{Entries: l.entries}
	if len(out.Entries) > o.Limit {
		out.Entries, out.More = out.Entries[:o.Limit], true
	}
	if n := len(out.Entries); out.More && n > 0 {
		out.Next = out.Entries[n-1].Folder + out.Entries[n-1].Name // one of them is empty
	}
	return out, nil
}

// pagesMax bounds the rows asked for at once: a page must fit into messages between peers.
const pagesMax = 1000

// ask gets one page from a majority of the replicas.
func (l *lister) ask(ctx context.Context, q peerapi.ListQuery) ([]peerapi.ListPage, error) {
	replies, err := ask(ctx, l.core, l.r.targets, l.core.nearest(l.r.targets), l.r.majority(), func(ctx context.Context, d peerapi.Device) (peerapi.ListPage, error) {
		return d.List(ctx, q)
	})
	if err != nil {
		return nil, err
	}
	pages := make([]peerapi.ListPage, len(replies))
	for i, a := range replies {
		pages[i] = a.value
	}
	return pages, nil
}

// step asks for the next pages and takes from them what is certain. more tells whether there may be names behind.
func (l *lister) step(ctx context.Context) (more bool, err error) {
	l.query.Limit = min(l.o.Limit+1-len(l.entries), pagesMax)
	pages, err := l.ask(ctx, l.query)
	if err != nil {
		return false, err
	}
	info := pages[0].Info
	for _, p := range pages[1:] {
		info = mergeTwo(info, p.Info)
	}
	if err := l.core.observe(info.Timestamp); err != nil {
		return false, err
	}
	if l.r.key.Container != "" && !info.Exists() {
		l.core.containers.drop(containerName{l.r.key.Account, l.r.key.Container})
		return false, noContainer(l.r.key.Account, l.r.key.Container)
	}
	bound := l.bound(pages)
	rows := l.merge(pages, bound, info)
	if err := l.take(ctx, rows, pages, bound); err != nil {
		return false, err
	}
	if !bound.set {
		return false, nil
	}
	old := l.query
	if f := l.folderOf(bound.name); l.o.Delimiter != "" && l.skipped && f == l.folder {
		l.leave(f)
	} else {
		l.continueAt(bound)
	}
	if l.query == old && len(rows) == 0 {
		return false, fmt.Errorf("list %s/%s: a page at %q says that there is more, and does not go on", l.r.key.Account, l.r.key.Container, bound.name)
	}
	return true, nil
}

// before tells whether a comes before b in the listing's direction.
func (l *lister) before(a, b string) bool { return a != b && (a < b) != l.o.Reverse }

// bound is up to where all pages speak. A page speaks for its last row's name, and for what its End says; if End is no row of it, for what lies before.
func (l *lister) bound(pages []peerapi.ListPage) edge {
	var out edge
	for _, p := range pages {
		if !p.More {
			continue
		}
		e := edge{name: p.End, set: true}
		if n := len(p.Rows); n > 0 && p.Rows[n-1].Name == p.End {
			e.after = true
		}
		if !out.set || l.before(e.name, out.name) || e.name == out.name && !e.after {
			out = e
		}
	}
	return out
}

func (l *lister) within(name string, e edge) bool {
	return !e.set || l.before(name, e.name) || e.after && name == e.name
}

// merge gives the newest row of each name up to the bound, in order, tombstones included. Rows of an earlier life of the container are none.
func (l *lister) merge(pages []peerapi.ListPage, bound edge, info peerapi.IndexInfo) []peerapi.Row {
	var out []peerapi.Row
	at := make([]int, len(pages))
	for {
		best := -1
		for i, p := range pages {
			if at[i] < len(p.Rows) && (best < 0 || l.before(p.Rows[at[i]].Name, pages[best].Rows[at[best]].Name)) {
				best = i
			}
		}
		if best < 0 {
			return out
		}
		row := pages[best].Rows[at[best]]
		for i, p := range pages {
			if at[i] < len(p.Rows) && p.Rows[at[i]].Name == row.Name {
				if p.Rows[at[i]].Supersedes(row) {
					row = p.Rows[at[i]]
				}
				at[i]++
			}
		}
		if !l.within(row.Name, bound) {
			return out
		}
		if l.r.key.Container != "" && row.Timestamp <= info.Deleted {
			row.Deleted = true
		}
		out = append(out, row)
	}
}

// folderOf is the folder that a name lies in, or "".
func (l *lister) folderOf(name string) string {
	if l.o.Delimiter == "" || !strings.HasPrefix(name, l.o.Prefix) {
		return ""
	}
	rest := name[len(l.o.Prefix):]
	if i := strings.Index(rest, l.o.Delimiter); i >= 0 {
		return name[:len(l.o.Prefix)+i+len(l.o.Delimiter)]
	}
	return ""
}

// take turns merged rows into entries, until there is one more than wanted.
func (l *lister) take(ctx context.Context, rows []peerapi.Row, pages []peerapi.ListPage, bound edge) error {
	for i := 0; i < len(rows) && len(l.entries) <= l.o.Limit; {
		row := rows[i]
		f := l.folderOf(row.Name)
		if f == "" {
			if !row.Deleted {
				l.entries = append(l.entries, Entry{Row: row})
			}
			i++
			continue
		}
		end := i
		for end < len(rows) && strings.HasPrefix(rows[end].Name, f) {
			end++
		}
		group := rows[i:end]
		i = end
		if l.skipped && f == l.folder {
			continue
		}
		alive, err := l.folderAlive(ctx, f, group, pages)
		if err != nil {
			return err
		}
		l.folder, l.skipped = f, true
		if alive {
			l.entries = append(l.entries, Entry{Folder: f})
		}
	}
	return nil
}

// folderAlive tells whether a folder has a live name. Of a folder a replica gives its tombstones up to its first live name, and that one: it speaks for no name behind
// it. If the first of all live names given is alive when merged, so is the folder. If it is not, or if the folder goes on behind the bound, only a look at all
// its names tells.
func (l *lister) folderAlive(ctx context.Context, f string, group []peerapi.Row, pages []peerapi.ListPage) (bool, error) {
	first, found := "", false
	for _, p := range pages {
		for _, row := range p.Rows {
			if !row.Deleted && strings.HasPrefix(row.Name, f) {
				if !found || l.before(row.Name, first) {
					first, found = row.Name, true
				}
				break
			}
		}
	}
	if found {
		if i := slices.IndexFunc(group, func(r peerapi.Row) bool { return r.Name == first }); i >= 0 && !group[i].Deleted {
			return true, nil
		}
	} else if !l.cutShort(f, pages) {
		return false, nil
	}
	scan := &lister{core: l.core, r: l.r, o: ListOptions{Prefix: f, Limit: 0, Reverse: l.o.Reverse}}
	scan.query = peerapi.ListQuery{Key: l.r.key, Prefix: f, Reverse: l.o.Reverse, Marker: l.o.Marker, EndMarker: l.o.EndMarker}
	for more := true; more && len(scan.entries) == 0; {
		var err error
		if more, err = scan.step(ctx); err != nil {
			return false, err
		}
	}
	return len(scan.entries) > 0, nil
}

// cutShort tells whether some page may have ended within the folder, so that there may be names of it behind.
func (l *lister) cutShort(f string, pages []peerapi.ListPage) bool {
	for _, p := range pages {
		if p.More && (strings.HasPrefix(p.End, f) || l.before(p.End, f)) {
			return true
		}
	}
	return false
}

// leave makes the next question begin behind a folder.
func (l *lister) leave(f string) {
	l.folder, l.skipped = f, true
	if l.o.Reverse {
		l.query.Marker, l.query.From = f, ""
		return
	}
	if next := successor(f); next != "" {
		l.query.Marker, l.query.From = "", next
		return
	}
	// No name comes behind all names with this prefix: ask for none.
	l.query.Marker, l.query.From = f, ""
	l.query.EndMarker = f
}

func (l *lister) continueAt(e edge) {
	l.query.Marker, l.query.From = "", ""
	if e.after {
		l.query.Marker = e.name
	} else {
		l.query.From = e.name
	}
}

// successor is the smallest string that is greater than all strings with the prefix; "" when there is none.
func successor(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}
