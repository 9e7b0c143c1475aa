package erasure

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"henge/internal/errs"
)

func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n)})
	b := make([]byte, n)
	_, _ = r.Read(b) // never fails
	return b
}

// fragments cuts an object as a writer does.
func fragments(t testing.TB, l Layout, object []byte) [][]byte {
	t.Helper()
	c, err := For(l.Shape)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, l.Total())
	buf := make([]byte, c.Room(l.Segment))
	for len(object) > 0 {
		n := copy(buf[:l.Segment], object)
		object = object[n:]
		shards, err := c.Encode(buf, n)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range shards {
			out[i] = append(out[i], s...)
		}
	}
	return out
}

func TestLayout_AnyKFragmentsGiveTheObject(t *testing.T) {
	for _, shape := range []Shape{{1, 1}, {2, 1}, {4, 2}, {5, 3}, {10, 4}} {
		for _, size := range []int{0, 1, 3, 99, 100, 101, 1000, 1234} {
			l := Layout{Shape: shape, Segment: 100, Size: int64(size)}
			object := noise(size)
			all := fragments(t, l, object)
			for i, f := range all {
				if int64(len(f)) != l.FragmentLen() {
					t.Fatalf("%s, %d bytes: fragment %d has %d bytes, want %d", shape, size, i, len(f), l.FragmentLen())
				}
			}
			for range 5 {
				keep := rand.Perm(shape.Total())[:shape.Data]
				if got := join(t, l, all, keep); !bytes.Equal(got, object) {
					t.Fatalf("%s, %d bytes: fragments %v give another object", shape, size, keep)
				}
			}
		}
	}
}

func join(t *testing.T, l Layout, all [][]byte, keep []int) []byte {
	t.Helper()
	c, err := For(l.Shape)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for n := range l.Segments() {
		shards := make([][]byte, l.Total())
		for _, i := range keep {
			shards[i] = all[i][l.ShardOffset(n):][:l.ShardLen(n)]
		}
		if err := c.Join(shards); err != nil {
			t.Fatal(err)
		}
		var segment []byte
		for _, s := range shards[:l.Data] {
			segment = append(segment, s...)
		}
		out = append(out, segment[:l.SegmentLen(n)]...)
	}
	return out
}

func TestRebuilder_EachFragment(t *testing.T) {
	l := Layout{Shape: Shape{4, 2}, Segment: 1000, Size: 12345}
	all := fragments(t, l, noise(12345))
	for lost := range all {
		sources := map[int]io.Reader{}
		for _, i := range rand.Perm(6) {
			if i != lost && len(sources) < 4 {
				sources[i] = bytes.NewReader(all[i])
			}
		}
		r, err := NewRebuilder(l, lost, sources)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, all[lost]) {
			t.Fatalf("fragment %d is not what it was: %v", lost, err)
		}
	}
}

func TestRebuilder_AShortSourceIsAnError(t *testing.T) {
	l := Layout{Shape: Shape{2, 1}, Segment: 100, Size: 1000}
	all := fragments(t, l, noise(1000))
	r, err := NewRebuilder(l, 0, map[int]io.Reader{1: bytes.NewReader(all[1]), 2: bytes.NewReader(all[2][:77])})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil {
		t.Fatal("no error")
	}
	r, err = NewRebuilder(l, 0, map[int]io.Reader{1: bytes.NewReader(all[1])})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("one source of two: %v", err)
	}
}

func TestParseShape(t *testing.T) {
	if s, err := ParseShape("4+2"); err != nil || s != (Shape{4, 2}) || s.Quorum() != 5 {
		t.Fatal(s, err)
	}
	for _, bad := range []string{"", "4", "4+", "+2", "4+2x", "04+2", "0+1", "3+0", "-1+2", "30+3", "4 + 2"} {
		if _, err := ParseShape(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, shape := range []Shape{{2, 1}, {4, 2}, {8, 3}, {10, 4}} {
		b.Run(fmt.Sprint(shape), func(b *testing.B) {
			c, err := For(shape)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, c.Room(SegmentBytes))
			copy(buf, noise(SegmentBytes))
			b.SetBytes(SegmentBytes)
			for b.Loop() {
				if _, err := c.Encode(buf, SegmentBytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode is the worst case: as many data fragments are missing as may be.
func BenchmarkDecode(b *testing.B) {
	for _, shape := range []Shape{{2, 1}, {4, 2}, {8, 3}, {10, 4}} {
		b.Run(fmt.Sprint(shape), func(b *testing.B) {
			c, err := For(shape)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, c.Room(SegmentBytes))
			copy(buf, noise(SegmentBytes))
			all, err := c.Encode(buf, SegmentBytes)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(SegmentBytes)
			for b.Loop() {
				shards := append([][]byte(nil), all...)
				for i := range shape.Parity {
					shards[i] = shards[i][:0]
				}
				if err := c.Join(shards); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
