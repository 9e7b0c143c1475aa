package gossip

import (
	"reflect"
	"strings"
	"testing"

	"henge/internal/errs"
)

func sample() *Meta {
	return &Meta{Region: "1", Zone: "rack-7", Roles: []string{"proxy", "storage", "identity", "volume", "image", "network", "compute", "scheduler", "dashboard"},
		RPC: "10.0.0.7:7480", Services: map[string]string{"identity": "10.0.0.7:5000", "object": "10.0.0.7:8080", "metrics": "10.0.0.7:9100", "elsewhere": "10.9.9.9:1"},
		Capacity: Capacity{Devices: 36, BytesTotal: 1 << 59, BytesUsed: 1 << 58}, Rings: map[string]uint64{"account": 12, "container": 1 << 40, "object": 9, "object-1": 3}}
}

func TestMeta_RoundTrip(t *testing.T) {
	raw, err := sample().encode("10.0.0.7")
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > metaBytesMax*2/3 {
		t.Errorf("a usual peer's meta takes %d bytes of %d", len(raw), metaBytesMax)
	}
	back, err := decodeMeta(raw, "10.0.0.7")
	if err != nil || !reflect.DeepEqual(back, sample()) {
		t.Fatalf("got %+v, %v", back, err)
	}
	for n := range raw {
		if _, err := decodeMeta(raw[:n], "10.0.0.7"); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(raw), err)
		}
	}
	if _, err := decodeMeta(append(raw, "of a later version"...), "10.0.0.7"); err != nil {
		t.Fatalf("a longer meta: %v", err)
	}
}

func TestMeta_TooLarge(t *testing.T) {
	m := sample()
	m.Zone = strings.Repeat("z", metaBytesMax)
	if _, err := m.encode("10.0.0.7"); !errs.Is(err, errs.TooLarge) {
		t.Fatalf("got %v", err)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	raw, err := sample().encode("10.0.0.7")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decodeMeta(raw, "h")
		if err != nil {
			return
		}
		if again, err := m.encode("h"); err == nil {
			if _, err := decodeMeta(again, "h"); err != nil {
				t.Fatalf("%x became %x, which cannot be read: %v", raw, again, err)
			}
		}
	})
}
