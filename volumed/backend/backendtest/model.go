package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"henge/volumed/backend"
)

// Model is what a Backend should hold after a history of random steps.
type Model struct {
	random    *rand.Rand
	sizeMax   int
	made      int
	Volumes   map[string][]byte
	Snapshots map[string][]byte
	// During is what the step under way would make of a volume (nil: gone), for those who cut it short; "" none.
	During        string
	DuringContent []byte
}

// NewModel begins with nothing.
func NewModel(seed uint64, sizeMax int) *Model {
	return &Model{random: rand.New(rand.NewPCG(seed, 1)), sizeMax: sizeMax, Volumes: map[string][]byte{}, Snapshots: map[string][]byte{}}
}

func (m *Model) name(prefix string) string {
	m.made++
	return fmt.Sprintf("%s%d", prefix, m.made)
}

func pick(m *Model, from map[string][]byte) string {
	ids := slices.Sorted(maps.Keys(from))
	return ids[m.random.IntN(len(ids))]
}

// Step does one thing and, when it succeeds, notes it. An error leaves the model as it was.
func (m *Model) Step(ctx context.Context, b backend.Backend) error {
	m.During = ""
	switch n := m.random.IntN(20); {
	case len(m.Volumes) == 0 || n == 0 && len(m.Volumes) < 6:
		return m.create(ctx, b)
	case n < 3 && len(m.Snapshots) < 6:
		id, from := m.name("s"), pick(m, m.Volumes)
		return m.note(b.Snapshot(ctx, id, from), func() { m.Snapshots[id] = bytes.Clone(m.Volumes[from]) })
	case n == 3 && len(m.Volumes) < 6:
		return m.clone(ctx, b)
	case n == 4:
		id := pick(m, m.Volumes)
		m.During = id
		return m.note(b.Delete(ctx, id), func() { delete(m.Volumes, id) })
	case n < 7 && len(m.Snapshots) > 0:
		id := pick(m, m.Snapshots)
		return m.note(b.DeleteSnapshot(ctx, id), func() { delete(m.Snapshots, id) })
	case n == 7:
		return b.Upkeep(ctx)
	case n == 8:
		return m.extend(ctx, b)
	default:
		return m.change(ctx, b)
	}
}

func (m *Model) note(err error, done func()) error {
	if err == nil {
		done()
	}
	return err
}

func (m *Model) create(ctx context.Context, b backend.Backend) error {
	id, size := m.name("v"), 4096*(1+m.random.IntN(m.sizeMax/8192))
	return m.note(b.Create(ctx, id, int64(size)), func() { m.Volumes[id] = make([]byte, size) })
}

func (m *Model) clone(ctx context.Context, b backend.Backend) error {
	id := m.name("v")
	from, content := backend.Source{}, []byte(nil)
	if len(m.Snapshots) > 0 && m.random.IntN(2) == 0 {
		from.Snapshot = pick(m, m.Snapshots)
		content = m.Snapshots[from.Snapshot]
	} else {
		from.Volume = pick(m, m.Volumes)
		content = m.Volumes[from.Volume]
	}
	return m.note(b.Clone(ctx, id, int64(len(content)), from), func() { m.Volumes[id] = bytes.Clone(content) })
}

func (m *Model) extend(ctx context.Context, b backend.Backend) error {
	id := pick(m, m.Volumes)
	before := m.Volumes[id]
	size := min(m.sizeMax, len(before)+4096*m.random.IntN(8))
	m.During, m.DuringContent = id, append(bytes.Clone(before), make([]byte, size-len(before))...)
	return m.note(b.Extend(ctx, id, int64(size)), func() { m.Volumes[id] = m.DuringContent })
}

// change writes or unmaps a few ranges, and flushes.
func (m *Model) change(ctx context.Context, b backend.Backend) (err error) {
	id := pick(m, m.Volumes)
	d, err := b.Open(ctx, id)
	if err != nil {
		return err
	}
	after := bytes.Clone(m.Volumes[id])
	m.During, m.DuringContent = id, after
	for range 1 + m.random.IntN(4) {
		off := m.random.IntN(len(after))
		n := min(len(after)-off, 1+m.random.IntN(20000))
		if m.random.IntN(4) == 0 {
			clear(after[off : off+n])
			err = d.Unmap(ctx, int64(off), int64(n))
		} else {
			for i := range n {
				after[off+i] = byte(m.random.Uint32())
			}
			err = d.WriteAt(ctx, after[off:off+n], int64(off))
		}
		if err != nil {
			return errors.Join(err, d.Close())
		}
	}
	return m.note(d.Close(), func() { m.Volumes[id] = after })
}

// Read gives a volume's whole content.
func Read(ctx context.Context, b backend.Backend, id string) ([]byte, error) {
	d, err := b.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	got := make([]byte, d.Size())
	return got, errors.Join(d.ReadAt(ctx, got, 0), d.Close())
}

// Compare tells how the backend differs from the model.
func (m *Model) Compare(ctx context.Context, b backend.Backend) error {
	volumes, snapshots, err := b.Contents(ctx)
	if err != nil {
		return err
	}
	if want := slices.Sorted(maps.Keys(m.Volumes)); !slices.Equal(volumes, want) {
		return fmt.Errorf("volumes %v, want %v", volumes, want)
	}
	if want := slices.Sorted(maps.Keys(m.Snapshots)); !slices.Equal(snapshots, want) {
		return fmt.Errorf("snapshots %v, want %v", snapshots, want)
	}
	for id, want := range m.Volumes {
		if got, err := Read(ctx, b, id); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("volume %s is not what it should be: %w", id, err)
		}
	}
	return m.CompareSnapshots(ctx, b)
}

// CompareSnapshots looks at each snapshot through a clone.
func (m *Model) CompareSnapshots(ctx context.Context, b backend.Backend) error {
	for id, want := range m.Snapshots {
		if err := b.Clone(ctx, "look", int64(len(want)), backend.Source{Snapshot: id}); err != nil {
			return err
		}
		got, err := Read(ctx, b, "look")
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("snapshot %s is not what it should be: %w", id, err)
		}
		if err := b.Delete(ctx, "look"); err != nil {
			return err
		}
	}
	return nil
}
