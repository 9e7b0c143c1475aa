package state

import (
	"context"
	"iter"
	"sync"
)

// Memory is a Store in this process alone, for tests and tools: nothing is durable, and there is always a leader.
type Memory struct {
	machine *Machine
	commit  sync.Mutex // held while one update is applied
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store.
func NewMemory() *Memory { return &Memory{machine: NewMachine()} }

// View is Store.View.
func (m *Memory) View(ctx context.Context, fn func(Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(m.machine.Snapshot())
}

// Update is Store.Update. It tries until it wins or ctx ends.
func (m *Memory) Update(ctx context.Context, fn func(Writer) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		attempt := m.machine.Snapshot().Begin()
		if err := fn(attempt); err != nil {
			return err
		}
		tx := attempt.Transaction()
		if err := tx.Check(); err != nil {
			return err
		}
		if m.apply(tx) {
			return nil
		}
	}
}

func (m *Memory) apply(tx *Transaction) bool {
	m.commit.Lock()
	defer m.commit.Unlock()
	if len(tx.Writes) == 0 {
		return m.machine.Snapshot().Valid(tx)
	}
	return m.machine.Apply(m.machine.Snapshot().Index()+1, tx)
}

// Watch is Store.Watch.
func (m *Memory) Watch(ctx context.Context, prefix string, after Index) iter.Seq2[Event, error] {
	return m.machine.Watch(ctx, prefix, after)
}

// Barrier is Store.Barrier: everything committed is applied already.
func (m *Memory) Barrier(ctx context.Context) error { return ctx.Err() }
