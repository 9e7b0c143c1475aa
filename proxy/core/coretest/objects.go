package coretest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"time"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

func (m *Memory) expired(i core.Info) bool {
	return i.DeleteAt != 0 && i.DeleteAt <= m.clock.Now().Unix()
}

// get finds an object that is there and has not expired. m is locked.
func (m *Memory) get(ref core.Ref) (*object, error) {
	c, err := m.find(ref.Account, ref.Container)
	if err != nil {
		return nil, err
	}
	o := c.objects[ref.Object]
	if o == nil || m.expired(o.info) {
		return nil, errs.New(errs.NotFound, "object %s/%s/%s: not found", ref.Account, ref.Container, ref.Object)
	}
	return o, nil
}

// Open implements core.Service.
func (m *Memory) Open(_ context.Context, ref core.Ref, o core.OpenOptions) (*core.Object, error) {
	if err := m.enter("Open"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	found, err := m.get(ref)
	if err != nil {
		return nil, err
	}
	info := clone(found.info)
	if (info.Kind == peerapi.KindSLO || info.Kind == peerapi.KindMultipart) && !o.Raw {
		var man core.Manifest
		if err := json.Unmarshal(found.data, &man); err != nil {
			return nil, errs.New(errs.Corrupt, "manifest of %s: %w", ref.Object, err)
		}
		return m.manifestObject(info, man), nil
	}
	if o.Raw {
		info.Size = int64(len(found.data))
	}
	data := found.data
	return core.NewObject(info, nil, func(_ context.Context, offset, length int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[offset : offset+length])), nil
	}, nil), nil
}

func clone(i core.Info) core.Info {
	i.Meta, i.System = maps.Clone(i.Meta), maps.Clone(i.System)
	return i
}

// OpenManifest implements core.Service.
func (m *Memory) OpenManifest(_ context.Context, info core.Info, man core.Manifest) (*core.Object, error) {
	if err := m.enter("OpenManifest"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	info.Size = 0
	sum := md5.New()
	for _, s := range man.Segments {
		info.Size += s.Length
		_, _ = io.WriteString(sum, s.ETag)
	}
	info.ETag = hex.EncodeToString(sum.Sum(nil))
	return m.manifestObject(info, man), nil
}

func (m *Memory) manifestObject(info core.Info, man core.Manifest) *core.Object {
	return core.NewObject(info, &man, func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		return m.readManifest(ctx, man, offset, length, 0)
	}, nil)
}

const depthMax = 10

// readManifest puts the bytes together; the reader fails where a segment is gone or changed.
func (m *Memory) readManifest(ctx context.Context, man core.Manifest, offset, length int64, depth int) (io.ReadCloser, error) {
	if depth > depthMax {
		return nil, errs.New(errs.Conflict, "manifests nested deeper than %d", depthMax)
	}
	var parts []io.Reader
	for _, s := range man.Segments {
		if offset >= s.Length {
			offset -= s.Length
			continue
		}
		n := min(length, s.Length-offset)
		if n <= 0 {
			break
		}
		at := offset
		parts = append(parts, &lazy{open: func() (io.ReadCloser, error) { return m.readSegment(ctx, s, at, n, depth) }})
		offset, length = 0, length-n
	}
	return io.NopCloser(io.MultiReader(parts...)), nil
}

func (m *Memory) readSegment(ctx context.Context, s core.Segment, offset, length int64, depth int) (io.ReadCloser, error) {
	if s.Object == "" {
		return io.NopCloser(bytes.NewReader(s.Data[offset : offset+length])), nil
	}
	o, err := m.Open(ctx, core.Ref{Account: s.Account, Container: s.Container, Object: s.Object}, core.OpenOptions{})
	if err != nil {
		return nil, err
	}
	if o.Info.ETag != s.ETag || o.Info.Size != s.Size {
		return nil, errs.New(errs.Conflict, "segment %s/%s changed", s.Container, s.Object)
	}
	if o.Manifest != nil {
		return m.readManifest(ctx, *o.Manifest, s.Offset+offset, length, depth+1)
	}
	return o.Read(ctx, s.Offset+offset, length)
}

// lazy opens its source when it is first read.
type lazy struct {
	open func() (io.ReadCloser, error)
	body io.ReadCloser
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.body == nil {
		body, err := l.open()
		if err != nil {
			return 0, err
		}
		l.body = body
	}
	return l.body.Read(p)
}

// check asks p's Check with m locked.
func (m *Memory) check(ref core.Ref, check core.Check) error {
	if check == nil {
		return nil
	}
	o, err := m.get(ref)
	if err != nil {
		return check(nil)
	}
	info := clone(o.info)
	return check(&info)
}

