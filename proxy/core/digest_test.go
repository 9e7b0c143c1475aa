package core

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
)

func TestDigest_LanesAgreeWithTheScalarCode(t *testing.T) {
	var h hashes
	defer h.close()
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			data := bytes.Repeat([]byte{byte(i), 1, 2}, 100_000+i*777)
			want := md5.Sum(data)
			d := h.stream()
			defer d.close()
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 60_000+i)
				d.Write(rest[:n])
				rest = rest[n:]
			}
			if d.hex() != hex.EncodeToString(want[:]) {
				t.Errorf("stream %d has another sum", i)
			}
		})
	}
	all.Wait()
}

// BenchmarkMD5 compares the scalar code with the vector lanes, for some streams at once: what is there to gain, and from how many on.
func BenchmarkMD5(b *testing.B) {
	chunk := make([]byte, 256<<10)
	for _, streams := range []int{1, 2, 4, 8, 16} {
		for _, lanes := range []bool{false, true} {
			b.Run(fmt.Sprintf("streams=%d/lanes=%v", streams, lanes), func(b *testing.B) {
				var h hashes
				defer h.close()
				b.SetBytes(int64(len(chunk) * streams))
				var all sync.WaitGroup
				for range streams {
					all.Go(func() {
						d := &digest{Hash: md5.New(), of: &h}
						h.streams.Add(1)
						if lanes {
							d.lane = h.lane()
							d.Hash = d.lane
						}
						defer d.close()
						for range b.N {
							d.Write(chunk)
						}
						d.hex()
					})
				}
				all.Wait()
			})
		}
	}
}
