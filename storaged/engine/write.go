package engine

import (
	"context"
	"fmt"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// Commit implements Engine.
func (s *Store) Commit(ctx context.Context, w Write, data []byte) (peerapi.Outcome, error) {
	if err := s.begin(ctx, &w); err != nil {
		return peerapi.Outcome{}, err
	}
	if w.Record.Deleted && len(data) > 0 {
		return peerapi.Outcome{}, errs.New(errs.Invalid, "commit %s: a tombstone has no bytes", name(w.Record.Key))
	}
	if len(data) > limits.InlineBytesMax {
		return s.commitStream(ctx, w, data)
	}
	out, err := s.put(&w, placement{data: data})
	if err != nil {
		return out, fmt.Errorf("commit %s: %w", name(w.Record.Key), err)
	}
	return out, nil
}

// commitStream writes bytes that are too many for the log.
func (s *Store) commitStream(ctx context.Context, w Write, data []byte) (peerapi.Outcome, error) {
	stream, err := s.Create(ctx, w.Record.Key, int64(len(data)))
	if err != nil {
		return peerapi.Outcome{}, err
	}
	defer stream.Close() // what was committed stays; the rest reports its own errors
	if _, err := stream.Write(data); err != nil {
		return peerapi.Outcome{}, err
	}
	return stream.Commit(ctx, w)
}

// begin refuses what makes no sense, and what comes when nothing can be written.
func (s *Store) begin(ctx context.Context, w *Write) error {
	if err := w.Check(); err != nil {
		return err
	}
	if err := s.usable(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write %s: %w", name(w.Record.Key), err)
	}
	return nil
}

// placement is where a record's bytes are.
type placement struct {
	data []byte // with the record
	file uint64 // or in this data file
	size int64  // of the data file's bytes

	from clock.Timestamp // Restamp: the version whose bytes they are, and where it was seen
	seen *view
}

// put writes a record under the rules of the register. It reads what it must know of the old record before it asks the appender, which reads nothing, and
// does so again when the appender says that the old record has changed.
func (s *Store) put(w *Write, p placement) (peerapi.Outcome, error) {
	w.Record.StoredSize = int64(len(p.data))
	if p.file != 0 {
		w.Record.StoredSize = p.size
	}
	r := s.request()
	defer s.recycle(r)
	e, err := begin(&r.buf, entryRecord, &stored{Record: w.Record, Handoff: w.Handoff}, p.data)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	if p.file != 0 {
		e.flags |= flagExternal
		e.file = p.file
	}
	if !w.Record.Deleted {
		if err := s.space.admit(int64(e.length())); err != nil {
			return peerapi.Outcome{}, err
		}
	}
	if err := s.intend(w, r); err != nil {
		return peerapi.Outcome{}, err
	}
	for {
		out, old, done, err := s.consider(w, &p, r)
		if done || err != nil {
			return out, err
		}
		r.entry, r.accept, r.pinned = e, w.Accept, p.seen != nil
		r.again, r.outcome = false, peerapi.Outcome{}
		if err := s.appender.submit(r); err != nil {
			return peerapi.Outcome{}, err
		}
		if r.lead != nil && r.outcome.Accepted {
			w.Intent.Position = Position(r.lead.entry.ts)
		}
		if r.again {
			if p.seen != nil {
				return peerapi.Outcome{}, errMoved
			}
			continue
		}
		if r.outcome.Accepted && old != nil {
			s.replaced(w, &p, old, &r.outcome)
		}
		return r.outcome, nil
	}
}

// oldRecord is what a write replaces, when something has to be done about it.
type oldRecord struct {
	stored *stored
	file   uint64
}

// intend makes the entry that is to go in front of a record. It has a request of its own that nobody waits for: both are in one batch.
func (s *Store) intend(w *Write, r *request) error {
	if w.Intent == nil {
		return nil
	}
	r.lead = newRequest()
	var err error
	if r.lead.entry, err = begin(&r.lead.buf, entryJournal, nil, w.Intent.Entry); err != nil {
		return fmt.Errorf("intent of %s: %w", name(w.Record.Key), err)
	}
	r.lead.entry.policy = uint8(StreamPending)
	return nil
}

// consider looks at what is there. done: out is the answer already.
func (s *Store) consider(w *Write, p *placement, r *request) (out peerapi.Outcome, old *oldRecord, done bool, err error) {
	id := IDOf(w.Record.Key)
	v := s.index.get(id)
	if p.seen != nil && !v.at(p.seen) {
		return out, nil, true, errMoved
	}
	standing := v.standing()
	if !standing.AllowsWrite(w.Record.Timestamp, w.Accept) {
		same := false
		if v.ts == w.Record.Timestamp && v.found() && !v.is(flagLost) {
			same, err = s.repeats(w, id)
		}
		return peerapi.Outcome{Accepted: same, Newest: newestUnless(same, standing)}, nil, true, err
	}
	r.seen = v
	if v.exists() && v.is(flagMultipart|flagExternal) {
		seen, rec, e, _, err := s.lookup(id, false)
		if err != nil && !errs.Is(err, errs.Corrupt) {
			return out, nil, true, err
		}
		if r.seen = seen; rec != nil {
			old = &oldRecord{stored: rec}
			if e.flags&flagExternal != 0 {
				old.file = e.file
			}
		} else {
			r.seen = s.index.get(id)
		}
	}
	return out, old, false, nil
}

func newestUnless(same bool, s Standing) clock.Timestamp {
	if same {
		return 0
	}
	return s.Newest()
}

// repeats tells whether the newest record is the very one to be written.
func (s *Store) repeats(w *Write, id ID) (bool, error) {
	_, rec, _, _, err := s.lookup(id, false)
	if err != nil || rec == nil {
		return false, err
	}
	return Same(&rec.Record, &w.Record), nil
}

// replaced does what is due when a record took another's place.
func (s *Store) replaced(w *Write, p *placement, old *oldRecord, out *peerapi.Outcome) {
	if out.Replaced = Replaced(&old.stored.Record, &w.Record); out.Replaced != "" {
		out.ReplacedAt = old.stored.Record.Timestamp
	}
	if old.file != 0 && old.file != p.file {
		s.removeData(old.file)
	}
}

// Restamp implements Engine.
func (s *Store) Restamp(ctx context.Context, from clock.Timestamp, w Write) (peerapi.Outcome, error) {
	if err := s.begin(ctx, &w); err != nil {
		return peerapi.Outcome{}, err
	}
	for {
		out, err := s.restamp(from, w)
		if err == errMoved {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("restamp %s from %d: %w", name(w.Record.Key), from, err)
		}
		return out, nil
	}
}

func (s *Store) restamp(from clock.Timestamp, w Write) (peerapi.Outcome, error) {
	if v := s.index.get(IDOf(w.Record.Key)); v.is(flagLost) {
		return peerapi.Outcome{Missing: true, Newest: v.standing().Newest()}, nil
	}
	v, rec, e, b, err := s.lookup(IDOf(w.Record.Key), true)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	standing := v.standing()
	switch {
	case v.ts < from || rec == nil:
		return peerapi.Outcome{Missing: true, Newest: standing.Newest()}, nil
	case v.ts == w.Record.Timestamp:
		w.Record.StoredSize = rec.Record.StoredSize
		same := Same(&rec.Record, &w.Record)
		return peerapi.Outcome{Accepted: same, Newest: newestUnless(same, standing)}, nil
	case v.ts > from:
		return peerapi.Outcome{Newest: standing.Newest()}, nil
	case rec.Record.Deleted && !w.Record.Deleted:
		return peerapi.Outcome{}, errs.New(errs.Invalid, "that version is a tombstone")
	}
	p := placement{from: from, seen: &v}
	switch {
	case w.Record.Deleted: // nothing of the bytes is needed
	case e.flags&flagExternal != 0:
		p.file, p.size = e.file, rec.Record.StoredSize
	default:
		p.data = b[headerBytes+e.metaLen:][:e.dataLen]
	}
	return s.put(&w, p)
}

// Prepare implements Engine.
func (s *Store) Prepare(ctx context.Context, key peerapi.Key, ballot clock.Timestamp) (peerapi.Outcome, peerapi.State, error) {
	w := Write{Record: peerapi.Record{Key: key, Timestamp: ballot}}
	if err := s.begin(ctx, &w); err != nil {
		return peerapi.Outcome{}, peerapi.State{}, err
	}
	id := IDOf(key)
	if v := s.index.get(id); v.is(flagLost) {
		// It accepted something once, and does not know what any more: its promise would count as one of an empty acceptor.
		return peerapi.Outcome{}, peerapi.State{}, fmt.Errorf("prepare %s at %d: %w", name(key), ballot, errLost(&v))
	}
	out, err := s.promise(id, ballot)
	if err != nil {
		return out, peerapi.State{}, fmt.Errorf("prepare %s at %d: %w", name(key), ballot, err)
	}
	// The record is read after the promise was made: nothing that the promise forbids can have come in between.
	v, rec, _, _, err := s.lookup(id, false)
	if err != nil {
		return out, peerapi.State{}, fmt.Errorf("prepare %s at %d: %w", name(key), ballot, err)
	}
	return out, state(&v, rec), nil
}

func (s *Store) promise(id ID, ballot clock.Timestamp) (peerapi.Outcome, error) {
	v := s.index.get(id)
	if standing := v.standing(); !standing.AllowsPrepare(ballot) {
		return peerapi.Outcome{Newest: standing.Newest()}, nil
	}
	if v.promise.ts == ballot {
		return peerapi.Outcome{Accepted: true}, nil
	}
	r := s.request()
	defer s.recycle(r)
	e, err := begin(&r.buf, entryPromise, nil, nil)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	e.hash, e.policy, e.ts = id.Hash, id.Policy, ballot
	r.entry = e
	if err := s.appender.submit(r); err != nil {
		return peerapi.Outcome{}, err
	}
	return r.outcome, nil
}
