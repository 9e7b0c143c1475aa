package iscsi

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"strings"

	"henge/internal/errs"
)

// CHAP (RFC 1994, RFC 7143 12.1.3). The hash is the initiator's choice among these; MD5 is the one that every initiator has, and in CHAP it keys a
// random challenge with a long secret, for which no attack is known.
var chapHashes = map[string]func() hash.Hash{"5": md5.New, "6": sha1.New, "7": sha256.New}

const challengeBytes = 32

// challenge is what we asked the initiator.
type challenge struct {
	hash func() hash.Hash
	id   byte
	text []byte
}

// newChallenge chooses the hash from CHAP_A's list, and draws an identifier and a challenge.
func newChallenge(random io.Reader, list string) (c challenge, algorithm string, err error) {
	for algorithm = range strings.SplitSeq(list, ",") {
		if c.hash = chapHashes[algorithm]; c.hash == nil {
			continue
		}
		drawn := make([]byte, challengeBytes+1)
		if _, err := io.ReadFull(random, drawn); err != nil {
			return c, "", errs.New(errs.Internal, "draw a CHAP challenge: %w", err)
		}
		c.id, c.text = drawn[0], drawn[1:]
		return c, algorithm, nil
	}
	return c, "", errs.New(errs.Unauthenticated, "CHAP_A=%.40s: want 5, 6 or 7", list)
}

// answer is the response that proves the secret.
func (c challenge) answer(secret string) []byte {
	h := c.hash()
	h.Write([]byte{c.id})
	h.Write([]byte(secret))
	h.Write(c.text)
	return h.Sum(nil)
}

// proves says whether response is the one of who knows the secret. An empty secret proves nothing.
func (c challenge) proves(want CHAP, user string, response []byte) bool {
	if want.Secret == "" || want.User == "" || c.hash == nil {
		return false
	}
	same := subtle.ConstantTimeCompare([]byte(want.User), []byte(user))
	return same&subtle.ConstantTimeCompare(c.answer(want.Secret), response) == 1
}

// mutualChallenge reads what the initiator asks us.
func mutualChallenge(ours challenge, id, text string) (challenge, error) {
	n, ok := parseNumber(id, 0, 255)
	if !ok {
		return challenge{}, errs.New(errs.Invalid, "CHAP_I=%.40s: want 0 to 255", id)
	}
	asked, err := parseBinary(text)
	if err != nil || len(asked) == 0 || len(asked) > 1024 {
		return challenge{}, errs.New(errs.Invalid, "CHAP_C: want 1 to 1024 bytes in hexadecimal or base64")
	}
	if subtle.ConstantTimeCompare(asked, ours.text) == 1 {
		return challenge{}, errs.New(errs.Unauthenticated, "CHAP_C is the challenge that we sent: an answer is not reflected")
	}
	return challenge{hash: ours.hash, id: byte(n), text: asked}, nil
}

// parseBinary reads 0x... or 0b... (base64).
func parseBinary(text string) ([]byte, error) {
	switch {
	case strings.HasPrefix(text, "0x"), strings.HasPrefix(text, "0X"):
		digits := text[2:]
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		return hex.DecodeString(digits)
	case strings.HasPrefix(text, "0b"), strings.HasPrefix(text, "0B"):
		return base64.StdEncoding.DecodeString(text[2:])
	}
	return nil, errs.New(errs.Invalid, "binary value %.20q: want 0x or 0b", text)
}

func formatBinary(b []byte) string { return "0x" + hex.EncodeToString(b) }

func formatByte(b byte) string { return strconv.Itoa(int(b)) }
