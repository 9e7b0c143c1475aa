package peerapi

import (
	"context"
	"io"

	"henge/internal/clock"
	"henge/internal/errs"
)

// Absent is a device that answers every call with err, which should be errs.Unavailable: one whose peer is down, or whose disk did not open.
func Absent(err error) Device { return absent{err} }

// Unavailable is the error of a device that cannot be reached, for Absent.
func Unavailable(t Target, why string) error {
	return errs.New(errs.Unavailable, "device %s of %s: %s", t.Device, t.Peer, why)
}

type absent struct{ err error }

func (a absent) Head(context.Context, Key) (State, error) { return State{}, a.err }
func (a absent) Open(context.Context, Key, clock.Timestamp, Range) (State, io.ReadCloser, error) {
	return State{}, nil, a.err
}
func (a absent) Create(context.Context, Key, int64) (Writer, error)      { return nil, a.err }
func (a absent) Commit(context.Context, Commit, []byte) (Outcome, error) { return Outcome{}, a.err }
func (a absent) Restamp(context.Context, clock.Timestamp, Commit) (Outcome, error) {
	return Outcome{}, a.err
}
func (a absent) Prepare(context.Context, Key, clock.Timestamp) (Outcome, State, error) {
	return Outcome{}, State{}, a.err
}
func (a absent) Index(context.Context, Key) (IndexInfo, error) { return IndexInfo{}, a.err }
func (a absent) ChangeIndex(context.Context, IndexChange) (IndexOutcome, error) {
	return IndexOutcome{}, a.err
}
func (a absent) Merge(context.Context, Merge) error                { return a.err }
func (a absent) List(context.Context, ListQuery) (ListPage, error) { return ListPage{}, a.err }
func (a absent) Sums(context.Context, SumsQuery) (Sums, error)     { return Sums{}, a.err }
func (a absent) Marks(context.Context, MarksQuery) (Marks, error)  { return Marks{}, a.err }
func (a absent) Indexes(context.Context, IndexesQuery) (Indexes, error) {
	return Indexes{}, a.err
}
func (a absent) Usage(context.Context) (Usage, error) { return Usage{}, a.err }
