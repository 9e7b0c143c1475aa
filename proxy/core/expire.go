package core

import (
	"context"

	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// DeleteExpiring deletes an object whose DeleteAt is at, whether that time has come or not. Nothing comes between the look and the deletion, so that an object that was
// written anew, or given another time, stays: errs.Precondition then, and errs.NotFound when there is none.
func (c *Core) DeleteExpiring(ctx context.Context, ref Ref, at int64) error {
	w, err := c.begin(ctx, ref)
	if err != nil {
		return err
	}
	_, err = c.deleteExpiring(ctx, ref, w, at)
	return err
}

// deleteExpiring gives, with errs.NotFound and errs.Precondition, what there is instead.
func (c *Core) deleteExpiring(ctx context.Context, ref Ref, w *write, at int64) (instead *peerapi.Record, err error) {
	release, err := c.turns.take(ctx, w.r.key.Hash)
	if err != nil {
		return nil, err
	}
	defer release()
	_, err = c.decide(ctx, w, decision{propose: func(current *peerapi.Record) (peerapi.Record, body, error) {
		instead = current
		switch {
		case current == nil || current.Deleted:
			return peerapi.Record{}, nil, noObject(ref)
		case current.DeleteAt != at:
			return peerapi.Record{}, nil, errs.New(errs.Precondition, "the object is to be deleted at %d, not at %d", current.DeleteAt, at)
		}
		return tombstone(w.r.key), wholeBody(nil), nil
	}})
	return instead, err
}

// Expire is for a row of a container's listing whose DeleteAt has come. The object is deleted if it has that DeleteAt still. If the row says what is not so, because what
// was written since has not reached the listing, the listing is told.
func (c *Core) Expire(ctx context.Context, account, container string, row peerapi.Row) (deleted bool, err error) {
	ctx, ref := IntoDeleted(ctx), Ref{account, container, row.Name}
	w, err := c.begin(ctx, ref)
	if err != nil {
		return false, err
	}
	instead, err := c.deleteExpiring(ctx, ref, w, row.DeleteAt)
	if err == nil || !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Precondition) {
		return err == nil, err
	}
	// Of an object that nobody remembers the tombstone was reclaimed: this very row is what is wrong, and no newer one is touched.
	m := peerapi.Merge{Rows: []peerapi.Row{{Name: row.Name, Timestamp: row.Timestamp, Deleted: true}}, Created: w.container.First, Policy: w.container.Policy}
	if instead != nil {
		m = w.rows(instead)
	}
	return false, c.enlist(ctx, w.parent, make([]bool, len(w.parent.targets)), m)
}
