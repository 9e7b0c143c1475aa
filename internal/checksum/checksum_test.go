package checksum_test

import (
	"testing"

	"henge/internal/checksum"
)

func TestOf(t *testing.T) {
	// RFC 3720, B.4: 32 bytes of zeros; and the check value of the CRC catalogue.
	if got := checksum.Of(make([]byte, 32)); got != 0x8a9136aa {
		t.Errorf("zeros: %08x", got)
	}
	if got := checksum.Of([]byte("123456789")); got != 0xe3069283 {
		t.Errorf("123456789: %08x", got)
	}
	if got := checksum.Update(checksum.Of([]byte("1234")), []byte("56789")); got != 0xe3069283 {
		t.Errorf("in two parts: %08x", got)
	}
}
