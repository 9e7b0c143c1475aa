package token

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/clock"
	"henge/internal/errs"
)

// Lifetimes says how long tokens and their keys live. Zero fields take the defaults.
type Lifetimes struct {
	Token time.Duration // of a token made from a password; default one hour
	Key   time.Duration // how long one key seals before the next takes over; default one day
}

func (l Lifetimes) filled() Lifetimes {
	return Lifetimes{Token: cmp.Or(l.Token, time.Hour), Key: cmp.Or(l.Key, 24*time.Hour)}
}

const (
	// keyLead is how long a new key lies in the state before it seals, so that every peer has it by then.
	keyLead = 5 * time.Minute
	// keySlack is how far peers' clocks may differ before a key could go too early.
	keySlack = 5 * time.Minute

	format      = 1
	headerBytes = 1 + 4
	nonceBytes  = 12
	tagBytes    = 16
	keyBytes    = 32
	textMax     = 512 // characters of the longest token there can be
)

var encoding = base64.RawURLEncoding.Strict()

// Keyring seals and opens tokens with the keys in the state, and renews these. Safe for concurrent use.
type Keyring struct {
	store     state.Store
	clock     clock.Clock
	lifetimes Lifetimes
	set       *state.Memo[*keySet] // under ""
}

// keySet are the keys, ready for use: never changed, only replaced.
type keySet struct {
	keys  []model.TokenKey // by SealFrom
	aeads map[string]cipher.AEAD
}

// NewKeyring opens the keys in a store. It reads nothing yet.
func NewKeyring(store state.Store, c clock.Clock, l Lifetimes) *Keyring {
	return &Keyring{store: store, clock: c, lifetimes: l.filled(), set: state.NewMemo[*keySet](1)}
}

func (k *Keyring) load(r state.Reader) (*keySet, error) {
	return k.set.Get(r, "", func(r state.Reader) (*keySet, error) {
		keys, err := sortedKeys(r)
		if err != nil {
			return nil, err
		}
		set := &keySet{keys: keys, aeads: map[string]cipher.AEAD{}}
		for _, key := range set.keys {
			block, err := aes.NewCipher(key.Secret)
			if err != nil {
				return nil, errs.New(errs.Corrupt, "token key %s: %w", key.ID, err)
			}
			if set.aeads[key.ID], err = cipher.NewGCM(block); err != nil {
				return nil, errs.New(errs.Corrupt, "token key %s: %w", key.ID, err)
			}
		}
		return set, nil
	})
}

