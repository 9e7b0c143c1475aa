package ring

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	"henge/internal/errs"
)

func encode(t testing.TB, b *Builder) (ringFile, builderFile []byte) {
	t.Helper()
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	var rb, bb bytes.Buffer
	if n, err := r.WriteTo(&rb); err != nil || n != int64(rb.Len()) {
		t.Fatal(n, err)
	}
	if n, err := b.WriteTo(&bb); err != nil || n != int64(bb.Len()) {
		t.Fatal(n, err)
	}
	return rb.Bytes(), bb.Bytes()
}

func TestRingFile_RoundTrip(t *testing.T) {
	b := cluster(t, 8, 2.5, 2, 2, 2, 2)
	mustRebalance(t, b, day)
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := encode(t, b)
	back, err := ReadRing(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if back.Digest() != r.Digest() || back.Replicas() != 2.5 || back.Version() != r.Version() || !reflect.DeepEqual(back, r) {
		t.Fatalf("read %+v", back)
	}
	if IsBuilder(raw) {
		t.Fatal("a ring is taken for a builder")
	}
}

func TestRingFile_FourBytesAboveSixtyFiveThousandDevices(t *testing.T) {
	b, err := NewBuilder(Config{Power: 8, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	// Numbers are never used again: many devices came and went. Add is not made for so many at once.
	b.devices = make([]*Device, noDevice16)
	for i := noDevice16 - 3; i < noDevice16; i++ {
		b.devices[i] = &Device{ID: i, Peer: fmt.Sprint("p", i), Name: "d", Weight: 1}
	}
	for _, width := range []int{2, 4} {
		if width == 4 {
			if _, err := b.Add(Device{Peer: "last", Name: "d", Weight: 1}); err != nil {
				t.Fatal(err)
			}
		}
		b.PretendMinPartHoursPassed()
		mustRebalance(t, b, day)
		r, err := b.Ring()
		if err != nil {
			t.Fatal(err)
		}
		if (r.wide != nil) != (width == 4) {
			t.Fatalf("%d devices: wide is %t", len(b.devices), r.wide != nil)
		}
		raw, _ := encode(t, b)
		back, err := ReadRing(bytes.NewReader(raw))
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%d devices: %v", len(b.devices), err)
		}
		for p := range r.Partitions() {
			if n := len(r.Primaries(Partition(p), nil)); n != 3 {
				t.Fatalf("%d devices: partition %d has %d", len(b.devices), p, n)
			}
		}
	}
}

func TestFiles_EveryDamageIsNoticed(t *testing.T) {
	b := cluster(t, 4, 3, 1, 3, 1, 1)
	mustRebalance(t, b, day)
	if err := b.Remove(0); err != nil {
		t.Fatal(err)
	}
	ringFile, builderFile := encode(t, b)
	if back, err := ReadBuilder(bytes.NewReader(builderFile)); err != nil || !reflect.DeepEqual(back.Clone(), b.Clone()) {
		t.Fatalf("%v\n%+v\n%+v", err, back, b)
	}
	for name, c := range map[string]struct {
		raw  []byte
		read func([]byte) error
	}{
		"ring":    {ringFile, func(b []byte) error { _, err := ReadRing(bytes.NewReader(b)); return err }},
		"builder": {builderFile, func(b []byte) error { _, err := ReadBuilder(bytes.NewReader(b)); return err }},
	} {
		if err := c.read(c.raw); err != nil {
			t.Fatal(name, err)
		}
		for cut := range c.raw {
			if err := c.read(c.raw[:cut]); !errs.Is(err, errs.Corrupt) {
				t.Fatalf("%s cut at %d: %v", name, cut, err)
			}
		}
		for i := range c.raw {
			bad := bytes.Clone(c.raw)
			bad[i] ^= 0x10
			want := errs.Corrupt
			if i == len(ringMagic) {
				want = errs.Unsupported
			}
			if err := c.read(bad); !errs.Is(err, want) {
				// Deflate has bits that mean nothing (padding); what comes out is checked, and may be whole.
				if err == nil && i >= len(c.raw)-8 {
					continue
				}
				t.Fatalf("%s byte %d: %v", name, i, err)
			}
		}
	}
	if _, err := ReadRing(bytes.NewReader(builderFile)); !errs.Is(err, errs.Corrupt) {
		t.Fatal(err)
	}
}

func FuzzReadRing(f *testing.F) {
	b := cluster(f, 3, 2.5, 1, 3, 1, 1)
	mustRebalance(f, b, day)
	raw, _ := encode(f, b)
	f.Add(raw)
	f.Add(frame(ringMagic, []byte{24, 2, 4, 0, 0, 0, 0}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ReadRing(bytes.NewReader(raw))
		checkBounded(t, raw)
		if err != nil {
			return
		}
		for p := range min(r.Partitions(), 64) {
			for range r.Handoffs(Partition(p)) {
			}
			r.Primaries(Partition(p), nil)
		}
	})
}

// FuzzReadRingBody gives the decoder bodies with a good checksum.
func FuzzReadRingBody(f *testing.F) {
	b := cluster(f, 3, 2.5, 1, 3, 1, 1)
	mustRebalance(f, b, day)
	r, err := b.Ring()
	if err != nil {
		f.Fatal(err)
	}
	var rb, bb bytes.Buffer
	r.encodeBody(&rb)
	b.encodeBody(&bb)
	f.Add(rb.Bytes(), bb.Bytes())
	f.Fuzz(func(t *testing.T, ringBody, builderBody []byte) {
		if r, err := ReadRing(bytes.NewReader(frame(ringMagic, ringBody))); err == nil {
			for p := range min(r.Partitions(), 64) {
				for range r.Handoffs(Partition(p)) {
				}
			}
			var again bytes.Buffer
			if _, err := r.WriteTo(&again); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := ReadBuilder(bytes.NewReader(frame(builderMagic, builderBody))); err == nil {
			b.Validate()
			b.Dispersion()
			b.Balance()
			if b.Power() > 8 {
				return // sound, but slow to lay out
			}
			if _, err := b.Rebalance(day, 1); err == nil {
				if _, err := b.Ring(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func FuzzReadBuilder(f *testing.F) {
	b := cluster(f, 3, 2.5, 1, 3, 1, 1)
	mustRebalance(f, b, day)
	_, raw := encode(f, b)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = ReadBuilder(bytes.NewReader(raw))
		checkBounded(t, raw)
	})
}

// frame wraps a body as the files do, but in one stored block of deflate, which is quick.
func frame(magic string, body []byte) []byte {
	sum := sha256.Sum256(body)
	body = append(bytes.Clone(body), sum[:]...)
	out := append([]byte(magic), formatV1)
	for len(body) > 0 {
		n := min(len(body), 65535)
		final := byte(0)
		if n == len(body) {
			final = 1
		}
		out = append(out, final, byte(n), byte(n>>8), byte(^n), byte(^n>>8))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	return out
}

// checkBounded: deflate yields at most about a thousand bytes for one, and entries grow in doubling steps.
func checkBounded(t *testing.T, raw []byte) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if limit := uint64(256<<20 + 8*1100*len(raw)); m.HeapAlloc > limit {
		t.Fatalf("%d bytes of heap after %d bytes of file", m.HeapAlloc, len(raw))
	}
}

func TestFiles_AnEmptyPromiseCostsNothing(t *testing.T) {
	// 2^24 partitions of 4 replicas are promised, and nothing follows.
	raw := frame(ringMagic, []byte{24, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, '[', ']'})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadRing(bytes.NewReader(raw))
	runtime.ReadMemStats(&after)
	if !errs.Is(err, errs.Corrupt) {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Fatalf("%d bytes allocated", n)
	}
}

func TestBuilderOf_GivesTheRingBack(t *testing.T) {
	b := cluster(t, 6, 2.5, 1, 3, 1, 2)
	mustRebalance(t, b, day)
	if err := b.Remove(2); err != nil {
		t.Fatal(err)
	}
	mustRebalance(t, b, day)
	r, err := b.Ring()
	if err != nil {
		t.Fatal(err)
	}
	again, err := BuilderOf(r, 3, day)
	if err != nil {
		t.Fatal(err)
	}
	back, err := again.Ring()
	if err != nil || back.Digest() != r.Digest() || again.MinPartHours() != 3 || again.Wait(day) != 3*time.Hour || len(again.Validate()) != 0 || again.Changed() {
		t.Fatalf("%+v %v", again, err)
	}
	if c := mustRebalance(t, again, day.Add(4*time.Hour)); c.Moved+c.Placed+c.Dropped != 0 {
		t.Fatalf("%+v", c)
	}
}
