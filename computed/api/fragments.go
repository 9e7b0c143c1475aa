package api

import (
	"encoding/json"

	"henge/computed/fragments"
	"henge/computed/model"
)

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
	key := fragments.Key{Root: c.PublicURL(c.r) + c.root, Micro: c.micro, Admin: c.admin()}
	for _, s := range servers {
		key.ID = s.ID
		now := fragments.Fragment{Server: s, Host: c.factsOf(x, s.Host), Data: x.data[s.ID]}
		for _, n := range s.NICs {
			now.Ports = append(now.Ports, x.ports[n.PortID]) // nil for one that is gone
		}
		raw, err := c.fragments.Encode(key, now, func() any { return c.fullServer(*s, x) })
		if err != nil {
			return nil, err
		}
		docs = append(docs, raw)
	}
	return docs, nil
}

func (c *call) factsOf(x shown, id string) fragments.Host {
	h, ok := x.hosts[id]
	if !ok {
		return fragments.Host{}
	}
	return fragments.Host{Name: h.Name, Zone: x.zones[id], Up: c.up(h), Disabled: h.Disabled}
}