func (k *Keyring) current(ctx context.Context) (set *keySet, err error) {
	err = k.store.View(ctx, func(r state.Reader) (err error) {
		set, err = k.load(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read token keys: %w", err)
	}
	return set, nil
}

// Seal turns claims into a token. When there is no key yet it makes the first.
func (k *Keyring) Seal(ctx context.Context, c Claims) (string, error) {
	set, err := k.current(ctx)
	if err == nil && len(set.keys) == 0 {
		if err = k.Renew(ctx); err == nil {
			set, err = k.current(ctx)
		}
	}
	if err == nil && len(set.keys) == 0 {
		err = errs.New(errs.Unavailable, "there is no token key")
	}
	if err != nil {
		return "", err
	}
	id := set.sealer(k.clock.Now())
	number, err := strconv.ParseUint(id, 16, 32)
	if err != nil {
		return "", errs.New(errs.Corrupt, "token key %q: %w", id, err)
	}
	plain, err := c.marshal()
	if err != nil {
		return "", err
	}
	buf := make([]byte, headerBytes+nonceBytes, headerBytes+nonceBytes+len(plain)+tagBytes)
	buf[0] = format
	binary.BigEndian.PutUint32(buf[1:], uint32(number))
	_, _ = rand.Read(buf[headerBytes:]) // never fails
	buf = set.aeads[id].Seal(buf, buf[headerBytes:headerBytes+nonceBytes], plain, buf[:headerBytes])
	return encoding.EncodeToString(buf), nil
}

// sealer is the key whose time it is: the latest that has begun, or the very first.
func (s *keySet) sealer(now time.Time) string {
	id := s.keys[0].ID
	for _, key := range s.keys {
		if !key.SealFrom.After(now) {
			id = key.ID
		}
	}
	return id
}

// Open gives back what Seal was given: errs.Unauthenticated for anything else. It looks at no clock and no revocation.
func (k *Keyring) Open(r state.Reader, token string) (Claims, error) {
	if len(token) > textMax {
		return Claims{}, errs.New(errs.Unauthenticated, "token of %d characters", len(token))
	}
	buf, err := encoding.DecodeString(token)
	if err != nil || len(buf) < headerBytes+nonceBytes+tagBytes || buf[0] != format {
		return Claims{}, errs.New(errs.Unauthenticated, "not a token of ours")
	}
	aead, err := k.opener(r, fmt.Sprintf("%08x", binary.BigEndian.Uint32(buf[1:])))
	if err != nil {
		return Claims{}, err
	}
	plain, err := aead.Open(nil, buf[headerBytes:headerBytes+nonceBytes], buf[headerBytes+nonceBytes:], buf[:headerBytes])
	if err != nil {
		return Claims{}, errs.New(errs.Unauthenticated, "token not sealed by us")
	}
	c, err := unmarshal(plain)
	return c, errs.With(errs.Unauthenticated, err)
}

func (k *Keyring) opener(r state.Reader, id string) (cipher.AEAD, error) {
	set, err := k.load(r)
	if err != nil {
		return nil, err
	}
	aead, ok := set.aeads[id]
	if !ok {
		return nil, errs.New(errs.Unauthenticated, "token sealed with a key that is not here (%s)", id)
	}
	return aead, nil
}

// Renew makes the next key when it is time, and drops those whose last token has expired. It writes only when there is something
// to do; several peers may call it at once.
func (k *Keyring) Renew(ctx context.Context) error {
	var due bool
	err := k.store.View(ctx, func(r state.Reader) error {
		keys, err := sortedKeys(r)
		make, drop := k.plan(keys)
		due = make != nil || len(drop) > 0
		return err
	})
	if err != nil || !due {
		return err
	}
	err = k.store.Update(ctx, func(w state.Writer) error {
		keys, err := sortedKeys(w)
		if err != nil {
			return err
		}
		make, drop := k.plan(keys)
		for _, id := range drop {
			if err := model.TokenKeys.Delete(w, id); err != nil {
				return err
			}
		}
		if make == nil {
			return nil
		}
		return model.TokenKeys.Put(w, make.ID, *make)
	})
	if err != nil {
		return fmt.Errorf("renew token keys: %w", err)
	}
	return nil
}

// plan says which key to make (nil for none) and which to drop.
func (k *Keyring) plan(keys []model.TokenKey) (*model.TokenKey, []string) {
	now := k.clock.Now()
	if len(keys) == 0 {
		return newKey(keys, now), nil
	}
	var drop []string
	for i := range keys[:len(keys)-1] {
		if last := keys[i+1].SealFrom.Add(k.lifetimes.Token + keySlack); !last.After(now) {
			drop = append(drop, keys[i].ID)
		}
	}
	next := keys[len(keys)-1].SealFrom.Add(k.lifetimes.Key)
	if next.Add(-keyLead).After(now) {
		return nil, drop
	}
	if soonest := now.Add(keyLead); next.Before(soonest) {
		next = soonest
	}
	return newKey(keys, next), drop
}

func newKey(keys []model.TokenKey, from time.Time) *model.TokenKey {
	var random [4 + keyBytes]byte
	for {
		_, _ = rand.Read(random[:]) // never fails
		id := fmt.Sprintf("%08x", random[:4])
		if !slices.ContainsFunc(keys, func(k model.TokenKey) bool { return k.ID == id }) {
			return &model.TokenKey{ID: id, Secret: random[4:], SealFrom: from}
		}
	}
}

func sortedKeys(r state.Reader) ([]model.TokenKey, error) {
	var keys []model.TokenKey
	for key, err := range model.TokenKeys.All(r) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b model.TokenKey) int {
		return cmp.Or(a.SealFrom.Compare(b.SealFrom), cmp.Compare(a.ID, b.ID))
	})
	return keys, nil
}
