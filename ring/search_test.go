package ring

import (
	"fmt"
	"strings"
	"testing"

	"henge/internal/errs"
)

func TestSearch(t *testing.T) {
	b, err := NewBuilder(Config{Power: 4, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []Device{
		{Region: 1, Zone: 1, Peer: "alpha", Address: "10.0.0.1:7480", Name: "d1", Weight: 100, Meta: "ssd shelf 3"},
		{Region: 1, Zone: 2, Peer: "beta-2", Address: "10.0.0.2:7480", Name: "d1", Weight: 100},
		{Region: 2, Zone: 1, Peer: "gamma", Address: "[fd00::3]:7480", Name: "d1", Weight: 50},
		{Region: 2, Zone: 1, Peer: "gamma", Address: "[fd00::3]:7480", Name: "d2", Weight: 0, Meta: "ssd"},
	} {
		if _, err := b.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"d2": "2", "d9": "", "r1": "0 1", "r2z1": "2 3", "z1": "0 2 3", "d0r1z1-alpha/d1_ssd": "0", "d0r2": "",
		"-gamma": "2 3", "-beta-2": "1", "-10.0.0.2": "1", "-10.0.0.2:7480": "1", "-10.0.0.2:1": "", "-fd00::3": "2 3", "/d1": "0 1 2", "z1/d2": "3", "_ssd": "0 3", "_shelf 3": "0", "-gamma_ssd": "3",
	} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Error(err)
			continue
		}
		var got []string
		for _, d := range b.Search(q) {
			got = append(got, fmt.Sprint(d.ID))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: found %v, want %s", query, got, want)
		}
	}
	for _, bad := range []string{"", "x", "d", "dx", "r1d2", "z1r1", "r", "-", "/", "_", "-/d1", "r1 ", "d99999999999999999999"} {
		if q, err := ParseQuery(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %+v %v", bad, q, err)
		}
	}
}

func TestParseDevice(t *testing.T) {
	for s, want := range map[string]Device{
		"r2z3-peer-1/d4_a b/c_d": {Region: 2, Zone: 3, Peer: "peer-1", Name: "d4", Meta: "a b/c_d"},
		"z0-10.0.0.1:7480/sdb":   {Region: 1, Zone: 0, Peer: "10.0.0.1:7480", Name: "sdb"},
	} {
		if got, err := ParseDevice(s); err != nil || got != want {
			t.Errorf("%s: %+v %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "r1-p/d", "r1z1", "r1z1-p", "r1z1/d", "d1r1z1-p/d", "z1-p/"} {
		if d, err := ParseDevice(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %+v %v", bad, d, err)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"d1r2z3-peer/d1_meta", "r1", "-a_b", "/x_", "z1-10.0.0.1:80/sdb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuery(s)
		if (err == nil) == q.Empty() {
			t.Fatalf("%q: %+v, %v", s, q, err)
		}
		if d, err := ParseDevice(s); err == nil && (d.Name == "" || d.Peer == "" || !q.Match(&d)) {
			t.Fatalf("%q: %+v does not match itself", s, d)
		}
	})
}
