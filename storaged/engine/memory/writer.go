package memory

import (
	"bytes"
	"context"

	"henge/internal/errs"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

func (m *memory) Create(_ context.Context, _ peerapi.Key, _ int64) (engine.Writer, error) {
	if err := m.lock(); err != nil {
		return nil, err
	}
	defer m.disk.mu.Unlock()
	if m.disk.full {
		return nil, errs.New(errs.NoSpace, "create: the device is full")
	}
	return &writer{m: m}, nil
}

type writer struct {
	m      *memory
	buf    bytes.Buffer
	closed bool
}

func (w *writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, errs.New(errs.Invalid, "write after Close")
	}
	return w.buf.Write(p)
}

func (w *writer) Commit(ctx context.Context, write engine.Write) (peerapi.Outcome, error) {
	if w.closed {
		return peerapi.Outcome{}, errs.New(errs.Invalid, "commit after Close")
	}
	out, err := w.m.Commit(ctx, write, w.buf.Bytes())
	if out.Accepted {
		w.closed = true
	}
	return out, err
}

func (w *writer) Close() error {
	w.closed = true
	return nil
}

// Journal gives the journal of the same disk.
func (m *memory) Journal() engine.Journal { return journal{m} }

type journal struct{ m *memory }

func (j journal) Append(_ context.Context, s engine.Stream, data []byte) (engine.Position, error) {
	if err := j.m.lock(); err != nil {
		return 0, err
	}
	d := j.m.disk
	defer d.mu.Unlock()
	d.last++
	d.journal[s] = append(d.journal[s], entry{d.last, bytes.Clone(data)})
	return d.last, nil
}

func (j journal) Replay(s engine.Stream, fn func(engine.Position, []byte) error) error {
	if err := j.m.lock(); err != nil {
		return err
	}
	all := j.m.disk.journal[s]
	j.m.disk.mu.Unlock()
	for _, e := range all {
		if err := fn(e.at, e.data); err != nil {
			return err
		}
	}
	return nil
}

func (j journal) Release(s engine.Stream, upto engine.Position) error {
	if err := j.m.lock(); err != nil {
		return err
	}
	d := j.m.disk
	defer d.mu.Unlock()
	n := 0
	for n < len(d.journal[s]) && d.journal[s][n].at <= upto {
		n++
	}
	d.journal[s] = d.journal[s][n:]
	return nil
}
