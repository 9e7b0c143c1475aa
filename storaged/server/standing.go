package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/storaged/peerapi"
)

// standing is whether a device may speak for what it holds. A device that lost what it held, or slept for so long that its fellows have forgotten deletes that it never
// heard of, would vote for a past that is over: it answers only repair until it has caught up. See DESIGN.md.
type standing struct {
	path  string
	clock clock.Clock
	away  time.Duration // how long it may have been away

	mu     sync.Mutex // guards the fields below
	now    peerapi.Standing
	seen   time.Time // when it last took part, as it was noted
	judged bool      // now is known; until then nobody is answered
}

// standingFile is the file `standing` of a device's folder; see docs/formats/standing.md.
type standingFile struct {
	Format int              `json:"format"` // 1
	State  peerapi.Standing `json:"state"`
	// Seen is when the device last took part.
	Seen time.Time `json:"seen"`
}

const (
	standingFormat = 1
	// seenInterval is how often a device that takes part notes it.
	seenInterval = 15 * time.Minute
)

// openStanding reads what is known of a device. away is how long it may have been away; empty tells whether it holds nothing.
func openStanding(dir string, c clock.Clock, away time.Duration, empty bool) (*standing, error) {
	s := &standing{path: filepath.Join(dir, "standing"), clock: c, away: away}
	raw, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		// New, or from before there was such a file. What holds something has been here; of what is empty, Judge decides.
		if !empty {
			return s, s.set(peerapi.Joined)
		}
		return s, nil
	}
	if err != nil {
		return nil, errs.New(errs.Unavailable, "read the standing of a device: %w", err)
	}
	var f standingFile
	if err := json.Unmarshal(raw, &f); err != nil || f.Format != standingFormat {
		return nil, errs.New(errs.Corrupt, "read %s: format %d, %v", s.path, f.Format, err)
	}
	s.now, s.seen, s.judged = f.State, f.Seen, true
	return s, s.overdue()
}

// judge decides on a device that began empty: it is being filled if the ring says that it should hold something.
func (s *standing) judge(holds bool) error {
	s.mu.Lock()
	judged := s.judged
	s.mu.Unlock()
	switch {
	case judged:
		return nil
	case holds:
		return s.set(peerapi.Filling)
	}
	return s.set(peerapi.Joined)
}

// set changes the standing, durably.
func (s *standing) set(to peerapi.Standing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.clock.Now().UTC()
	raw, err := json.Marshal(standingFile{Format: standingFormat, State: to, Seen: seen})
	if err == nil {
		err = durable.WriteFile(vfs.OS{}, s.path, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note that the device is %s: %w", to, err)
	}
	s.now, s.seen, s.judged = to, seen, true
	return nil
}

func (s *standing) get() (now peerapi.Standing, judged bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.judged
}

// speaks is nil when the device may answer.
func (s *standing) speaks(t peerapi.Target) error {
	switch now, judged := s.get(); {
	case !judged:
		return peerapi.Unavailable(t, "it is not known yet whether it should hold something")
	case now != peerapi.Joined:
		return peerapi.Unavailable(t, "it is "+now.String())
	}
	return nil
}

// took notes that the device took part just now, unless it was noted lately.
func (s *standing) took() error {
	s.mu.Lock()
	due := s.judged && s.now == peerapi.Joined && s.clock.Now().Sub(s.seen) >= seenInterval
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.set(peerapi.Joined)
}

// overdue turns a device that has reached none of its fellows for too long into one that returns.
func (s *standing) overdue() error {
	s.mu.Lock()
	late := s.judged && s.now == peerapi.Joined && !s.seen.IsZero() && s.clock.Now().Sub(s.seen) > s.away
	s.mu.Unlock()
	if !late {
		return nil
	}
	return s.set(peerapi.Returning)
}
