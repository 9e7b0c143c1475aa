package local

import (
	"context"
	"errors"
	"strings"

	"henge/internal/errs"
	"henge/volumed/backend"
)

// metaRoom is what a change of records needs: less than that must be left beyond what is held back.
const metaRoom = 64 << 10

func checkID(id string) error {
	if id == "" || strings.ContainsAny(id, "/.\x00") || len(id) > 128 {
		return errs.New(errs.Invalid, "%q cannot be the id of a volume or snapshot", id)
	}
	return nil
}

func checkSize(size int64) error {
	if size <= 0 || size%grainBytes != 0 {
		return errs.New(errs.Invalid, "a volume of %d bytes: the size must be a multiple of %d, and more than 0", size, grainBytes)
	}
	return nil
}

// there tells whether a volume is there already with that size. Call with mu held.
func (b *Backend) there(id string, size int64) (bool, error) {
	v, ok := b.volumes[id]
	if ok && v.Size != size {
		return true, errs.New(errs.Exists, "volume %s is there with %d bytes", id, v.Size)
	}
	return ok, nil
}

// Create implements backend.Backend.
func (b *Backend) Create(_ context.Context, id string, size int64) error {
	if err := errors.Join(checkID(id), checkSize(size), b.space.take(metaRoom)); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if there, err := b.there(id, size); there || err != nil {
		return err
	}
	return b.found(id, size, "")
}

// found makes a volume on a layer. Call with mu held.
func (b *Backend) found(id string, size int64, parent string) error {
	l, err := b.newLayer(parent)
	if err != nil {
		return err
	}
	return b.putVolume(id, volumeRecord{formatVersion, l.id, size})
}

func (b *Backend) putVolume(id string, v volumeRecord) error {
	if err := b.record(volumesDir, id, v); err != nil {
		return err
	}
	b.volumes[id] = v
	return nil
}

// Clone implements backend.Backend.
func (b *Backend) Clone(ctx context.Context, id string, size int64, from backend.Source) error {
	if err := errors.Join(checkID(id), checkSize(size), b.space.take(metaRoom)); err != nil {
		return err
	}
	if from.Volume != "" {
		b.settle(ctx, from.Volume)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if there, err := b.there(id, size); there || err != nil {
		return err
	}
	layer, least, err := b.origin(from)
	if err != nil {
		return err
	}
	if size < least {
		return errs.New(errs.Invalid, "a clone of %d bytes is smaller than what it is made from (%d bytes)", size, least)
	}
	return b.found(id, size, layer)
}

// origin finds the layer that a clone stands on; that of a volume is frozen for it. Call with mu held.
func (b *Backend) origin(from backend.Source) (layer string, size int64, err error) {
	if from.Snapshot != "" {
		s, ok := b.snapshots[from.Snapshot]
		if !ok {
			return "", 0, errs.New(errs.NotFound, "there is no snapshot %s", from.Snapshot)
		}
		return s.Layer, s.Size, nil
	}
	return b.freeze(from.Volume)
}

// settle flushes an open volume, so that freeze, during which its I/O waits, has little to do. It is a hint: freeze does what matters.
func (b *Backend) settle(ctx context.Context, id string) {
	b.mu.Lock()
	v := b.open[id]
	if v != nil {
		v.users++
	}
	b.mu.Unlock()
	if v != nil {
		_ = v.Flush(ctx)
		_ = b.release(v, nil)
	}
}

// freeze gives a volume a new top layer, and answers the one below it, which nobody writes any more. Call with mu held.
//
// The volume's record changes before anything refers to the old top: a kill in between leaves a layer more, never a snapshot that goes on changing.
func (b *Backend) freeze(id string) (layer string, size int64, err error) {
	record, ok := b.volumes[id]
	if !ok {
		return "", 0, errs.New(errs.NotFound, "there is no volume %s", id)
	}
	v, err := b.openVolume(id)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, b.drift(v)) }()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.chain[0].flush(); err != nil {
		return "", 0, err
	}
	top, err := b.newLayer(record.Layer)
	if err != nil {
		return "", 0, err
	}
	if err := top.open(b.cfg.FS, b.dir(layersDir)); err != nil {
		return "", 0, err
	}
	if err := b.putVolume(id, volumeRecord{formatVersion, top.id, record.Size}); err != nil {
		return "", 0, errors.Join(err, top.close())
	}
	top.users++
	v.chain = append(chain{top}, v.chain...)
	return record.Layer, record.Size, nil
}

