// Package iscsitest has stores for tests of the iSCSI target: in memory, with faults and delays on demand.
package iscsitest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Kinds of calls, for Fault.
const (
	Read   = "read"
	Write  = "write"
	Flush  = "flush"
	Unmap  = "unmap"
	Zeroes = "zeroes"
)

const pageBytes = 64 << 10

// ErrBroken is an error for tests.
var ErrBroken = errors.New("the disk is broken")

// Memory is a store in memory, sparse, that can be told to fail and to be slow.
type Memory struct {
	// Fault, if set, decides on each call's error. Set it with SetFault while the store is in use.
	fault atomic.Pointer[func(kind string, off, n int64) error]
	delay atomic.Int64

	Flushes  atomic.Int64
	Busy     atomic.Int64 // calls under way
	BusyMost atomic.Int64

	mu    sync.RWMutex // guards the fields below
	size  int64
	pages map[int64]*[pageBytes]byte
}

// NewMemory makes a store of zeroes.
func NewMemory(size int64) *Memory { return &Memory{size: size, pages: map[int64]*[pageBytes]byte{}} }

// SetFault sets what decides on each call's error; nil: none fails.
func (m *Memory) SetFault(fault func(kind string, off, n int64) error) {
	if fault == nil {
		m.fault.Store(nil)
		return
	}
	m.fault.Store(&fault)
}

// SetDelay makes every call take so long.
func (m *Memory) SetDelay(d time.Duration) { m.delay.Store(int64(d)) }

// Resize changes the length.
func (m *Memory) Resize(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size = size
}

// Size is part of iscsi.Store.
func (m *Memory) Size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.size
}

func (m *Memory) enter(ctx context.Context, kind string, off, n int64) (leave func(), err error) {
	busy := m.Busy.Add(1)
	for most := m.BusyMost.Load(); busy > most && !m.BusyMost.CompareAndSwap(most, busy); most = m.BusyMost.Load() {
	}
	leave = func() { m.Busy.Add(-1) }
	if d := time.Duration(m.delay.Load()); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return leave, ctx.Err()
		}
	}
	if fault := m.fault.Load(); fault != nil {
		if err := (*fault)(kind, off, n); err != nil {
			return leave, err
		}
	}
	if off < 0 || n < 0 || off+n > m.Size() {
		return leave, errors.New("beyond the end of the store")
	}
	return leave, ctx.Err()
}

// each calls f for every page of a range. Pages that are not there are made if make is set, else given as nil.
func (m *Memory) each(off, n int64, create bool, f func(page *[pageBytes]byte, at, from, count int64)) {
	for done := int64(0); done < n; {
		number, at := (off+done)/pageBytes, (off+done)%pageBytes
		count := min(n-done, pageBytes-at)
		page := m.pages[number]
		if page == nil && create {
			page = new([pageBytes]byte)
			m.pages[number] = page
		}
		f(page, at, done, count)
		done += count
	}
}

// ReadAt is part of iscsi.Store.
func (m *Memory) ReadAt(ctx context.Context, p []byte, off int64) error {
	leave, err := m.enter(ctx, Read, off, int64(len(p)))
	defer leave()
	if err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.each(off, int64(len(p)), false, func(page *[pageBytes]byte, at, from, count int64) {
		if page == nil {
			clear(p[from : from+count])
			return
		}
		copy(p[from:from+count], page[at:])
	})
	return nil
}

// WriteAt is part of iscsi.Store.
func (m *Memory) WriteAt(ctx context.Context, p []byte, off int64) error {
	leave, err := m.enter(ctx, Write, off, int64(len(p)))
	defer leave()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.each(off, int64(len(p)), true, func(page *[pageBytes]byte, at, from, count int64) {
		copy(page[at:at+count], p[from:])
	})
	return nil
}

// Flush is part of iscsi.Store.
func (m *Memory) Flush(ctx context.Context) error {
	leave, err := m.enter(ctx, Flush, 0, 0)
	defer leave()
	m.Flushes.Add(1)
	return err
}

// Unmap is part of iscsi.Store.
func (m *Memory) Unmap(ctx context.Context, off, n int64) error { return m.zero(ctx, Unmap, off, n) }

// WriteZeroes is part of iscsi.Store.
func (m *Memory) WriteZeroes(ctx context.Context, off, n int64) error {
	return m.zero(ctx, Zeroes, off, n)
}

func (m *Memory) zero(ctx context.Context, kind string, off, n int64) error {
	leave, err := m.enter(ctx, kind, off, n)
	defer leave()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for number := range m.pages {
		if start := number * pageBytes; start >= off && start+pageBytes <= off+n {
			delete(m.pages, number)
		}
	}
	m.each(off, min(n, m.size-off), false, func(page *[pageBytes]byte, at, _, count int64) {
		if page != nil {
			clear(page[at : at+count])
		}
	})
	return nil
}

// Extent is part of iscsi.Extents: pages never written are not allocated.
func (m *Memory) Extent(_ context.Context, off, n int64) (bool, int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	first, length := m.pages[off/pageBytes] != nil, pageBytes-off%pageBytes
	for length < n && (m.pages[(off+length)/pageBytes] != nil) == first {
		length += pageBytes
	}
	return first, min(length, n), nil
}
