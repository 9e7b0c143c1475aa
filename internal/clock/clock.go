// Package clock gives time to everything that needs it: a Clock that tests can set, and the hybrid logical
// clock whose timestamps order all writes.
package clock

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Clock is where the time comes from.
type Clock interface {
	Now() time.Time
}

// System is the machine's clock.
type System struct{}

// Now is time.Now.
func (System) Now() time.Time { return time.Now() }

// Manual is a clock that stands until a test moves it. Safe for concurrent use.
type Manual struct {
	mu  sync.Mutex // guards now
	now time.Time
}

// NewManual starts a clock at t.
func NewManual(t time.Time) *Manual { return &Manual{now: t} }

// Now is the time last set.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock on by d.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// Timestamp is a moment of the hybrid logical clock: nanoseconds since 1970, of which the lowest 12 bits are not time but
// the number of the writer that made it, so that no two writers ever make the same one. Zero means "never".
type Timestamp int64

const writerBits = 12

// WritersMax is how many writer numbers there are: writers are 0 ... WritersMax-1.
const WritersMax = 1 << writerBits

// FromTime is the smallest timestamp at t.
func FromTime(t time.Time) Timestamp { return Timestamp(t.UnixNano() &^ (WritersMax - 1)) }

// Time is the wall-clock part.
func (t Timestamp) Time() time.Time { return time.Unix(0, int64(t)).UTC() }

// Swift is the form of Swift's X-Timestamp header: seconds with five decimals.
func (t Timestamp) Swift() string {
	return fmt.Sprintf("%010d.%05d", int64(t)/1e9, int64(t)%1e9/1e4)
}

// String is the decimal number, as Parse reads it.
func (t Timestamp) String() string { return strconv.FormatInt(int64(t), 10) }

// Parse reads what String wrote.
func Parse(s string) (Timestamp, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("timestamp %q: not a number of nanoseconds", s)
	}
	return Timestamp(n), nil
}

// SkewMax is how far ahead of our clock another peer's timestamp may be before Observe refuses it: one bad clock must not drag the
// whole cluster into the future.
const SkewMax = 10 * time.Minute

// Hybrid makes timestamps: never the same twice, never going back, never behind one that was observed.
// Safe for concurrent use; it blocks nowhere.
type Hybrid struct {
	clock  Clock
	writer Timestamp

	mu   sync.Mutex // guards last
	last Timestamp
}

// NewHybrid makes the clock of one writer. The number must be this process's alone in the cluster (the cluster hands them out).
func NewHybrid(c Clock, writer uint16) *Hybrid {
	return &Hybrid{clock: c, writer: Timestamp(writer) & (WritersMax - 1)}
}

// Next is a timestamp later than all that this clock made or observed.
func (h *Hybrid) Next() Timestamp {
	now := FromTime(h.clock.Now()) | h.writer
	h.mu.Lock()
	defer h.mu.Unlock()
	if now <= h.last {
		now = (h.last&^(WritersMax-1) + WritersMax) | h.writer
	}
	h.last = now
	return now
}

// Observe makes every later Next greater than t. It answers false, and does nothing, when t lies more than SkewMax ahead.
func (h *Hybrid) Observe(t Timestamp) bool {
	if t.Time().Sub(h.clock.Now()) > SkewMax {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.last, t)
	return true
}
