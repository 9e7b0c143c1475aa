package password

import (
	"crypto/sha256"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"henge/internal/clock"
)

// ThrottledError says that somebody has guessed too often and must wait.
type ThrottledError struct{ Wait time.Duration }

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many failed attempts; try again in %d seconds", e.Seconds())
}

// Seconds is the wait, rounded up, as a Retry-After header has it.
func (e *ThrottledError) Seconds() int { return max(1, int(math.Ceil(e.Wait.Seconds()))) }

// bounds of one kind of counter.
type bounds struct {
	free    float64       // failures that cost nothing
	forget  time.Duration // after this long, one failure less
	waitMax time.Duration
}

// A user guessed at from one place: five guesses, then 1 s, 2 s, 4 s ... to five minutes. A place that guesses at many users has more to spare, because
// many honest users may share it, and is never shut out for long.
var (
	userBounds   = bounds{free: 5, forget: 3 * time.Minute, waitMax: 5 * time.Minute}
	sourceBounds = bounds{free: 50, forget: 10 * time.Second, waitMax: 15 * time.Second}
)

// countersMax bounds the memory of each kind of counter: under 2 MB.
const countersMax = 10_000

// counter is what is known of one (user, source) or source.
type counter struct {
	failures  float64 // leaks: see bounds.forget
	updated   time.Time
	notBefore time.Time
	underWay  int
}

type counterKey [16]byte

// Throttle slows down guessing. It counts in this process's memory only. Safe for concurrent use.
type Throttle struct {
	clock clock.Clock

	mu      sync.Mutex // guards the fields below
	users   map[counterKey]*counter
	sources map[counterKey]*counter
}

// NewThrottle makes one that has seen nothing.
func NewThrottle(c clock.Clock) *Throttle {
	return &Throttle{clock: c, users: map[counterKey]*counter{}, sources: map[counterKey]*counter{}}
}

// Begin asks to try a password for user (any string that names it; it need not exist) from source (an address, with or without a port).
// It answers *ThrottledError, or nil and a function that must be called once with the outcome: +1 right, -1 wrong, 0 not found out.
func (t *Throttle) Begin(user, source string) (func(outcome int), error) {
	place := Source(source)
	pair, alone := keyOf(user, place), keyOf("", place)
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	u, s := lookup(t.users, pair, now, userBounds), lookup(t.sources, alone, now, sourceBounds)
	if wait := max(u.wait(now, userBounds), s.wait(now, sourceBounds)); wait > 0 {
		return nil, &ThrottledError{Wait: wait}
	}
	u.underWay++
	s.underWay++
	return func(outcome int) {
		now := t.clock.Now()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.end(u, s, now, outcome)
		if u.underWay == 0 && u.failures == 0 && t.users[pair] == u {
			delete(t.users, pair)
		}
		if s.underWay == 0 && s.failures == 0 && t.sources[alone] == s {
			delete(t.sources, alone)
		}
	}, nil
}

func (t *Throttle) end(u, s *counter, now time.Time, outcome int) {
	u.underWay--
	s.underWay--
	switch {
	case outcome > 0:
		u.failures, u.notBefore = 0, time.Time{}
	case outcome < 0:
		u.fail(now, userBounds)
		s.fail(now, sourceBounds)
	}
}

func (c *counter) fail(now time.Time, b bounds) {
	c.leak(now, b)
	c.failures++
	if over := c.failures - b.free; over >= 0 {
		c.notBefore = now.Add(min(b.waitMax, time.Duration(math.Exp2(min(over, 20))*float64(time.Second))))
	}
}

func (c *counter) leak(now time.Time, b bounds) {
	if d := now.Sub(c.updated); d > 0 {
		c.failures = max(0, c.failures-float64(d)/float64(b.forget))
	}
	c.updated = now
}

// wait is how long to hold somebody off. After failures, what is under way counts as failing, so that a burst of guesses does not get ahead
// of its own answers; without failures it does not, so that many honest logins at once pass.
func (c *counter) wait(now time.Time, b bounds) time.Duration {
	if d := c.notBefore.Sub(now); d > 0 {
		return d
	}
	if c.failures > 0 && c.underWay > 0 && c.failures+float64(c.underWay) >= b.free {
		return time.Second
	}
	return 0
}

func lookup(counters map[counterKey]*counter, key counterKey, now time.Time, b bounds) *counter {
	c, ok := counters[key]
	if ok {
		c.leak(now, b)
		return c
	}
	if len(counters) >= countersMax {
		evict(counters)
	}
	c = &counter{updated: now}
	counters[key] = c
	return c
}

// evict drops the least of a few counters, so that a flood of new names does not wash out those that matter.
func evict(counters map[counterKey]*counter) {
	var least counterKey
	var found *counter
	looked := 0
	for key, c := range counters {
		if found == nil || c.failures < found.failures {
			least, found = key, c
		}
		if looked++; looked == 8 {
			break
		}
	}
	delete(counters, least)
}

func keyOf(user, source string) counterKey {
	sum := sha256.Sum256([]byte(user + "\x00" + source))
	return counterKey(sum[:16])
}

// Source is the place that an address stands for: the host of an IPv4 address, the /64 network of an IPv6 one.
func Source(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		pair, err := netip.ParseAddrPort(address)
		if err != nil {
			return address
		}
		ip = pair.Addr()
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}
