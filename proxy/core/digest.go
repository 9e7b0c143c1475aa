package core

import (
	"crypto/md5"
	"encoding/hex"
	"hash"
)

// hashes makes MD5 sums.
type hashes struct{}

// sum is the MD5 of data, in hex.
func (h *hashes) sum(data []byte) string {
	s := md5.Sum(data)
	return hex.EncodeToString(s[:])
}

// stream begins the MD5 of a longer body.
func (h *hashes) stream() *digest { return &digest{Hash: md5.New()} }

func (h *hashes) close() {}

// digest is one MD5 in the making.
type digest struct{ hash.Hash }

func (d *digest) hex() string { return hex.EncodeToString(d.Sum(nil)) }

func (d *digest) close() {}