// Put implements core.Service.
func (m *Memory) Put(_ context.Context, ref core.Ref, p core.PutRequest) (core.Info, error) {
	if err := m.enter("Put"); err != nil {
		return core.Info{}, err
	}
	_, err := m.find(ref.Account, ref.Container)
	if err == nil {
		err = m.check(ref, p.Check)
	}
	m.mu.Unlock()
	if err != nil {
		return core.Info{}, err
	}
	data, meta, err := receive(p)
	if err != nil {
		return core.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store(ref, data, int64(len(data)), meta, p.Check)
}

// receive reads the body and calls Finish.
func receive(p core.PutRequest) ([]byte, core.Metadata, error) {
	meta := p.Metadata
	meta.Meta, meta.System = maps.Clone(meta.Meta), maps.Clone(meta.System)
	var data []byte
	if p.Body != nil {
		var err error
		if data, err = io.ReadAll(p.Body); err != nil {
			return nil, meta, fmt.Errorf("read body: %w", err)
		}
	}
	if p.Size >= 0 && int64(len(data)) != p.Size {
		return nil, meta, errs.New(errs.Incomplete, "body has %d bytes, not %d", len(data), p.Size)
	}
	sum := md5.Sum(data)
	digest := hex.EncodeToString(sum[:])
	if p.Finish != nil {
		if err := p.Finish(digest, int64(len(data)), &meta); err != nil {
			return nil, meta, err
		}
	}
	meta.ETag = cmp.Or(meta.ETag, digest)
	return data, meta, nil
}

// store makes the new version visible. m is locked.
func (m *Memory) store(ref core.Ref, data []byte, size int64, meta core.Metadata, check core.Check) (core.Info, error) {
	c, err := m.find(ref.Account, ref.Container)
	if err != nil {
		return core.Info{}, err
	}
	if err := m.check(ref, check); err != nil {
		return core.Info{}, err
	}
	now := m.hybrid.Next()
	o := &object{data: data, info: core.Info{Ref: ref, Timestamp: now, Modified: ceil(now.Time()), Size: size, ETag: meta.ETag,
		ContentType: meta.ContentType, Meta: meta.Meta, System: meta.System, DeleteAt: meta.DeleteAt, Kind: meta.Kind, Policy: c.policy.Index}}
	c.objects[ref.Object] = o
	return clone(o.info), nil
}

func ceil(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

// PutManifest implements core.Service.
func (m *Memory) PutManifest(_ context.Context, ref core.Ref, p core.PutRequest, man core.Manifest) (core.Info, error) {
	if err := m.enter("PutManifest"); err != nil {
		return core.Info{}, err
	}
	defer m.mu.Unlock()
	data, err := json.Marshal(man)
	if err != nil {
		return core.Info{}, fmt.Errorf("encode manifest: %w", err)
	}
	var size int64
	for _, s := range man.Segments {
		size += s.Length
	}
	return m.store(ref, data, size, p.Metadata, p.Check)
}

// UpdateMeta implements core.Service.
func (m *Memory) UpdateMeta(_ context.Context, ref core.Ref, change func(core.Info) (core.Metadata, error)) (core.Info, error) {
	if err := m.enter("UpdateMeta"); err != nil {
		return core.Info{}, err
	}
	defer m.mu.Unlock()
	o, err := m.get(ref)
	if err != nil {
		return core.Info{}, err
	}
	meta, err := change(clone(o.info))
	if err != nil {
		return core.Info{}, err
	}
	i := &o.info
	i.ContentType, i.Meta, i.System, i.DeleteAt, i.Kind = meta.ContentType, meta.Meta, meta.System, meta.DeleteAt, meta.Kind
	i.ETag = cmp.Or(meta.ETag, i.ETag)
	i.Timestamp = m.hybrid.Next()
	i.Modified = ceil(i.Timestamp.Time())
	return clone(*i), nil
}

// Delete implements core.Service.
func (m *Memory) Delete(_ context.Context, ref core.Ref, check core.Check) error {
	if err := m.enter("Delete"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := m.check(ref, check); err != nil {
		return err
	}
	if _, err := m.get(ref); err != nil {
		return err
	}
	delete(m.accounts[ref.Account].containers[ref.Container].objects, ref.Object)
	return nil
}

// DeleteExpiring implements core.Service.
func (m *Memory) DeleteExpiring(_ context.Context, ref core.Ref, at int64) error {
	if err := m.enter("DeleteExpiring"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	c, err := m.find(ref.Account, ref.Container)
	if err != nil {
		return err
	}
	switch o := c.objects[ref.Object]; {
	case o == nil:
		return errs.New(errs.NotFound, "object %s/%s/%s: not found", ref.Account, ref.Container, ref.Object)
	case o.info.DeleteAt != at:
		return errs.New(errs.Precondition, "the object is to be deleted at %d, not at %d", o.info.DeleteAt, at)
	}
	delete(c.objects, ref.Object)
	return nil
}
