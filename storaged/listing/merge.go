package listing

import (
	"context"
	"fmt"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// rowsMax bounds one merge, nameBytesMax the names in it (two objects' names long: the parts of uploads have such names).
const (
	rowsMax      = limits.ListingMax
	nameBytesMax = 4 * limits.ObjectNameBytesMax
)

// Merge puts rows into a listing; see peerapi.Device. They are durable when it returns.
func (s *Store) Merge(ctx context.Context, m peerapi.Merge) error {
	if err := checkMerge(m); err != nil {
		return err
	}
	if err := s.room(ctx); err != nil {
		return err
	}
	x, err := s.acquire(m.Key)
	if err != nil {
		return err
	}
	defer s.release(x)
	if err := x.gate.enter(ctx, false); err != nil {
		return err
	}
	defer x.gate.leave(false)

	rows, refusal := x.admit(m)
	if len(rows) == 0 {
		return refusal
	}
	base, err := x.readBases(s.db, rows)
	if err != nil {
		return err
	}
	m.Rows = rows
	if err := s.journal(ctx, entry{Merge: &m}, func() (int, error) {
		x.bring(m)
		return x.put(s.db, rows, base)
	}); err != nil {
		return fmt.Errorf("merge rows of %s/%s: %w", m.Key.Account, m.Key.Container, err)
	}
	s.noteChanged(x, m.Key)
	return refusal
}

func checkMerge(m peerapi.Merge) error {
	if m.Key.Object != "" || m.Key.Account == "" {
		return errs.New(errs.Invalid, "merge rows: the key is not a container's or an account's")
	}
	if len(m.Rows) > rowsMax {
		return errs.New(errs.Invalid, "merge %d rows: at most %d", len(m.Rows), rowsMax)
	}
	for _, r := range m.Rows {
		if r.Name == "" || len(r.Name) > nameBytesMax || r.Timestamp <= 0 {
			return errs.New(errs.Invalid, "merge rows: a name of %d bytes, written at %s", len(r.Name), r.Timestamp)
		}
	}
	return nil
}

// admit gives the rows that may go in, and why others may not. The gate is held.
func (x *index) admit(m peerapi.Merge) ([]peerapi.Row, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if isAccount(m.Key) {
		return m.Rows, nil
	}
	gone := errs.New(errs.NotFound, "there is no container %s/%s", m.Key.Account, m.Key.Container)
	if !x.info.Exists() && m.Created <= x.info.Deleted {
		return nil, gone
	}
	old := 0
	for _, r := range m.Rows {
		if r.Timestamp <= x.info.Deleted {
			old++
		}
	}
	if old == 0 {
		return m.Rows, nil
	}
	var refusal error
	rows := make([]peerapi.Row, 0, len(m.Rows)-old)
	for _, r := range m.Rows {
		switch {
		case r.Timestamp > x.info.Deleted:
			rows = append(rows, r)
		case !r.Deleted:
			refusal = gone
		}
	}
	return rows, refusal
}

// journal makes an entry durable and then applies it.
func (s *Store) journal(ctx context.Context, e entry, apply func() (int, error)) error {
	b, err := encode(e)
	if err != nil {
		return err
	}
	k := s.rows.begin()
	at, err := s.cfg.Journal.Append(ctx, engine.StreamRows, b)
	if err != nil {
		s.rows.end(k, 0)
		return err
	}
	grown, err := apply()
	if err != nil {
		// It is in the journal and not in memory: keep the journal from being released, so that the next start has it.
		return err
	}
	s.rows.end(k, at)
	s.touch(grown)
	return nil
}

// Change creates, updates or deletes a container or account; see peerapi.Device. It tells what there was before and is now.
func (s *Store) Change(ctx context.Context, c peerapi.IndexChange) (before, after peerapi.IndexInfo, err error) {
	if c.Key.Object != "" || c.Key.Account == "" || c.Timestamp <= 0 {
		return before, after, errs.New(errs.Invalid, "change an index: the key or the timestamp is not one")
	}
	x, err := s.acquire(c.Key)
	if err != nil {
		return before, after, err
	}
	defer s.release(x)
	if err := x.gate.enter(ctx, true); err != nil {
		return before, after, err
	}
	defer x.gate.leave(true)

	before, _, _ = x.snapshot()
	note, refusal := judge(before, c)
	if refusal != nil && !note {
		return before, before, refusal
	}
	c.Listing = nil
	if err := s.journal(ctx, entry{Change: &c}, func() (int, error) { return x.change(c), nil }); err != nil {
		return before, before, fmt.Errorf("change %s/%s: %w", c.Key.Account, c.Key.Container, err)
	}
	after, _, _ = x.snapshot()
	if after.Created != before.Created || after.Deleted != before.Deleted {
		s.noteChanged(x, c.Key)
	}
	return before, after, refusal
}

// Info gives what is known of a container or account.
func (s *Store) Info(key peerapi.Key) (peerapi.IndexInfo, error) {
	x, err := s.acquire(key)
	if err != nil {
		return peerapi.IndexInfo{}, err
	}
	defer s.release(x)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.info, nil
}

// OnChanged sets what is called, without blocking, when a container's counts have changed. Call it before anything is merged.
func (s *Store) OnChanged(wake func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
}

// noteChanged remembers that an account is to be told of a container's counts. It survives a crash: the journal brings the rows again, or the tree the note.
func (s *Store) noteChanged(x *index, key peerapi.Key) {
	if isAccount(key) {
		return
	}
	s.mu.Lock()
	_, had := s.changed[key.Hash]
	s.changed[key.Hash] = key
	wake := s.wake
	s.mu.Unlock()
	if !had {
		wake()
	}
}
