package checksum

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/minio/crc64nvme"
)

// Algorithm is how a checksum is made.
type Algorithm uint8

// The algorithms. None is the zero value.
const (
	None Algorithm = iota
	CRC32
	CRC32C
	CRC64NVME
	SHA1
	SHA256
)

// Algorithms are all of them.
func Algorithms() []Algorithm { return []Algorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256} }

// String is the name in the API: "CRC32C".
func (a Algorithm) String() string {
	return [...]string{"", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"}[a]
}

// Header is the header that carries it, in lower case: "x-amz-checksum-crc32c".
func (a Algorithm) Header() string {
	return [...]string{"", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme", "x-amz-checksum-sha1", "x-amz-checksum-sha256"}[a]
}

// Element is the XML element that carries it: "ChecksumCRC32C".
func (a Algorithm) Element() string { return "Checksum" + a.String() }

// Size is how many bytes a checksum has.
func (a Algorithm) Size() int { return [...]int{0, 4, 4, 8, sha1.Size, sha256.Size}[a] }

// Linear tells whether checksums of parts combine into that of the whole (CRCs).
func (a Algorithm) Linear() bool { return a == CRC32 || a == CRC32C || a == CRC64NVME }

// New starts a checksum.
func (a Algorithm) New() hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case CRC64NVME:
		return crc64nvme.New()
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	}
	return nil
}

// ParseAlgorithm reads a name, in any case.
func ParseAlgorithm(name string) (Algorithm, bool) {
	for _, a := range Algorithms() {
		if strings.EqualFold(a.String(), name) {
			return a, true
		}
	}
	return None, false
}

// ByHeader finds the algorithm that a header carries; the name is in any case.
func ByHeader(header string) (Algorithm, bool) {
	for _, a := range Algorithms() {
		if strings.EqualFold(a.Header(), header) {
			return a, true
		}
	}
	return None, false
}

// Value is a checksum.
type Value struct {
	Algorithm Algorithm
	Sum       string // the bytes
	Parts     int    // 0: FULL_OBJECT; otherwise COMPOSITE of so many parts
}

// The types of the checksum of a multipart object.
const (
	FullObject = "FULL_OBJECT"
	Composite  = "COMPOSITE"
)

// Type is FullObject or Composite.
func (v Value) Type() string {
	if v.Parts > 0 {
		return Composite
	}
	return FullObject
}

// IsZero tells whether there is no checksum.
func (v Value) IsZero() bool { return v.Algorithm == None }

// Text is the value as headers and XML carry it: base64, and "-N" when composite.
func (v Value) Text() string {
	s := base64.StdEncoding.EncodeToString([]byte(v.Sum))
	if v.Parts > 0 {
		s += "-" + strconv.Itoa(v.Parts)
	}
	return s
}

// ParseText reads what Text writes. ok is false unless text is valid base64 of the right length, with nothing around it.
func ParseText(a Algorithm, text string) (v Value, ok bool) {
	b64, parts, composite := strings.Cut(text, "-")
	v.Algorithm = a
	if composite {
		n, err := strconv.Atoi(parts)
		if err != nil || n < 1 || n > 10_000 || strconv.Itoa(n) != parts {
			return Value{}, false
		}
		v.Parts = n
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil || len(sum) != a.Size() || strings.ContainsAny(b64, "\r\n") {
		return Value{}, false
	}
	v.Sum = string(sum)
	return v, true
}

// String is how a Value is stored: "CRC32C:" and Text.
func (v Value) String() string {
	if v.IsZero() {
		return ""
	}
	return v.Algorithm.String() + ":" + v.Text()
}

// Parse reads what String wrote; anything else is the zero Value, as no checksum is better than a wrong one.
func Parse(stored string) Value {
	name, text, _ := strings.Cut(stored, ":")
	a, ok := ParseAlgorithm(name)
	if !ok {
		return Value{}
	}
	v, _ := ParseText(a, text)
	return v
}
