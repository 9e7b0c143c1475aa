package agreement

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/limits"
)

// A command is a log entry's data: version, the update's id (16 bytes), the transaction.
const (
	commandVersion = 1
	commandHead    = 1 + 16
)

type updateID [16]byte

// outcome is what became of a command.
type outcome struct {
	status status
	index  state.Index // that the caller's own machine must reach before it goes on
	err    error       // the entry could not be understood
}

type status uint8

const (
	applied   status = iota + 1
	conflict         // something that was read has changed; nothing was written
	expired          // based on a snapshot so old that nobody knows any more whether it was applied before; nothing was written now
	notLeader        // never reached a log
)

// recentMax is how many updates are remembered, so that one that is sent again after a leader's death happens once.
const recentMax = 8192

// snapshotBytes is how much log makes a snapshot due, however few entries it is in.
const snapshotBytes = 64 << 20

// fsm applies the log to the machine. Raft calls Apply, Snapshot and Restore from one goroutine.
type fsm struct {
	machine *state.Machine
	logger  *slog.Logger
	full    chan struct{} // gets a token when a snapshot is due by bytes

	// committed is told of every entry that was applied.
	committed func(index uint64)
	// preloaded is the last entry that the machine had before Raft began: Raft brings them again.
	preloaded uint64

	recent  map[updateID]state.Index
	order   []updateID  // oldest first
	floor   state.Index // every update applied after it is in recent
	bytes   int         // of log since the last snapshot
	broken  error       // an entry that this binary does not know: from then on the state would be wrong
	applyMu sync.Mutex  // held while recent changes; Restore at the start runs elsewhere than Apply
}

func newFSM(logger *slog.Logger, committed func(uint64)) *fsm {
	return &fsm{machine: state.NewMachine(), logger: logger, committed: committed, full: make(chan struct{}, 1), recent: map[updateID]state.Index{}}
}

// Apply is one committed entry.
func (f *fsm) Apply(entry *raft.Log) any {
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if entry.Index <= f.preloaded {
		return outcome{err: errs.New(errs.Internal, "log entry %d was applied before the start", entry.Index)} // nobody waits for it
	}
	f.committed(entry.Index)
	if f.broken != nil {
		return outcome{err: f.broken}
	}
	if f.bytes += len(entry.Data); f.bytes > snapshotBytes {
		f.bytes = 0
		notify(f.full)
	}
	id, tx, err := decodeCommand(entry.Data)
	if err != nil {
		f.broken = errs.New(errs.Internal, "apply log entry %d: %w", entry.Index, err)
		f.logger.Error("the replicated state stands still: a newer release wrote to it", "err", f.broken)
		return outcome{err: f.broken}
	}
	if before, again := f.recent[id]; again {
		return outcome{status: applied, index: before}
	}
	if tx.Base < f.floor {
		return outcome{status: expired, index: f.machine.Snapshot().Index()}
	}
	index := state.Index(entry.Index)
	if !f.machine.Apply(index, tx) {
		return outcome{status: conflict, index: f.machine.Snapshot().Index()}
	}
	f.remember(id, index)
	return outcome{status: applied, index: index}
}

func (f *fsm) remember(id updateID, index state.Index) {
	f.recent[id] = index
	f.order = append(f.order, id)
	if len(f.order) > recentMax {
		f.floor = f.recent[f.order[0]]
		delete(f.recent, f.order[0])
		f.order = f.order[1:]
	}
}

func encodeCommand(id updateID, tx *state.Transaction) ([]byte, error) {
	return tx.AppendBinary(append([]byte{commandVersion}, id[:]...))
}

func decodeCommand(b []byte) (id updateID, tx *state.Transaction, err error) {
	if len(b) < commandHead || b[0] != commandVersion {
		return id, nil, errs.New(errs.Corrupt, "command of %d bytes is not of version %d", len(b), commandVersion)
	}
	copy(id[:], b[1:])
	tx, err = state.DecodeTransaction(b[commandHead:])
	return id, tx, err
}

// Snapshot notes the present state; it is written later, while the machine goes on.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	f.bytes = 0
	return &picture{state: f.machine.Snapshot(), order: slices.Clone(f.order), recent: maps.Clone(f.recent), floor: f.floor}, nil
}

// picture is one snapshot on its way to disk or to a peer. docs/formats/state.md describes its bytes.
type picture struct {
	state  *state.Snapshot
	order  []updateID
	recent map[updateID]state.Index
	floor  state.Index
}

const pictureMagic = "henge state\n\x01" // the last byte is the version

// Persist writes the picture.
func (p *picture) Persist(sink raft.SnapshotSink) error {
	err := p.write(sink)
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		return fmt.Errorf("write state snapshot: %w, %w", err, sink.Cancel())
	}
	return nil
}

