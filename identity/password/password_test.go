package password

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"henge/internal/clock"
	"henge/internal/errs"
)

func newHasher(t testing.TB, cfg HasherConfig) *Hasher {
	t.Helper()
	if cfg.Cost == 0 {
		cfg.Cost = bcrypt.MinCost
	}
	h, err := NewHasher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestVerify(t *testing.T) {
	h := newHasher(t, HasherConfig{})
	long := strings.Repeat("x", 100)
	for _, tc := range []struct {
		name, stored, shown string
		want                bool
	}{
		{"right", "secret", "secret", true},
		{"wrong", "secret", "Secret", false},
		{"empty", "secret", "", false},
		{"long, differing late", long + "a", long + "b", false},
		{"long", long, long, true},
		{"NUL inside", "a\x00b", "a\x00c", false},
		{"too long to be one", "secret", strings.Repeat("x", BytesMax+1), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hash, err := h.Hash(t.Context(), tc.stored)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := h.Verify(t.Context(), hash, tc.shown); got != tc.want || err != nil {
				t.Fatalf("got %v, %v", got, err)
			}
		})
	}
	if got, err := h.Verify(t.Context(), "", "x"); got || err != nil {
		t.Fatalf("an unknown user: %v, %v", got, err)
	}
	if _, err := h.Verify(t.Context(), "plain", "plain"); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("a stored password that is no hash: %v", err)
	}
	if _, err := h.Hash(t.Context(), strings.Repeat("x", BytesMax+1)); !errs.Is(err, errs.Invalid) {
		t.Fatalf("too long: %v", err)
	}
}

func TestHasher_QueueIsBounded(t *testing.T) {
	h := newHasher(t, HasherConfig{Workers: 1, Queue: 2})
	if err := h.enter(t.Context()); err != nil { // the one worker is busy
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	for range 3 {
		go func() {
			_, err := h.Verify(ctx, "", "x")
			waiting <- err
		}()
	}
	if err := <-waiting; !errs.Is(err, errs.Unavailable) {
		t.Fatalf("the third in the queue: %v", err)
	}
	cancel()
	for range 2 {
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Fatalf("one who gave up waiting: %v", err)
		}
	}
	h.leave()
	if _, err := h.Verify(t.Context(), "", "x"); err != nil {
		t.Fatalf("after the crowd: %v", err)
	}
}

func guess(t *testing.T, th *Throttle, user, source string, outcome int) error {
	t.Helper()
	end, err := th.Begin(user, source)
	if err == nil {
		end(outcome)
	}
	return err
}

func TestThrottle_SlowsGuessesDown(t *testing.T) {
	now := clock.NewManual(time.Unix(1_800_000_000, 0))
	th := NewThrottle(now)
	tried := 0
	for range 24 * 60 * 60 {
		if guess(t, th, "admin", "192.0.2.1:1", -1) == nil {
			tried++
		}
		now.Advance(time.Second)
	}
	if tried < 5 || tried > 500 {
		t.Fatalf("%d guesses in a day", tried)
	}
	var throttled *ThrottledError
	for errors.As(guess(t, th, "admin", "192.0.2.1:1", -1), &throttled) == false {
		now.Advance(time.Second)
	}
	if throttled.Seconds() < 1 || throttled.Seconds() > 300 {
		t.Fatalf("wait %d s", throttled.Seconds())
	}
	if err := guess(t, th, "admin", "192.0.2.2:1", 1); err != nil {
		t.Fatalf("the same user from elsewhere: %v", err)
	}
	now.Advance(time.Hour)
	if err := guess(t, th, "admin", "192.0.2.1:1", 1); err != nil {
		t.Fatalf("an hour later: %v", err)
	}
}

func TestThrottle_HonestCrowdPasses(t *testing.T) {
	th := NewThrottle(clock.NewManual(time.Unix(1_800_000_000, 0)))
	var ends []func(int)
	for range 200 {
		end, err := th.Begin("admin", "192.0.2.1:1")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	for _, end := range ends {
		end(1)
	}
	if len(th.users)+len(th.sources) != 0 {
		t.Fatal("success left counters behind")
	}
}

func TestThrottle_SprayFromOnePlace(t *testing.T) {
	th := NewThrottle(clock.NewManual(time.Unix(1_800_000_000, 0)))
	tried := 0
	for i := range 1000 {
		if guess(t, th, fmt.Sprint("user", i), "[2001:db8::1]:5", -1) == nil {
			tried++
		}
	}
	if tried > 60 {
		t.Fatalf("%d users guessed at from one place at once", tried)
	}
}

func TestThrottle_MemoryIsBounded(t *testing.T) {
	now := clock.NewManual(time.Unix(1_800_000_000, 0))
	th := NewThrottle(now)
	for i := range 3 * countersMax {
		_ = guess(t, th, fmt.Sprint(i), fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), -1)
	}
	if len(th.users) > countersMax || len(th.sources) > countersMax {
		t.Fatalf("%d and %d counters", len(th.users), len(th.sources))
	}
}

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:80":           "192.0.2.1",
		"192.0.2.1":              "192.0.2.1",
		"[::ffff:192.0.2.1]:80":  "192.0.2.1",
		"[2001:db8::1:2:3:4]:80": "2001:db8::/64",
		"[fe80::1%eth0]:80":      "fe80::/64",
		"@":                      "@",
	} {
		if got := Source(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}
