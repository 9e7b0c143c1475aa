package engine

import (
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/vfs"
)

// Reserve is the space held back for deletes, promises, the journal and compaction: the larger of the two.
type Reserve struct {
	Bytes   int64
	Percent float64 // of the file system
}

const (
	reserveBytesDefault   = 256 << 20
	reservePercentDefault = 1
	spaceAgeMax           = time.Second // how long a look at the disk counts
	spaceBytesMax         = 64 << 20    // and after how many bytes written it does not any more
)

// space knows how full the disk is without asking it at every write.
type space struct {
	fs      vfs.FS
	dir     string
	clock   clock.Clock
	reserve Reserve

	mu      sync.Mutex // guards the fields below
	now     vfs.Space
	asked   time.Time
	written int64 // since then
}

// look gives the room that there is. Others share the disk: what is said is only as new as spaceAgeMax.
func (s *space) look(more int64) (vfs.Space, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	s.written += more
	if s.asked.IsZero() || now.Sub(s.asked) >= spaceAgeMax || now.Before(s.asked) || s.written > spaceBytesMax {
		found, err := s.fs.Space(s.dir)
		if err != nil {
			return found, 0, errs.New(errs.Unavailable, "free space of %s: %w", s.dir, err)
		}
		s.now, s.asked, s.written = found, now, more
	}
	room := s.now
	room.Free = max(0, room.Free-s.written+more)
	return room, max(s.reserve.Bytes, int64(s.reserve.Percent/100*float64(room.Size))), nil
}

// freed makes the next look a new one: something was removed.
func (s *space) freed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Time{}
}

// admit refuses a write of n bytes that would eat into the reserve: errs.NoSpace.
func (s *space) admit(n int64) error {
	room, reserved, err := s.look(n)
	if err != nil {
		return err
	}
	if room.Free-n < reserved {
		return errs.New(errs.NoSpace, "%d bytes: the disk has %d bytes free, of which %d are held back for deletes", n, room.Free, reserved)
	}
	return nil
}
