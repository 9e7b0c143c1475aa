package core_test

import (
	"strings"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
)

// A write reaches one primary; a reader completes it; another write replaces it; then the first one's other copies arrive, and are refused. It must not be made again.
func TestPut_CompletedByAReaderIsNotMadeTwice(t *testing.T) {
	m := newMemory(3)
	slow, quick := m.proxy(t, 1, clock.System{}), m.proxy(t, 2, clock.System{})
	mustMake(t, slow, "c")
	put(t, slow, "o", "old")

	arrived, release := make(chan string, 3), make(chan struct{})
	m.faults(func(c call) error {
		if c.method == "Commit" && c.key.Object == "o" {
			if c.peer != "a" {
				arrived <- c.peer
				<-release
			}
		}
		return nil
	}, func(c call) error {
		if c.method == "Commit" && c.key.Object == "o" && c.peer == "a" {
			arrived <- c.peer
		}
		return nil
	})
	first := make(chan error)
	go func() {
		_, err := slow.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader("first"), Size: 5})
		first <- err
	}()
	for range 3 {
		<-arrived
	}
	// The calls held back stay where they are; all later ones pass.
	m.faults(nil, nil)
	m.set("c", true) // so that the reader must decide with a and b
	wantBody(t, quick, "o", "first")
	m.set("c", false)
	put(t, quick, "o", "second")
	close(release)
	if err := <-first; err != nil && !errs.Is(err, errs.Unavailable) {
		t.Fatal(err)
	}
	wantBody(t, quick, "o", "second")
	wantBody(t, slow, "o", "second")
}

// Two plain writes through two proxies cross on their way: each primary takes them in another order. The first time, the one that was overtaken may have to say that it
// cannot tell; from then on the proxies ask before they write, and can.
func TestPut_CrossingWritesSucceed(t *testing.T) {
	m := newMemory(3)
	early, late := m.proxy(t, 1, clock.System{}), m.proxy(t, 2, clock.System{})
	mustMake(t, early, "c")
	put(t, early, "o", "old")
	cross := func() error {
		arrived, release := make(chan struct{}, 3), make(chan struct{})
		m.faults(func(c call) error {
			if c.method == "Commit" && c.key.Object == "o" && c.peer != "a" {
				arrived <- struct{}{}
				<-release
			}
			return nil
		}, func(c call) error {
			if c.method == "Commit" && c.key.Object == "o" && c.peer == "a" {
				arrived <- struct{}{}
			}
			return nil
		})
		first := make(chan error)
		go func() {
			_, err := early.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader("first"), Size: 5})
			first <- err
		}()
		for range 3 {
			<-arrived
		}
		m.faults(nil, nil)
		put(t, late, "o", "second")
		close(release)
		return <-first
	}
	if err := cross(); err != nil && !errs.Is(err, errs.Unavailable) {
		t.Fatal(err)
	}
	for range 3 {
		if err := cross(); err != nil {
			t.Fatalf("the write that was overtaken: %v", err)
		}
		wantBody(t, late, "o", "second")
		wantBody(t, early, "o", "second")
	}
}
