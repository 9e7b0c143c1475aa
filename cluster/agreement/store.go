package agreement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"henge/internal/errs"
)

var (
	bucketLog    = []byte("log")    // index, 8 bytes big endian -> entry
	bucketStable = []byte("stable") // names of Raft's own -> values
	keyCommitted = []byte("henge committed index")
)

const entryVersion = 1

// logStore keeps Raft's log and its few stable values in one bbolt file. A call that writes returns after fsync. docs/formats/state.md.
type logStore struct {
	db     *bolt.DB
	staged atomic.Uint64 // known as committed; written along with the next entries
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*logStore)(nil)
)

func openLogStore(path string) (*logStore, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, errs.New(errs.Conflict, "open %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketLog, bucketStable} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	return &logStore{db: db}, nil
}

// close also writes down what is committed. A crash loses that, but for what went along with the last entries.
func (s *logStore) close() error {
	var err error
	if staged := s.staged.Load(); staged > 0 {
		err = s.SetUint64(keyCommitted, staged)
	}
	return errors.Join(err, s.db.Close())
}

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// FirstIndex is that of the oldest entry kept; 0 without one.
func (s *logStore) FirstIndex() (uint64, error) { return s.edge((*bolt.Cursor).First) }

// LastIndex is that of the newest entry; 0 without one.
func (s *logStore) LastIndex() (uint64, error) { return s.edge((*bolt.Cursor).Last) }

func (s *logStore) edge(seek func(*bolt.Cursor) ([]byte, []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if key, _ := seek(tx.Bucket(bucketLog).Cursor()); key != nil {
			index = binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return index, err
}

// GetLog reads one entry; raft.ErrLogNotFound.
func (s *logStore) GetLog(index uint64, out *raft.Log) error {
	return s.db.View(func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketLog).Get(indexKey(index))
		if raw == nil {
			return raft.ErrLogNotFound
		}
		return decodeEntry(index, raw, out)
	})
}

// StoreLog writes one entry.
func (s *logStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs writes entries, and what is known as committed, in one transaction.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog)
		b.FillPercent = 0.95 // appended only
		for _, entry := range logs {
			if err := b.Put(indexKey(entry.Index), encodeEntry(entry)); err != nil {
				return fmt.Errorf("store log entry %d: %w", entry.Index, err)
			}
		}
		if staged := s.staged.Load(); staged > 0 {
			return tx.Bucket(bucketStable).Put(keyCommitted, indexKey(staged))
		}
		return nil
	})
}

// DeleteRange removes the entries from lowest to highest, both included.
func (s *logStore) DeleteRange(lowest, highest uint64) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for key, _ := c.Seek(indexKey(lowest)); key != nil && binary.BigEndian.Uint64(key) <= highest; key, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return fmt.Errorf("delete log entry: %w", err)
			}
		}
		return nil
	})
}

// stage notes what is committed, for the next StoreLogs.
func (s *logStore) stage(index uint64) { s.staged.Store(index) }

// committed is what was known as committed when the last entry was written.
func (s *logStore) committed() (uint64, error) {
	committed, err := s.GetUint64(keyCommitted)
	if err != nil {
		return 0, err
	}
	last, err := s.LastIndex()
	return min(committed, last), err
}

// Set keeps a value of Raft's.
func (s *logStore) Set(key, value []byte) error {
	return s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketStable).Put(key, value) })
}

// Get finds a value of Raft's; empty without one.
func (s *logStore) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		value = append([]byte{}, tx.Bucket(bucketStable).Get(key)...)
		return nil
	})
	return value, err
}

// SetUint64 keeps a number of Raft's.
func (s *logStore) SetUint64(key []byte, value uint64) error { return s.Set(key, indexKey(value)) }

// GetUint64 finds a number of Raft's; 0 without one.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	raw, err := s.Get(key)
	if err != nil || len(raw) == 0 {
		return 0, err
	}
	if len(raw) != 8 {
		return 0, errs.New(errs.Corrupt, "stable value %q has %d bytes", key, len(raw))
	}
	return binary.BigEndian.Uint64(raw), nil
}

func encodeEntry(e *raft.Log) []byte {
	b := make([]byte, 0, 32+len(e.Data)+len(e.Extensions))
	b = append(b, entryVersion, byte(e.Type))
	b = binary.AppendUvarint(b, e.Term)
	var appended int64
	if !e.AppendedAt.IsZero() {
		appended = e.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, appended)
	b = binary.AppendUvarint(b, uint64(len(e.Extensions)))
	b = append(b, e.Extensions...)
	return append(b, e.Data...)
}

func decodeEntry(index uint64, b []byte, out *raft.Log) error {
	bad := errs.New(errs.Corrupt, "log entry %d of %d bytes cannot be read", index, len(b))
	if len(b) < 2 || b[0] != entryVersion {
		return bad
	}
	*out = raft.Log{Index: index, Type: raft.LogType(b[1])}
	b = b[2:]
	term, n := binary.Uvarint(b)
	if n <= 0 {
		return bad
	}
	out.Term, b = term, b[n:]
	appended, n := binary.Varint(b)
	if n <= 0 {
		return bad
	}
	if b = b[n:]; appended != 0 {
		out.AppendedAt = time.Unix(0, appended)
	}
	extensions, n := binary.Uvarint(b)
	if n <= 0 || extensions > uint64(len(b)-n) {
		return bad
	}
	b = b[n:]
	if extensions > 0 {
		out.Extensions = append([]byte{}, b[:extensions]...)
	}
	out.Data = append([]byte{}, b[extensions:]...) // bbolt's memory ends with its transaction
	return nil
}
