package fragments

import (
	"strconv"
	"strings"
	"testing"

	"henge/computed/model"
	"henge/computed/neighbour"
)

func TestCache_EncodesAgainWhenSomethingIsAnother(t *testing.T) {
	var c Cache
	made := 0
	encode := func(key Key, f Fragment, text string) string {
		t.Helper()
		raw, err := c.Encode(key, f, func() any { made++; return text })
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	one, other := &model.Server{ID: "a"}, &model.Server{ID: "a"}
	port := &neighbour.Port{ID: "p"}
	for i, f := range []Fragment{
		{Server: one}, {Server: other}, {Server: other, Ports: []*neighbour.Port{port}}, {Server: other, Ports: []*neighbour.Port{{ID: "p"}}},
		{Server: other, Host: Host{Name: "h"}}, {Server: other, Host: Host{Name: "h", Up: true}}, {Server: other, Data: "x"},
	} {
		for range 2 {
			if got := encode(Key{ID: "a"}, f, strconv.Itoa(i)); got != strconv.Quote(strconv.Itoa(i)) || made != i+1 {
				t.Fatalf("%d: %s, made %d times", i, got, made)
			}
		}
	}
	if encode(Key{ID: "a", Admin: true}, Fragment{Server: one}, "admin") != `"admin"` {
		t.Error("another form of the document is the same")
	}
}

func TestCache_Bounded(t *testing.T) {
	var c Cache
	long := strings.Repeat("x", bytesMax)
	for i := range entriesMax + 10 {
		key, f := Key{ID: strconv.Itoa(i)}, Fragment{Server: &model.Server{}}
		text := "short"
		if i%2 == 1 {
			text = long
		}
		if _, err := c.Encode(key, f, func() any { return text }); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.entries); n != entriesMax/2+5 {
		t.Errorf("%d remembered: the long ones too", n)
	}
	for i := range 2 * entriesMax {
		if _, err := c.Encode(Key{Root: strconv.Itoa(i)}, Fragment{}, func() any { return 1 }); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.entries); n != entriesMax {
		t.Errorf("%d remembered, at most %d may be", n, entriesMax)
	}
}
