package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"henge/internal/errs"
)

// Token is what lets a new peer in: one opaque string that an operator carries over.
type Token struct {
	Fingerprint [32]byte // of the CA's certificate
	Secret      [24]byte
	Addresses   []string // host:port of peers to ask
}

const (
	tokenPrefix       = "henge-join-1."
	tokenAddressesMax = 16
	tokenBytesMax     = 4096
)

// NewToken makes a token with a new secret.
func NewToken(ca []byte, addresses []string) (*Token, error) {
	t := &Token{Fingerprint: Fingerprint(ca), Addresses: addresses[:min(len(addresses), tokenAddressesMax)]}
	if _, err := rand.Read(t.Secret[:]); err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	return t, nil
}

// Hash is what the cluster keeps of a secret.
func Hash(secret []byte) [32]byte { return sha256.Sum256(secret) }

// String is the token as an operator sees it.
func (t *Token) String() string {
	b := append(append([]byte{}, t.Fingerprint[:]...), t.Secret[:]...)
	for _, a := range t.Addresses {
		b = append(binary.AppendUvarint(b, uint64(len(a))), a...)
	}
	sum := sha256.Sum256(b)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, sum[:4]...))
}

// ParseToken reads what String wrote: errs.Invalid, with a text for the operator.
func ParseToken(s string) (*Token, error) {
	s = strings.TrimSpace(s)
	encoded, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok || len(s) > tokenBytesMax {
		return nil, errs.New(errs.Invalid, "this is no join token: one begins with %q", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) < 32+24+4 {
		return nil, errs.New(errs.Invalid, "the join token is damaged: was it copied whole?")
	}
	body, sum := b[:len(b)-4], sha256.Sum256(b[:len(b)-4])
	if string(sum[:4]) != string(b[len(b)-4:]) {
		return nil, errs.New(errs.Invalid, "the join token is damaged: was it copied whole?")
	}
	t := &Token{}
	rest := body[copy(t.Fingerprint[:], body):]
	rest = rest[copy(t.Secret[:], rest):]
	for len(rest) > 0 {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) || len(t.Addresses) == tokenAddressesMax {
			return nil, errs.New(errs.Invalid, "the join token is damaged: its addresses cannot be read")
		}
		t.Addresses = append(t.Addresses, string(rest[size:size+int(n)]))
		rest = rest[size+int(n):]
	}
	return t, nil
}
