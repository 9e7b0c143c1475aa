package checksum

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/minio/crc64nvme"
)

// Part is a part's checksum and how many bytes it covers.
type Part struct {
	Value Value
	Size  int64
}

// Compose makes the COMPOSITE checksum of parts, which must all be of algorithm a.
func Compose(a Algorithm, parts []Part) Value {
	h := a.New()
	for _, p := range parts {
		h.Write([]byte(p.Value.Sum))
	}
	return Value{Algorithm: a, Sum: string(h.Sum(nil)), Parts: len(parts)}
}

// Combine makes the FULL_OBJECT checksum of parts, which must all be of the linear algorithm a, from their checksums alone.
func Combine(a Algorithm, parts []Part) Value {
	f := fieldOf(a)
	var crc uint64
	for _, p := range parts {
		crc = f.multiply(f.power(p.Size), crc) ^ number(p.Value.Sum)
	}
	return Value{Algorithm: a, Sum: f.bytes(crc)}
}

// field is the arithmetic of polynomials over GF(2) modulo a CRC's own, written as the CRC writes them: the highest bit is x^0.
//
// A CRC whose register starts and ends inverted obeys crc(A+B) = crc(A)·x^(8·len(B)) xor crc(B): the inversions cancel out.
type field struct {
	bits       int
	polynomial uint64
}

func fieldOf(a Algorithm) field {
	switch a {
	case CRC32:
		return field{32, crc32.IEEE}
	case CRC32C:
		return field{32, crc32.Castagnoli}
	}
	return field{64, crc64nvme.NVME}
}

func (f field) multiply(a, b uint64) (product uint64) {
	for m := uint64(1) << (f.bits - 1); m != 0; m >>= 1 {
		if a&m != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ f.polynomial
		} else {
			b >>= 1
		}
	}
	return product
}

// power is x^(8·n).
func (f field) power(n int64) uint64 {
	result := uint64(1) << (f.bits - 1)
	square := uint64(1) << (f.bits - 1 - 8) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			result = f.multiply(result, square)
		}
		square = f.multiply(square, square)
	}
	return result
}

func (f field) bytes(crc uint64) string {
	if f.bits == 32 {
		return string(binary.BigEndian.AppendUint32(nil, uint32(crc)))
	}
	return string(binary.BigEndian.AppendUint64(nil, crc))
}

func number(sum string) uint64 {
	var n uint64
	for i := range len(sum) {
		n = n<<8 | uint64(sum[i])
	}
	return n
}
