package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"henge/internal/clock"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/volumed/backend"
)

// Config says where the volumes lie.
type Config struct {
	FS     vfs.FS
	Dir    string // it is made, its parent must be there
	Clock  clock.Clock
	Logger *slog.Logger
	// ReserveBytes is room that volumes never take.
	ReserveBytes int64
}

// Backend implements backend.Backend.
type Backend struct {
	cfg   Config
	lock  io.Closer
	space space

	upkeep sync.Mutex // held by Upkeep; taken before mu

	mu        sync.Mutex // guards the fields below, and the files but for those of open layers
	layers    map[string]*layer
	next      uint64
	volumes   map[string]volumeRecord
	snapshots map[string]snapshotRecord
	open      map[string]*volume
}

var _ backend.Backend = (*Backend)(nil)

const (
	layersDir, volumesDir, snapshotsDir = "layers", "volumes", "snapshots"
	recordSuffix                        = ".json"
	dataSuffix, mapSuffix               = ".data", ".map"
	recordBytesMax                      = 4096
	formatVersion                       = 1
)

type layerRecord struct {
	Version int    `json:"version"`
	Parent  string `json:"parent,omitempty"`
}

type volumeRecord struct {
	Version int    `json:"version"`
	Layer   string `json:"layer"`
	Size    int64  `json:"size"`
}

type snapshotRecord struct {
	Version int    `json:"version"`
	Layer   string `json:"layer"`
	Size    int64  `json:"size"`
}

// Open opens the volumes in a folder, and removes what a kill left half done. errs.Conflict when another process has it open.
func Open(cfg Config) (*Backend, error) {
	b := &Backend{cfg: cfg, layers: map[string]*layer{}, volumes: map[string]volumeRecord{}, snapshots: map[string]snapshotRecord{}, open: map[string]*volume{}}
	b.space.measure, b.space.now = b.free, cfg.Clock.Now
	for _, dir := range []string{layersDir, volumesDir, snapshotsDir} {
		if err := durable.Mkdir(cfg.FS, path.Dir(path.Clean(cfg.Dir)), b.dir(dir)); err != nil {
			return nil, fmt.Errorf("make the folder of the volumes: %w", err)
		}
	}
	var err error
	if b.lock, err = cfg.FS.Lock(b.dir("lock")); err != nil {
		return nil, fmt.Errorf("take the volumes in %s: %w", cfg.Dir, err)
	}
	if err := b.load(); err != nil {
		return nil, errors.Join(err, b.lock.Close())
	}
	return b, nil
}

// Close gives the folder back. All devices must be closed.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) > 0 {
		return errs.New(errs.Conflict, "volumes are open: %v", slices.Sorted(maps.Keys(b.open)))
	}
	return b.lock.Close()
}

func (b *Backend) dir(parts ...string) string {
	return path.Join(append([]string{b.cfg.Dir}, parts...)...)
}

// load reads the records.
func (b *Backend) load() error {
	if err := loadRecords(b, volumesDir, b.volumes); err != nil {
		return err
	}
	if err := loadRecords(b, snapshotsDir, b.snapshots); err != nil {
		return err
	}
	records := map[string]layerRecord{}
	if err := loadRecords(b, layersDir, records); err != nil {
		return err
	}
	for id, r := range records {
		b.layers[id] = &layer{id: id, parent: r.Parent}
	}
	if err := b.whole(); err != nil {
		return err
	}
	names, err := b.cfg.FS.List(b.dir(layersDir))
	if err != nil {
		return err
	}
	for _, name := range names {
		id, _, _ := strings.Cut(name, ".")
		var n uint64
		if _, err := fmt.Sscanf(id, "%x", &n); err == nil {
			b.next = max(b.next, n)
		}
		if b.layers[id] == nil { // files of a layer that was never finished
			b.layers[id] = &layer{id: id}
		}
	}
	return b.sweep()
}

// loadRecords reads the records in a folder, by id. Half-written ones (durable.WriteFile) are removed.
func loadRecords[T any](b *Backend, dir string, into map[string]T) error {
	names, err := b.cfg.FS.List(b.dir(dir))
	if err != nil {
		return err
	}
	for _, name := range names {
		id, isRecord := strings.CutSuffix(name, recordSuffix)
		if !isRecord {
			if strings.HasSuffix(name, ".new") {
				if err := b.cfg.FS.Remove(b.dir(dir, name)); err != nil {
					return err
				}
			}
			continue
		}
		raw, err := durable.ReadFile(b.cfg.FS, b.dir(dir, name), recordBytesMax)
		if err != nil {
			return err
		}
		var version struct{ Version int }
		var record T
		if err := errors.Join(json.Unmarshal(raw, &version), json.Unmarshal(raw, &record)); err != nil {
			return errs.New(errs.Corrupt, "read %s: %w", b.dir(dir, name), err)
		}
		if version.Version != formatVersion {
			return errs.New(errs.Unsupported, "%s is of version %d; this program reads version %d", b.dir(dir, name), version.Version, formatVersion)
		}
		into[id] = record
	}
	return nil
}

