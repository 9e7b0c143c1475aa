package erasure

import (
	"fmt"
	"io"
)

// Rebuilder reads one fragment that is lost, out of k others.
type Rebuilder struct {
	layout  Layout
	coder   *Coder
	index   int
	sources map[int]io.Reader
	segment int64
	shards  [][]byte
	rest    []byte
}

// NewRebuilder rebuilds the fragment of that index from at least k others, by index, each read from its beginning. errs.Invalid when it cannot be.
func NewRebuilder(l Layout, index int, sources map[int]io.Reader) (*Rebuilder, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	coder, err := For(l.Shape)
	if err != nil {
		return nil, err
	}
	r := &Rebuilder{layout: l, coder: coder, index: index, sources: sources, shards: make([][]byte, l.Total())}
	for i := range sources {
		r.shards[i] = make([]byte, shardLen(l.Segment, l.Data))
	}
	return r, nil
}

// Read gives the fragment's bytes.
func (r *Rebuilder) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.segment == r.layout.Segments() {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *Rebuilder) next() error {
	size := r.layout.ShardLen(r.segment)
	for i, src := range r.sources {
		r.shards[i] = r.shards[i][:size]
		if _, err := io.ReadFull(src, r.shards[i]); err != nil {
			return fmt.Errorf("read fragment %d: %w", i, err)
		}
	}
	r.shards[r.index] = r.shards[r.index][:0]
	if err := r.coder.Rebuild(r.shards, r.index); err != nil {
		return err
	}
	r.rest = r.shards[r.index]
	r.segment++
	return nil
}
