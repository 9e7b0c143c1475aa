package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

const signingKeysMax = 1024

// keyCache remembers signing keys: four HMACs saved on every request. Safe for concurrent use.
type keyCache struct {
	mu   sync.Mutex // guards keys
	keys map[string]signingKey
}

type signingKey struct {
	secret string // a key made of another secret is of no use
	key    []byte
}

func (c *keyCache) get(access, secret string, s scope) []byte {
	name := access + "/" + s.String()
	c.mu.Lock()
	k, ok := c.keys[name]
	c.mu.Unlock()
	if ok && hmac.Equal([]byte(k.secret), []byte(secret)) {
		return k.key
	}
	key := derive(secret, s)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || len(c.keys) >= signingKeysMax {
		c.keys = make(map[string]signingKey) // keys live for a day anyway
	}
	c.keys[name] = signingKey{secret, key}
	return key
}

func derive(secret string, s scope) []byte {
	k := mac([]byte("AWS4"+secret), s.date)
	k = mac(k, s.region)
	k = mac(k, s.service)
	return mac(k, "aws4_request")
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func sign(key []byte, text string) string { return hex.EncodeToString(mac(key, text)) }

func equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }

// Chain is the chain of signatures over an aws-chunked body: each signs its chunk and the signature before it. Not safe for concurrent use.
type Chain struct {
	key         []byte
	date, scope string
	previous    string
}

// emptyHash is the SHA-256 of nothing.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Chunk tells whether signature is that of the next chunk, whose bytes have the SHA-256 sum.
func (c *Chain) Chunk(signature string, sum [sha256.Size]byte) bool {
	return c.next(signature, "AWS4-HMAC-SHA256-PAYLOAD\n"+c.date+"\n"+c.scope+"\n"+c.previous+"\n"+emptyHash+"\n"+hex.EncodeToString(sum[:]))
}

// Trailer tells whether signature is that of the trailer, whose canonical lines have the SHA-256 sum.
func (c *Chain) Trailer(signature string, sum [sha256.Size]byte) bool {
	return c.next(signature, "AWS4-HMAC-SHA256-TRAILER\n"+c.date+"\n"+c.scope+"\n"+c.previous+"\n"+hex.EncodeToString(sum[:]))
}

func (c *Chain) next(signature, text string) bool {
	want := sign(c.key, text)
	c.previous = want
	return equal(want, signature)
}
