package password

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"

	"henge/internal/errs"
)

const (
	// scheme stands before a hash and names how it was made.
	scheme = "bcrypt-sha256:"
	// CostDefault makes one hash take some 50 ms of a core of 2020's.
	CostDefault = 10
	// BytesMax bounds a password; longer ones are errs.Invalid.
	BytesMax = 4096
)

// HasherConfig sizes a Hasher.
type HasherConfig struct {
	Cost    int // bcrypt's; 0 is CostDefault
	Workers int // hashes computed at a time; at least 1
	Queue   int // hashes waiting; more are errs.Unavailable
}

// Hasher computes and checks hashes, a few at a time, so that a flood of logins cannot take the processors from the data path. Safe for concurrent use.
type Hasher struct {
	cost    int
	slots   chan struct{}
	waiting atomic.Int64
	queue   int64
	dummy   string
}

// NewHasher makes a hasher; it computes one hash, of a random password, to have something to compare the passwords of unknown users with.
func NewHasher(cfg HasherConfig) (*Hasher, error) {
	if cfg.Cost == 0 {
		cfg.Cost = CostDefault
	}
	h := &Hasher{cost: cfg.Cost, slots: make(chan struct{}, max(cfg.Workers, 1)), queue: int64(cfg.Queue)}
	dummy, err := h.compute(rand.Text())
	h.dummy = dummy
	return h, err
}

// Hash gives what is to be stored for a password.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > BytesMax {
		return "", errs.New(errs.Invalid, "the password is longer than %d bytes", BytesMax)
	}
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	return h.compute(password)
}

// Verify tells whether the password is the one stored. With no stored hash it works as long and says no.
func (h *Hasher) Verify(ctx context.Context, stored, password string) (bool, error) {
	if len(password) > BytesMax {
		return false, nil
	}
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	known := stored != ""
	if !known {
		stored = h.dummy
	}
	hash, ours := strings.CutPrefix(stored, scheme)
	if !ours {
		return false, errs.New(errs.Corrupt, "a stored password hash is of no known scheme")
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), digest(password))
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	if err != nil {
		return false, errs.New(errs.Corrupt, "compare with a stored password hash: %w", err)
	}
	return known, nil
}

func (h *Hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	if h.waiting.Add(1) > h.queue {
		h.waiting.Add(-1)
		return errs.New(errs.Unavailable, "too many passwords are being checked; try again in a moment")
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the password hasher: %w", ctx.Err())
	}
}

func (h *Hasher) leave() { <-h.slots }

func (h *Hasher) compute(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword(digest(password), h.cost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return scheme + string(hash), nil
}

// digest makes 43 bytes without NUL of any password: bcrypt itself stops at 72 bytes and at NUL.
func digest(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return base64.RawStdEncoding.AppendEncode(nil, sum[:])
}
