package cache

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCache(t *testing.T) {
	c := New[int](3)
	c.Put(c.Generation(), "a", 1)
	if _, ok := c.Lookup("a"); ok {
		t.Fatal("kept though nobody watches")
	}
	c.Trust(true)
	before := c.Generation()
	c.Put(before, "a", 1)
	if v, ok := c.Lookup("a"); !ok || v != 1 {
		t.Fatalf("a is %d, %v", v, ok)
	}
	c.Clear()
	c.Put(before, "a", 1)
	if _, ok := c.Lookup("a"); ok {
		t.Fatal("kept what was read before the change")
	}
	for i := range 100 {
		c.Put(c.Generation(), fmt.Sprint(i), i)
	}
	if c.Len() != 3 {
		t.Fatalf("%d entries", c.Len())
	}
	c.Put(c.Generation(), "b", 2)
	if c.Drop("b"); c.Len() != 2 {
		t.Fatalf("%d entries after a drop", c.Len())
	}
	if c.Trust(false); c.Len() != 0 {
		t.Fatal("something is left though nobody watches any more")
	}
}

// TestCache_NeverStale: once a change was announced, no reader finds what was true before it.
func TestCache_NeverStale(t *testing.T) {
	c := New[int64](10)
	c.Trust(true)
	var truth, announced atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := announced.Load()
				if v, ok := c.Lookup("k"); ok && v < least {
					t.Errorf("found %d after %d was announced", v, least)
					return
				}
				generation := c.Generation()
				c.Put(generation, "k", truth.Load())
			}
		})
	}
	for i := range int64(5000) {
		truth.Store(i)
		c.Clear()
		announced.Store(i)
	}
	close(stop)
	readers.Wait()
}
