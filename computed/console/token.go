package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/internal/errs"
)

const (
	tokenLifetime     = 10 * time.Minute
	tokensPerGuestMax = 32
)

// NewToken makes a secret that lets one console in.
func NewToken() string { return rand.Text() }

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Admit lets one who shows the token see the server's console, once, for a while. Old tokens of the server go.
func Admit(w state.Writer, token string, s model.Server, now time.Time) error {
	var left []model.ConsoleToken
	for t, err := range model.Tokens.Where(w, "server", s.ID) {
		if err != nil {
			return err
		}
		left = append(left, t)
	}
	for i, t := range left {
		if now.After(t.Expires) || len(left)-i > tokensPerGuestMax {
			if err := model.Tokens.Delete(w, t.Hash); err != nil {
				return err
			}
		}
	}
	hash := hashOf(token)
	return model.Tokens.Put(w, hash, model.ConsoleToken{Hash: hash, ServerID: s.ID, Host: s.Host, Expires: now.Add(tokenLifetime)})
}

// Redeem takes a token out of the state and gives the server that it is for; errs.Unauthenticated when it is not one.
func Redeem(w state.Writer, token string, now time.Time) (serverID string, err error) {
	t, there, err := model.Optional(model.Tokens.Get(w, hashOf(token)))
	if err != nil {
		return "", err
	}
	if !there {
		return "", errs.New(errs.Unauthenticated, "the token is not valid: it was used, has expired, or never was")
	}
	if err := model.Tokens.Delete(w, t.Hash); err != nil {
		return "", err
	}
	if now.After(t.Expires) {
		return "", errs.New(errs.Unauthenticated, "the token has expired")
	}
	return t.ServerID, nil
}
