package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"henge/internal/erasure"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// errFragment: what a fellow holds under the key is a fragment, and not the one that this device should hold.
var errFragment = errors.New("repair: a fragment has to be rebuilt")

// fragmentSources are fragments of one set, being read at several fellows.
type fragmentSources struct {
	record  *peerapi.Record // of one of them
	readers map[int]io.Reader
	bodies  []io.Closer
	failed  error
}

func (f *fragmentSources) close() error {
	var all error
	for _, b := range f.bodies {
		all = errors.Join(all, b.Close())
	}
	return all
}

// rebuild makes the fragment that this device should hold out of those that fellows hold. Not ok, and no error: it has been overtaken.
func (c *chunk) rebuild(ctx context.Context, key peerapi.Key, s source, primaries []peerapi.Target) (size int64, ok bool, err error) {
	index := slices.Index(primaries, c.self)
	f := &fragmentSources{readers: map[int]io.Reader{}}
	defer func() { err = errors.Join(err, f.close()) }()
	for _, t := range s.from {
		if f.record == nil || len(f.readers) < int(f.record.Fragment.Coded.Data) {
			c.openFragment(ctx, key, s, t, index, f)
		}
	}
	if f.record == nil {
		return 0, false, f.failed
	}
	layout := f.record.Fragment.Coded.Layout()
	if len(f.readers) < layout.Data {
		return 0, false, errs.New(errs.Unavailable, "%d fragments of %s are here, %d are needed: %w", len(f.readers), f.record.Key.Object, layout.Data, orNone(f.failed))
	}
	rebuilt, err := erasure.NewRebuilder(layout, index, f.readers)
	if err != nil {
		return 0, false, err
	}
	rec, own := *f.record, *f.record.Fragment
	own.Index = uint8(index)
	rec.Fragment = &own
	if ok, err = c.local.Learn(ctx, rec, rebuilt); err != nil {
		return 0, false, err
	}
	return rec.StoredSize, ok, c.d.throttle.Wait(ctx, rec.StoredSize*int64(layout.Data))
}

// openFragment begins to read one fellow's fragment.
func (c *chunk) openFragment(ctx context.Context, key peerapi.Key, s source, t peerapi.Target, index int, f *fragmentSources) {
	st, body, err := c.r.cfg.Devices.Device(t).Open(ctx, key, s.Timestamp, peerapi.Whole)
	if err != nil {
		f.failed = errors.Join(f.failed, fmt.Errorf("%s/%s: %w", t.Peer, t.Device, err))
		return
	}
	f.bodies = append(f.bodies, body)
	theirs := st.Record.Fragment
	switch {
	case theirs == nil, f.record != nil && theirs.Coded != f.record.Fragment.Coded, int(theirs.Index) == index, index >= theirs.Coded.Layout().Total():
		f.failed = errors.Join(f.failed, errs.New(errs.Corrupt, "%s/%s holds something else", t.Peer, t.Device))
	default:
		f.record = st.Record
		f.readers[int(theirs.Index)] = body
	}
}

func orNone(err error) error {
	if err == nil {
		return errors.New("the others hold none")
	}
	return err
}

// fragmentHome is to whom a copy belongs: a fragment to one primary only, all else to each.
func (c *chunk) fragmentHome(key peerapi.Key, m peerapi.Mark, primaries []peerapi.Target) []peerapi.Target {
	if m.Deleted || m.Lost {
		return primaries
	}
	st, err := c.local.Holds(key)
	if err != nil || st.Timestamp() != m.Timestamp || st.Record.Fragment == nil || int(st.Record.Fragment.Index) >= len(primaries) {
		return primaries
	}
	return primaries[st.Record.Fragment.Index:][:1]
}
