package coretest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

type upload struct {
	ref       core.Ref
	id        string
	initiated time.Time
	meta      core.Metadata
	parts     map[int]*part
	done      bool // completed; kept so that completing again gives the same answer
}

type part struct {
	core.Part
	data []byte
}

// CreateUpload implements core.Service.
func (m *Memory) CreateUpload(_ context.Context, ref core.Ref, meta core.Metadata) (core.Upload, error) {
	if err := m.enter("CreateUpload"); err != nil {
		return core.Upload{}, err
	}
	defer m.mu.Unlock()
	if _, err := m.find(ref.Account, ref.Container); err != nil {
		return core.Upload{}, err
	}
	m.lastID++
	u := &upload{ref: ref, id: fmt.Sprintf("upload-%06d", m.lastID), initiated: m.clock.Now(), meta: meta, parts: make(map[int]*part)}
	m.uploads[u.id] = u
	return u.describe(), nil
}

func (u *upload) describe() core.Upload {
	return core.Upload{Ref: u.ref, ID: u.id, Initiated: u.initiated, Metadata: u.meta}
}

// upload finds an upload under way. m is locked.
func (m *Memory) upload(ref core.Ref, id string) (*upload, error) {
	u := m.uploads[id]
	if u == nil || u.ref != ref || u.done {
		return nil, errs.New(errs.NotFound, "upload %s of %s: not found", id, ref.Object)
	}
	return u, nil
}

// FindUpload implements core.Service.
func (m *Memory) FindUpload(_ context.Context, ref core.Ref, id string) (core.Upload, error) {
	if err := m.enter("FindUpload"); err != nil {
		return core.Upload{}, err
	}
	defer m.mu.Unlock()
	u, err := m.upload(ref, id)
	if err != nil {
		return core.Upload{}, err
	}
	return u.describe(), nil
}

// PutPart implements core.Service.
func (m *Memory) PutPart(_ context.Context, ref core.Ref, id string, number int, p core.PutRequest) (core.Part, error) {
	if err := m.enter("PutPart"); err != nil {
		return core.Part{}, err
	}
	_, err := m.upload(ref, id)
	m.mu.Unlock()
	if err != nil {
		return core.Part{}, err
	}
	data, meta, err := receive(p)
	if err != nil {
		return core.Part{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(ref, id)
	if err != nil {
		return core.Part{}, err
	}
	made := core.Part{Number: number, Size: int64(len(data)), ETag: meta.ETag, Modified: m.clock.Now().UTC(), System: meta.System}
	u.parts[number] = &part{Part: made, data: data}
	return made, nil
}

// ListParts implements core.Service.
func (m *Memory) ListParts(_ context.Context, ref core.Ref, id string, after, limit int) ([]core.Part, bool, error) {
	if err := m.enter("ListParts"); err != nil {
		return nil, false, err
	}
	defer m.mu.Unlock()
	u, err := m.upload(ref, id)
	if err != nil {
		return nil, false, err
	}
	var parts []core.Part
	for n, p := range u.parts {
		if n > after {
			parts = append(parts, p.Part)
		}
	}
	slices.SortFunc(parts, func(a, b core.Part) int { return cmp.Compare(a.Number, b.Number) })
	if len(parts) > limit {
		return parts[:limit], true, nil
	}
	return parts, false, nil
}

// ListUploads implements core.Service.
func (m *Memory) ListUploads(_ context.Context, acc, name string, o core.ListUploadsOptions) (core.UploadListing, error) {
	if err := m.enter("ListUploads"); err != nil {
		return core.UploadListing{}, err
	}
	defer m.mu.Unlock()
	if _, err := m.find(acc, name); err != nil {
		return core.UploadListing{}, err
	}
	var all []*upload
	for _, u := range m.uploads {
		past := u.ref.Object > o.KeyMarker || u.ref.Object == o.KeyMarker && o.UploadMarker != "" && u.id > o.UploadMarker
		if !u.done && u.ref.Account == acc && u.ref.Container == name && strings.HasPrefix(u.ref.Object, o.Prefix) && past {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b *upload) int {
		return cmp.Or(cmp.Compare(a.ref.Object, b.ref.Object), cmp.Compare(a.id, b.id))
	})
	var l core.UploadListing
	for _, u := range all {
		folder := folderOf(u.ref.Object, core.ListOptions{Prefix: o.Prefix, Delimiter: o.Delimiter})
		if folder != "" && (slices.Contains(l.Folders, folder) || strings.HasPrefix(o.KeyMarker, folder)) {
			continue
		}
		if len(l.Uploads)+len(l.Folders) == o.Limit {
			l.More = true
			return l, nil
		}
		if folder != "" {
			l.Folders = append(l.Folders, folder)
			l.NextKey, l.NextID = folder, ""
			continue
		}
		l.Uploads = append(l.Uploads, u.describe())
		l.NextKey, l.NextID = u.ref.Object, u.id
	}
	l.NextKey, l.NextID = "", ""
	return l, nil
}

// CompleteUpload implements core.Service. The bytes go inline into the manifest's segments.
func (m *Memory) CompleteUpload(_ context.Context, ref core.Ref, id string, c core.CompleteUpload) (core.Info, error) {
	if err := m.enter("CompleteUpload"); err != nil {
		return core.Info{}, err
	}
	defer m.mu.Unlock()
	u := m.uploads[id]
	if u == nil || u.ref != ref {
		return core.Info{}, errs.New(errs.NotFound, "upload %s of %s: not found", id, ref.Object)
	}
	if u.done {
		o, err := m.get(ref)
		if err != nil || o.info.Upload != id || o.info.ETag != c.Metadata.ETag {
			return core.Info{}, errs.New(errs.NotFound, "upload %s of %s: not found", id, ref.Object)
		}
		return clone(o.info), nil
	}
	man := core.Manifest{Format: 1}
	var size int64
	for _, p := range c.Parts {
		have := u.parts[p.Number]
		if have == nil || have.ETag != p.ETag {
			return core.Info{}, errs.New(errs.Conflict, "part %d changed", p.Number)
		}
		system, err := json.Marshal(have.System)
		if err != nil {
			return core.Info{}, fmt.Errorf("encode what is kept with part %d: %w", p.Number, err)
		}
		man.Segments = append(man.Segments, core.Segment{Part: p.Number, ETag: p.ETag, Size: have.Size, Length: have.Size, Data: have.data, Checksum: string(system)})
		size += have.Size
	}
	data, err := json.Marshal(man)
	if err != nil {
		return core.Info{}, fmt.Errorf("encode manifest: %w", err)
	}
	meta := c.Metadata
	meta.Kind = peerapi.KindMultipart
	info, err := m.store(ref, data, size, meta, c.Check)
	if err != nil {
		return core.Info{}, err
	}
	u.done, u.parts = true, nil
	m.accounts[ref.Account].containers[ref.Container].objects[ref.Object].info.Upload = id
	info.Upload = id
	return info, nil
}

// AbortUpload implements core.Service.
func (m *Memory) AbortUpload(_ context.Context, ref core.Ref, id string) error {
	if err := m.enter("AbortUpload"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, err := m.upload(ref, id); err != nil {
		return err
	}
	delete(m.uploads, id)
	return nil
}
