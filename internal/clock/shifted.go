package clock

import (
	"sync/atomic"
	"time"
)

// Shifted is another clock, moved by an offset that may change at any time: a machine whose clock is wrong. Safe for concurrent use.
type Shifted struct {
	of     Clock
	offset atomic.Int64
}

// NewShifted is c, not moved yet.
func NewShifted(c Clock) *Shifted { return &Shifted{of: c} }

// Now is the other clock's time, moved.
func (s *Shifted) Now() time.Time { return s.of.Now().Add(time.Duration(s.offset.Load())) }

// Set moves the clock from now on by offset.
func (s *Shifted) Set(offset time.Duration) { s.offset.Store(int64(offset)) }
