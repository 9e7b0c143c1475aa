package coretest

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// ListContainers implements core.Service.
func (m *Memory) ListContainers(_ context.Context, acc string, o core.ListOptions) (core.Listing, error) {
	if err := m.enter("ListContainers"); err != nil {
		return core.Listing{}, err
	}
	defer m.mu.Unlock()
	var rows []peerapi.Row
	if a := m.accounts[acc]; a != nil {
		for name, c := range a.containers {
			n, bytes := c.count()
			rows = append(rows, peerapi.Row{Name: name, Timestamp: c.created, Count: n, Size: bytes, Policy: c.policy.Index})
		}
	}
	return page(rows, o), nil
}

// ListObjects implements core.Service.
func (m *Memory) ListObjects(_ context.Context, acc, name string, o core.ListOptions) (core.Listing, error) {
	if err := m.enter("ListObjects"); err != nil {
		return core.Listing{}, err
	}
	defer m.mu.Unlock()
	c, err := m.find(acc, name)
	if err != nil {
		return core.Listing{}, err
	}
	var rows []peerapi.Row
	for _, o := range c.objects {
		i := o.info
		if m.expired(i) {
			continue
		}
		rows = append(rows, peerapi.Row{Name: i.Ref.Object, Timestamp: i.Timestamp, Size: i.Size, ETag: i.ETag, ContentType: i.ContentType,
			Kind: i.Kind, DeleteAt: i.DeleteAt, Policy: i.Policy, Checksum: i.System["listing-checksum"]})
	}
	return page(rows, o), nil
}

// page chooses what o asks for.
func page(rows []peerapi.Row, o core.ListOptions) core.Listing {
	slices.SortFunc(rows, func(a, b peerapi.Row) int { return cmp.Compare(a.Name, b.Name) })
	if o.Reverse {
		slices.Reverse(rows)
	}
	after := func(name, marker string) bool { return name > marker }
	if o.Reverse {
		after = func(name, marker string) bool { return name < marker }
	}
	var l core.Listing
	last := ""
	for _, row := range rows {
		switch {
		case !strings.HasPrefix(row.Name, o.Prefix),
			o.Marker != "" && !after(row.Name, o.Marker),
			o.EndMarker != "" && !after(o.EndMarker, row.Name):
			continue
		}
		entry := core.Entry{Row: row}
		if folder := folderOf(row.Name, o); folder != "" {
			if folder == last || folder == o.Marker {
				continue
			}
			entry = core.Entry{Folder: folder}
		}
		if len(l.Entries) == o.Limit {
			l.More, l.Next = true, last
			return l
		}
		l.Entries = append(l.Entries, entry)
		last = cmp.Or(entry.Folder, entry.Name)
	}
	return l
}

func folderOf(name string, o core.ListOptions) string {
	if o.Delimiter == "" {
		return ""
	}
	i := strings.Index(name[len(o.Prefix):], o.Delimiter)
	if i < 0 {
		return ""
	}
	return name[:len(o.Prefix)+i+len(o.Delimiter)]
}