// Snapshot implements backend.Backend.
func (b *Backend) Snapshot(ctx context.Context, id, volume string) error {
	if err := errors.Join(checkID(id), b.space.take(metaRoom)); err != nil {
		return err
	}
	b.settle(ctx, volume)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.snapshots[id]; ok {
		return nil
	}
	layer, size, err := b.freeze(volume)
	if err != nil {
		return err
	}
	s := snapshotRecord{formatVersion, layer, size}
	if err := b.record(snapshotsDir, id, s); err != nil {
		return err
	}
	b.snapshots[id] = s
	return nil
}

// Revert implements backend.Backend.
func (b *Backend) Revert(_ context.Context, volume, snapshot string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.snapshots[snapshot]
	v, isThere := b.volumes[volume]
	switch {
	case !ok:
		return errs.New(errs.NotFound, "there is no snapshot %s", snapshot)
	case !isThere:
		return errs.New(errs.NotFound, "there is no volume %s", volume)
	case b.open[volume] != nil:
		return errs.New(errs.Conflict, "volume %s is in use", volume)
	}
	if err := b.found(volume, max(v.Size, s.Size), s.Layer); err != nil {
		return err
	}
	return b.sweep()
}

// Delete implements backend.Backend.
func (b *Backend) Delete(_ context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[id] != nil {
		return errs.New(errs.Conflict, "volume %s is in use", id)
	}
	if err := b.forget(volumesDir, id); err != nil {
		return err
	}
	delete(b.volumes, id)
	return b.sweep()
}

// DeleteSnapshot implements backend.Backend.
func (b *Backend) DeleteSnapshot(_ context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.forget(snapshotsDir, id); err != nil {
		return err
	}
	delete(b.snapshots, id)
	return b.sweep()
}

// Extend implements backend.Backend.
func (b *Backend) Extend(_ context.Context, id string, size int64) error {
	if err := checkSize(size); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.volumes[id]
	switch {
	case !ok:
		return errs.New(errs.NotFound, "there is no volume %s", id)
	case size == v.Size:
		return nil
	case size < v.Size:
		return errs.New(errs.Invalid, "volume %s has %d bytes: it cannot shrink to %d", id, v.Size, size)
	}
	v.Size = size
	if err := b.putVolume(id, v); err != nil {
		return err
	}
	if open := b.open[id]; open != nil {
		open.size.Store(size)
	}
	return nil
}

// Open implements backend.Backend.
func (b *Backend) Open(_ context.Context, id string) (backend.Device, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := b.openVolume(id)
	if err != nil {
		return nil, err
	}
	return &device{volume: v}, nil
}

// openVolume opens a volume once more. Call with mu held.
func (b *Backend) openVolume(id string) (*volume, error) {
	if v := b.open[id]; v != nil {
		v.users++
		return v, nil
	}
	record, ok := b.volumes[id]
	if !ok {
		return nil, errs.New(errs.NotFound, "there is no volume %s", id)
	}
	c, err := b.chainOf(record.Layer)
	if err != nil {
		return nil, err
	}
	v := &volume{backend: b, id: id, users: 1, chain: c}
	v.size.Store(record.Size)
	b.open[id] = v
	return v, nil
}

// release gives one opening back, and answers why with what else went wrong.
func (b *Backend) release(v *volume, why error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(why, b.drift(v))
}

// drift is release with mu held.
func (b *Backend) drift(v *volume) error {
	if v.users--; v.users > 0 {
		return nil
	}
	delete(b.open, v.id)
	return errors.Join(b.drop(v.chain), b.sweep())
}