// Release has nothing to do: the picture is garbage when nobody holds it.
func (p *picture) Release() {}

func (p *picture) write(out io.Writer) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	w := bufio.NewWriterSize(io.MultiWriter(out, sum), 64<<10)
	b := binary.AppendUvarint([]byte(pictureMagic), uint64(p.state.Index()))
	b = binary.AppendUvarint(b, uint64(p.floor))
	b = binary.AppendUvarint(b, uint64(len(p.order)))
	for _, id := range p.order {
		b = binary.AppendUvarint(append(b, id[:]...), uint64(p.recent[id]))
	}
	b = binary.AppendUvarint(b, uint64(p.state.Len()))
	if _, err := w.Write(b); err != nil {
		return err
	}
	for c, mod := range p.state.Entries() {
		b = binary.AppendUvarint(b[:0], uint64(mod))
		b = binary.AppendUvarint(b, uint64(len(c.Key)))
		b = append(b, c.Key...)
		b = binary.AppendUvarint(b, uint64(len(c.Value)))
		b = append(b, c.Value...)
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := out.Write(sum.Sum(nil))
	return err
}

// Restore replaces the state by a picture: at the start, or when a leader sends one to a peer that is far behind. A picture older than what the
// machine has (it was preloaded) is left: both are moments of the same history, and Apply passes over what lies between them.
func (f *fsm) Restore(in io.ReadCloser) error {
	p, content, err := readPicture(in)
	if err != nil {
		return fmt.Errorf("restore state snapshot: %w", err)
	}
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if p.index <= f.machine.Snapshot().Index() {
		return nil
	}
	f.recent, f.order, f.floor, f.bytes, f.broken = p.recent, p.order, p.floor, 0, nil
	f.machine.Restore(p.index, content)
	return nil
}

// pictureHead is a read picture without its content.
type pictureHead struct {
	index, floor state.Index
	order        []updateID
	recent       map[updateID]state.Index
}

// keyed is one key of a picture.
type keyed struct {
	change state.Change
	mod    state.Index
}

func readPicture(in io.Reader) (*pictureHead, iter.Seq2[state.Change, state.Index], error) {
	r := &pictureReader{in: bufio.NewReaderSize(in, 64<<10)}
	if string(r.take(len(pictureMagic))) != pictureMagic {
		return nil, nil, errs.New(errs.Corrupt, "not a state snapshot of a version known here")
	}
	p := &pictureHead{recent: map[updateID]state.Index{}}
	p.index, p.floor = state.Index(r.number()), state.Index(r.number())
	for n := min(r.number(), recentMax+1); n > 0 && r.err == nil; n-- {
		id := updateID(append(r.take(16), make([]byte, 16)...)) // longer than needed when cut short; err says so
		p.order = append(p.order, id)
		p.recent[id] = state.Index(r.number())
	}
	var all []keyed
	for n := r.number(); n > 0 && r.err == nil; n-- {
		mod := state.Index(r.number())
		key := string(r.take(r.length(1 << 20)))
		value := r.take(r.length(limits.StateValueBytesMax))
		all = append(all, keyed{state.Change{Key: key, Value: value}, mod})
	}
	sum := r.sum
	if stored := r.take(4); r.err != nil || binary.BigEndian.Uint32(stored) != sum {
		return nil, nil, errs.New(errs.Corrupt, "state snapshot: cut short, or its checksum is wrong (%v)", r.err)
	}
	return p, func(yield func(state.Change, state.Index) bool) {
		for _, k := range all {
			if !yield(k.change, k.mod) {
				return
			}
		}
	}, nil
}

// pictureReader reads values and sums their bytes up; after the first error all are zero.
type pictureReader struct {
	in  *bufio.Reader
	sum uint32
	err error
}

func (r *pictureReader) ReadByte() (byte, error) {
	c, err := r.in.ReadByte()
	if err == nil {
		r.sum = crc32.Update(r.sum, crc32.MakeTable(crc32.Castagnoli), []byte{c})
	}
	return c, err
}

func (r *pictureReader) number() uint64 {
	if r.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(r)
	r.err = err
	return n
}

func (r *pictureReader) length(most int) int {
	n := r.number()
	if n > uint64(most) && r.err == nil {
		r.err = errs.New(errs.Corrupt, "a length of %d, at most %d makes sense", n, most)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *pictureReader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, r.err = io.ReadFull(r.in, b); r.err != nil {
		return nil
	}
	r.sum = crc32.Update(r.sum, crc32.MakeTable(crc32.Castagnoli), b)
	return b
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
