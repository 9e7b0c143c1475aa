package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// mergeChunk is how much is copied at a time: writers of the layer wait for that long.
const mergeChunk = 256 << 10

// Upkeep implements backend.Backend: layers that no snapshot needs any more are merged into the one that stands on them, so that a volume whose snapshots come and go
// keeps as many layers as it has snapshots.
func (b *Backend) Upkeep(ctx context.Context) error {
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	for {
		top, err := b.candidate()
		if err != nil || top == nil {
			return err
		}
		err = b.merge(ctx, top)
		b.mu.Lock()
		err = errors.Join(err, b.drop(top), b.sweep())
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// candidate finds a layer whose parent serves nothing else, and gives the chain from it down, held open; nil when there is none.
func (b *Backend) candidate() (chain, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.sortedLayers() {
		if parent := b.layers[id].parent; parent != "" && b.onlyChild(id, parent) {
			return b.chainOf(id)
		}
	}
	return nil, nil
}

func (b *Backend) sortedLayers() []string {
	ids := make([]string, 0, len(b.layers))
	for id := range b.layers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// onlyChild tells whether nothing but child stands on parent. Call with mu held.
func (b *Backend) onlyChild(child, parent string) bool {
	for _, v := range b.volumes {
		if v.Layer == parent {
			return false
		}
	}
	for _, s := range b.snapshots {
		if s.Layer == parent {
			return false
		}
	}
	for id, l := range b.layers {
		if l.parent == parent && id != child {
			return false
		}
	}
	return true
}

// merge copies into the chain's first layer what only its second has, then takes the second out of all chains. Until then nothing has changed for any reader; a
// kill in between leaves a copy that will be finished.
func (b *Backend) merge(ctx context.Context, c chain) error {
	into, from := c[0], c[1]
	buf := make([]byte, mergeChunk)
	for first, last := range from.bits.runs {
		for g := first; g <= last; g += mergeChunk / grainBytes {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := b.pull(into, from, g, min(last, g+mergeChunk/grainBytes-1), buf); err != nil {
				return fmt.Errorf("merge layer %s into %s: %w", from.id, into.id, err)
			}
		}
	}
	if err := into.flush(); err != nil {
		return err
	}
	return b.unlink(into, from)
}

// pull copies the grains from first to last that into has not.
func (b *Backend) pull(into, from *layer, first, last int64, buf []byte) error {
	into.alloc.Lock()
	defer into.alloc.Unlock()
	for g := first; g <= last; {
		if into.bits.get(g) {
			g++
			continue
		}
		end := g
		for end < last && !into.bits.get(end+1) {
			end++
		}
		p := buf[:(end-g+1)*grainBytes]
		if err := b.space.take(int64(len(p))); err != nil {
			return err
		}
		if err := readFull(from.data, p, g*grainBytes); err != nil {
			return err
		}
		if err := into.put(p, g*grainBytes); err != nil {
			return err
		}
		into.bits.set(g, end)
		g = end + 1
	}
	return nil
}

// unlink makes into stand on what from stood on.
func (b *Backend) unlink(into, from *layer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.onlyChild(into.id, from.id) {
		return nil // something was made of it meanwhile; what was copied does no harm
	}
	if err := b.record(layersDir, into.id, layerRecord{formatVersion, from.parent}); err != nil {
		return err
	}
	into.parent = from.parent
	var gone chain
	for _, v := range b.open {
		v.mu.Lock()
		if i := slices.Index(v.chain, from); i >= 0 {
			v.chain = slices.Delete(slices.Clone(v.chain), i, i+1)
			gone = append(gone, from)
		}
		v.mu.Unlock()
	}
	return b.drop(gone)
}