// whole makes sure that every layer that something stands on is there: an operator who removed one must hear of it before a guest reads zeros.
func (b *Backend) whole() error {
	check := func(what, id, layer string) error {
		for layer != "" {
			l := b.layers[layer]
			if l == nil {
				return errs.New(errs.Corrupt, "%s %s needs the layer %s, which is not in %s", what, id, layer, b.dir(layersDir))
			}
			layer = l.parent
		}
		return nil
	}
	for id, v := range b.volumes {
		if err := check("volume", id, v.Layer); err != nil {
			return err
		}
	}
	for id, s := range b.snapshots {
		if err := check("snapshot", id, s.Layer); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the layers that nothing stands on. Call with mu held.
func (b *Backend) sweep() error {
	needed := map[string]bool{}
	need := func(id string) {
		for ; id != "" && !needed[id]; id = b.layers[id].parent {
			needed[id] = true
		}
	}
	for _, v := range b.volumes {
		need(v.Layer)
	}
	for _, s := range b.snapshots {
		need(s.Layer)
	}
	removed := false
	for id, l := range b.layers {
		if needed[id] || l.users > 0 {
			continue
		}
		// The record last: while it is there, the next start finds the rest.
		for _, suffix := range []string{dataSuffix, mapSuffix, recordSuffix} {
			if err := b.cfg.FS.Remove(b.dir(layersDir, id+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove layer %s: %w", id, err)
			}
		}
		delete(b.layers, id)
		removed = true
	}
	if !removed {
		return nil
	}
	return b.cfg.FS.SyncDir(b.dir(layersDir))
}

// newLayer makes an empty layer on a parent, durably. Call with mu held.
func (b *Backend) newLayer(parent string) (*layer, error) {
	b.next++
	l := &layer{id: fmt.Sprintf("%016x", b.next), parent: parent}
	for _, suffix := range []string{dataSuffix, mapSuffix} {
		f, err := b.cfg.FS.Create(b.dir(layersDir, l.id+suffix))
		if err != nil {
			return nil, fmt.Errorf("make a layer: %w", err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return nil, fmt.Errorf("make a layer: %w", err)
		}
	}
	if err := b.record(layersDir, l.id, layerRecord{formatVersion, parent}); err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	b.layers[l.id] = l
	return l, nil
}

// record writes a record; when it returns it is durable, and the files made before in its folder are too.
func (b *Backend) record(dir, id string, record any) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return durable.WriteFile(b.cfg.FS, b.dir(dir, id+recordSuffix), append(raw, '\n'))
}

func (b *Backend) forget(dir, id string) error {
	err := b.cfg.FS.Remove(b.dir(dir, id+recordSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return b.cfg.FS.SyncDir(b.dir(dir))
}

// chainOf gives the layers from one down, each held open. Call with mu held.
func (b *Backend) chainOf(top string) (chain, error) {
	var c chain
	for id := top; id != ""; id = b.layers[id].parent {
		l := b.layers[id]
		if l.users == 0 {
			if err := l.open(b.cfg.FS, b.dir(layersDir)); err != nil {
				return nil, errors.Join(err, b.drop(c))
			}
		}
		l.users++
		c = append(c, l)
	}
	return c, nil
}

// drop lets layers go. Call with mu held.
func (b *Backend) drop(c chain) error {
	var all error
	for _, l := range c {
		if l.users--; l.users == 0 {
			all = errors.Join(all, l.close())
		}
	}
	return all
}

// free is the room that volumes may still take.
func (b *Backend) free() (int64, error) {
	s, err := b.cfg.FS.Space(b.cfg.Dir)
	if err != nil {
		return 0, err
	}
	return s.Free - b.cfg.ReserveBytes, nil
}

// Stats implements backend.Backend.
func (b *Backend) Stats(context.Context) (backend.Stats, error) {
	s, err := b.cfg.FS.Space(b.cfg.Dir)
	if err != nil {
		return backend.Stats{}, err
	}
	stats := backend.Stats{Total: max(0, s.Size-b.cfg.ReserveBytes), Free: max(0, s.Free-b.cfg.ReserveBytes)}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.volumes {
		stats.Provisioned += v.Size
	}
	return stats, nil
}

// Contents implements backend.Backend.
func (b *Backend) Contents(context.Context) (volumes, snapshots []string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.volumes)), slices.Sorted(maps.Keys(b.snapshots)), nil
}
