package api

import (
	"encoding/json"
	"slices"
	"sync"

	"henge/computed/model"
	"henge/computed/neighbour"
)

// fragmentsMax bounds how many encoded servers are remembered: two to four kilobytes each.
const fragmentsMax = 4096

// fragments are servers as they were last sent, encoded, for each form in which clients asked for them. One is sent again while all that it was made from is
// the same.
type fragments struct {
	mu      sync.RWMutex // guards entries
	entries map[fragmentKey]fragment
}

// fragmentKey is a server, and what of a request its document depends on.
type fragmentKey struct {
	id    string
	root  string // of this API, as the client reaches it, with the version
	micro int
	admin bool
}

// fragment is one server, and what it was made from: rows that are never modified, so that they are the same where the pointers are.
type fragment struct {
	server *model.Server
	ports  []*neighbour.Port
	host   hostFacts
	data   string
	raw    []byte
}

// hostFacts are what a server shows of its host.
type hostFacts struct {
	name, zone string
	up         bool
	disabled   bool
}

func (f *fragment) same(g *fragment) bool {
	return f.server == g.server && f.host == g.host && f.data == g.data && slices.Equal(f.ports, g.ports)
}

// encode gives the document of a server: the one that was sent before, if nothing has changed since.
func (f *fragments) encode(key fragmentKey, now fragment, build func() document) ([]byte, error) {
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
	now.raw = raw
	f.put(key, now)
	return raw, nil
}

func (f *fragments) put(key fragmentKey, now fragment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.entries == nil {
		f.entries = map[fragmentKey]fragment{}
	}
	if _, there := f.entries[key]; !there && len(f.entries) >= fragmentsMax {
		for other := range f.entries { // any other: it is made again
			delete(f.entries, other)
			break
		}
	}
	f.entries[key] = now
}

// encodeServers gives the documents of servers, each encoded.
func (c *call) encodeServers(servers []*model.Server, detailed bool) ([][]byte, error) {
	docs := make([][]byte, 0, len(servers))
	if !detailed {
		for _, s := range servers {
			raw, err := json.Marshal(c.shortServer(*s))
			if err != nil {
				return nil, err
			}
			docs = append(docs, raw)
		}
		return docs, nil
	}
	x, err := c.gather(servers)
	if err != nil {
		return nil, err
	}
	key := fragmentKey{root: c.PublicURL(c.r) + c.root, micro: c.micro, admin: c.admin()}
	for _, s := range servers {
		key.id = s.ID
		now := fragment{server: s, host: c.factsOf(x, s.Host), data: x.data[s.ID]}
		for _, n := range s.NICs {
			now.ports = append(now.ports, x.ports[n.PortID]) // nil for one that is gone
		}
		raw, err := c.fragments.encode(key, now, func() document { return c.fullServer(*s, x) })
		if err != nil {
			return nil, err
		}
		docs = append(docs, raw)
	}
	return docs, nil
}

func (c *call) factsOf(x shown, id string) hostFacts {
	h, ok := x.hosts[id]
	if !ok {
		return hostFacts{}
	}
	return hostFacts{h.Name, x.zones[id], c.up(h), h.Disabled}
}
