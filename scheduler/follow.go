package scheduler

import (
	"context"
	"slices"
	"strings"
	"sync"

	"henge/cluster/state"
	"henge/scheduler/placement"
)

// view is what Run has heard of the hosts: a list to choose from without reading every row. It may be a moment behind; what is chosen from it is checked in the transaction.
type view struct {
	mu        sync.Mutex // guards the fields below
	hosts     map[string][]byte
	providers map[string][]byte
	hostOf    map[string]string // by provider
	place     map[string]int    // in list, by host
	list      []*HostState      // never changed in place: made anew
	heard     map[string]bool   // the prefixes of which something was heard
}

func newView() *view {
	return &view{hosts: map[string][]byte{}, providers: map[string][]byte{}, hostOf: map[string]string{}, place: map[string]int{}, heard: map[string]bool{}}
}

// Run follows what hosts report and what is claimed of them, until ctx ends. Without it Place works as well, and reads every host's rows each time.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, prefix := range []string{Hosts.Prefix(), placement.Providers.Prefix()} {
		wg.Go(func() {
			for event, err := range s.cfg.Store.Watch(ctx, prefix, 0) {
				if err == nil {
					err = s.view.take(prefix, event)
				}
				if err != nil {
					s.cfg.Logger.WarnContext(ctx, "follow the hosts", "error", err)
					s.view.forget(prefix)
					return
				}
			}
		})
	}
	wg.Wait()
	<-ctx.Done() // a watch that broke is no reason to stop: Place reads the rows itself
	return nil
}

// forget makes Place read for itself.
func (v *view) forget(prefix string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.heard, prefix)
}

// current is the list, if there is one.
func (v *view) current() (hosts []*HostState, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.list, len(v.heard) == 2
}

// take notes what changed under a prefix.
func (v *view) take(prefix string, event state.Event) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heard[prefix] = true
	rows := v.providers
	if prefix == Hosts.Prefix() {
		rows = v.hosts
	}
	if event.Reset {
		clear(rows)
		v.list, v.place = nil, map[string]int{}
	}
	for _, c := range event.Changes {
		id := strings.TrimPrefix(c.Key, prefix)
		if c.Deleted {
			delete(rows, id)
		} else {
			rows[id] = c.Value
		}
	}
	list := slices.Clone(v.list)
	if event.Reset {
		for id := range v.hosts {
			if err := v.refresh(&list, id); err != nil {
				return err
			}
		}
	}
	for _, c := range event.Changes {
		id := strings.TrimPrefix(c.Key, prefix)
		if prefix != Hosts.Prefix() {
			id = v.hostOf[id]
		}
		if err := v.refresh(&list, id); err != nil {
			return err
		}
	}
	v.list = list
	return nil
}

// refresh makes one host's state anew in the list.
func (v *view) refresh(list *[]*HostState, id string) error {
	at, listed := v.place[id]
	row, there := v.hosts[id]
	if !there {
		if listed {
			last := len(*list) - 1
			v.place[(*list)[last].ID] = at
			(*list)[at] = (*list)[last]
			*list = (*list)[:last]
			delete(v.place, id)
		}
		return nil
	}
	known, err := decode(id, row, func(uuid string) []byte { return v.providers[uuid] })
	if err != nil {
		return err
	}
	v.hostOf[known.uuid] = id
	if listed {
		(*list)[at] = known.state
		return nil
	}
	v.place[id] = len(*list)
	*list = append(*list, known.state)
	return nil
}
