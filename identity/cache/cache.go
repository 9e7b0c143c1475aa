// Package cache remembers answers that were read from the replicated state, and forgets all of them when something changed.
//
// The rule that makes it safe: an answer is kept only if nothing was forgotten between the moment before it was read and the moment it is kept.
// So take Generation first, then read, then Put with it.
package cache

import (
	"sync"
	"sync/atomic"
)

// Cache is a bounded map of remembered answers. Safe for concurrent use. Until Trust(true) it keeps nothing.
type Cache[V any] struct {
	entriesMax int
	generation atomic.Uint64
	trusted    atomic.Bool

	mu      sync.RWMutex // guards entries
	entries map[string]V
}

// New makes an empty cache of at most entriesMax answers.
func New[V any](entriesMax int) *Cache[V] {
	return &Cache[V]{entriesMax: entriesMax, entries: map[string]V{}}
}

// Trust says whether somebody watches for changes and will call Clear. While nobody does, every Lookup misses.
func (c *Cache[V]) Trust(watched bool) {
	c.trusted.Store(watched)
	if !watched {
		c.Clear()
	}
}

// Lookup finds a remembered answer.
func (c *Cache[V]) Lookup(key string) (V, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.entries[key]
	return v, ok
}

// Generation counts the Clears. Take it before reading what Put is to remember.
func (c *Cache[V]) Generation() uint64 { return c.generation.Load() }

// Put remembers an answer that was read after Generation gave generation; it does nothing if there was a Clear since. When the cache is full, some other
// answer goes: which one does not matter, it is read again.
func (c *Cache[V]) Put(generation uint64, key string, v V) {
	if !c.trusted.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation.Load() != generation {
		return
	}
	if _, there := c.entries[key]; !there && len(c.entries) >= c.entriesMax {
		for old := range c.entries {
			delete(c.entries, old)
			break
		}
	}
	c.entries[key] = v
}

// Drop forgets one answer.
func (c *Cache[V]) Drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}

// Clear forgets everything, and what is being read at this moment too.
func (c *Cache[V]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation.Add(1)
	clear(c.entries)
}

// Len is how many answers are remembered.
func (c *Cache[V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}
