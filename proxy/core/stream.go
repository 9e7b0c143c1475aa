package core

import (
	"context"
	"errors"
	"io"

	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// plainSource gives the bytes of one version, from whichever replica has them.
type plainSource struct {
	core       *Core
	r          *replicas
	order      []int
	record     *peerapi.Record
	ctx        context.Context // of first
	cancel     context.CancelFunc
	first      io.ReadCloser // opened already, at its beginning; nil: none, or taken
	firstIndex int
}

func (s *plainSource) close() error {
	var err error
	if s.first != nil {
		err = s.first.Close()
		s.first = nil
	}
	if s.cancel != nil {
		s.cancel()
	}
	return err
}

func (s *plainSource) read(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || length < 0 || offset+length > s.record.StoredSize {
		return nil, errs.New(errs.Invalid, "read %d bytes at %d of %d", length, offset, s.record.StoredSize)
	}
	f := &failover{source: s, ctx: ctx, offset: offset, left: length}
	if s.first != nil {
		f.body, f.index, s.first = s.first, s.firstIndex, nil
		if offset == 0 {
			return f, nil
		}
		_ = f.body.Close() // another part is wanted
		f.body = nil
	}
	if length == 0 {
		return f, nil
	}
	return f, f.reopen()
}

// failover reads one version, and goes on at the next replica when one fails.
type failover struct {
	source  *plainSource
	ctx     context.Context
	body    io.ReadCloser
	index   int // of the target that body comes from
	tried   [replicasMax]bool
	offset  int64 // of the next byte
	left    int64
	failure []error
}

// reopen finds a replica that was not tried yet, and opens it where the reading stands.
func (f *failover) reopen() error {
	s := f.source
	for _, i := range s.order {
		if f.tried[i] {
			continue
		}
		f.tried[i] = true
		part := peerapi.Range{Offset: f.offset, Length: f.left}
		o := s.core.openHedged(f.ctx, s.r, i, s.record.Timestamp, part, func() {})
		if o.err == nil && o.body != nil {
			f.body, f.index = o.body, i
			return nil
		}
		if o.err == nil {
			o.err = errs.New(errs.NotFound, "%s/%s has another version", s.r.targets[i].Peer, s.r.targets[i].Device)
		}
		f.failure = append(f.failure, o.err)
		if err := f.ctx.Err(); err != nil {
			return err
		}
	}
	return errs.New(errs.Unavailable, "no replica of %s can be read at %d: %w", s.r.key.Object, f.offset, errors.Join(f.failure...))
}

func (f *failover) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	for {
		if f.body == nil {
			if err := f.reopen(); err != nil {
				return 0, err
			}
		}
		n, err := f.body.Read(p)
		f.offset += int64(n)
		f.left -= int64(n)
		if err != nil && f.left > 0 {
			if errors.Is(err, io.EOF) {
				err = errs.New(errs.Corrupt, "%d bytes are missing at the end", f.left)
			}
			if cause := f.ctx.Err(); cause != nil {
				return n, cause
			}
			f.failure = append(f.failure, err)
			f.tried[f.index] = true
			_ = f.body.Close() // it failed already
			f.body = nil
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

func (f *failover) Close() error {
	if f.body == nil {
		return nil
	}
	err := f.body.Close()
	f.body, f.left = nil, 0
	return err
}
