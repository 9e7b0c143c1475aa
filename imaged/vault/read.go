package vault

import (
	"context"
	"errors"
	"fmt"
	"io"

	"henge/internal/errs"
	"henge/proxy/core"
)

// Set says which segments hold an image.
type Set struct {
	Upload       string
	SegmentBytes int64
	Size         int64
}

// Read gives length bytes from offset. Segments are opened as they are reached. errs.Invalid when the range is not within the set.
func (v *Vault) Read(ctx context.Context, s Set, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || length < 0 || offset > s.Size || length > s.Size-offset || s.SegmentBytes <= 0 {
		return nil, errs.New(errs.Invalid, "bytes %d to %d are not within an image of %d bytes", offset, offset+length, s.Size)
	}
	r := &reader{vault: v, ctx: ctx, set: s, at: offset, end: offset + length}
	if length == 0 {
		return r, nil
	}
	// The first segment now: an image whose data is gone is an error before the answer begins.
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// reader reads one range. Not safe for concurrent use.
type reader struct {
	vault   *Vault
	ctx     context.Context
	set     Set
	at, end int64
	object  *core.Object
	bytes   io.ReadCloser // the part of the range that lies in the open segment; nil between segments
}

// open opens the segment that the next byte lies in.
func (r *reader) open() error {
	number := r.at / r.set.SegmentBytes
	start := number * r.set.SegmentBytes
	size := min(r.set.SegmentBytes, r.set.Size-start)
	object, err := r.vault.objects.Open(r.ctx, ref(r.set.Upload, number), core.OpenOptions{})
	if err != nil {
		return fmt.Errorf("open segment %d: %w", number, err)
	}
	if object.Info.Size != size {
		return errors.Join(errs.New(errs.Corrupt, "segment %d of %s has %d bytes, not %d", number, r.set.Upload, object.Info.Size, size), object.Close())
	}
	stop := min(r.end, start+size)
	bytes, err := object.Read(r.ctx, r.at-start, stop-r.at)
	if err != nil {
		return errors.Join(fmt.Errorf("read segment %d: %w", number, err), object.Close())
	}
	r.object, r.bytes = object, bytes
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.bytes == nil {
			if r.at >= r.end {
				return 0, io.EOF
			}
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.bytes.Read(p)
		r.at += int64(n)
		if errors.Is(err, io.EOF) {
			if r.at < r.end && r.at%r.set.SegmentBytes != 0 {
				return n, io.ErrUnexpectedEOF
			}
			err = r.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close ends the reading; it may be called twice.
func (r *reader) Close() error {
	if r.bytes == nil {
		return nil
	}
	err := errors.Join(r.bytes.Close(), r.object.Close())
	r.bytes, r.object = nil, nil
	return err
}
