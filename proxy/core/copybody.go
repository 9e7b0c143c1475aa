package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// copyBody puts the bytes of a version that is there already under another record: a device that has them only writes the record, any other gets a copy.
type copyBody struct {
	core  *Core
	w     *write
	round *round
	from  *peerapi.Record
}

func (b *copyBody) commit(ctx context.Context, i int, d peerapi.Device, cm peerapi.Commit) (peerapi.Outcome, error) {
	if cm.Record.Deleted {
		return d.Commit(ctx, cm, nil)
	}
	if cm.Handoff == nil && b.round.holds(i, b.from.Timestamp) {
		out, err := d.Restamp(ctx, b.from.Timestamp, cm)
		if err != nil || !out.Missing {
			return out, err
		}
	}
	src, err := b.open(ctx, i, cm.Record.Timestamp)
	if errors.Is(err, errNoSource) {
		// Most likely it was replaced since. Nothing was sent: that is a refusal, and the next round sees what there is now.
		b.core.logger.LogAttrs(ctx, slog.LevelDebug, "no copy of an undecided version", slog.Any("error", err))
		return peerapi.Outcome{}, nil
	}
	if err != nil {
		return peerapi.Outcome{}, err
	}
	defer src.Close()
	if b.from.StoredSize <= limits.InlineBytesMax {
		data := make([]byte, b.from.StoredSize)
		if _, err := io.ReadFull(src, data); err != nil {
			return peerapi.Outcome{}, errs.New(errs.Unavailable, "read the version to be copied: %w", err)
		}
		return d.Commit(ctx, cm, data)
	}
	w, err := d.Create(ctx, cm.Record.Key, b.from.StoredSize)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	defer w.Close()
	buf := b.core.buffers.get()
	defer b.core.buffers.put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, *buf)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	if n != b.from.StoredSize {
		return peerapi.Outcome{}, errs.New(errs.Corrupt, "the version to be copied has %d bytes of %d", n, b.from.StoredSize)
	}
	return w.Commit(ctx, cm)
}

// open finds the bytes at another primary, under the old timestamp or, if that was quicker, under the new one.
func (b *copyBody) open(ctx context.Context, but int, now clock.Timestamp) (io.ReadCloser, error) {
	var failures []error
	for _, at := range [2]clock.Timestamp{b.from.Timestamp, now} {
		for i := range b.w.r.targets {
			if i == but {
				continue
			}
			o := b.core.openAt(ctx, &b.w.r, i, at, peerapi.Whole)
			if o.body != nil {
				return o.body, nil
			}
			if o.err != nil {
				failures = append(failures, o.err)
			}
		}
	}
	return nil, fmt.Errorf("%w: %w", errNoSource, errors.Join(failures...))
}

var errNoSource = errs.New(errs.Unavailable, "no replica gives the version to be copied")
