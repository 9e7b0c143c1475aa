package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"henge/internal/errs"
)

// journal knows where the entries lie that were not released.
type journal struct {
	store *Store

	mu      sync.Mutex // guards the fields below
	streams map[Stream]*stream
}

type stream struct {
	entries []journalEntry // by position
	upto    Position       // released
	unsaved bool           // upto is not in the log yet
}

type journalEntry struct {
	at     Position
	seg    uint32
	off    uint32
	length uint32
}

var _ Journal = (*journal)(nil)

func (j *journal) init(s *Store) { j.store, j.streams = s, map[Stream]*stream{} }

// Journal gives the device's journal.
func (s *Store) Journal() Journal { return &s.journl }

// stream gives a stream. Call with mu held.
func (j *journal) stream(s Stream) *stream {
	if j.streams[s] == nil {
		j.streams[s] = &stream{}
	}
	return j.streams[s]
}

// add remembers where an entry lies, or that it was moved.
func (j *journal) add(e *entry) {
	n := journalEntry{at: Position(e.ts), seg: e.segment, off: e.off, length: e.length()}
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.stream(Stream(e.policy))
	if n.at <= st.upto {
		return
	}
	i, ok := slices.BinarySearchFunc(st.entries, n.at, func(e journalEntry, at Position) int { return cmp.Compare(e.at, at) })
	j.store.segs.addLive(n.seg, int64(n.length))
	if ok {
		j.store.segs.addLive(st.entries[i].seg, -int64(st.entries[i].length))
		st.entries[i] = n
		return
	}
	st.entries = slices.Insert(st.entries, i, n)
}

// released drops entries up to a position.
func (j *journal) released(s Stream, upto Position) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.drop(j.stream(s), upto)
}

func (j *journal) drop(st *stream, upto Position) {
	if upto <= st.upto {
		return
	}
	st.upto = upto
	n := 0
	for n < len(st.entries) && st.entries[n].at <= upto {
		j.store.segs.addLive(st.entries[n].seg, -int64(st.entries[n].length))
		n++
	}
	if st.entries = st.entries[n:]; len(st.entries) == 0 {
		st.entries = nil
	}
}

// holds tells whether an entry of the log is one that is still needed.
func (j *journal) holds(e *entry) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	entries := j.stream(Stream(e.policy)).entries
	i, ok := slices.BinarySearchFunc(entries, Position(e.ts), func(n journalEntry, at Position) int { return cmp.Compare(n.at, at) })
	return ok && entries[i].seg == e.segment && entries[i].off == e.off
}

func (j *journal) count(s Stream) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int64(len(j.stream(s).entries))
}

// saveAgain makes all releases be written again, because compaction removes where they were.
func (j *journal) saveAgain() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, st := range j.streams {
		st.unsaved = st.upto > 0
	}
}

// unsaved gives the releases that the log does not have yet.
func (j *journal) unsaved() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []entry
	for s, st := range j.streams {
		if st.unsaved {
			st.unsaved = false
			all = append(all, entry{kind: entryRelease, policy: uint8(s), ts: clockOf(st.upto)})
		}
	}
	return all
}

// releases gives all that was released, whether the log has it or not.
func (j *journal) releases() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []entry
	for s, st := range j.streams {
		if st.upto > 0 {
			all = append(all, entry{kind: entryRelease, policy: uint8(s), ts: clockOf(st.upto)})
		}
	}
	return all
}

// lose forgets an entry that cannot be read.
func (j *journal) lose(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.stream(Stream(e.policy))
	i, ok := slices.BinarySearchFunc(st.entries, Position(e.ts), func(n journalEntry, at Position) int { return cmp.Compare(n.at, at) })
	if ok && st.entries[i].seg == e.segment && st.entries[i].off == e.off {
		j.store.segs.addLive(e.segment, -int64(st.entries[i].length))
		st.entries = slices.Delete(st.entries, i, i+1)
	}
}

// Append implements Journal.
func (j *journal) Append(ctx context.Context, s Stream, data []byte) (Position, error) {
	if err := j.store.usable(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append to journal %d: %w", s, err)
	}
	r := j.store.request()
	defer j.store.recycle(r)
	e, err := begin(&r.buf, entryJournal, nil, data)
	if err != nil {
		return 0, fmt.Errorf("append to journal %d: %w", s, err)
	}
	e.policy = uint8(s)
	r.entry = e
	if err := j.store.appender.submit(r); err != nil {
		return 0, fmt.Errorf("append to journal %d: %w", s, err)
	}
	return Position(r.entry.ts), nil
}

// Replay implements Journal.
func (j *journal) Replay(s Stream, fn func(Position, []byte) error) error {
	if err := j.store.open(); err != nil {
		return err
	}
	j.mu.Lock()
	entries := slices.Clone(j.stream(s).entries)
	j.mu.Unlock()
	for _, n := range entries {
		e, b, err := j.store.readEntry(n.seg, n.off, n.length)
		if err == nil && (e.kind != entryJournal || !e.payloadHolds(b)) {
			err = errs.New(errs.Corrupt, "the journal entry does not match its checksum")
		}
		if errs.Is(err, errs.Corrupt) {
			// One bad entry must not stop the others; whoever keeps a journal has two more replicas.
			j.store.quarantine.Add(1)
			j.store.log.Error("journal entry is corrupt", "dir", j.store.cfg.Dir, "stream", s, "position", n.at, "error", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("replay journal %d at %d: %w", s, n.at, err)
		}
		if err := fn(n.at, b[headerBytes+e.metaLen:][:e.dataLen]); err != nil {
			return err
		}
	}
	return nil
}

// Release implements Journal. It is written with the next batch, or at Close.
func (j *journal) Release(s Stream, upto Position) error {
	if err := j.store.usable(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.stream(s)
	if upto > st.upto {
		j.drop(st, upto)
		st.unsaved = true
	}
	return nil
}
