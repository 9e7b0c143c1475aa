// Package fragments keeps servers as they were last sent, encoded, for each form in which clients asked for them. One is sent again while all that it was made from
// is the same.
package fragments

import (
	"encoding/json"
	"slices"
	"sync"

	"henge/computed/model"
	"henge/computed/neighbour"
)

// bytesMax is the longest document that is remembered: user data and metadata can make one much longer than most are.
const bytesMax = 16 << 10

// entriesMax bounds how many encoded servers are remembered: two to four kilobytes each.
const entriesMax = 4096

// Cache is safe for concurrent use. Its zero value is empty.
type Cache struct {
	mu      sync.RWMutex // guards entries
	entries map[Key]Fragment
}

// Key is a server, and what of a request its document depends on.
type Key struct {
	ID    string
	Root  string // of the API, as the client reaches it, with the version
	Micro int
	Admin bool
}

// Fragment is what a document is made from: rows that are never modified, so that they are the same where the pointers are.
type Fragment struct {
	Server *model.Server
	Ports  []*neighbour.Port
	Host   Host
	Data   string // user data
	raw    []byte
}

// Host is what a server shows of its host.
type Host struct {
	Name, Zone string
	Up         bool
	Disabled   bool
}

func (f *Fragment) same(g *Fragment) bool {
	return f.Server == g.Server && f.Host == g.Host && f.Data == g.Data && slices.Equal(f.Ports, g.Ports)
}

// Encode gives the document of a server: the one that was sent before, if nothing has changed since.
func (f *Cache) Encode(key Key, now Fragment, build func() any) ([]byte, error) {
	f.mu.RLock()
	old, there := f.entries[key]
	f.mu.RUnlock()
	if there && old.same(&now) {
		return old.raw, nil
	}
	raw, err := json.Marshal(build())
	if err != nil {
		return nil, err
	}
	if len(raw) <= bytesMax {
		now.raw = raw
		f.put(key, now)
	}
	return raw, nil
}

func (f *Cache) put(key Key, now Fragment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.entries == nil {
		f.entries = map[Key]Fragment{}
	}
	if _, there := f.entries[key]; !there && len(f.entries) >= entriesMax {
		for other := range f.entries { // any other: it is made again
			delete(f.entries, other)
			break
		}
	}
	f.entries[key] = now
}
