package clock

import (
	"testing"
	"time"
)

func TestHybrid_NeverRepeatsNorGoesBack(t *testing.T) {
	wall := NewManual(time.Unix(1_700_000_000, 123456789))
	a, b := NewHybrid(wall, 1), NewHybrid(wall, 2)
	seen := map[Timestamp]bool{}
	var last Timestamp
	for range 1000 {
		x, y := a.Next(), b.Next()
		if seen[x] || seen[y] || x == y {
			t.Fatal("a timestamp came twice")
		}
		seen[x], seen[y] = true, true
		if x <= last {
			t.Fatalf("%d after %d", x, last)
		}
		last = x
	}
	wall.Advance(-time.Hour)
	if a.Next() <= last {
		t.Fatal("a clock set back made the timestamps go back")
	}
}

func TestHybrid_Observe(t *testing.T) {
	wall := NewManual(time.Unix(1_700_000_000, 0))
	h := NewHybrid(wall, 7)
	ahead := FromTime(wall.Now().Add(time.Minute))
	if !h.Observe(ahead) || h.Next() <= ahead {
		t.Fatal("a timestamp observed must be left behind")
	}
	if h.Observe(FromTime(wall.Now().Add(SkewMax + time.Second))) {
		t.Fatal("a timestamp far ahead must be refused")
	}
}

func TestTimestamp_Forms(t *testing.T) {
	ts := FromTime(time.Unix(1_700_000_000, 123_456_789))
	if got := ts.Swift(); got != "1700000000.12345" {
		t.Fatalf("Swift form %q", got)
	}
	back, err := Parse(ts.String())
	if err != nil || back != ts {
		t.Fatalf("parsed %v, %v", back, err)
	}
	if _, err := Parse("-1"); err == nil {
		t.Fatal("a negative timestamp was taken")
	}
}

func TestShifted_MovesAtOnce(t *testing.T) {
	wall := NewManual(time.Unix(1_700_000_000, 0))
	c := NewShifted(wall)
	if !c.Now().Equal(wall.Now()) {
		t.Fatal("moved before anybody asked for it")
	}
	c.Set(-2 * time.Hour)
	if got := wall.Now().Sub(c.Now()); got != 2*time.Hour {
		t.Fatalf("it is behind by %v", got)
	}
}
