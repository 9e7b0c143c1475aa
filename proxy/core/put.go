package core

import (
	"context"
	"errors"
	"io"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// Put writes an object.
func (c *Core) Put(ctx context.Context, ref Ref, p PutRequest) (Info, error) {
	w, err := c.begin(ctx, ref)
	if err != nil {
		return Info{}, err
	}
	return c.putIn(ctx, ref, w, p)
}

func (c *Core) putIn(ctx context.Context, ref Ref, w *write, p PutRequest) (Info, error) {
	if p.Check != nil {
		if err := c.early(ctx, ref, w, p.Check); err != nil {
			return Info{}, err
		}
	}
	if p.Size > limits.ObjectBytesMax {
		return Info{}, errs.New(errs.TooLarge, "an object of %d bytes; %d at most", p.Size, int64(limits.ObjectBytesMax))
	}
	if p.Body == nil {
		p.Body, p.Size = eofReader{}, 0
	}
	if p.Size > limits.InlineBytesMax {
		return c.putStream(ctx, ref, w, p, nil)
	}
	buf := c.buffers.getSmall()
	limit := int64(limits.InlineBytesMax)
	if p.Size >= 0 {
		limit = p.Size
	}
	n, more, err := readSmall(p.Body, (*buf)[:limit+1])
	switch {
	case err != nil:
		c.buffers.putSmall(buf)
		return Info{}, err
	case more && p.Size < 0:
		defer c.buffers.putSmall(buf)
		return c.putStream(ctx, ref, w, p, (*buf)[:n])
	case more || p.Size >= 0 && int64(n) != p.Size:
		c.buffers.putSmall(buf)
		return Info{}, errs.New(errs.Incomplete, "the body is not of the %d bytes announced", p.Size)
	}
	if w.r.shape != nil && n > c.codedMin {
		defer c.buffers.putSmall(buf)
		p.Size, p.Body = int64(n), eofReader{}
		return c.putStream(ctx, ref, w, p, (*buf)[:n])
	}
	info, err := c.putWhole(ctx, ref, w, p, (*buf)[:n])
	if c.stragglers.Load() == 0 {
		// No device reads it any more. With stragglers about, who may be ours, it is left to the garbage collector.
		c.buffers.putSmall(buf)
	}
	return info, err
}

type eofReader struct{}

func (eofReader) Read([]byte) (int, error) { return 0, io.EOF }

// readSmall reads to the end of the body, or until buf is full: more then.
func readSmall(r io.Reader, buf []byte) (n int, more bool, err error) {
	for n < len(buf) {
		k, err := r.Read(buf[n:])
		n += k
		if errors.Is(err, io.EOF) && !isKinded(err) {
			return n, false, nil
		}
		if err != nil {
			return n, false, bodyError(err)
		}
	}
	return n, true, nil
}

// isKinded tells whether somebody gave err a kind.
func isKinded(err error) bool { return errs.KindOf(err) != errs.Internal }

// bodyError gives an error of the client's body a kind, unless it has one.
func bodyError(err error) error {
	if isKinded(err) {
		return err
	}
	return errs.New(errs.Incomplete, "read the body: %w", err)
}

func (c *Core) putWhole(ctx context.Context, ref Ref, w *write, p PutRequest, data []byte) (Info, error) {
	digest := c.hashes.sum(data)
	if p.Finish != nil {
		if err := p.Finish(digest, int64(len(data)), &p.Metadata); err != nil {
			return Info{}, err
		}
	}
	rec := recordOf(w.r.key, int64(len(data)), digest, p.Metadata)
	return c.commitPut(ctx, ref, w, rec, wholeBody(data), p.Check)
}

// commitPut makes a staged object visible, under a condition if there is one.
func (c *Core) commitPut(ctx context.Context, ref Ref, w *write, rec peerapi.Record, b body, check Check) (Info, error) {
	release, err := c.turns.take(ctx, w.r.key.Hash)
	if err != nil {
		return Info{}, err
	}
	defer release()
	var done peerapi.Record
	if check == nil {
		done, err = c.put(ctx, w, rec, b, nil)
	} else {
		done, err = c.decide(ctx, w, decision{propose: func(current *peerapi.Record) (peerapi.Record, body, error) {
			if err := check(c.current(ref, current)); err != nil {
				return peerapi.Record{}, nil, err
			}
			return rec, b, nil
		}})
	}
	if err != nil {
		return Info{}, err
	}
	rec.Timestamp = origin(&done)
	return infoOf(ref, &rec), nil
}

// early asks a check before the body is read, so that a refusal costs nobody a transfer.
func (c *Core) early(ctx context.Context, ref Ref, w *write, check Check) error {
	current, err := c.lookup(ctx, &view{r: &w.r, order: c.nearest(w.r.targets)}, false)
	if err != nil {
		return err
	}
	return check(c.current(ref, current))
}

// Delete deletes an object.
func (c *Core) Delete(ctx context.Context, ref Ref, check Check) error {
	w, err := c.begin(ctx, ref)
	if err != nil {
		return err
	}
	return c.deleteIn(ctx, ref, w, check)
}

func (c *Core) deleteIn(ctx context.Context, ref Ref, w *write, check Check) error {
	release, err := c.turns.take(ctx, w.r.key.Hash)
	if err != nil {
		return err
	}
	defer release()
	if check != nil {
		_, err := c.decide(ctx, w, decision{propose: func(current *peerapi.Record) (peerapi.Record, body, error) {
			if err := check(c.current(ref, current)); err != nil {
				return peerapi.Record{}, nil, err
			}
			if !c.alive(current) {
				return peerapi.Record{}, nil, noObject(ref)
			}
			return tombstone(w.r.key), wholeBody(nil), nil
		}})
		return err
	}
	asked := &view{r: &w.r, order: c.nearest(w.r.targets)}
	current, err := c.lookup(ctx, asked, false)
	// Full devices may keep a read from settling what is there. A tombstone always fits, and settles it.
	unsettled := errs.Is(err, errs.NoSpace)
	if err != nil && !unsettled {
		return err
	}
	if !unsettled && (current == nil || current.Deleted) {
		return noObject(ref)
	}
	if _, err := c.put(ctx, w, tombstone(w.r.key), wholeBody(nil), asked); err != nil {
		return err
	}
	if !unsettled && !c.alive(current) {
		return noObject(ref) // it had expired; now it leaves the listing too
	}
	return nil
}

// UpdateMeta replaces an object's metadata, keeping its bytes.
func (c *Core) UpdateMeta(ctx context.Context, ref Ref, change func(Info) (Metadata, error)) (Info, error) {
	w, err := c.begin(ctx, ref)
	if err != nil {
		return Info{}, err
	}
	release, err := c.turns.take(ctx, w.r.key.Hash)
	if err != nil {
		return Info{}, err
	}
	defer release()
	var last peerapi.Record
	var created clock.Timestamp
	done, err := c.decide(ctx, w, decision{propose: func(current *peerapi.Record) (peerapi.Record, body, error) {
		if !c.alive(current) {
			return peerapi.Record{}, nil, noObject(ref)
		}
		m, err := change(infoOf(ref, current))
		if err != nil {
			return peerapi.Record{}, nil, err
		}
		if created = current.Created; created == 0 {
			created = origin(current)
		}
		last = *current
		last.ContentType, last.Meta, last.System, last.DeleteAt, last.Created = m.ContentType, m.Meta, m.System, m.DeleteAt, created
		if m.ETag != "" {
			last.ETag = m.ETag
		}
		return last, &copyBody{core: c, w: w, from: current}, nil
	}})
	if err != nil {
		return Info{}, err
	}
	last.Timestamp = origin(&done)
	return infoOf(ref, &last), nil
}
