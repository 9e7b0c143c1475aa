package core

import (
	"crypto/md5"
	"encoding/hex"
	"hash"
	"sync"
	"sync/atomic"

	md5simd "github.com/minio/md5-simd"
)

// lanesFrom is from how many streams at once the vector lanes are worth their goroutine; see BenchmarkMD5.
const lanesFrom = 4

// hashes makes MD5 sums: one after the other with the scalar code or, when many bodies come in at once, side by side in the lanes of the vector unit.
type hashes struct {
	streams atomic.Int64

	mu     sync.Mutex // guards the fields below
	server md5simd.Server
	closed bool
}

// sum is the MD5 of data, in hex.
func (h *hashes) sum(data []byte) string {
	s := md5.Sum(data)
	return hex.EncodeToString(s[:])
}

// stream begins the MD5 of a longer body. Close it.
func (h *hashes) stream() *digest {
	if h.streams.Add(1) >= lanesFrom {
		if lane := h.lane(); lane != nil {
			return &digest{Hash: lane, lane: lane, of: h}
		}
	}
	return &digest{Hash: md5.New(), of: h}
}

func (h *hashes) lane() md5simd.Hasher {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	if h.server == nil {
		h.server = md5simd.NewServer()
	}
	return h.server.NewHash()
}

func (h *hashes) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.server != nil {
		h.server.Close()
		h.server = nil
	}
}

// digest is one MD5 in the making.
type digest struct {
	hash.Hash
	lane md5simd.Hasher // nil: scalar
	of   *hashes
}

func (d *digest) hex() string { return hex.EncodeToString(d.Sum(nil)) }

// close may be called once.
func (d *digest) close() {
	d.of.streams.Add(-1)
	if d.lane != nil {
		d.lane.Close()
	}
}
