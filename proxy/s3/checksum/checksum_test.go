package checksum

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func sumOf(a Algorithm, b []byte) Value {
	h := a.New()
	h.Write(b)
	return Value{Algorithm: a, Sum: string(h.Sum(nil))}
}

func TestValue_KnownAnswers(t *testing.T) {
	// The check values of the CRC catalogue and of FIPS 180 for "123456789".
	want := map[Algorithm]string{
		CRC32: "y/Q5Jg==", CRC32C: "4waSgw==", CRC64NVME: "rosUhgp5mIg=",
		SHA1: "98O8HYCOBHMq32eZZczDTKeuNEE=", SHA256: "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
	}
	for _, a := range Algorithms() {
		if got := sumOf(a, []byte("123456789")).Text(); got != want[a] {
			t.Errorf("%s of 123456789 is %s, want %s", a, got, want[a])
		}
	}
}

func TestCombine_EqualsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]Algorithm{CRC32, CRC32C, CRC64NVME}).Draw(t, "algorithm")
		sizes := rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 8).Draw(t, "sizes")
		r := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))
		var whole []byte
		var parts []Part
		for _, n := range sizes {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			whole = append(whole, b...)
			parts = append(parts, Part{sumOf(a, b), int64(n)})
		}
		if got, want := Combine(a, parts), sumOf(a, whole); got != want {
			t.Fatalf("combined %s, of the whole %s", got, want)
		}
	})
}

func TestCompose_EndsInCount(t *testing.T) {
	v := Compose(SHA256, []Part{{Value: sumOf(SHA256, []byte("a"))}, {Value: sumOf(SHA256, []byte("b"))}})
	if v.Type() != Composite || v.Text()[len(v.Text())-2:] != "-2" {
		t.Fatalf("composite value is %s of type %s", v.Text(), v.Type())
	}
	if got := Parse(v.String()); got != v {
		t.Fatalf("stored and read again: %v, want %v", got, v)
	}
}

func TestParseText_RefusesMalformed(t *testing.T) {
	for _, text := range []string{"", "AAAA", "y/Q5Jg", "y/Q5Jg==\n", "y/Q5Jh==", "!!!!", "y/Q5Jg==-0", "y/Q5Jg==-x", "y/Q5Jg==-01", "y/Q5Jg==-99999", "AAAAAAAAAAA="} {
		if v, ok := ParseText(CRC32, text); ok {
			t.Errorf("%q is read as %s", text, v)
		}
	}
	if v := Parse("CRC99:AAAA"); !v.IsZero() {
		t.Errorf("an unknown algorithm is read as %s", v)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("CRC32:y/Q5Jg==")
	f.Add("SHA1:98O8HYCOBHMqWTZZygFmqb8G0E4=-12")
	f.Fuzz(func(t *testing.T, s string) {
		if v := Parse(s); !v.IsZero() && Parse(v.String()) != v {
			t.Fatalf("%q is read as %v, which is not read as itself", s, v)
		}
	})
}
