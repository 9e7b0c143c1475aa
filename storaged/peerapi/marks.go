package peerapi

import (
	"context"
	"encoding/binary"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/ring"
)

// A mark on the wire: hash, timestamp, flags.
const (
	markBytes   = 25
	markDeleted = 1
	markLost    = 2
)

func appendMarks(b []byte, marks []Mark) []byte {
	for _, m := range marks {
		b = append(b, m.Hash[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(m.Timestamp))
		var flags byte
		if m.Deleted {
			flags |= markDeleted
		}
		if m.Lost {
			flags |= markLost
		}
		b = append(b, flags)
	}
	return b
}

func decodeMarks(b []byte) ([]Mark, error) {
	if len(b)%markBytes != 0 || len(b) > markBytes*MarksMax {
		return nil, errs.New(errs.Invalid, "%d bytes of marks", len(b))
	}
	marks := make([]Mark, 0, len(b)/markBytes)
	for ; len(b) > 0; b = b[markBytes:] {
		flags := b[markBytes-1]
		marks = append(marks, Mark{Hash: ring.Hash(b[:16]), Timestamp: clock.Timestamp(binary.BigEndian.Uint64(b[16:])),
			Deleted: flags&markDeleted != 0, Lost: flags&markLost != 0})
	}
	return marks, nil
}

// Sums is Device.Sums.
func (r *Remote) Sums(ctx context.Context, q SumsQuery) (Sums, error) {
	a, err := r.call(ctx, limits.PeerCommitTimeout, methodSums, ask{Sums: &q}, nil)
	s := valueOf(a.Sums)
	if err == nil && len(s.Sums) != q.Count {
		return s, errs.New(errs.Unavailable, "%d sums of %d partitions", len(s.Sums), q.Count)
	}
	return s, err
}

// Marks is Device.Marks.
func (r *Remote) Marks(ctx context.Context, q MarksQuery) (Marks, error) {
	a, body, err := r.callBody(ctx, limits.PeerCommitTimeout, methodMarks, ask{Marks: &q}, nil)
	if err != nil {
		return Marks{}, err
	}
	marks, err := decodeMarks(body)
	if err != nil {
		return Marks{}, errs.With(errs.Unavailable, err)
	}
	return Marks{Marks: marks, More: a.More}, nil
}

// Indexes is Device.Indexes.
func (r *Remote) Indexes(ctx context.Context, q IndexesQuery) (Indexes, error) {
	a, err := r.call(ctx, limits.PeerCommitTimeout, methodIndexes, ask{Indexes: &q}, nil)
	return valueOf(a.Indexes), err
}
